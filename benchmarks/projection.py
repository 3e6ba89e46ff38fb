"""The projection: every system in turn, several rounds, on the same bytes; the rate is read off Postgres, from outside."""

import asyncio
import os
import signal
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import asyncpg

from benchmarks import instance, machine, results
from benchmarks.events import Written
from benchmarks.loads import SHAPES, UNIFORM, filled
from benchmarks.results import Result
from benchmarks.systems import Place, System, slower, systems
from benchmarks.work import Work, WorkError, chosen, in_turn, names

POLL = 0.01  # s between two looks at the tables
PATIENCE = 180  # s for one system to finish
GRACE = 10  # s to end after SIGTERM
CLOSEST = ("caravan", "kafka-streams-eos", "bare-loop")  # that the other loads are measured with, too
LESS = 4  # one event in so many there
TAIL = 2000  # characters of its log that are shown when it failed


class MeasurementError(WorkError):
    """A system died, was too slow or left wrong rows."""


class Round(NamedTuple):
    """What one round gave: events per second, and a digest of the rows, which must be equal for all systems."""

    rate: float
    digest: str


async def measure(system: System, place: Place, written: Written) -> Round:
    """One round from empty tables; raises MeasurementError when the rows are not what they must be."""
    db = await asyncpg.connect(place.dsn)
    try:
        await system.prepare(db)
        await db.execute("checkpoint")
        with tempfile.TemporaryDirectory(dir=place.folder, ignore_cleanup_errors=True) as folder:
            own = replace(place, folder=Path(folder))
            async with _running(system, own) as process:
                rate = await _watch(system, db, written, process)
        return Round(rate, await _verify(system, db, written))
    finally:
        await db.close()


@asynccontextmanager
async def _running(system: System, place: Place) -> AsyncIterator[asyncio.subprocess.Process]:
    log = place.folder / "log"
    environment = {**os.environ, **system.environment(place)}
    with log.open("wb") as output:
        processes = [
            await asyncio.create_subprocess_exec(
                *system.command(place, number), env=environment, stdout=output, stderr=output
            )
            for number in range(system.processes)
        ]
    try:
        async with asyncio.timeout(PATIENCE):
            yield processes[0]
    except (MeasurementError, TimeoutError) as error:
        tail = log.read_text("utf-8", "replace")[-TAIL:]
        raise MeasurementError(f"{system.title}: {str(error) or 'too slow'}; its log ends with\n{tail}") from error
    finally:
        for process in processes:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                await asyncio.wait_for(process.wait(), GRACE)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _watch(
    system: System, db: asyncpg.Connection, written: Written, process: asyncio.subprocess.Process
) -> float:
    """The rows that are there at the first look are not counted, nor is the time before it: starting up is not the rate."""
    last = f"select count(*) from {system.schema}.ledger where (user_id, seq) in (select * from unnest($1::text[], $2::bigint[]))"
    wanted = [list(column) for column in zip(*written.last, strict=True)]
    while not (first := await _rows(system, db)):
        await _pause(process)
    began = time.perf_counter()
    while await db.fetchval(last, *wanted) < len(written.last):
        await _pause(process)
    return (written.events - first) / (time.perf_counter() - began)


async def _rows(system: System, db: asyncpg.Connection) -> int:
    try:
        return int(await db.fetchval(f"select count(*) from {system.schema}.ledger"))
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return 0  # it makes its tables itself and has not yet


async def _pause(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        raise MeasurementError(f"it ended with {process.returncode} before its work was done")
    await asyncio.sleep(POLL)


async def _verify(system: System, db: asyncpg.Connection, written: Written) -> str:
    ledger = await _sums(db, f"{system.schema}.ledger", "amount")
    balance = await _sums(db, f"{system.schema}.balance", "available")
    if (ledger.rows, ledger.total, balance.rows, balance.total) != (
        written.events,
        written.total,
        written.users,
        written.total,
    ):
        raise MeasurementError(f"{system.title} was to make {written} and made {ledger}, {balance}")
    return f"{ledger.digest} {balance.digest}"


class Sums(NamedTuple):
    """A table in short; `digest` depends on every column of every row, not on their order."""

    rows: int
    total: int
    digest: str


async def _sums(db: asyncpg.Connection, table: str, column: str) -> Sums:
    query = f"select count(*), sum({column}), sum(hashtextextended(t::text, 0))::text from {table} t"
    return Sums(*(await db.fetch(query))[0])


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--loads", type=names, default=tuple(SHAPES), help=f"some of {','.join(SHAPES)}")
    parser.add_argument(
        "--variants", action="store_true", help="also those that were slower than others of their system"
    )


async def run(place: Place, options: Namespace) -> list[Result]:
    """All systems on the first load, those that are compared most closely on the others."""
    found: list[Result] = []
    failed: list[str] = []
    for shape in options.loads:
        found += await _all_rounds(place, options, shape, failed)
    if failed:
        raise MeasurementError("\n".join(failed), found)
    return found


async def _all_rounds(place: Place, options: Namespace, shape: str, failed: list[str]) -> list[Result]:
    """A system that fails is told of in `failed` and takes no part any more."""
    rates: dict[System, list[float]] = defaultdict(list)
    words: dict[System, str] = {}
    digests: dict[str, set[str]] = defaultdict(set)
    less = 1 if shape == UNIFORM else LESS
    entered = _entered(options, shape, (await filled(place, options, shape, less)).place.namespace)
    for number, system in in_turn(options.rounds, entered):
        load = await filled(place, options, shape, system.share * less)
        if len(rates[system]) < number - 1:
            continue  # it failed
        try:
            rate, digest = await measure(system, load.place, load.written)
        except MeasurementError as error:
            failed.append(f"{shape}: {error}")
            continue
        print(f"round {number}  {shape}  {system.title}  {rate:.0f}/s", flush=True)
        rates[system].append(rate)
        words[system] = load.words
        digests[load.words].add(digest)
    failed += [f"The systems did not make the same rows of {load}." for load, made in digests.items() if len(made) > 1]
    whole = {system: values for system, values in rates.items() if len(values) == options.rounds}
    return fastest([_rate(system, values, words[system]) for system, values in whole.items()])


def _entered(options: Namespace, shape: str, namespace: str) -> list[System]:
    every = [*systems(namespace), *(slower(namespace) if options.variants else ())]
    entered = chosen(every, options.systems, lambda system: system.name)
    return [system for system in entered if shape == UNIFORM or system.name in CLOSEST]


def _rate(system: System, values: list[float], load: str) -> Result:
    about = {"work": "projection", "system": system.name, "variant": system.variant, "load": load, "unit": "events/s"}
    return results.summarise(values, digits=0, commit=machine.commit(), **about)


def fastest(found: list[Result]) -> list[Result]:
    """Of the variants of a system its best."""
    best: dict[str, Result] = {}
    for result in found:
        if result.system not in best or result.median > best[result.system].median:
            best[result.system] = result
    return list(best.values())


WORK = Work("projection", instance.infrastructure, run, arguments)
