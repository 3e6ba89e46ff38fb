"""Subscribing: how fast one process reads the projection's events, each time a process of its own (`reading.py`)."""

import asyncio
import json
import os
import sys
from argparse import Namespace
from collections import defaultdict

from benchmarks import instance, machine, results
from benchmarks.loads import filled
from benchmarks.reading import SYSTEMS, Reading
from benchmarks.results import Result
from benchmarks.systems import Place
from benchmarks.work import Work, WorkError, chosen, in_turn

PATIENCE = 180  # s for one system


class SubscribeError(WorkError):
    """A system died, or did not read all."""


async def measure(system: str, place: Place, events: int, total: int) -> Reading:
    """One round in a process of its own; raises SubscribeError when not all was read."""
    command = (sys.executable, "-m", "benchmarks.reading", system, place.servers, place.namespace, str(events))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=os.environ)
    try:
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise SubscribeError(f"{system} is too slow") from error
    if process.returncode:
        raise SubscribeError(f"{system} ended with {process.returncode}")
    reading = Reading(*json.loads(out))
    if reading.events != events or reading.total not in {0, total}:
        raise SubscribeError(f"{system} was to read {events} events of {total} points and read {reading}")
    return reading


async def run(place: Place, options: Namespace) -> list[Result]:
    """All systems, all rounds."""
    written = (await filled(place, options)).written
    rates: dict[str, list[float]] = defaultdict(list)
    for number, name in in_turn(options.rounds, chosen(list(SYSTEMS), options.systems, str)):
        read = await measure(name, place, written.events, written.total)
        rate = written.events / read.seconds
        print(f"round {number}  subscribe, {name}  {rate:.0f}/s, {read.processor:.1f} s of processor", flush=True)
        rates[name].append(rate)
    load = f"{written.events} events of {written.bytes / written.events:.0f} B"
    about = {"work": "subscribe", "load": load, "unit": "events/s", "commit": machine.commit()}
    return [results.summarise(values, digits=0, system=name, **about) for name, values in rates.items()]


WORK = Work("subscribe", instance.infrastructure, run)
