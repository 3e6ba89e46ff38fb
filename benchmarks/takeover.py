"""Two workers under load, one of which goes or comes: killed, told to leave, started. Read off Postgres: when each partition moves on under its next owner.

A partition's position moves in the transaction that holds the effects, so it tells of them. Commands come at a steady rate all the while, so each
partition has work at any moment; afterwards every command must have had its effect, and once.
"""

import asyncio
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

import asyncpg

from benchmarks import instance, machine, results, workers
from benchmarks.results import Result
from benchmarks.systems import NAMESPACE, Place
from benchmarks.work import Work, WorkError
from streams.settings import Settings

SCHEMA = f"{NAMESPACE}points"
COMMAND = ("-m", "caravan", "worker", "--domains", "points")
USERS = 1000
TURN_S = 0.02  # between two groups of commands
POLL_S = 0.005  # between two looks
STEADY_S = 1  # that both have worked before one goes
PATIENCE_S = 60
KILLED = "one is killed: until the other one has committed on each of its partitions"
LEFT = "one leaves: longest pause of a partition"
JOINED = "one joins: longest pause of a partition"


class Change(NamedTuple):
    """A partition went on under another owner."""

    partition: int
    owner: str
    stood: float  # when it last moved before
    moved: float


class Watcher:
    """Looks at the positions."""

    def __init__(self, db: Any) -> None:
        """Nothing is known before `run`."""
        self._db = db
        self.owner: dict[int, str] = {}
        self.next: dict[int, int] = {}
        self.moved: dict[int, tuple[str, float]] = {}
        self.changes: list[Change] = []

    async def run(self) -> None:
        """Look until cancelled."""
        query = f"SELECT partition, owner, next FROM {SCHEMA}.offsets WHERE agent = 'points'"
        while True:
            for partition, owner, following in await self._db.fetch(query):
                self._take(partition, owner, following, time.perf_counter())
            await asyncio.sleep(POLL_S)

    def _take(self, partition: int, owner: str, following: int, at: float) -> None:
        before, self.next[partition] = self.next.get(partition, following), following
        self.owner[partition] = owner
        if following > before:
            last, stood = self.moved.get(partition, (owner, at))
            if last != owner:
                self.changes.append(Change(partition, owner, stood, at))
            self.moved[partition] = owner, at

    def of(self, worker: workers.Worker) -> set[int]:
        """The partitions that this process has claimed."""
        return {partition for partition, owner in self.owner.items() if owner.endswith(f":{worker.pid}")}

    def shared(self, *those: workers.Worker) -> bool:
        """Whether each of these has partitions, nobody else has any, and all of them have moved under their owner."""
        taken = [self.of(worker) for worker in those]
        worked = all(self.moved.get(p, ("",))[0] == owner for p, owner in self.owner.items())
        return all(taken) and set().union(*taken) == set(self.owner) and worked


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; raises WorkError."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - other tasks and processes make it true
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise WorkError(f"After {PATIENCE_S} s still not: {what}.") from error


async def _measure(place: Place, options: Namespace) -> list[Result]:
    figures: dict[str, list[float]] = defaultdict(list)
    numbers = count()

    async def another() -> workers.Worker:
        return await workers.start(COMMAND, place.environment, place.folder / f"takeover{next(numbers)}.log")

    async with _watched(place, options.offered) as watcher:
        pair = [await another(), await another()]
        try:
            for number in range(options.rounds):
                await _round(watcher, pair, another, figures)
                told = {name.partition(":")[0]: round(values[-1], 2) for name, values in figures.items()}
                print(f"round {number + 1}  takeover  {told}", flush=True)
        finally:
            for worker in pair:
                await worker.end()
    about = {"work": "takeover", "system": "caravan", "unit": "s", "commit": machine.commit()}
    load = f"2 workers, {options.offered} commands/s, "
    return [results.summarise(values, digits=2, load=load + name, **about) for name, values in figures.items()]


async def _round(watcher: Watcher, pair: list[workers.Worker], another: Any, figures: dict[str, list[float]]) -> None:
    await until(lambda: watcher.shared(*pair), "two workers share the partitions")
    await asyncio.sleep(STEADY_S)
    theirs, began = watcher.of(pair[0]), time.perf_counter()
    pair[0].process.kill()
    changes = await _changes(watcher, lambda found: theirs <= {one.partition for one in found})
    figures[KILLED].append(max(one.moved for one in changes) - began)
    await pair.pop(0).end()

    pair.append(await another())
    changes = await _changes(watcher, lambda _: watcher.shared(*pair))
    figures[JOINED].append(max(one.moved - one.stood for one in changes))
    await asyncio.sleep(STEADY_S)

    theirs = watcher.of(pair[0])
    pair[0].process.terminate()
    changes = await _changes(watcher, lambda found: theirs <= {one.partition for one in found})
    figures[LEFT].append(max(one.moved - one.stood for one in changes))
    await pair.pop(0).end()
    pair.append(await another())


async def _changes(watcher: Watcher, enough: Callable[[list[Change]], bool]) -> list[Change]:
    """What changed hands from now on, as soon as it is enough."""
    seen = len(watcher.changes)
    await until(lambda: enough(watcher.changes[seen:]), "the partitions have gone to another worker")
    return watcher.changes[seen:]


@asynccontextmanager
async def _watched(place: Place, rate: int) -> AsyncIterator[Watcher]:
    """Commands come, and somebody looks; at the end all of them must have been done once."""
    db = await asyncpg.connect(place.dsn)
    awards = workers.Awards(Settings.from_env(dict(place.environment)))
    watcher, given = Watcher(db), 0
    stop = asyncio.Event()

    async def give() -> None:
        nonlocal given
        began = time.perf_counter()
        while not stop.is_set():
            due = int((time.perf_counter() - began) * rate)
            given += await awards.append(f"t{n % USERS}" for n in range(given, due))
            await asyncio.sleep(TURN_S)

    before = await _done(db)
    tasks = [asyncio.create_task(give()), asyncio.create_task(watcher.run())]
    try:
        yield watcher
        stop.set()
        await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await awards.close()
    await _verify(place, db, given, before)


async def _verify(place: Place, db: Any, given: int, before: int) -> None:
    """Have one worker finish what is left: every command leads to one movement of points."""
    try:
        async with workers.running(COMMAND, place.environment, [place.folder / "takeover-last.log"]) as (worker,):
            async with asyncio.timeout(PATIENCE_S):
                while await _done(db) < before + given:
                    worker.check()
                    await asyncio.sleep(POLL_S)
        rows, total = await db.fetchrow(
            f"SELECT count(*), sum(amount) FROM {SCHEMA}.ledger WHERE user_id ~ '^t[0-9]+$'"
        )
        if (rows, total) != (given, given * workers.AMOUNT):
            raise WorkError(f"Of {given} commands there are {rows} movements of {total} points.")
    finally:
        await db.close()


async def _done(db: Any) -> int:
    return int(await db.fetchval(f"SELECT coalesce(sum(next), 0) FROM {SCHEMA}.offsets WHERE agent = 'points'"))


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--offered", type=int, default=400, help="commands a second while workers come and go")


WORK = Work("takeover", instance.alone, _measure, _arguments)
