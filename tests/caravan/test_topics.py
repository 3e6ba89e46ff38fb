"""`caravan topics`: what is missing is made, what would lose data is refused with the way."""

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from caravan.topics import difference, retention, stands
from streams import discover
from streams.catalogue import Actual, Catalogue
from streams.kafka import KafkaUrl, declared
from streams.settings import Settings
from tests.caravan.conftest import caravan

WANTED = declared([discover.topic("points")])
PARTITIONS, CONFIG = WANTED["points.events"]
KEYS = {"CARAVAN_SIGNING_KEYS": f"k1:{'ab' * 32}", "CARAVAN_JWT_SECRET": "x" * 32}


def actual(partitions: int = PARTITIONS, **config: str) -> Actual:
    """The event topic of points as declared, but for this."""
    changed = {name.replace("_", "."): value for name, value in config.items()}
    return Actual(partitions, {**CONFIG, "cleanup.policy": "delete", **changed}, 5)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (actual(8), "it has 8 partitions and its contract says 4"),
        (actual(2), "put the old count back into the contract"),
        (actual(retention_ms="604800000"), "makes Kafka delete records"),
        (actual(retention_bytes="1000000"), "--add-config retention.bytes=-1"),
        (actual(cleanup_policy="compact"), "--add-config cleanup.policy=delete"),
        (actual(cleanup_policy="compact,delete"), "makes Kafka delete records"),
        (actual(max_message_bytes="1000"), "is not as declared"),
    ],
)
def test_a_difference_is_told_with_the_way_out(found: Actual, words: str) -> None:
    """What could lose records is said as such."""
    way = difference("points.events", PARTITIONS, CONFIG, found)

    assert way is not None
    assert words in way


def test_as_declared_there_is_no_difference() -> None:
    """Kafka tells more than was asked for."""
    assert difference("points.events", PARTITIONS, CONFIG, actual(segment_bytes="1")) is None


def test_every_topic_of_ours_is_told_and_no_other() -> None:
    """Names are whole, with the namespace."""
    there: Mapping[str, Actual] = {"points.events": actual(), "old.events": actual(), "orders": actual()}
    found = stands(WANTED, there, "ns_")

    assert [(stand.topic, stand.state) for stand in found] == [
        ("ns_points.commands", "missing"),
        ("ns_points.events", "ok"),
        ("ns_old.events", "undeclared"),
    ]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"retention.ms": "-1"}, "for ever"),
        ({"retention.ms": "86400000"}, "24 h"),
        ({"retention.bytes": "1073741824"}, "1024 MB a partition"),
        ({"cleanup.policy": "compact"}, "compacted"),
    ],
)
def test_how_long_records_stay_in_words(config: dict[str, str], words: str) -> None:
    """By the topic's configuration."""
    assert retention(config) == words


async def test_missing_topics_are_made_and_others_are_left_as_they_are(settings: Settings) -> None:
    """Used as a user would, on a broker of which one topic has other partitions and one deletes after a week."""
    name = settings.namespace + "points."
    environment = {**KEYS, "CARAVAN_KAFKA": settings.kafka, "CARAVAN_POSTGRES": settings.postgres}
    environment["CARAVAN_NAMESPACE"] = settings.namespace
    admin = AIOKafkaAdminClient(**KafkaUrl.parse(settings.kafka).client())
    await admin.start()
    first = caravan("topics", **environment)
    made = caravan("topics", "--create", **environment)
    week = {**CONFIG, "retention.ms": "604800000"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name + "events", configs=week)])
    async with Catalogue(settings) as catalogue, asyncio.timeout(15):
        while (await catalogue.actual())["points.events"].config["retention.ms"] != week["retention.ms"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    differs = caravan("topics", "--create", **environment)
    await admin.delete_topics([f"{name}{kind}" for kind in ("commands", "events")])
    async with Catalogue(settings) as catalogue, asyncio.timeout(15):
        while {"points.commands", "points.events"} & set(await catalogue.names()):  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.05)
        await admin.create_topics([NewTopic(name + "commands", 7, 1)])
        while "points.commands" not in await catalogue.names():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    moved = caravan("topics", "--create", **environment)
    async with Catalogue(settings) as catalogue:
        there = await catalogue.names()
        await catalogue.delete(list(there))
    await admin.close()

    assert (first.returncode, first.stderr.count("missing")) == (1, 1)
    assert "make them with: caravan topics --create" in first.stderr
    assert (made.returncode, f"created {name}events" in made.stdout) == (0, True), made.stderr
    assert (differs.returncode, differs.stderr.count("\n")) == (1, 1)
    assert f"{name}events: its configuration retention.ms=604800000 makes Kafka delete records" in differs.stderr
    assert moved.returncode == 1
    assert f"{name}commands: it has 7 partitions and its contract says 4" in moved.stderr
    assert there["points.commands"] == 7
