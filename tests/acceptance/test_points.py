"""Points end to end: real processes, impatient clients, workers killed with work in flight, and a model that knows what is right."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import count, groupby
from pathlib import Path
from typing import Any, TypeVar

import pytest

from examples.generate import generate
from sinks.postgres import migrate
from streams.kafka import Kafka
from streams.settings import Settings
from tests.acceptance.checker import Observed, faults
from tests.acceptance.children import Child
from tests.acceptance.clients import Clients
from tests.acceptance.model import answer
from tests.acceptance.watch import COMMANDS, EVENTS, AtWork, Watch
from topics.points import POINTS

SEED, COUNT = 20, 5000
WORKERS = 2
KILLS: Sequence[tuple[float, Callable[[AtWork], set[int]]]] = (
    (1 / 3, lambda seen: seen.published),
    (1 / 2, lambda seen: seen.waiting),
)
"""While which share of what is left is sent, and who is killed: who acts on events, then who decides commands."""
ASKED = 300  # results that are compared over HTTP too; all are compared in the tables
POLL_S = 0.1
PATIENCE_S = 100.0
TRY_S = 1.0

T = TypeVar("T")


async def soon(look: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Look until there is something to see, or the time is over; what was seen last."""
    end = time.monotonic() + seconds
    while not (seen := await look()) and time.monotonic() < end:  # noqa: ASYNC110 - it changes in other processes
        await asyncio.sleep(POLL_S)
    return seen


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds."""
    assert await soon(condition, PATIENCE_S), "it did not come true in time"


class Workers:
    """Worker processes that share the partitions of points."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Start them."""
        self._settings, self._folder, self._numbers = settings, folder, count()
        self._children = [self._start() for _ in range(WORKERS)]

    async def ready(self) -> None:
        """Wait until each has claimed what it was assigned."""

        async def are_ready() -> bool:
            return all(child.says("worker ready: points") for child in self._children)

        await until(are_ready)

    async def kill_at_work(self, watch: Watch, pick: Callable[[AtWork], set[int]]) -> None:
        """Kill a worker when commands wait, and commands are published for which no position stands yet."""

        async def published() -> set[int]:
            return (await watch.at_work()).published

        async def at_work() -> AtWork | None:
            seen = await watch.at_work()
            return seen if seen.published and seen.waiting else None

        killed = None
        while killed is None:
            async with watch.slowed(EVENTS):
                if await soon(published, TRY_S):
                    async with watch.slowed(COMMANDS):
                        seen = await soon(at_work, PATIENCE_S)
                        assert seen is not None, "the workers are idle"
                        killed = next(child for child in self._children if child.pid in pick(seen))
                        killed.kill()
        self._children = [self._start() if child is killed else child for child in self._children]

    def stop(self) -> None:
        """End all."""
        for child in self._children:
            child.stop()

    def _start(self) -> Child:
        log = self._folder / f"worker-{next(self._numbers)}.log"
        return Child(["worker", "--domains", "points"], self._settings, log)


@pytest.mark.req("SR047")
@pytest.mark.req("SR055")
@pytest.mark.timeout(400)  # s; each kill costs a session time-out, and the machine may be busy
async def test_every_command_has_its_effect_once_though_workers_are_killed(
    settings: Settings, free_port: int, tmp_path: Path
) -> None:
    await prepare(settings)
    lines = generate(SEED, COUNT)
    url = f"http://127.0.0.1:{free_port}"
    edge = Child(["api", "--port", str(free_port)], settings, tmp_path / "edge.log")
    workers = Workers(settings, tmp_path)
    clients = Clients(url, settings.jwt_secret or "", lines, SEED)
    try:
        async with Watch(settings) as watch:
            await until(clients.served)
            await workers.ready()
            for share, pick in KILLS:
                sending = asyncio.create_task(clients.send(share))
                await workers.kill_at_work(watch, pick)
                await workers.ready()
                await sending
            await clients.send(1)
            await until(watch.drained)
            seen = await watch.observed()

            assert faults(seen) == []
            assert await watch.parked() == 0
            assert await watch.duplicates() > 0, "no kill left work half done"
            told_once(watch, seen)
            answered_right(clients, seen)
            await shown_right(clients, seen)
    finally:
        await clients.close()
        workers.stop()
        edge.stop()


async def prepare(settings: Settings) -> None:
    """Topics and schemas, as `caravan up` makes them."""
    await migrate(settings.postgres, settings.namespace)
    kafka = Kafka(settings)
    await kafka.declare([POINTS])
    await kafka.stop()


def told_once(watch: Watch, seen: Observed) -> None:
    """The events tell every command in one piece, with numbers that leave no gap; a number that was there before says nothing new."""
    told = []
    for partition, records in groupby(watch.envelopes(EVENTS), key=lambda pair: pair[0]):
        fresh: list[dict[str, Any]] = []
        for _, event in records:
            if event["number"] > len(fresh):
                fresh.append(event)
        assert [event["number"] for event in fresh] == list(range(1, len(fresh) + 1)), partition
        told += [command for command, _ in groupby(fresh, key=lambda event: str(event["command_id"]))]
    assert sorted(told) == sorted(seen.results)


def answered_right(clients: Clients, seen: Observed) -> None:
    """Every line got the answer it had to get; what was accepted is on the topic with its result, and nothing else is."""
    wrong = [reply for reply in clients.answers if reply.status != answer(reply.line)]
    assert wrong == []
    assert len(clients.answers) == COUNT
    assert sum(reply.status != 202 for reply in clients.answers) > 500
    assert clients.repeats > 100
    accepted = {reply.command_id for reply in clients.answers if reply.status == 202}
    sent = {
        step.id for step in seen.steps if step.type not in {"credit_transfer", "complete_transfer", "return_transfer"}
    }
    assert accepted == sent
    assert accepted <= seen.results.keys()


async def shown_right(clients: Clients, seen: Observed) -> None:
    """The edge shows what the tables hold, and notes in clear."""
    notes = written_notes(clients, seen)
    for user, (available, held) in seen.balances.items():
        balance = await clients.get(f"/v1/points/balance/{user}")
        assert balance == {"user_id": user, "active": available + held, "held": held, "available": available}
        shown = [row_of(entry) for entry in await clients.items(f"/v1/points/statement/{user}")]
        assert shown == [
            (*row[:-1], notes.get(str(row[6])) if row[-1] else None) for row in reversed(seen.ledger[user])
        ]
    for command in random.Random(SEED).sample(sorted(seen.results), ASKED):
        told = await clients.get(f"/v1/commands/{command}", domain="points")
        assert (told["status"], told["code"]) == seen.results[command]


def written_notes(clients: Clients, seen: Observed) -> dict[str, str]:
    """What was written with each transfer that began."""
    return {
        reply.line["data"]["transfer_id"]: reply.line["data"]["note"]
        for reply in clients.answers
        if reply.command_id is not None
        and seen.results[reply.command_id][1] in {None, "balance_limit"}
        and "note" in reply.line["data"]
    }


def row_of(entry: dict[str, Any]) -> tuple[Any, ...]:
    """A statement's entry as a row of the ledger."""
    return (*{**entry, "at": datetime.fromisoformat(entry["at"])}.values(),)
