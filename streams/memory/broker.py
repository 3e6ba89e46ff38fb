"""A broker in memory."""

import asyncio
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from operator import attrgetter
from typing import Any, NamedTuple

from streams.clock import Clock
from streams.log import Entry
from streams.loop import Partition
from streams.memory.feed import DELIVERY, MemoryFeed
from streams.partitioner import partition_of
from streams.store import Slot

_OFFSET = attrgetter("offset")


class MemoryRecord(NamedTuple):
    """A record as read; see `streams.log.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class MemoryBroker:
    """Topics in memory; fills the port Log, and Feed for one process. Others read by a MemoryFeed of their own."""

    def __init__(self, clock: Clock, topics: Mapping[str, int]) -> None:
        """`topics` maps names to partition counts."""
        self._clock = clock
        self._topics = {name: [list[MemoryRecord]() for _ in range(count)] for name, count in topics.items()}
        self.feeds: list[MemoryFeed] = []
        self._told: dict[tuple[str, int], None] = {}
        self._feed = MemoryFeed(self)

    def declare(self, topics: Mapping[str, int]) -> None:
        """Make those that there are not yet."""
        for name, count in topics.items():
            self._topics.setdefault(name, [[] for _ in range(count)])

    # -- Log

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset, and the next one."""
        records = self._topics[topic][partition]
        return (records[0].offset if records else 0), self.end(topic, partition)

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return len(self._topics.get(topic, ()))

    async def read(self, topic: str, partition: int, offset: int) -> MemoryRecord | None:
        """The record at this offset."""
        found = self.fetch(topic, partition, offset, 1)
        return found[0] if found and found[0].offset == offset else None

    async def read_on(self, topic: str, partition: int, offset: int) -> list[MemoryRecord]:
        """Some of the records from this offset on."""
        return self.fetch(topic, partition, offset, DELIVERY)

    async def append(self, topic: str, partition: int, groups: Sequence[Sequence[Entry]]) -> None:
        """Append in order."""
        for group in groups:
            for entry in group:
                self._add(topic, partition, entry.key, entry.value, entry.headers)

    async def publish(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> tuple[int, int]:
        """Append one record by its key."""
        partition = partition_of(key, len(self._topics[topic]))
        return partition, self._add(topic, partition, key, value, headers)

    # -- Feed

    def join(self, slot: Slot, partition: Partition) -> None:
        """Deliver to this partition's task."""
        self._feed.join(slot, partition)

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on."""
        return await self._feed.seek(slot, offset)

    def pause(self, slot: Slot) -> None:
        """Deliver nothing until `resume`."""
        self._feed.pause(slot)

    def resume(self, slot: Slot) -> None:
        """Deliver again."""
        self._feed.resume(slot)

    async def holds(self, slot: Slot) -> bool:
        """There is one reader a slot."""
        return await self._feed.holds(slot)

    async def hint(self, slot: Slot, offset: int) -> None:
        """Nobody looks at it here."""

    # -- for feeds

    def fetch(self, topic: str, partition: int, offset: int, limit: int) -> list[MemoryRecord]:
        """The records from this offset on, at most so many."""
        records = self._topics[topic][partition]
        begin = bisect_left(records, offset, key=_OFFSET)
        return records[begin : begin + limit]

    # -- for tests

    def end(self, topic: str, partition: int) -> int:
        """The offset of the next record."""
        records = self._topics[topic][partition]
        return records[-1].offset + 1 if records else 0

    def records(self, topic: str) -> list[MemoryRecord]:
        """All records of a topic, partition after partition."""
        return [record for partition in self._topics[topic] for record in partition]

    def add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> int:
        """Put any record at the end, well formed or not; its offset."""
        return self._add(topic, partition, key, value, list(headers))

    def drop(self, topic: str, partition: int, offsets: Collection[int]) -> None:
        """Lose records, as compaction, retention or a broken disk does."""
        records = self._topics[topic][partition]
        records[:] = [record for record in records if record.offset not in offsets]

    def _add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> int:
        offset = self.end(topic, partition)
        milliseconds = int((self._clock.now() - self._clock.offset).timestamp() * 1000)
        self._topics[topic][partition].append(
            MemoryRecord(topic, partition, offset, milliseconds, key, value, tuple(headers))
        )
        with suppress(RuntimeError):  # put there by hand, outside the loop: `deliver` hands it over
            loop = asyncio.get_running_loop()
            if not self._told:
                loop.call_soon(self._tell, context=Context())  # the broker's own: whoever wrote may be gone by then
            self._told[topic, partition] = None
        return offset

    def _tell(self) -> None:
        told, self._told = self._told, {}
        for feed in self.feeds:
            for place in told:
                feed.tell(*place)

    def deliver(self) -> None:
        """Hand over what there is."""
        for feed in self.feeds:
            for slot in [*feed.readers]:
                feed.deliver(slot)
