"""Single records sent together, over a Kafka that answers when it is told to: what is known of each when something fails."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException, KafkaError, OutOfOrderSequenceNumber

from streams import publishing
from streams.log import NotSent, SendUnknown
from streams.partitioner import partition_of
from streams.publishing import Publisher

TOPIC, PARTITIONS = "t", 2
ONE, OTHER = b"a", next(key for key in (b"b", b"c", b"d", b"e") if partition_of(key, 2) != partition_of(b"a", 2))


class Batch:
    """As aiokafka's, with room for four."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, key: bytes, value: bytes, timestamp: None, headers: Sequence[Any]) -> object:
        """None when it is full."""
        del key, timestamp, headers
        if len(self.values) == 4:
            return None
        self.values.append(value)
        return self

    def record_count(self) -> int:
        """How many are in it."""
        return len(self.values)

    def close(self) -> None:
        """It is whole."""


class Broker:
    """Takes batches, and answers for them one after another when `answer` is called."""

    def __init__(self) -> None:
        self.logs: dict[int, list[bytes]] = {n: [] for n in range(PARTITIONS)}
        self.batches: list[tuple[int, list[bytes]]] = []
        self.pending: list[tuple[asyncio.Future[Any], int, list[bytes]]] = []
        self.away: Exception | None = None
        self.refuses: Exception | None = None
        self.dropped = 0
        self.create_batch = Batch
        self.given = asyncio.Event()
        self.publisher = Publisher(self._producer, self._drop)

    async def _producer(self) -> "Broker":
        if self.away is not None:
            raise self.away
        return self

    def _drop(self, _producer: Any) -> None:
        self.dropped += 1

    async def partitions_for(self, _topic: str) -> set[int]:
        """All of them."""
        return set(range(PARTITIONS))

    async def send_batch(self, batch: Batch, _topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Take a batch."""
        if self.refuses is not None:
            raise self.refuses
        sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.batches.append((partition, batch.values))
        self.pending.append((sent, partition, batch.values))
        self.given.set()
        return sent

    def answer(self, error: Exception | None = None) -> None:
        """Answer for the batch that came first: it is in the log, or this went wrong."""
        sent, partition, values = self.pending.pop(0)
        if error is not None:
            sent.set_exception(error)
        else:
            sent.set_result(SimpleNamespace(partition=partition, offset=len(self.logs[partition])))
            self.logs[partition] += values

    def send(self, value: bytes, key: bytes = ONE) -> asyncio.Task[tuple[int, int]]:
        """Publish, in a task."""
        return asyncio.create_task(self.publisher.publish(TOPIC, key, value, []))

    async def until(self, batches: int) -> None:
        """Wait until so many batches were given."""
        async with asyncio.timeout(30):
            while len(self.batches) < batches:
                self.given.clear()
                await self.given.wait()


async def test_what_comes_meanwhile_is_the_next_batch() -> None:
    """In the order in which it came, as much as goes into one; another partition waits for nothing."""
    broker = Broker()
    first = broker.send(b"0")
    await broker.until(1)
    more = [broker.send(b"%d" % n) for n in range(1, 7)]
    other = broker.send(b"x", OTHER)
    await broker.until(2)
    place, away = partition_of(ONE, PARTITIONS), partition_of(OTHER, PARTITIONS)
    assert broker.batches == [(place, [b"0"]), (away, [b"x"])]

    for batches in (3, 4):
        broker.answer()
        if batches == 3:
            broker.answer()
        await broker.until(batches)
    broker.answer()

    assert broker.batches[2:] == [(place, [b"1", b"2", b"3", b"4"]), (place, [b"5", b"6"])]
    assert [await task for task in (first, *more)] == [(place, offset) for offset in range(7)]
    assert await other == (away, 0)
    assert broker.logs[place] == [b"%d" % n for n in range(7)]


async def test_nobody_is_told_that_nothing_was_sent_of_what_is_sent_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka does not answer: who was given to it may have been sent; who was not surely was not, and never is."""
    monkeypatch.setattr(publishing, "ANSWER_S", 0.05)
    monkeypatch.setattr(publishing, "LOOK_S", 0.01)
    broker = Broker()
    given = broker.send(b"given")
    await broker.until(1)
    waiting = broker.send(b"waiting")
    with pytest.raises(SendUnknown):
        await given
    with pytest.raises(NotSent):
        await waiting

    monkeypatch.setattr(publishing, "ANSWER_S", 30)
    late = broker.send(b"late")
    broker.answer()
    await broker.until(2)
    broker.answer()

    assert await late == (partition_of(ONE, PARTITIONS), 1)
    assert broker.logs[partition_of(ONE, PARTITIONS)] == [b"given", b"late"]


async def test_kafka_away_is_known_not_to_have_it() -> None:
    """Whether no producer can be had, or the one that there is takes nothing; then all is as before."""
    broker = Broker()
    await broker.publisher._count(TOPIC)
    broker.away = OSError("away")
    with pytest.raises(NotSent):
        await broker.send(b"0")
    broker.away, broker.refuses = None, OutOfOrderSequenceNumber()
    with pytest.raises(NotSent):
        await broker.send(b"1")
    assert broker.dropped == 1, "such a producer takes nothing for ever"

    broker.refuses = None
    sent = broker.send(b"2")
    await broker.until(1)
    broker.answer()
    assert await sent == (partition_of(ONE, PARTITIONS), 0)


@pytest.mark.parametrize("error", [KafkaError(), CorruptRecordException()])
async def test_what_kafka_refused_may_be_there(error: KafkaError) -> None:
    """Another producer is taken, and what waited is sent with it."""
    broker = Broker()
    first = broker.send(b"0")
    await broker.until(1)
    second = broker.send(b"1")
    broker.answer(error)
    with pytest.raises(SendUnknown):
        await first
    assert broker.dropped == 1

    await broker.until(2)
    broker.answer()
    assert await second == (partition_of(ONE, PARTITIONS), 0)


async def test_a_repeat_that_kafka_has_somewhere_is_unknown() -> None:
    broker = Broker()
    sent = broker.send(b"0")
    await broker.until(1)
    future, partition, _ = broker.pending.pop()
    future.set_result(SimpleNamespace(partition=partition, offset=-1))
    with pytest.raises(SendUnknown):
        await sent


async def test_at_the_end_everybody_is_told() -> None:
    broker = Broker()
    given = broker.send(b"0")
    await broker.until(1)
    waiting = broker.send(b"1")
    await asyncio.sleep(0)
    await broker.publisher.stop()
    with pytest.raises(SendUnknown):
        await given
    with pytest.raises(NotSent):
        await waiting
