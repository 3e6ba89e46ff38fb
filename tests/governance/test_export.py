"""The file with all that is held of a user: gathered from tables, documents and topics of every domain, sealed, and taken away."""

import json
import os
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from sinks.postgres import migrate
from sinks.postgres.exports import Exports
from sinks.postgres.keys import Keys
from streams import discover
from streams.contract import Event
from streams.decision import Intent
from streams.effect import Refused
from streams.envelope import Actor, EventEnvelope, Source, encode
from streams.kafka import Kafka
from streams.log import Entry
from streams.partitioner import partition_of
from streams.personal import is_sealed, seal, unseal
from streams.settings import Settings
from tests.caravan.running import Running
from topics.governance import ConsentRecorded
from topics.identity import ProfileUpdated, UserRegistered

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = {name: os.urandom(32) for name in ("ann", "bob")}
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.req("SR140")]


def sealed(text: str, subject: str) -> str:
    """As the edge seals it."""
    return seal(text, subject, KEYS[subject])


class Held:
    """What the platform holds of ann and bob, put there by hand."""

    def __init__(self, settings: Settings, connection: asyncpg.Connection, kafka: Kafka) -> None:
        """Nothing yet."""
        self.settings, self.connection, self.kafka = settings, connection, kafka
        self.exports = Exports(settings, domain="governance")

    async def put(self, domain: str, query: str, *values: Any) -> None:
        """Write to a domain's schema."""
        await self.connection.execute(f'SET search_path TO "{self.settings.namespace}{domain}"')
        await self.connection.execute(query, *values)

    async def tell(self, *events: Event) -> None:
        """Put events on their topics."""
        for event in events:
            topic, key = event.topic, event.key.encode()
            envelope = EventEnvelope(
                event_id=str(uuid4()), type=event.wire_name, schema_version=1, occurred_at=NOW, domain=topic.domain,
                aggregate_id=event.key, aggregate_seq=1, actor=Actor("user", "ann"), command_id=str(uuid4()),
                correlation_id=str(uuid4()), causation_id=str(uuid4()), number=1, source=Source(0, 0, ""), payload=msgspec.Raw(event.to_json()),
            )  # fmt: skip
            entry = Entry(key, encode(envelope), [])
            await self.kafka.append(topic.events_topic, partition_of(key, topic.partitions), [[entry]])

    async def make(self, subject: str = "ann", export_id: str = "x1") -> int:
        """Have a file made; its size."""
        told = await self.exports.perform(
            Intent("make", {"subject": subject, "export_id": export_id, "at": "now"}), "k"
        )
        return int(told["size"])

    async def file(self, subject: str = "ann") -> str | None:
        """The file as it is kept."""
        query = f'SELECT file FROM "{self.settings.namespace}governance".export_file WHERE user_id = $1'
        found: str | None = await self.connection.fetchval(query, subject)
        return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def held(infra: Running) -> AsyncIterator[Held]:
    """Migrated, with all topics, and the keys of both."""
    settings = Settings(
        kafka=infra.kafka,
        postgres=infra.postgres,
        namespace=f"t{secrets.token_hex(3)}_",
        signing_keys=(("k1", bytes(range(32))),),
    )
    await migrate(settings.postgres, settings.namespace)
    kafka = Kafka(settings)
    await kafka.declare([discover.topic(domain) for domain in discover.domains()])
    connection = await asyncpg.connect(settings.postgres)
    held = Held(settings, connection, kafka)
    for name, key in KEYS.items():
        await held.put("edge", "INSERT INTO subject_keys (subject, key) VALUES ($1, $2)", name, key)
    yield held
    await connection.close()
    await kafka.stop()


STATE = "INSERT INTO state (key, version, replaces, rules, at, data) VALUES ($1, 1, 0, 1, 0, $2)"


async def test_it_has_rows_documents_and_events_of_every_domain_and_nothing_of_others(held: Held) -> None:
    profile = "INSERT INTO profile (user_id, bio, registered_at, updated_at) VALUES ($1, $2, $3, $3)"
    for name in ("ann", "bob"):
        await held.put("identity", profile, name, sealed(f"bio of {name}", name), NOW)
        await held.put(
            "identity", STATE, name, json.dumps({"status": "registered", "bio": sealed(f"kept of {name}", name)})
        )
        await held.tell(
            UserRegistered.model_construct(
                user_id=name, display_name=sealed(f"name of {name}", name), registered_at=NOW
            )
        )
    await held.put("points", STATE, "/by_day/ann/day/1", json.dumps({"count": 7}))
    await held.put("points", STATE, "annabel", json.dumps({"count": 8}))
    shared = {"notes": [sealed("said by ann", "ann"), sealed("said by bob", "bob")]}
    await held.put("governance", STATE, "notes:n1", json.dumps(shared))
    await held.tell(
        ConsentRecorded(user_id="ann", purpose="news", text_version="1", channel="web", since=NOW, at=NOW),
        ProfileUpdated.model_construct(user_id="bob", bio=sealed("what ann said of bob", "ann")),
    )

    size = await held.make()
    kept = await held.file()
    assert kept is not None
    assert is_sealed(kept)
    text = unseal(kept, KEYS["ann"])
    assert text is not None
    assert len(text.encode()) == size
    file = json.loads(text)
    assert (file["format"], file["user_id"], file["requested_at"]) == ("caravan-data-export/1", "ann", "now")
    identity, points, governance = (file["domains"][name] for name in ("identity", "points", "governance"))
    assert [(row["user_id"], row["bio"]) for row in identity["rows"]["profile"]] == [("ann", "bio of ann")]
    assert identity["documents"] == {"ann": {"status": "registered", "bio": "kept of ann"}}
    assert [
        (e["type"], e["key"], e["payload"].get("display_name") or e["payload"]["bio"]) for e in identity["events"]
    ] == [
        ("user_registered", "ann", "name of ann"),
        ("profile_updated", "bob", "what ann said of bob"),
    ]
    assert points == {"documents": {"/by_day/ann/day/1": {"count": 7}}}
    assert governance["documents"] == {"notes:n1": ["said by ann"]}
    assert [event["type"] for event in governance["events"]] == ["consent_recorded"]
    assert "of bob" not in text.replace("what ann said of bob", "")


async def test_a_file_takes_the_place_of_the_one_before_and_goes_when_it_is_told_to(held: Held) -> None:
    """Of cy nothing is held; that is told, too."""
    assert await held.make("cy", "x1") > 0
    first = await held.file("cy")
    await held.make("cy", "x2")
    assert await held.file("cy") != first

    for export_id, there in (("x1", True), ("x2", False)):
        await held.exports.perform(Intent("drop", {"subject": "cy", "export_id": export_id}), "k")
        assert bool(await held.file("cy")) is there
    await held.put("governance", "INSERT INTO export_file VALUES ('cy', 'x3', '')")
    await held.exports.perform(Intent("drop", {"subject": "cy", "export_id": None}), "k")
    assert await held.file("cy") is None


async def test_of_who_was_erased_no_file_is_made(held: Held) -> None:
    await Keys(held.settings).perform(Intent("destroy_key", {"subject": "dan"}), "once")

    with pytest.raises(Refused):
        await held.make("dan")
    assert await held.file("dan") is None
