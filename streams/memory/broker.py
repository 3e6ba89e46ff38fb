"""A broker in memory."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.clock import Clock
from streams.log import Entry
from streams.loop import Partition
from streams.partitioner import partition_of
from streams.store import Slot

DELIVERY = 500  # records that the broker hands over at most at once


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
    """Topics in memory; fills the ports Log and Feed for any number of partitions' tasks."""

    def __init__(self, clock: Clock, topics: Mapping[str, int]) -> None:
        """`topics` maps names to partition counts."""
        self._clock = clock
        self._topics = {name: [list[MemoryRecord]() for _ in range(count)] for name, count in topics.items()}
        self._readers: dict[Slot, _Reader] = {}

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
        return next((record for record in self._topics[topic][partition] if record.offset == offset), None)

    async def read_on(self, topic: str, partition: int, offset: int) -> list[MemoryRecord]:
        """Some of the records from this offset on."""
        records = self._topics[topic][partition]
        return [record for record in records if record.offset >= offset][:DELIVERY]

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
        self._readers[slot] = _Reader(partition)

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on."""
        reader = self._readers[slot]
        reader.cursor = offset
        reader.generation += 1
        return reader.generation

    def pause(self, slot: Slot) -> None:
        """Deliver nothing until `resume`."""
        self._readers[slot].flowing = False

    def resume(self, slot: Slot) -> None:
        """Deliver again."""
        self._readers[slot].flowing = True
        asyncio.get_running_loop().call_soon(self._deliver, slot)

    async def holds(self, slot: Slot) -> bool:
        """There is one reader a slot."""
        return slot in self._readers

    async def hint(self, slot: Slot, offset: int) -> None:
        """Nobody looks at it here."""

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
            asyncio.get_running_loop().call_soon(self.deliver)
        return offset

    def deliver(self) -> None:
        """Hand over what there is."""
        for slot in self._readers:
            self._deliver(slot)

    def _deliver(self, slot: Slot) -> None:
        reader = self._readers[slot]
        records = self._topics[slot.topic][slot.partition]
        while reader.flowing:
            batch = [record for record in records if record.offset >= reader.cursor][:DELIVERY]
            if not batch:
                return
            reader.cursor = batch[-1].offset + 1
            reader.partition.offer(batch, reader.generation)


@dataclass
class _Reader:
    partition: Partition
    cursor: int = 0
    generation: int = 0
    flowing: bool = False
