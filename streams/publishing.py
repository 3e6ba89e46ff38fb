"""Single records, sent together: what comes while Kafka answers for a partition is its next batch.

So the edge pays for batches and not for records, without waiting for more to come: a record that comes alone goes alone, at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError

from streams.log import NotSent, SendUnknown
from streams.partitioner import partition_of

ANSWER_S = 4.5  # how long a caller waits for Kafka before it is told so
LOOK_S = 0.1  # between two looks for callers who have waited that long
Place = tuple[int, int]


class _Record:
    """One that somebody waits for; `place` is told its partition and offset."""

    __slots__ = ("due", "headers", "key", "place", "value")

    def __init__(
        self, key: bytes, value: bytes, headers: list[tuple[str, bytes]], place: asyncio.Future[Place], due: float
    ) -> None:
        self.key, self.value, self.headers, self.place, self.due = key, value, headers, place, due

    def fail(self, error: Exception) -> None:
        if not self.place.done():
            self.place.set_exception(error)


class _Lane:
    """One partition: the records that wait, and those that Kafka was given and has not answered for."""

    def __init__(self, topic: str, partition: int, publisher: "Publisher") -> None:
        self.topic, self.partition, self._publisher = topic, partition, publisher
        self.waiting: list[_Record] = []
        self.given: list[_Record] = []
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Send batch after batch until nothing waits."""
        while self.waiting:
            try:
                if (sent := await self._give()) is not None:
                    await self._answered(*sent)
            finally:
                for record in self.given:
                    record.fail(SendUnknown("The record was given to Kafka; nobody knows what became of it."))
                self.given = []

    async def _give(self) -> tuple[Any, asyncio.Future[Any]] | None:
        """Give Kafka the next batch; the producer that has it and what its answer comes to. What could not be given was surely not sent."""
        producer = None
        try:
            producer = await self._publisher.producer()
            if not (batch := self._batch(producer)).record_count():
                return None
            return producer, await producer.send_batch(batch, self.topic, partition=self.partition)
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            if producer is None:
                self.given, self.waiting = self.waiting, []
            elif isinstance(error, KafkaError) and not error.retriable:
                self._publisher.drop(producer)
            for record in self.given:
                record.fail(_not_sent(error))
            return None

    def _batch(self, producer: Any) -> Any:
        """As many of those who still wait as go into a batch; from now on nobody is told that they surely were not sent."""
        batch, count = producer.create_batch(), 0
        waiting = [record for record in self.waiting if not record.place.done()]
        for record in waiting:
            told = batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers)
            if told is None:
                break
            count += 1
        batch.close()
        self.given, self.waiting = waiting[:count], waiting[count:]
        return batch

    async def _answered(self, producer: Any, sent: asyncio.Future[Any]) -> None:
        """Wait for Kafka's answer, however long it takes, and tell it to those who still want to know."""
        try:
            metadata = await sent
        except (KafkaError, OSError) as error:
            self._publisher.drop(producer)  # a producer that was refused is of no use to others either
            for record in self.given:
                record.fail(SendUnknown(f"Kafka refused or lost the record: {error!r}"))
            return
        for offset, record in enumerate(self.given, metadata.offset):
            if metadata.offset < 0:  # a repeat that Kafka knows to have, but not where
                record.fail(SendUnknown("Kafka has the record and does not say where."))
            elif not record.place.done():
                record.place.set_result((self.partition, offset))

    def overdue(self, now: float) -> None:
        """Tell those who have waited long enough."""
        for record in self.given:
            if record.due <= now:
                record.fail(SendUnknown("Kafka did not answer; the record may have been sent."))
        for record in self.waiting:
            if record.due <= now:
                record.fail(_not_sent(None))

    def end(self) -> None:
        """The process leaves."""
        for record in self.waiting:
            record.fail(_not_sent(None))
        if self.task is not None:
            self.task.cancel()


class Publisher:
    """The lanes of one process. A record whose batch Kafka was not given in time surely was not sent."""

    def __init__(self, producer: Callable[[], Awaitable[Any]], drop: Callable[[Any], None]) -> None:
        """`producer` gives the one to send with, raising OSError while Kafka is away; `drop` has it replaced."""
        self.producer, self.drop = producer, drop
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._counts: dict[str, int] = {}  # of partitions, fixed for the life of a topic
        self._clock: asyncio.TimerHandle | None = None

    async def publish(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Place:
        """Append one record to the partition of its key and wait for all replicas; (partition, offset).

        Raises NotSent when it surely was not sent, SendUnknown when it may have been; both within 5 s.
        """
        count = self._counts.get(topic) or await self._count(topic)
        place = partition_of(key, count)
        lane = self._lanes.get((topic, place))
        if lane is None:
            lane = self._lanes[topic, place] = _Lane(topic, place, self)
        loop = asyncio.get_running_loop()
        record = _Record(key, value, headers, loop.create_future(), loop.time() + ANSWER_S)
        lane.waiting.append(record)
        if lane.task is None or lane.task.done():
            lane.task = loop.create_task(lane.run())
        if self._clock is None:
            self._clock = loop.call_later(LOOK_S, self._look, loop)
        return await record.place

    async def _count(self, topic: str) -> int:
        try:
            async with asyncio.timeout(ANSWER_S):
                count = len(await (await self.producer()).partitions_for(topic))
        except (KafkaError, OSError) as error:
            raise _not_sent(error) from error
        self._counts[topic] = count
        return count

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        busy = [lane for lane in self._lanes.values() if lane.waiting or lane.given]
        now = loop.time()
        for lane in busy:
            lane.overdue(now)
        self._clock = loop.call_later(LOOK_S, self._look, loop) if busy else None

    async def stop(self) -> None:
        """Tell everybody who still waits, and send no more."""
        if self._clock is not None:
            self._clock.cancel()
        lanes, self._lanes, self._clock = [*self._lanes.values()], {}, None
        for lane in lanes:
            lane.end()
        await asyncio.gather(*(lane.task for lane in lanes if lane.task is not None), return_exceptions=True)


def _not_sent(cause: Exception | None) -> NotSent:
    error = NotSent("Kafka is away; nothing was sent.")
    error.__cause__ = cause
    return error
