"""How long it takes until something serves: a worker whose domain has a million documents, and a whole platform that was there before.

The state is made by the platform's own hand: the worker decides one command, and what it wrote for that user is copied in Postgres for all others.
"""

import asyncio
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from benchmarks import instance, machine, processor, results, workers
from benchmarks.results import Result
from benchmarks.systems import NAMESPACE, Place
from benchmarks.work import Work, WorkError, empty_folder
from streams.settings import Settings

SCHEMA = f"{NAMESPACE}points"
TEMPLATE = "u0"
WORKER = ("-m", "caravan", "worker", "--domains", "points")
POLL_S = 0.005
PATIENCE_S = 180
SERVING = "Caravan is ready"
SETTLE_S = 5  # after the start, before a platform counts as idle
COPIES = {
    "state": "SELECT 'u' || n, version, replaces, rules, at, data FROM {schema}.state, generate_series(1, $2) n WHERE key = $1",
    "ledger": "SELECT 'u' || n, seq, at, kind, debit, replace(credit, $1, 'u' || n), amount, reference, note "
    "FROM {schema}.ledger, generate_series(1, $2) n WHERE user_id = $1",
    "balance": "SELECT 'u' || n, available, held FROM {schema}.balance, generate_series(1, $2) n WHERE user_id = $1",
}


async def _start(place: Place, options: Namespace) -> list[Result]:
    settings = Settings.from_env(dict(place.environment))
    awards, db = workers.Awards(settings), await asyncpg.connect(place.dsn)
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    try:
        await _fill(place, awards, db, options.keys)
        for number in range(options.rounds):
            taken = await _begun(place, awards, db, number, options)
            print(f"round {number + 1}  start  { ({text: round(value, 2) for (text, _), value in taken.items()}) }")
            for name, value in taken.items():
                figures[name].append(value)
    finally:
        await awards.close()
        await db.close()
    return _summaries("start", f"{options.keys} keys of state", figures)


async def _fill(place: Place, awards: workers.Awards, db: Any, keys: int) -> None:
    async with workers.running(WORKER, place.environment, [place.folder / "fill.log"]) as (worker,):
        await awards.append([TEMPLATE])
        await _decided(db, 1, worker)
    for table, rows in COPIES.items():
        await db.execute(f"INSERT INTO {SCHEMA}.{table} {rows.format(schema=SCHEMA)}", TEMPLATE, keys - 1, timeout=300)
        await db.execute(f"VACUUM ANALYZE {SCHEMA}.{table}", timeout=300)
    await db.execute("CHECKPOINT")


async def _begun(
    place: Place, awards: workers.Awards, db: Any, number: int, options: Namespace
) -> dict[tuple[str, str], float]:
    """One round: a command waits already when the worker is started; then many keys are touched."""
    done = await _sum(db)
    await awards.append([f"u{number + 1}"])
    async with workers.running(WORKER, place.environment, [place.folder / f"start{number}.log"]) as (worker,):
        first = asyncio.create_task(_decided(db, done + 1, worker))
        ready = await worker.ready()
        effect = await first - worker.began
        small = _resident([worker.pid])
        touched = [f"u{n % options.keys}" for n in range(number, number + options.touched)]
        await awards.append(touched)
        await _decided(db, done + 1 + len(touched), worker)
        large = _resident([worker.pid])
        if await db.fetchval(f"SELECT count(*) FROM {SCHEMA}.state") != options.keys:
            raise WorkError("The worker did not find the documents that were there.")
    return {
        ("until ready", "s"): ready,
        ("until the first effect", "s"): effect,
        ("RSS when ready", "MB"): small,
        (f"RSS after {options.touched} of them", "MB"): large,
    }


async def _decided(db: Any, wanted: int, worker: workers.Worker) -> float:
    """Wait until so many commands are decided; when that was seen."""
    async with asyncio.timeout(PATIENCE_S):
        while await _sum(db) < wanted:
            worker.check()
            await asyncio.sleep(POLL_S)
    return time.perf_counter()


async def _sum(db: Any) -> int:
    return int(await db.fetchval(f"SELECT coalesce(sum(next), 0) FROM {SCHEMA}.offsets WHERE agent = 'points'"))


async def _up(folder: Path, options: Namespace) -> list[Result]:
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    async with _platform(folder):
        pass  # the first start makes the data folder
    for number in range(options.rounds):
        async with _platform(folder) as (process, took):
            figures["until it serves", "s"].append(took)
            await asyncio.sleep(SETTLE_S)
            began, before = time.perf_counter(), processor.spent([process.pid])
            await asyncio.sleep(options.idle)
            spent = 100 * (processor.spent([process.pid]) - before) / (time.perf_counter() - began)
            figures["idle, all processes", "% of a core"].append(spent)
            figures["idle, RSS of all processes", "MB"].append(_resident([process.pid]))
            figures["idle, PSS of all processes", "MB"].append(_resident([process.pid], shared=True))
        told = {text: round(values[-1], 2) for (text, _), values in figures.items()}
        print(f"round {number + 1}  up  {told}", flush=True)
    return _summaries("up", "warm, all domains", figures)


@asynccontextmanager
async def _platform(folder: Path) -> AsyncIterator[tuple[Process, float]]:
    """`caravan up` with its own broker and Postgres, whatever CARAVAN_* say; and the seconds until it served."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_")}
    if cache := os.environ.get("CARAVAN_CACHE"):
        environment["CARAVAN_CACHE"] = cache
    command = [sys.executable, "-m", "caravan", "up", "--data-dir", str(folder / "platform")]
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await instance.said(process, SERVING)
        yield process, time.perf_counter() - began
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), workers.GRACE_S)


def _resident(pids: list[int], *, shared: bool = False) -> float:
    """MB of these processes and their children; `shared` counts what several of them map in equal parts, where the system tells it."""
    total = 0
    for pid in pids:
        root = psutil.Process(pid)
        for one in (root, *root.children(recursive=True)):
            told = one.memory_full_info() if shared else one.memory_info()
            total += getattr(told, "pss", told.rss) if shared else told.rss
    return total / 1e6


def _summaries(work: str, load: str, figures: dict[tuple[str, str], list[float]]) -> list[Result]:
    about = {"work": work, "system": "caravan", "commit": machine.commit()}
    return [
        results.summarise(values, digits=2, load=f"{load}, {text}", unit=unit, **about)
        for (text, unit), values in figures.items()
    ]


def _start_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--keys", type=int, default=1_000_000, help="of state that a starting worker finds")
    parser.add_argument("--touched", type=int, default=200_000, help="of them that then get a command each")


def _up_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--idle", type=float, default=20, help="seconds in which an idle platform is watched")


START = Work("start", instance.alone, _start, _start_arguments)
UP = Work("up", empty_folder, _up, _up_arguments)
