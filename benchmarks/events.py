"""The load of the projection: seeded `points_awarded` in the platform's own signed envelope, written once, read by every system."""

import asyncio
import random
from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.producer.message_accumulator import BatchBuilder

from streams import ids
from streams.envelope import Actor, EventEnvelope, Signer, Source, body_hash, encode
from streams.partitioner import partition_of
from topics.points import POINTS, PointsAwarded

BATCH = 1 << 18  # bytes of a record batch before compression
MILLISECOND = timedelta(milliseconds=1)  # between two events
ISSUER = Actor("user", "bench", "Admin")
SKEW = 0.99  # exponent of the Zipf distribution, that of YCSB: of 20 000 users the first has a tenth of the events
LONGEST = 128  # characters of an identifier in a contract
LONG = 64  # characters of a user's id in wide events


@dataclass(frozen=True)
class Load:
    """What is generated: equal values give equal bytes.

    With `skewed`, users come by a Zipf distribution, else uniformly. With `wide`, an event has 1 KB instead of 600 B: the ids of its user, issuer
    and source are as long as some identity providers make them, so rows are longer too.
    """

    events: int
    users: int
    seed: int
    start: datetime
    skewed: bool = False
    wide: bool = False


class Record(NamedTuple):
    partition: int
    key: bytes
    value: bytes
    signature: tuple[str, bytes]
    at: datetime


class Written(NamedTuple):
    """What a right projection of the topic shows at its end."""

    events: int
    total: int
    users: int
    last: list[tuple[str, int]]
    """User and sequence of the last event of every partition: a system that keeps the order is done when it has these."""
    bytes: int
    """All values together, uncompressed."""


class Generator:
    """Makes the records in order and keeps account of them."""

    def __init__(self, load: Load, signer: Signer) -> None:
        self._load = load
        self._signer = signer
        self._random = random.Random(load.seed)
        self._numbers = [0] * POINTS.partitions
        self._seqs: dict[str, int] = {}
        self._last: dict[int, tuple[str, int]] = {}
        self._total = 0
        self._bytes = 0

    def records(self) -> Iterator[Record]:
        for index, number in enumerate(self._users()):
            user, amount = f"u{number}", self._random.randrange(1, 100)
            if self._load.wide:
                user = user.ljust(LONG, "-")
            yield self._record(user, amount, self._load.start + index * MILLISECOND)

    def _users(self) -> Iterator[int]:
        load = self._load
        if load.skewed:
            weights = list(accumulate(rank**-SKEW for rank in range(1, load.users + 1)))
            for _ in range(load.events):
                yield bisect(weights, self._random.random() * weights[-1])
        else:
            for _ in range(load.events):
                yield self._random.randrange(load.users)

    def written(self) -> Written:
        """The account, once all records were taken."""
        return Written(self._load.events, self._total, len(self._seqs), list(self._last.values()), self._bytes)

    def _record(self, user: str, amount: int, at: datetime) -> Record:
        key = user.encode()
        partition = partition_of(key, POINTS.partitions)
        event = self._event(user, amount, at, partition)
        value = encode(event)
        self._last[partition] = user, event.aggregate_seq
        self._total += amount
        self._bytes += len(value)
        return Record(partition, key, value, self._signer.sign(POINTS.events_topic, key, value), at)

    def _event(self, user: str, amount: int, at: datetime, partition: int) -> EventEnvelope:
        number = self._numbers[partition] = self._numbers[partition] + 1
        seq = self._seqs[user] = self._seqs.get(user, 0) + 1
        wide = self._load.wide
        source = f"order-{number}".ljust(LONGEST, "-") if wide else None
        payload = PointsAwarded(user_id=user, amount=amount, source=source).to_json()
        moment = UUID(int=int(at.timestamp() * 1000) << 80)
        command = ids.derived(moment, "benchmark", "award_points", user, number)
        return EventEnvelope(
            event_id=str(ids.derived(command, POINTS.domain, PointsAwarded.wire_name, user, 0)),
            type=PointsAwarded.wire_name,
            schema_version=PointsAwarded.version,
            occurred_at=at,
            domain=POINTS.domain,
            aggregate_id=user,
            aggregate_seq=seq,
            actor=msgspec.structs.replace(ISSUER, id=ISSUER.id.ljust(LONGEST, "-")) if wide else ISSUER,
            command_id=str(command),
            correlation_id=str(command),
            causation_id=str(command),
            number=number,
            source=Source(partition, number - 1, body_hash(payload)),
            payload=msgspec.Raw(payload),
        )


async def write(servers: str, topic: str, load: Load, signer: Signer) -> Written:
    """Fill the topic, which is empty."""
    generator = Generator(load, signer)
    await put(servers, topic, generator.records())
    return generator.written()


async def put(servers: str, topic: str, records: Iterable[Record]) -> None:
    """Append records in order, as large batches."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, compression_type="lz4", max_batch_size=BATCH, acks="all")
    await producer.start()
    try:
        batches = [producer.create_batch() for _ in range(POINTS.partitions)]
        sent = []
        for record in records:
            if not _append(batches[record.partition], record):
                full, batches[record.partition] = batches[record.partition], producer.create_batch()
                sent.append(await producer.send_batch(full, topic, partition=record.partition))
                _append(batches[record.partition], record)
        sent += [await producer.send_batch(batch, topic, partition=n) for n, batch in enumerate(batches)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def clean(servers: str, prefix: str) -> None:
    """Delete what earlier runs left: every topic whose name begins so, and those that Quix makes for them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        while left := [
            topic for topic in await admin.list_topics() if topic.startswith((prefix, f"changelog__{prefix}"))
        ]:
            await admin.delete_topics(left)
            await asyncio.sleep(0.1)  # the broker deletes later than it answers
    finally:
        await admin.close()


def _append(batch: BatchBuilder, record: Record) -> bool:
    milliseconds = int(record.at.timestamp() * 1000)
    added = batch.append(key=record.key, value=record.value, timestamp=milliseconds, headers=[record.signature])
    return added is not None


def now() -> datetime:
    """The present, in whole milliseconds as envelopes carry it."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)
