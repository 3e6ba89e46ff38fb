"""What production needs of broker and Postgres: each setting that breaks the promise is named with its mend, all at once."""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from caravan import profile
from streams.catalogue import Catalogue, Copies
from streams.kafka import Kafka, KafkaUrl
from streams.settings import Settings
from topics.points import POINTS

SAFE = {
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "cleanup.policy": "delete",
    "max.message.bytes": "1048576",
}
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on"}
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----"


def of(topic: str = "points.events", brokers: int = 3, **config: str) -> list[str]:
    """What is told of one topic that is as it should be but for this."""
    changed = {name.replace("_", "."): value for name, value in config.items()}
    return list(profile.topics({topic: Copies(brokers, SAFE | changed)}, ""))


def test_topics_that_are_safe_are_passed() -> None:
    assert of() == []
    assert of("points.commands", retention_ms=str(8 * 86_400_000)) == []
    assert of("points.changelog", cleanup_policy="compact", retention_ms="1") == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("each record is on 2 of the 3 brokers", of(brokers=2)),
        ("min.insync.replicas=1 and needs at least 2", of(min_insync_replicas="1")),
        ("unclean.leader.election.enable=true and needs false", of(unclean_leader_election_enable="true")),
        ("retention.ms=1209600000 and needs -1", of(retention_ms=str(14 * 86_400_000))),
        (
            "retention.ms=518400000 and needs at least 604800000",
            of("points.commands", retention_ms=str(6 * 86_400_000)),
        ),
        ("retention.bytes=1073741824 and needs -1", of(retention_bytes=str(1 << 30))),
        ("cleanup.policy=compact,delete and needs delete", of(cleanup_policy="compact,delete")),
        ("max.message.bytes=1000 and needs at least 1048576", of(max_message_bytes="1000")),
    ],
)
def test_a_topic_that_is_not_is_named_with_the_mend(words: str, told: list[str]) -> None:
    (line,) = told
    assert words in line
    assert "points." in line
    assert "kafka-" in line


def test_topics_that_lack_the_same_are_told_in_one_line() -> None:
    copies = {f"d{n}.events": Copies(1, SAFE) for n in range(9)}
    (line,) = profile.topics(copies, "ns_")
    assert "ns_d0.events, ns_d1.events, ns_d2.events, ns_d3.events and 5 more" in line


def test_what_may_not_be_read_is_a_warning() -> None:
    hidden = {"points.events": Copies(3, None)}
    assert list(profile.topics(hidden, "")) == []
    (line,) = profile.unread(hidden, "")
    assert "points.events cannot be read, so it was not checked; allow DESCRIBE_CONFIGS" in line


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_postgres_that_does_not_wait_for_its_disk_is_named(name: str) -> None:
    (line,) = profile.postgres(DURABLE | {name: "off"})
    assert f"Postgres has {name}=off" in line
    assert f"ALTER SYSTEM SET {name} = on" in line
    assert list(profile.postgres(DURABLE | {"synchronous_commit": "remote_apply"})) == []


def test_missing_checksums_are_a_warning() -> None:
    assert list(profile.postgres(DURABLE | {"data_checksums": "off"})) == []
    (line,) = profile.postgres_warnings(DURABLE | {"data_checksums": "off"})
    assert "pg_checksums --enable" in line


def test_keys_that_others_may_know_are_named(settings: Settings) -> None:
    good = replace(settings, signing_keys=(("k1", secrets.token_bytes(32)),), jwt_secret=None)
    assert list(profile.secrets(good)) == []
    (line,) = profile.secrets(replace(good, jwt_secret="x"))
    assert "unset it" in line
    for weak in (b"0123456789abcdef", bytes(32)):
        (line,) = profile.secrets(replace(good, signing_keys=(("k1", weak),)))
        assert "k1 is too weak" in line


# -- as broker and Postgres tell it


@pytest.fixture
async def declared(settings: Settings) -> AsyncIterator[Settings]:
    """The topics of points stand in a namespace of their own."""
    kafka = Kafka(settings)
    await kafka.declare([POINTS])
    await kafka.stop()
    yield settings
    async with Catalogue(settings) as catalogue:
        await catalogue.delete([POINTS.commands_topic, POINTS.events_topic])


async def test_topics_are_told_as_the_broker_has_them(declared: Settings) -> None:
    name = POINTS.events_topic
    wanted = {"min.insync.replicas": "2", "unclean.leader.election.enable": "true", "retention.ms": "1000"}
    admin = AIOKafkaAdminClient(**KafkaUrl.parse(declared.kafka).client())
    await admin.start()
    resource = ConfigResource(ConfigResourceType.TOPIC, declared.namespace + name, dict(wanted))
    await admin.alter_configs([resource])
    await admin.close()
    async with Catalogue(declared) as catalogue:
        copies = await catalogue.copies([name, POINTS.commands_topic, "nothing.events"])

    assert {copies[name].brokers, copies[POINTS.commands_topic].brokers} == {1}
    config = copies[name].config
    assert config is not None
    assert {key: config[key] for key in wanted} == wanted
    usual = copies["nothing.events"]
    assert usual.config is not None
    assert usual.brokers == int(usual.config["default.replication.factor"])
    told = list(profile.topics({name: copies[name]}, declared.namespace))
    assert [any(words in line for line in told) for words in ("on 1 of the 3", "unclean", "retention.ms=1000")] == [
        True
    ] * 3


@asynccontextmanager
async def database(settings: Settings, *statements: str) -> AsyncIterator[Settings]:
    """A database of its own, with settings of its own."""
    name = f"{settings.namespace}own"
    connection = await asyncpg.connect(settings.postgres)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
        for statement in statements:
            await connection.execute(f'ALTER DATABASE "{name}" {statement}')
        yield replace(settings, postgres=settings.postgres.rpartition("/")[0] + f"/{name}")
    finally:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()


async def test_postgres_is_told_as_our_sessions_have_it(settings: Settings) -> None:
    async with database(settings, "SET synchronous_commit = off", "SET zero_damaged_pages = on") as changed:
        wrong, _ = await profile.findings(changed)

    assert any("Postgres has synchronous_commit=off" in line for line in wrong)
    assert any("Postgres has zero_damaged_pages=on" in line for line in wrong)


@pytest.fixture
def production(settings: Settings) -> dict[str, str]:
    """The environment of a process in production."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_")}
    keys = ",".join(f"{name}:{key.hex()}" for name, key in settings.signing_keys)
    return ours | {
        "CARAVAN_KAFKA": settings.kafka,
        "CARAVAN_POSTGRES": settings.postgres,
        "CARAVAN_NAMESPACE": settings.namespace,
        "CARAVAN_SIGNING_KEYS": keys,
        "CARAVAN_JWT_PUBLIC_KEY": PUBLIC_KEY,
        "CARAVAN_JWT_SECRET": "left-over",
        "CARAVAN_PROFILE": "production",
    }


@pytest.mark.parametrize(
    "command", ["migrate", *(pytest.param(name, marks=pytest.mark.full) for name in ("worker", "api"))]
)
def test_production_on_one_broker_is_refused_with_all_that_is_wrong(
    production: dict[str, str], command: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "caravan", command, "--data-dir", str(tmp_path / "none")],
        env=production,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "not for production" in line]
    for words in ("on 1 of the 3 brokers", "min.insync.replicas=1", "CARAVAN_JWT_SECRET"):
        assert sum(words in line for line in lines) == 1, done.stderr
    assert f"{len(lines)} settings keep CARAVAN_PROFILE=production from starting" in done.stderr


@pytest.mark.full
def test_up_in_production_is_refused_before_anything_is_made(production: dict[str, str], tmp_path: Path) -> None:
    """The embedded broker is one, and its keys are written in its folder."""
    mine = {
        name: value
        for name, value in production.items()
        if name not in {"CARAVAN_KAFKA", "CARAVAN_POSTGRES", "CARAVAN_SIGNING_KEYS"}
    }
    done = subprocess.run(
        [sys.executable, "-m", "caravan", "up", "--data-dir", str(tmp_path / "own")],
        env=mine,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert done.returncode == 1
    for words in ("on 1 of the 3 brokers", "CARAVAN_SIGNING_KEYS has the key that caravan up made"):
        assert words in done.stderr, done.stderr
    assert not (tmp_path / "own" / "logs" / "migrate.log").exists()
