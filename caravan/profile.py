"""The settings of broker and Postgres that the promise hangs on: nothing that was accepted is lost, and nothing is done twice.

In production a process that finds one of them otherwise does not start, and says all of them at once. In development all is allowed: what the
platform survives there, `caravan up` says.
"""

import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from caravan.errors import Problem
from caravan.instance import Instance
from streams import discover
from streams.catalogue import Catalogue, Copies
from streams.kafka import declared
from streams.log import MAX_MESSAGE
from streams.settings import Settings

log = logging.getLogger(__name__)

COPIES, IN_SYNC = 3, 2  # brokers that have each record, and that have it before it counts as sent
WINDOW = timedelta(days=7)  # how old a backup of Postgres may be: commands that came after it are read again
WAITS = {"on", "remote_apply", "remote_write"}  # values of synchronous_commit that wait for the disk
KEY = 32  # bytes of a signing key
FOR_EVER = "-1"
SHOWN = 4  # topics that are named in a line


class Unsafe(Problem):
    """A setting does not keep the promise; the lines before it say which, and the mend."""


async def demand(settings: Settings) -> None:
    """In production raise Unsafe unless every setting keeps the promise; says what could not be read, or should be otherwise."""
    if settings.profile != "production":
        return
    wrong, warnings = await findings(settings)
    for line in warnings:
        log.warning("%s", line)
    for line in wrong:
        print(f"caravan: not for production: {line}", file=sys.stderr, flush=True)
    if wrong:
        told = "setting keeps" if len(wrong) == 1 else "settings keep"
        raise Unsafe(
            f"{len(wrong)} {told} CARAVAN_PROFILE=production from starting; put right what the lines above say"
        )


async def findings(settings: Settings) -> tuple[list[str], list[str]]:
    """What is not for production, and what is only worth a warning; a line each, with the mend. Raises CaravanError."""
    from sinks.postgres import durability

    names = declared([discover.topic(domain) for domain in discover.domains()])
    async with Catalogue(settings) as catalogue:
        copies = await catalogue.copies(list(names))
    database = await durability(settings.postgres)
    wrong = [*secrets(settings), *topics(copies, settings.namespace), *postgres(database)]
    warnings = [*unread(copies, settings.namespace), *postgres_warnings(database)]
    return list(dict.fromkeys(wrong)), warnings


def secrets(settings: Settings) -> Iterator[str]:
    """Keys that others may know."""
    instance = Instance(settings.data_dir)
    made = instance.run.signing_keys if instance.exists() else ""
    for name, key in settings.signing_keys:
        if made == f"{name}:{key.hex()}":
            yield f"CARAVAN_SIGNING_KEYS has the key that caravan up made for {instance.folder}; make another: openssl rand -hex {KEY}"
        elif len(key) < KEY or len(set(key)) < KEY // 4:
            yield f"CARAVAN_SIGNING_KEYS: {name} is too weak; make another of {KEY} bytes: openssl rand -hex {KEY}"
    if settings.jwt_secret:
        yield "CARAVAN_JWT_SECRET is for development tokens; unset it, CARAVAN_JWT_PUBLIC_KEY is what production checks"


def topics(copies: Mapping[str, Copies], namespace: str) -> Iterator[str]:
    """What the topics lack, a line for all that lack the same."""
    few: defaultdict[int, list[str]] = defaultdict(list)
    other: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, found in sorted(copies.items()):
        if 0 < found.brokers < COPIES:
            few[found.brokers].append(namespace + name)
        for difference in _differing(name, found.config or {}):
            other[difference].append(namespace + name)
    for count, names in few.items():
        yield (
            f"each record is on {count} of the {COPIES} brokers that it needs, in {_listed(names)}: put them on more with "
            f"kafka-reassign-partitions.sh, and set the brokers' default.replication.factor={COPIES}"
        )
    for (key, actual, right), names in other.items():
        yield (
            f"{key}={actual} and needs {right}, in {_listed(names)}: kafka-configs.sh --alter --entity-type topics --entity-name … "
            f"--add-config {key}={right.removeprefix('at least ')}, or the brokers' default"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _differing(name: str, config: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Setting, value, and what it should be. What a broker does not tell of topics that are not there yet is made as declared."""
    if int(actual := config.get("min.insync.replicas", str(IN_SYNC))) < IN_SYNC:
        yield "min.insync.replicas", actual, f"at least {IN_SYNC}"
    if (actual := config.get("unclean.leader.election.enable", "false")) != "false":
        yield "unclean.leader.election.enable", actual, "false"
    if int(actual := config.get("max.message.bytes", str(MAX_MESSAGE))) < MAX_MESSAGE:
        yield "max.message.bytes", actual, f"at least {MAX_MESSAGE}"
    if name.endswith(".changelog"):
        return
    if "compact" in (actual := config.get("cleanup.policy", "delete")):
        yield "cleanup.policy", actual, "delete"
    if (actual := config.get("retention.bytes", FOR_EVER)) != FOR_EVER:
        yield "retention.bytes", actual, FOR_EVER
    milliseconds = int(WINDOW.total_seconds() * 1000)
    if (actual := config.get("retention.ms", FOR_EVER)) != FOR_EVER:
        if name.endswith(".events"):
            yield "retention.ms", actual, FOR_EVER
        elif int(actual) < milliseconds:
            yield "retention.ms", actual, f"at least {milliseconds}"


def postgres(database: Mapping[str, str]) -> Iterator[str]:
    """What Postgres would lose."""
    for name in ("fsync", "full_page_writes"):
        if (actual := database.get(name, "on")) != "on":
            yield f"Postgres has {name}={actual}: a loss of power can lose or damage what was committed; ALTER SYSTEM SET {name} = on"
    if (actual := database.get("synchronous_commit", "on")) not in WAITS:
        yield (
            f"Postgres has synchronous_commit={actual}: it answers a COMMIT before it is safe; ALTER SYSTEM SET synchronous_commit = on, and "
            "look at ALTER DATABASE and ALTER ROLE"
        )
    if (actual := database.get("zero_damaged_pages", "off")) != "off":
        yield f"Postgres has zero_damaged_pages={actual}: it wipes what it cannot read; ALTER SYSTEM RESET zero_damaged_pages"
    if database.get("in_hot_standby", "off") != "off":
        yield "Postgres is a standby, which takes no writes; set CARAVAN_POSTGRES to the primary"


def postgres_warnings(database: Mapping[str, str]) -> Iterator[str]:
    """What Postgres would not notice."""
    if (actual := database.get("data_checksums", "off")) != "on":
        yield f"Postgres has data_checksums={actual}: damage of the disk stays unnoticed; stop it and run pg_checksums --enable"


def unread(copies: Mapping[str, Copies], namespace: str) -> Iterator[str]:
    """What the broker does not let us see."""
    if hidden := sorted(namespace + name for name, found in copies.items() if found.config is None):
        yield (
            f"the configuration of {_listed(hidden)} cannot be read, so it was not checked; allow DESCRIBE_CONFIGS on topics and cluster to the "
            "user of CARAVAN_KAFKA"
        )
