"""Reading the projection's events in one process: as Arrow tables, one by one, and by hand.

    python -m benchmarks.reading SYSTEM SERVERS NAMESPACE EVENTS     # reads them all once and prints the seconds

The clock starts when the first records are there, so that neither the start of a process nor finding the broker counts; the processor time
is that of the whole process.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.client import subscribe
from topics.points import POINTS, PointsAwarded


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
        seconds = (time.perf_counter() - self._began) * self._events / max(1, self._events - self._first)
        return Reading(seconds, time.process_time(), self._events, self._total)


async def _records(servers: str, namespace: str, events: int) -> AsyncIterator[list[Any]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    await consumer.start()
    try:
        topic = f"{namespace}{POINTS.events_topic}"
        consumer.assign([TopicPartition(topic, number) for number in range(POINTS.partitions)])
        await consumer.seek_to_beginning()
        read = 0
        while read < events:
            for got in (await consumer.getmany(timeout_ms=500)).values():
                read += len(got)
                yield got
    finally:
        await consumer.stop()


async def bare(servers: str, namespace: str, events: int, clock: Clock) -> None:
    """Aiokafka alone: records whose values are not looked at."""
    async for got in _records(servers, namespace, events):
        clock.count(len(got))


async def loads(servers: str, namespace: str, events: int, clock: Clock) -> None:
    """And `json.loads` of each value."""
    async for got in _records(servers, namespace, events):
        told = [json.loads(record.value) for record in got]
        clock.count(len(told), sum(one["payload"]["amount"] for one in told))


async def by_hand(servers: str, namespace: str, events: int, clock: Clock) -> None:
    """And a flat Arrow table of them: what one would write in a notebook."""
    import pyarrow as pa
    import pyarrow.compute as pc

    async for got in _records(servers, namespace, events):
        rows = []
        for record in got:
            told = json.loads(record.value)
            rows.append({**told.pop("payload"), **told, "offset": record.offset})
        table = pa.Table.from_pylist(rows)
        clock.count(table.num_rows, pc.sum(table["amount"]).as_py())


async def arrow(servers: str, namespace: str, events: int, clock: Clock) -> None:
    """The platform's subscription in Arrow tables of 20 000 rows."""
    del events
    import pyarrow.compute as pc

    async for batch in subscribe(PointsAwarded, kafka=f"kafka://{servers}", namespace=namespace).arrow(rows=20_000):
        clock.count(batch.rows, pc.sum(batch[PointsAwarded]["amount"]).as_py() or 0)


async def typed(servers: str, namespace: str, events: int, clock: Clock) -> None:
    """And one by one, validated by the contract, in the order of time."""
    del events
    async for received in subscribe(PointsAwarded, kafka=f"kafka://{servers}", namespace=namespace):
        clock.count(1, received.event.amount)


SYSTEMS: dict[str, Callable[[str, str, int, Clock], Awaitable[None]]] = {
    "caravan": arrow, "caravan-typed": typed, "aiokafka": bare, "aiokafka-json": loads, "aiokafka-json-arrow": by_hand,
}  # fmt: skip


def main(system: str, servers: str, namespace: str, events: int) -> None:
    """Read all, and print what it took."""
    clock = Clock()
    asyncio.run(SYSTEMS[system](servers, namespace, events, clock))  # type: ignore[arg-type]
    print(json.dumps(clock.read()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
