"""Events written straight onto their topics, as the relay does, and what strangers write there; read by subscriptions."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from streams.clock import unix_ms
from streams.contract import Event, Moment, Name, Text, Topic
from streams.envelope import Actor, EventEnvelope, Signer, Source, encode
from streams.kafka import Kafka
from streams.log import Entry
from streams.partitioner import partition_of
from streams.personal import Personal
from streams.reading import Place
from streams.settings import Settings

BIKES = Topic("bikes", key="bike_id", partitions=2)
SHOPS = Topic("shops", key="shop_id", partitions=2)
ANN = Actor("user", "ann", "User")


def in_cents(old: dict[str, Any]) -> dict[str, Any]:
    return {"cents": old.pop("euros") * 100, **old}


class Rented(Event, topic=BIKES, version=2, upcasts={1: in_cents}):
    bike_id: Name
    cents: int
    note: Personal[Text] | None = None
    extras: tuple[str, ...] = ()
    until: Moment | None = None


class Returned(Event, topic=BIKES):
    bike_id: Name


class Stocked(Event, topic=SHOPS):
    shop_id: Name
    bikes: int


class Published:
    """The topics of bikes and shops."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._kafka = Kafka(settings)
        self._signer = Signer(settings.signing_keys)
        self._numbers: defaultdict[Place, int] = defaultdict(int)
        self.keys: defaultdict[Place, int] = defaultdict(int)

    def options(self, **more: Any) -> dict[str, Any]:
        """How a subscription finds them."""
        return {"kafka": self.settings.kafka, "namespace": self.settings.namespace, **more}

    async def command(
        self, *events: Event, number: int | None = None, hops: int = 0, chain: UUID | None = None, **changes: Any
    ) -> list[EventEnvelope]:
        """The events of one command, which are of one key, in one record batch."""
        place = place_of(events[0])
        first = self._numbers[place] + 1 if number is None else number
        self._numbers[place] = max(self._numbers[place], first + len(events) - 1)
        envelopes = enveloped(events, first, hops, chain, changes)
        await self.write(place, [self.entry(place.topic, e.aggregate_id.encode(), encode(e)) for e in envelopes])
        return envelopes

    def entry(self, topic: str, key: bytes, value: bytes, *, signed: bool = True) -> Entry:
        """A record."""
        return Entry(key, value, [self._signer.sign(topic, key, value)] if signed else [])

    async def write(self, place: Place, entries: Sequence[Entry]) -> None:
        """Append records as one group."""
        await self._kafka.append(place.topic, place.partition, [entries])

    async def core(self, key: str, name: str = "command_accepted") -> None:
        """What the core tells of a command without events."""
        await self.command(Returned(bike_id=key), type=name, payload=msgspec.Raw(b"{}"))

    @staticmethod
    async def later() -> None:
        """Wait for the next millisecond: records of one may come in any order of their partitions."""
        now = unix_ms()
        while unix_ms() == now:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self._kafka.stop()


def enveloped(
    events: Sequence[Event], first: int, hops: int, chain: UUID | None, changes: dict[str, Any]
) -> list[EventEnvelope]:
    command = str(uuid4())
    return [
        EventEnvelope(**{
            "event_id": str(uuid4()),
            "type": event.wire_name,
            "schema_version": event.version,
            "occurred_at": datetime(2026, 1, 31, 12, 0, number % 60, tzinfo=UTC),
            "domain": event.topic.domain,
            "aggregate_id": event.key,
            "aggregate_seq": number,
            "actor": ANN,
            "command_id": command,
            "correlation_id": str(chain) if chain else command,
            "causation_id": command,
            "number": number,
            "source": Source(0, 0, ""),
            "hops": hops,
            "payload": msgspec.Raw(event.to_json()),
            **changes,
        })
        for number, event in enumerate(events, first)
    ]  # fmt: skip


def place_of(event: Event) -> Place:
    """Where an event belongs."""
    return Place(event.topic.events_topic, partition_of(event.key.encode(), event.topic.partitions))


def payload(**fields: Any) -> msgspec.Raw:
    """A payload that no contract of today would write."""
    return msgspec.Raw(json.dumps(fields).encode())


@asynccontextmanager
async def publishing(settings: Settings) -> AsyncIterator[Published]:
    """Both topics, empty."""
    published = Published(settings)
    kafka = Kafka(settings)
    try:
        await kafka.declare([BIKES, SHOPS])
        yield published
    finally:
        await kafka.stop()
        await published.close()
