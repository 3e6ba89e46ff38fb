"""A feed without a group: one process reads all partitions of a topic by itself, as fast as it can or at a given rate, and up to given offsets.

A replay reads like this: there is nobody to share partitions with, so nothing waits for a rebalance, and no group is left behind.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.errors import CaravanError
from streams.kafka import KafkaUrl
from streams.loop import Partition
from streams.settings import Settings
from streams.store import Slot
from streams.waiting import Delivery

MAX_RECORDS = 12_000  # records of a partition that are handed over at most
MAX_BYTES = 8 << 20  # bytes a fetch of one partition brings
FETCH_MS = 50  # how long a fetch that finds nothing waits; a partition that is resumed meanwhile waits for it
SLICE_S = 0.05  # of a second's allowance, what is handed over at once
AWAY_S = 1.0  # before the next try while Kafka is away


class Pace:
    """So many records a second, all feeds of a replay together; None is no bound. What was not used is not saved up."""

    def __init__(self, rate: float | None = None) -> None:
        """Nothing was taken yet."""
        self.rate = rate
        self._free_at = 0.0

    @property
    def most(self) -> int:
        """How many records to hand over at once."""
        return MAX_RECORDS if self.rate is None else max(1, min(MAX_RECORDS, round(self.rate * SLICE_S)))

    async def take(self, records: int) -> None:
        """Wait until these may be handed over."""
        if self.rate is not None:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + records / self.rate
            await asyncio.sleep(begin - time.monotonic())


class Feeding:
    """The feed of the partitions of one topic. Use it with `async with`, `add` partitions, `begin`, then `run` it in a task."""

    def __init__(self, settings: Settings, topic: str, pace: Pace) -> None:
        """Connects to nothing yet."""
        self.limits: dict[int, int] = {}
        """Partition -> the offset at which its delivery stands still for now; without one it goes on."""
        self.halted = False
        """Nothing is delivered for now."""
        self._topic, self._pace = settings.namespace + topic, pace
        self._url = KafkaUrl.parse(settings.kafka)
        self._partitions: dict[int, Partition] = {}
        self._paused: set[int] = set()
        self._generations: defaultdict[int, int] = defaultdict(int)
        self._next: dict[int, int] = {}
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        """Connect; raises CaravanError while Kafka is away."""
        self._consumer = AIOKafkaConsumer(
            **self._url.client(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # which the loop's look at every offset would find out
            max_partition_fetch_bytes=MAX_BYTES,
            fetch_max_wait_ms=FETCH_MS,
        )
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self.__aexit__()
            raise CaravanError(f"Kafka is away at {', '.join(self._url.servers)}: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        with suppress(KafkaError, OSError):
            await self._consumer.stop()

    def add(self, partition: Partition) -> None:
        """Feed this one too; it is paused until it asks."""
        self._partitions[partition.slot.partition] = partition
        self._paused.add(partition.slot.partition)

    def begin(self) -> None:
        """Now all are added; their tasks may start."""
        self._consumer.assign([self._tp(number) for number in self._partitions])

    async def run(self) -> None:
        """Deliver until cancelled; while Kafka is away it waits."""
        while True:
            try:
                if not await self._deliver(self._active()):
                    await asyncio.sleep(FETCH_MS / 1000)
            except (KafkaError, OSError):
                await asyncio.sleep(AWAY_S)

    def _active(self) -> list[int]:
        """The partitions that want records, and may get more for now."""
        limits = self.limits
        return [
            number
            for number in self._partitions
            if not self.halted
            and number not in self._paused
            and (number not in limits or self._next.get(number, 0) < limits[number])
        ]

    async def _deliver(self, active: Collection[int]) -> bool:
        """Hand over a batch of each partition that has one."""
        found: dict[Any, Any] = {}
        for number in active:
            found |= await self._fetch([number], 0)
        if active and not found:
            found = await self._fetch(active, FETCH_MS)
        for tp, records in found.items():
            await self._hand_over(tp, records)
        return bool(found)

    async def _fetch(self, numbers: Collection[int], wait_ms: int) -> Any:
        return await self._consumer.getmany(*map(self._tp, numbers), timeout_ms=wait_ms, max_records=self._pace.most)

    async def _hand_over(self, tp: TopicPartition, records: list[Any]) -> None:
        number, generation = tp.partition, self._generations[tp.partition]
        if (limit := self.limits.get(number)) is not None and records[-1].offset >= limit:
            records = [record for record in records if record.offset < limit]
            self._consumer.seek(tp, limit)
            self._next[number] = limit
        if records:
            self._next[number] = records[-1].offset + 1
            await self._pace.take(len(records))
            self._partitions[number].offer(Delivery.of(records, generation))

    # -- the feed of the loop

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on."""
        self._consumer.seek(self._tp(slot.partition), offset)
        self._next[slot.partition] = offset
        self._generations[slot.partition] += 1
        return self._generations[slot.partition]

    def pause(self, slot: Slot) -> None:
        """Deliver nothing of this partition until `resume`."""
        self._paused.add(slot.partition)

    def resume(self, slot: Slot) -> None:
        """Deliver again."""
        self._paused.discard(slot.partition)

    async def holds(self, slot: Slot) -> bool | None:
        """There is no group to ask: what is read here is worked here."""
        return slot.partition in self._partitions

    async def hint(self, slot: Slot, offset: int) -> None:
        """There is no group to tell."""

    def _tp(self, number: int) -> TopicPartition:
        return TopicPartition(self._topic, number)
