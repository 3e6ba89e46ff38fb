"""Broker, Postgres and platform of a run: its own, unless CARAVAN_KAFKA and CARAVAN_POSTGRES name others."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import events
from benchmarks.systems import NAMESPACE, Place
from streams.kafka import KafkaUrl
from topics.points import POINTS

SIGNING_KEY = ("bench", bytes(range(32)))


@asynccontextmanager
async def infrastructure(folder: Path) -> AsyncIterator[Place]:
    """A broker and a Postgres with nothing of an earlier run in them; `folder` takes data and logs."""
    kafka, dsn = os.environ["CARAVAN_KAFKA"], os.environ["CARAVAN_POSTGRES"]
    environment = {
        "CARAVAN_KAFKA": kafka,
        "CARAVAN_POSTGRES": dsn,
        "CARAVAN_NAMESPACE": NAMESPACE,
        "CARAVAN_SIGNING_KEYS": f"{SIGNING_KEY[0]}:{SIGNING_KEY[1].hex()}",
    }
    servers = ",".join(KafkaUrl.parse(kafka).servers)
    await events.clean(servers, NAMESPACE)
    yield Place(servers, f"{NAMESPACE}{POINTS.events_topic}", dsn, folder, environment)
    await events.clean(servers, NAMESPACE)
