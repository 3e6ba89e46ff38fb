"""What an event costs, in processor microseconds of worker, Postgres and broker, as workers, partitions, keys, domains and history grow.

Where cores run out a rate says little; the processor time of an event does not depend on who else shares them. The domains keep state and nothing else
(`benchmarks.counting`). All partitions are claimed, then the workers stand still until all events
wait for them; a run counts from there until the last one is folded.
"""

import asyncio
import signal
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg

from benchmarks import counting, events, instance, machine, processor, results, workers
from benchmarks.results import Result
from benchmarks.systems import NAMESPACE, Place
from benchmarks.work import Work, WorkError
from streams.envelope import Signer

POLL_S = 0.1  # s between two looks: more of them would show in what Postgres spends
PATIENCE_S = 120
CALM_S = 4  # after the start, before idle processes are watched
IDLE_S = 8  # for how long
KEYS = 20_000
PARTITIONS = 4
ZERO_AT = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY = "INSERT INTO {schema}.state SELECT '/totals/old' || n, 1, 0, 1, 0, '{{\"times\":1,\"amount\":1}}' FROM generate_series(1, $1) n"


class Cost(NamedTuple):
    """Processor seconds, and the transactions of the database."""

    worker: float
    postgres: float
    broker: float
    transactions: float

    def since(self, before: "Cost", share: float) -> "Cost":
        """What came since, times `share`."""
        return Cost(*((now - then) * share for now, then in zip(self, before, strict=True)))


@dataclass(frozen=True)
class Case:
    """One run: its group in the report, the domains, how many workers read how many events of how many keys, documents that were there before."""

    group: str
    shape: counting.Shape
    workers: int
    events: int
    keys: int = KEYS
    history: int = 0

    @property
    def load(self) -> str:
        """In words; equal for equal cases."""
        domains, partitions = self.shape.domains, self.shape.partitions
        return (
            f"{self.group}: {self.workers} worker{'s' * (self.workers > 1)}, {domains} domain{'s' * (domains > 1)} of {partitions} "
            f"partition{'s' * (partitions > 1)}, {self.keys} keys, {self.history} rows before"
        )


def cases(number: int, parts: Sequence[str]) -> list[Case]:
    """What is measured; neighbours with the same topics read the same bytes."""
    one = counting.Shape(1, PARTITIONS)
    shapes = [counting.Shape(1, partitions) for partitions in (1, 4, 8, 16, 32)]
    found = [
        Case("partitions", shape, workers, number)
        for shape in shapes
        for workers in (1, 2)
        if workers <= shape.partitions
    ]
    found += [Case("keys", one, 1, number, keys) for keys in (1000, 10_000, 100_000, 1_000_000)]
    found += [Case("domains", counting.Shape(domains, PARTITIONS), 1, number) for domains in (1, 4, 16)]
    found += [Case("history", one, 1, number, 100_000, rows) for rows in (0, 1_000_000, 4_000_000)]
    return [case for case in found if case.group in parts]


class Bench:
    """The domains of one shape on a place of their own: code, schemas, topics with events in them."""

    def __init__(self, place: Place, number: int, shape: counting.Shape) -> None:
        """Nothing is made before `make`."""
        self.shape = shape
        self.namespace = f"{NAMESPACE}s{number}_"
        self.folder = place.folder / self.namespace
        self.environment = {**place.environment, "CARAVAN_NAMESPACE": self.namespace}
        self._place = place
        kafka, postgres = (urlsplit(place.environment[f"CARAVAN_{name}"]).port for name in ("KAFKA", "POSTGRES"))
        self._servers = {
            "broker": processor.listening(kafka or 9092),
            "postgres": processor.listening(postgres or 5432),
        }
        if not all(self._servers.values()):
            raise WorkError(
                "scaling counts the processor time of a broker and a Postgres on this machine; there are none."
            )

    def command(self, *arguments: str) -> tuple[str, ...]:
        """A command of the platform, where these domains are all there is."""
        return ("-m", "benchmarks.counting", str(self.folder), *arguments)

    async def make(self) -> None:
        """Code, schemas, topics."""
        self.folder.mkdir(parents=True)
        counting.write_sources(self.folder, self.shape)
        migrate = await workers.start(self.command("migrate"), self.environment, self.folder / "migrate.log")
        if await migrate.process.wait():
            raise WorkError(f"migrate failed:\n{migrate.said()}")

    @asynccontextmanager
    async def filling(self, case: "Case", seed: int) -> AsyncIterator[list[counting.Filling]]:
        """Each domain's share of the events, packed."""
        signer, domains = Signer(self._place.keys), self.shape.domains
        found = []
        try:
            for name in self.shape.names:
                load = events.Load(case.events // domains, max(1, case.keys // domains), seed, ZERO_AT)
                found.append(counting.Filling(self._place.servers, f"{self.namespace}{name}.events"))
                await found[-1].start(counting.records(name, load, self.shape.partitions, signer))
            yield found
        finally:
            for one in found:
                await one.stop()

    def logs(self, count: int) -> list[Path]:
        """Of so many workers."""
        return [self.folder / f"worker{number}.log" for number in range(count)]

    async def age(self, db: Any, history: int) -> None:
        """So many documents of other keys are there."""
        for name in self.shape.names:
            await db.execute(HISTORY.format(schema=self.namespace + name), history, timeout=PATIENCE_S)
            await db.execute(f"VACUUM ANALYZE {self.namespace}{name}.state", timeout=PATIENCE_S)

    async def shared(self, db: Any, running: Sequence[workers.Worker]) -> None:
        """Wait until each of the workers has claimed partitions, and all of them are claimed."""
        await asyncio.gather(*(worker.ready() for worker in running))
        each = " UNION ALL ".join(f"SELECT owner FROM {self.namespace}{name}.offsets" for name in self.shape.names)
        query = f"SELECT count(*), count(DISTINCT owner) FROM ({each}) AS one"
        wanted = (self.shape.domains * self.shape.partitions, len(running))
        while tuple(await db.fetchrow(query)) != wanted:
            await _look(running)

    async def done(self, db: Any) -> int:
        """How many events are folded."""
        each = " UNION ALL ".join(
            f"SELECT next FROM {self.namespace}{name}.offsets WHERE agent = '{counting.AGENT_NAME}'"
            for name in self.shape.names
        )
        return int(await db.fetchval(f"SELECT coalesce(sum(next), 0) FROM ({each}) AS one"))

    async def cost(self, db: Any, pids: Sequence[int]) -> Cost:
        """Up to now."""
        worker, postgres, broker = (
            processor.spent(found) for found in (pids, self._servers["postgres"], self._servers["broker"])
        )
        query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return Cost(worker, postgres, broker, await db.fetchval(query))


async def _busy(bench: Bench, db: Any, case: Case, seed: int) -> tuple[Cost, float]:
    """Microseconds and transactions an event, and events a second; from where all of them wait until they are folded."""
    total = case.events // case.shape.domains * case.shape.domains
    await bench.age(db, case.history)
    await db.execute("CHECKPOINT")
    async with (
        bench.filling(case, seed) as fillings,
        workers.running(bench.command("worker"), bench.environment, bench.logs(case.workers)) as running,
    ):
        async with asyncio.timeout(PATIENCE_S):
            await bench.shared(db, running)
            pids = [worker.pid for worker in running]
            with _frozen(running):
                await asyncio.gather(*(filling.send() for filling in fillings))
                began, before = time.perf_counter(), await bench.cost(db, pids)
            while await bench.done(db) < total:
                await _look(running)
        took, after = time.perf_counter() - began, await bench.cost(db, pids)
    await _verify(bench, db, total)
    cost = after.since(before, 1e6 / total)
    return cost._replace(transactions=cost.transactions / 1e6), total / took


@contextmanager
def _frozen(running: Sequence[workers.Worker]) -> Iterator[None]:
    """They stand still, for less time than their groups wait for a member."""
    for worker in running:
        worker.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in running:
            worker.process.send_signal(signal.SIGCONT)


async def _look(running: Sequence[workers.Worker]) -> None:
    for worker in running:
        worker.check()
    await asyncio.sleep(POLL_S)


async def _verify(bench: Bench, db: Any, total: int) -> None:
    counted = 0
    for name in bench.shape.names:
        query = "SELECT sum((data->>'times')::int) FROM {}.state WHERE key LIKE '/totals/k%'"
        counted += await db.fetchval(query.format(bench.namespace + name))
    if counted != total:
        raise WorkError(f"Of {total} events {counted} were counted.")


async def _idle(bench: Bench, db: Any) -> Cost:
    """Shares of a core in percent while nothing happens, and transactions a second."""
    async with workers.running(bench.command("worker"), bench.environment, bench.logs(1)) as running:
        await running[0].ready()
        await asyncio.sleep(CALM_S)
        began, before = time.perf_counter(), await bench.cost(db, [running[0].pid])
        await asyncio.sleep(IDLE_S)
        after = await bench.cost(db, [running[0].pid])
        cost = after.since(before, 100 / (time.perf_counter() - began))
    return cost._replace(transactions=cost.transactions / 100)


async def _measure(place: Place, options: Namespace) -> list[Result]:
    db = await asyncpg.connect(place.dsn)
    found: list[Result] = []
    numbers = count()
    try:
        for case in cases(options.folded, options.parts.split(",")):
            costs: list[tuple[Cost, float]] = []
            for _ in range(options.repeats):
                bench = Bench(place, next(numbers), case.shape)
                await bench.make()
                if case.group == "domains" and not costs:
                    found += _told(await _idle(bench, db), case.load.replace("domains:", "idle:"), "% of a core")
                costs.append(await _busy(bench, db, case, options.seed))
            found += _cheapest(case, costs)
    finally:
        await db.close()
    return found


def _cheapest(case: Case, costs: Sequence[tuple[Cost, float]]) -> list[Result]:
    """The run with the least processor time of all: what comes on top is not owed to the work."""
    best, rate = min(costs, key=lambda one: one[0].worker + one[0].postgres + one[0].broker)
    about = {"work": "scaling", "system": "caravan", "unit": "events/s", "commit": machine.commit()}
    print(f"scaling  {case.load}  {rate:.0f}/s", flush=True)
    return [
        *_told(best, case.load, "us/event"),
        results.summarise([rate], digits=0, load=f"{case.load}, rate", **about),
    ]


def _told(cost: Cost, load: str, unit: str) -> list[Result]:
    print(
        f"scaling  {load}  {unit}: { ({name: round(value, 3) for name, value in cost._asdict().items()}) }", flush=True
    )
    about = {"work": "scaling", "system": "caravan", "unit": unit, "commit": machine.commit()}
    parts = {"worker": cost.worker, "postgres": cost.postgres, "broker": cost.broker}
    return [results.summarise([value], digits=2, load=f"{load}, {name}", **about) for name, value in parts.items()]


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--folded", type=int, default=200_000, help="events that each run of scaling folds")
    parser.add_argument("--parts", default="partitions,keys,domains,history", help="of scaling, some of these")
    parser.add_argument("--repeats", type=int, default=1, help="of each run of scaling, of which the cheapest counts")


WORK = Work("scaling", instance.alone, _measure, _arguments)
