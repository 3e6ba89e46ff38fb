"""A domain replayed beside its live tables: how fast alone, beside how fast the live ones were written; and what live traffic feels of a throttled one."""

import asyncio
import json
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from asyncio.subprocess import DEVNULL, PIPE
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from benchmarks import instance, machine, results
from benchmarks.instance import LIVE, Platform
from benchmarks.latency import Client, Offer, Percentiles
from benchmarks.results import Result
from benchmarks.work import Work, WorkError
from streams import ids
from streams.clock import SystemClock, unix_ms
from streams.envelope import Actor, Signer
from streams.kafka import Kafka
from streams.log import Entry
from streams.partitioner import partition_of
from streams.producer import command_record, signed
from streams.settings import Settings
from topics.points import POINTS, AwardPoints

CHUNK = 2000  # commands appended at once
POLL = 0.02  # s between two looks at the positions
PATIENCE = 300  # s for all to be decided, or replayed
ISSUER = Actor("user", "bench", "Admin")
DOMAIN = POINTS.domain


class ReplayError(WorkError):
    """A replay failed, or did not find the live tables equal."""


async def fill(platform: Platform, commands: int, users: int, number: int) -> float:
    """Have so many commands decided; at what rate, from the moment on in which all were on their topic."""
    db = await asyncpg.connect(platform.dsn)
    try:
        before = await _decided(db)
        await _append(platform.settings, commands, users, number)
        begun, began = await _decided(db), time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            while (decided := await _decided(db)) < before + commands:  # noqa: ASYNC110 - a worker makes it true
                await asyncio.sleep(POLL)
        return (decided - begun) / (time.perf_counter() - began)
    finally:
        await db.close()


async def _decided(db: Any) -> int:
    return int(await db.fetchval(f"SELECT coalesce(sum(next), 0) FROM {LIVE}{DOMAIN}.offsets WHERE agent = '{DOMAIN}'"))


async def _append(settings: Settings, commands: int, users: int, seed: int) -> None:
    kafka, signer = Kafka(settings), Signer(settings.signing_keys)
    try:
        groups: list[list[list[Entry]]] = [[] for _ in range(POINTS.partitions)]
        for number in range(commands):
            command = AwardPoints(user_id=f"u{seed}-{number % users}", amount=number % 99 + 1)
            around = {"command_id": ids.uuid7(unix_ms()), "issued_at": SystemClock().now(), "actor": ISSUER}
            key, value = command_record(command, **around)
            entry = Entry(key, value, signed(POINTS.commands_topic, key, value, signer))
            groups[partition_of(key, POINTS.partitions)].append([entry])
        for partition, waiting in enumerate(groups):
            for begin in range(0, len(waiting), CHUNK):
                await kafka.append(POINTS.commands_topic, partition, waiting[begin : begin + CHUNK])
    finally:
        await kafka.stop()


async def alone(platform: Platform) -> float:
    """Events a second of a replay, from the moment on in which it knows where it begins until it is level with the live tables."""
    process = await _caravan(platform, ["--json"])
    assert process.stdout is not None
    told: list[tuple[float, dict[str, Any]]] = []
    async with asyncio.timeout(PATIENCE):
        while line := await process.stdout.readline():
            told.append((time.perf_counter(), json.loads(line)))
        status = await process.wait()
    await _end(platform)
    if status or not told[-1][1].get("equal"):
        raise ReplayError(f"caravan replay ended with {status}: {told[-1:]}")
    (began, first), (ended, last) = told[0], next(one for one in told if one[1].get("doing") == "comparing")
    return float(last["folded"] - first["folded"]) / (ended - began)


async def beside(platform: Platform, offer: Offer, prefix: str, rate: int) -> Percentiles:
    """Command to view while replays at this rate follow each other."""
    async with _replaying(platform, rate):
        return await Client(platform.url, platform.tokens, offer).measure(prefix)


@asynccontextmanager
async def _replaying(platform: Platform, rate: int) -> AsyncIterator[None]:
    running: list[asyncio.subprocess.Process] = []

    async def again() -> None:
        while True:
            running[:] = [await _caravan(platform, ["--rate", str(rate)])]
            await running[0].wait()
            await _end(platform)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for process in running:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await _end(platform)


async def _end(platform: Platform) -> None:
    await (await _caravan(platform, ["--abort"])).wait()


async def _caravan(platform: Platform, options: Sequence[str]) -> asyncio.subprocess.Process:
    settings = platform.settings
    told = {
        "CARAVAN_KAFKA": settings.kafka,
        "CARAVAN_POSTGRES": settings.postgres,
        "CARAVAN_NAMESPACE": settings.namespace,
        "CARAVAN_SIGNING_KEYS": ",".join(f"{name}:{key.hex()}" for name, key in settings.signing_keys),
    }
    command = [sys.executable, "-m", "caravan", "replay", DOMAIN, *options]
    return await asyncio.create_subprocess_exec(*command, env={**os.environ, **told}, stdout=PIPE, stderr=DEVNULL)


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--replayed", type=int, default=100_000, help="commands whose events are replayed")
    parser.add_argument("--throttle", type=int, default=2000, help="events a second of a replay beside live traffic")


async def run(platform: Platform, options: Namespace) -> list[Result]:
    """All rounds, each on top of what the one before left."""
    offer, rates, taken = Offer(options.rate, options.seconds), defaultdict(list), defaultdict(list)
    for number in range(options.rounds):
        rates["live"].append(await fill(platform, options.replayed, options.users, number))
        rates["replay"].append(await alone(platform))
        rounded = {name: round(values[-1]) for name, values in rates.items()}
        print(f"round {number + 1}  replay  {rounded}/s", flush=True)
        taken["alone"].append(await Client(platform.url, platform.tokens, offer).measure(f"alone{number}"))
        taken["beside a replay"].append(await beside(platform, offer, f"beside{number}", options.throttle))
        print(f"round {number + 1}  replay  { ({name: values[-1] for name, values in taken.items()}) }", flush=True)
    about = {"work": "replay", "system": "caravan", "commit": machine.commit()}
    loads = {"live": "the worker deciding commands", "replay": "a replay alone"}
    found = [
        results.summarise(values, digits=0, load=loads[name], unit="events/s", **about)
        for name, values in rates.items()
    ]
    for name, measured in taken.items():
        throttled = f" of {options.throttle} events/s" if name != "alone" else ""
        load = f"command-to-view, {options.rate} commands/s, {name}{throttled}, p99"
        found.append(results.summarise([one.p99 for one in measured], digits=2, load=load, unit="ms", **about))
    return found


WORK = Work("replay", instance.platform, run, arguments)
