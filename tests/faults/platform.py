"""All domains in real processes, workers and edges, through proxies to Kafka and Postgres; several clients speak to it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from caravan.instance import LOOPBACK, free_ports
from examples.journeys import SHOWN
from sinks.postgres import migrate
from streams import discover
from streams.kafka import Kafka
from streams.settings import Settings
from tests.acceptance.answers import answer
from tests.checker.check import check
from tests.checker.history import History
from tests.checker.model import platform as model
from tests.faults.accounts import Account, pause
from tests.faults.crowd import Crowd
from tests.faults.ground import ROOT, Worker
from tests.faults.observer import observe, watched
from tests.faults.outside import Outside, settled, until

READY_S = 180.0  # how long a process may take until it works, on a busy machine
SETTLE_S = 300.0  # how long it may take until all is done after the last fault


@dataclass
class Platform:
    """What runs, and how it is looked at."""

    settings: Settings
    """As we reach Kafka and Postgres."""
    ways: Settings
    """As the platform's processes do."""
    folder: Path
    domains: dict[str, Outside]
    crowd: Crowd
    history: History
    ports: Sequence[int]
    workers: dict[str, Worker] = field(default_factory=dict)
    """By the names under which they take part."""
    edges: dict[int, Worker] = field(default_factory=dict)
    """By their ports."""
    _numbers: Any = field(default_factory=count)

    def start_worker(self, name: str) -> Worker:
        """Start a worker for all domains, or start it again."""
        self.workers[name] = self._start("worker", "--instance", name)
        return self.workers[name]

    def start_edge(self, port: int) -> Worker:
        """Start an edge, or start it again."""
        self.edges[port] = self._start("api", "--port", str(port))
        return self.edges[port]

    def _start(self, *arguments: str) -> Worker:
        return Worker(self.ways, self.folder / f"{next(self._numbers)}-{arguments[0]}.log", ROOT, arguments)

    async def ready(self) -> None:
        """Wait until all processes are."""
        for worker in self.workers.values():
            await worker.said("worker ready", READY_S)
        for port in self.edges:
            await until(partial(serves, port), f"the edge on {port} serves", READY_S)

    async def settle(self) -> None:
        """Wait until everything is done."""
        await until(lambda: settled(*self.domains.values()), "all is settled", SETTLE_S)

    async def codes(self, lines: Sequence[Any]) -> list[Any]:
        """The lines with the codes that owners of vouchers show."""
        rows = await self.domains["promotions"].rows("SELECT campaign_id, voucher_id, code FROM voucher")
        codes = {(row["campaign_id"], f"{row['voucher_id']}-{SHOWN}"): row["code"] for row in rows if row["code"]}
        return [
            {**line, "data": {**data, "code": codes.get((data["campaign_id"], data["code"]), data["code"])}}
            for line in lines
            for data in [line["data"]]
        ]

    async def wrong(self) -> list[str]:
        """Whatever does not hold; asked once all is settled."""
        for outside in self.domains.values():
            await observe(self.history, outside, dict(self.settings.signing_keys))
        self.history.note("clock", "observer", at=datetime.now(UTC))
        return [*check(self.history.seen, model), *self._answered_wrong()]

    def _answered_wrong(self) -> Iterator[str]:
        """Answers that a line should not have got, and accepted commands that have no result."""
        for reply in self.crowd.answers:
            if reply.status != answer(reply.line):
                yield f"answer: {reply.line} got {reply.status}"
        results = {one["cmd_id"] for one in self.history.seen if one["kind"] == "result"}
        accepted = {reply.command_id for reply in self.crowd.answers if reply.status == 202}
        yield from (f"lost: {name} was accepted and has no result" for name in accepted - results)

    def account(self, findings: Sequence[str], span: tuple[float, float]) -> Account:
        """What it came to; load went on in `span` (Unix time)."""
        return Account(
            commands=sum(one["kind"] == "record" for one in self.history.seen),
            lost=sum(one.startswith("lost:") for one in findings),
            doubled=sum(one.startswith("doubled:") for one in findings),
            pause_s=self.pause(span),
        )

    def pause(self, span: tuple[float, float]) -> float:
        """Seconds, at most, without any event of points."""
        points = self.domains["points"]
        found = (records for (topic, _), records in points.all_records().items() if topic == points.topic.events_topic)
        return pause(sorted((one for records in found for one in records), key=lambda one: one.timestamp), span)

    def stop(self) -> None:
        """End all."""
        for process in (*self.edges.values(), *self.workers.values()):
            process.stop()


async def serves(port: int) -> bool:
    """Whether the edge says that it is ready."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{LOOPBACK}:{port}/ready") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@asynccontextmanager
async def running(
    settings: Settings, ways: Settings, folder: Path, seed: int, *, workers: int = 2, edges: int = 2
) -> AsyncIterator[Platform]:
    """Migrated, with all topics, and ready."""
    await migrate(settings.postgres, settings.namespace)
    topics = [discover.topic(domain) for domain in discover.domains()]
    kafka = Kafka(settings)
    await kafka.declare(topics)
    await kafka.stop()
    history, ports = History(folder / "history.jsonl"), free_ports(edges)
    crowd = Crowd([f"http://{LOOPBACK}:{port}" for port in ports], settings, seed, history)
    async with AsyncExitStack() as stack:
        stack.callback(history.close)
        domains = {topic.domain: await stack.enter_async_context(Outside(settings, topic)) for topic in topics}
        platform = Platform(settings, ways, folder, domains, crowd, history, ports)
        stack.callback(platform.stop)
        stack.push_async_callback(crowd.close)
        for n in range(workers):
            platform.start_worker(f"worker-{n}")
        for port in ports:
            platform.start_edge(port)
        await platform.ready()
        await stack.enter_async_context(watched(history, *domains.values()))
        yield platform
