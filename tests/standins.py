"""Events of domains that are not built yet, as the platform would put them onto their topic: in an envelope, signed, numbered without a gap."""

from collections import Counter
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from streams import ids
from streams.contract import Event
from streams.envelope import Actor, EventEnvelope, Signer, Source, body_hash, encode
from streams.partitioner import partition_of
from streams.testing import SIGNER, Kit

SOMEBODY = Actor("service", "stand-in")


class Record(NamedTuple):
    """What a producer sends."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class StandIns:
    """Makes the records of events, those of a topic in their order."""

    def __init__(self, signer: Signer = SIGNER, namespace: str = "") -> None:
        """Nothing is told yet."""
        self._signer, self._namespace = signer, namespace
        self._numbers: Counter[tuple[str, int]] = Counter()
        self._seqs: Counter[tuple[str, str]] = Counter()

    def record(self, event: Event, at: datetime, name: UUID | None = None) -> Record:
        """The event as its domain would tell it of a command with the id `name`; the record may be sent again, and is the same one then."""
        topic, key = event.topic, event.key.encode()
        partition = partition_of(key, topic.partitions)
        self._numbers[topic.domain, partition] += 1
        self._seqs[topic.domain, event.key] += 1
        number, payload = self._numbers[topic.domain, partition], event.to_json()
        command = name or ids.derived(
            UUID(int=int(at.timestamp() * 1000) << 80), "stand-in", topic.domain, event.key, number
        )
        envelope = EventEnvelope(
            event_id=str(ids.derived(command, topic.domain, event.wire_name, event.key, 0)),
            type=event.wire_name,
            schema_version=event.version,
            occurred_at=at.replace(microsecond=at.microsecond // 1000 * 1000),
            domain=topic.domain,
            aggregate_id=event.key,
            aggregate_seq=self._seqs[topic.domain, event.key],
            actor=SOMEBODY,
            command_id=str(command),
            correlation_id=str(command),
            causation_id=str(command),
            number=number,
            source=Source(partition, number - 1, body_hash(payload)),
            payload=msgspec.Raw(payload),
        )
        value = encode(envelope)
        headers = [self._signer.sign(topic.events_topic, key, value)]
        return Record(self._namespace + topic.events_topic, partition, key, value, headers)


def tell(kit: Kit, *records: Record) -> None:
    """Put records onto their topics and run what follows."""
    for record in records:
        kit.broker.add(record.topic, record.partition, record.key, record.value, record.headers)
    kit.settle()
