"""The broker in memory behind a wire that delays, loses and repeats, and a consumer that is as unreliable as real ones are."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streams.clock import Clock
from streams.contract import Topic
from streams.log import Entry, NotSent, SendUnknown
from streams.memory import MemoryBroker, MemoryFeed, MemoryRecord, Share
from streams.memory.feed import Reader
from streams.partitioner import partition_of
from streams.store import Slot
from streams.waiting import Delivery

if TYPE_CHECKING:
    from tests.simulation.world import World

QUICK_S = 0.004  # longest trip over the wire when nothing is wrong
LATE_S = 3.0  # longest trip of what comes late
BATCHES = (1, 3, 10, 50, 500)  # records that a fetch brings at most


class SimBroker(MemoryBroker):
    """Topics whose every call may go wrong."""

    def __init__(self, world: "World", clock: Clock, topics: Sequence[Topic]) -> None:
        """Empty topics."""
        counts = {name: topic.partitions for topic in topics for name in (topic.commands_topic, topic.events_topic)}
        super().__init__(clock, counts)
        self.world, self.counts = world, counts
        self.away = False

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset, and the next one."""
        await self._ask()
        return await super().bounds(topic, partition)

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        await self._ask()
        return await super().partitions(topic)

    async def read(self, topic: str, partition: int, offset: int) -> MemoryRecord | None:
        """The record at this offset."""
        await self._ask()
        return await super().read(topic, partition, offset)

    async def read_on(self, topic: str, partition: int, offset: int) -> list[MemoryRecord]:
        """Some of the records from this offset on."""
        await self._ask()
        return await super().read_on(topic, partition, offset)

    async def append(self, topic: str, partition: int, groups: Sequence[Sequence[Entry]]) -> None:
        """Append in order; what fails may be there in part, or may come later."""
        await self.world.trip(QUICK_S)
        fault = self.world.faults.strikes(
            "append late", "append failed", "append in part", "append unanswered", "append written later"
        )
        if self.away or fault == "append failed":
            raise OSError("Kafka is away")
        if fault == "append written later":
            self.world.outside(self._late(), self._write, topic, partition, groups)
            raise OSError("Kafka did not answer")
        if fault == "append in part":
            self._write(topic, partition, groups[: self.world.faults.dice.randrange(len(groups) + 1)])
            raise OSError("Kafka went away")
        self._write(topic, partition, groups)
        if fault == "append unanswered":
            raise OSError("Kafka did not answer")
        await self.world.trip(LATE_S if fault else QUICK_S)

    async def publish(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> tuple[int, int]:
        """Append one record by its key."""
        await self.world.trip(QUICK_S)
        partition = partition_of(key, self.counts[topic])
        entry = [[Entry(key, value, headers)]]
        fault = self.world.faults.strikes(
            "publish not sent", "publish unanswered", "publish lost", "publish written later", "publish written twice"
        )
        if self.away or fault == "publish not sent":
            raise NotSent("Kafka is away")
        if fault == "publish written later":
            self.world.outside(self._late(), self._write, topic, partition, entry)
        if fault in {"publish lost", "publish written later"}:
            raise SendUnknown("Kafka did not answer")
        offset = self.end(topic, partition)
        self._write(topic, partition, entry)
        if fault == "publish unanswered":
            raise SendUnknown("Kafka did not answer")
        if fault == "publish written twice":
            self._write(topic, partition, entry)
        await self.world.trip(QUICK_S)
        return partition, offset

    async def _ask(self) -> None:
        await self.world.trip(QUICK_S)
        if self.away or self.world.faults.strikes("read failed"):
            raise OSError("Kafka is away")

    def _write(self, topic: str, partition: int, groups: Sequence[Sequence[Entry]]) -> None:
        for group in groups:
            for entry in group:
                self._add(topic, partition, *entry)

    def _late(self) -> float:
        return self.world.faults.dice.random() * LATE_S


class SimFeed(MemoryFeed):
    """The consumer of a worker's domain: a member of its group."""

    broker: SimBroker

    def __init__(self, broker: SimBroker, name: str, domain: str) -> None:
        """It is no member yet."""
        super().__init__(broker)
        self.world = broker.world
        self.name, self.group = name, self.world.groups[domain]
        self.generation = -1
        self._fetching: dict[Slot, int] = {}
        self._process = self.world.process()

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on."""
        await self.world.trip(QUICK_S)
        if self.world.faults.strikes("seek failed"):
            raise OSError("the consumer is being closed")
        return await super().seek(slot, offset)

    async def holds(self, slot: Slot) -> bool:
        """Whether the group says so."""
        await self.world.trip(QUICK_S)
        owner = self.group.owners.get(Share(slot.topic, slot.partition))
        return owner == self.name and not self.broker.away

    async def hint(self, slot: Slot, offset: int) -> None:
        """Tell the group where we stand."""
        await self.world.trip(QUICK_S)
        if self.broker.away:
            return
        self.group.hint(self.name, self.generation, Share(slot.topic, slot.partition), offset)

    def deliver(self, slot: Slot) -> None:
        """Fetch; one fetch is under way after each seek."""
        reader = self.readers.get(slot)
        if reader is None or not reader.flowing or self._fetching.get(slot) == reader.generation or self.broker.away:
            return
        dice = self.world.dice
        batch = self.broker.fetch(slot.topic, slot.partition, reader.cursor, dice.choice(BATCHES))
        if not batch:
            return
        self._fetching[slot] = reader.generation
        reader.cursor = batch[-1].offset + 1
        fault = self.world.faults.strikes("fetch late", "fetch lost", "fetch repeated", "fetch from before")
        delay = dice.random() * (LATE_S if fault == "fetch late" else QUICK_S)
        self._later(delay, slot, reader, batch, reader.generation, fault)

    def _later(self, delay: float, *args: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(delay, self._hand, *args, context=self._process.context if self._process else None)

    def _hand(self, slot: Slot, reader: Reader, batch: list[MemoryRecord], generation: int, fault: str | None) -> None:
        if self._fetching.get(slot) == generation:
            self._fetching[slot] = -1
        if self.readers.get(slot) is not reader:
            return
        if generation < reader.generation:
            self.world.faults.note("stale delivery")
        if fault != "fetch lost":
            reader.partition.offer(Delivery.of(batch, generation))
        if fault == "fetch repeated":
            reader.partition.offer(Delivery.of(batch, generation))
        if fault == "fetch from before" and generation == reader.generation:
            reader.cursor = max(0, batch[0].offset - self.world.faults.dice.randrange(20))
        self.deliver(slot)
