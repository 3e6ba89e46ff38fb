"""Subscribing: how fast one process reads the projection's events, as Arrow tables, one by one, and by hand.

    python -m benchmarks.subscribing SYSTEM SERVERS TOPIC EVENTS     # reads them all once and prints the seconds

The clock starts when the first records are there, so that neither the start of a process nor finding the broker counts; the processor time
is that of the whole process.
"""

import asyncio
import json
import os
import sys
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks import instance, machine, results
from benchmarks.loads import filled
from benchmarks.results import Result
from benchmarks.systems import NAMESPACE, Place
from benchmarks.work import Work, WorkError, chosen, in_turn
from streams.client import subscribe
from topics.points import POINTS, PointsAwarded

PATIENCE = 180  # s for one system


class SubscribeError(WorkError):
    """A system died, or did not read all."""


class Reading(NamedTuple):
    """What a process counted."""

    seconds: float
    processor: float
    events: int
    total: int
    """Of their amounts, 0 where these are not looked at."""


class Clock:
    """Counts, from the first records on."""

    def __init__(self) -> None:
        self._began, self._first, self._events, self._total = 0.0, 0, 0, 0

    def count(self, events: int, total: int = 0) -> int:
        if not self._began:
            self._began, self._first = time.perf_counter(), events
        self._events += events
        self._total += total
        return self._events

    def read(self) -> Reading:
        rate = (time.perf_counter() - self._began) * self._events / max(1, self._events - self._first)
        return Reading(rate, time.process_time(), self._events, self._total)


async def _records(servers: str, topic: str, events: int) -> AsyncIterator[list[Any]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(POINTS.partitions)])
        await consumer.seek_to_beginning()
        read = 0
        while read < events:
            for got in (await consumer.getmany(timeout_ms=500)).values():
                read += len(got)
                yield got
    finally:
        await consumer.stop()


async def bare(servers: str, topic: str, events: int, clock: Clock) -> None:
    """Aiokafka alone: records whose values are not looked at."""
    async for got in _records(servers, topic, events):
        clock.count(len(got))


async def loads(servers: str, topic: str, events: int, clock: Clock) -> None:
    """And `json.loads` of each value."""
    async for got in _records(servers, topic, events):
        told = [json.loads(record.value) for record in got]
        clock.count(len(told), sum(one["payload"]["amount"] for one in told))


async def by_hand(servers: str, topic: str, events: int, clock: Clock) -> None:
    """And a flat Arrow table of them: what one would write in a notebook."""
    import pyarrow as pa
    import pyarrow.compute as pc

    async for got in _records(servers, topic, events):
        rows = []
        for record in got:
            told = json.loads(record.value)
            rows.append({**told.pop("payload"), **told, "offset": record.offset})
        table = pa.Table.from_pylist(rows)
        clock.count(table.num_rows, pc.sum(table["amount"]).as_py())


async def arrow(servers: str, topic: str, events: int, clock: Clock) -> None:
    """The platform's subscription in Arrow tables of 20 000 rows."""
    del topic, events
    import pyarrow.compute as pc

    async for batch in subscribe(PointsAwarded, kafka=f"kafka://{servers}", namespace=NAMESPACE).arrow(rows=20_000):
        clock.count(batch.rows, pc.sum(batch[PointsAwarded]["amount"]).as_py() or 0)


async def typed(servers: str, topic: str, events: int, clock: Clock) -> None:
    """And one by one, validated by the contract, in the order of time."""
    del topic, events
    async for received in subscribe(PointsAwarded, kafka=f"kafka://{servers}", namespace=NAMESPACE):
        clock.count(1, received.event.amount)


SYSTEMS: dict[str, Callable[[str, str, int, Clock], Awaitable[None]]] = {
    "caravan": arrow, "caravan-typed": typed, "aiokafka": bare, "aiokafka-json": loads, "aiokafka-json-arrow": by_hand,
}  # fmt: skip


async def measure(system: str, servers: str, topic: str, events: int, total: int) -> Reading:
    """One round in a process of its own; raises SubscribeError when not all was read."""
    command = (sys.executable, "-m", "benchmarks.subscribing", system, servers, topic, str(events))
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
        read = await measure(name, place.servers, place.topic, written.events, written.total)
        rate = written.events / read.seconds
        print(f"round {number}  subscribe, {name}  {rate:.0f}/s, {read.processor:.1f} s of processor", flush=True)
        rates[name].append(rate)
    load = f"{written.events} events of {written.bytes / written.events:.0f} B"
    about = {"work": "subscribe", "load": load, "unit": "events/s", "commit": machine.commit()}
    return [results.summarise(values, digits=0, system=name, **about) for name, values in rates.items()]


WORK = Work("subscribe", instance.infrastructure, run)


def main(system: str, servers: str, topic: str, events: int) -> None:
    """Read all, and print what it took."""
    clock = Clock()
    asyncio.run(SYSTEMS[system](servers, topic, events, clock))  # type: ignore[arg-type]
    print(json.dumps(clock.read()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
