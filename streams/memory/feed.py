"""The consumer of one process on the broker in memory; any number of processes may read the same topics."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.loop import Partition
from streams.store import Slot
from streams.waiting import Delivery

if TYPE_CHECKING:
    from streams.memory.broker import MemoryBroker

DELIVERY = 500  # records that are handed over at most at once


@dataclass
class Reader:
    """Where a process stands on a slot; `generation` counts its seeks."""

    partition: Partition
    cursor: int = 0
    generation: int = 0
    flowing: bool = False


class MemoryFeed:
    """Fills the port Feed."""

    def __init__(self, broker: "MemoryBroker") -> None:
        """Nothing is delivered before `join`."""
        self.broker = broker
        self.readers: dict[Slot, Reader] = {}
        broker.feeds.append(self)

    def join(self, slot: Slot, partition: Partition) -> None:
        """Deliver to this partition's task."""
        self.readers[slot] = Reader(partition)

    def drop(self, slot: Slot) -> None:
        """The partition is no longer assigned here."""
        self.readers.pop(slot, None)

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on; raises OSError when the partition is not assigned here."""
        if (reader := self.readers.get(slot)) is None:
            raise OSError(f"{slot.topic}/{slot.partition} is not assigned here any more")
        reader.cursor = offset
        reader.generation += 1
        if reader.flowing:
            asyncio.get_running_loop().call_soon(self.deliver, slot)
        return reader.generation

    def pause(self, slot: Slot) -> None:
        """Deliver nothing until `resume`."""
        if slot in self.readers:
            self.readers[slot].flowing = False

    def resume(self, slot: Slot) -> None:
        """Deliver again."""
        if slot in self.readers:
            self.readers[slot].flowing = True
            asyncio.get_running_loop().call_soon(self.deliver, slot)

    async def holds(self, slot: Slot) -> bool:
        """Whether the partition is assigned here."""
        return slot in self.readers

    async def hint(self, slot: Slot, offset: int) -> None:
        """Nobody looks at it here."""

    def tell(self, topic: str, partition: int) -> None:
        """There are new records."""
        for slot in self.readers:
            if slot.topic == topic and slot.partition == partition:
                self.deliver(slot)

    def deliver(self, slot: Slot) -> None:
        """Hand over what there is."""
        reader = self.readers.get(slot)
        while reader is not None and reader.flowing:
            batch = self.broker.fetch(slot.topic, slot.partition, reader.cursor, DELIVERY)
            if not batch:
                return
            reader.cursor = batch[-1].offset + 1
            reader.partition.offer(Delivery.of(batch, reader.generation))
