"""The edge in this process, on real Kafka and Postgres, with the domain points and the test domain lab. No worker runs."""

from collections.abc import AsyncIterator, Sequence

import pytest

from api.app import Served, create_app, discovered
from sinks.postgres import migrate
from sinks.postgres.migrations import connect, migrate_domain
from streams.kafka import Kafka
from streams.settings import Settings
from tests.api.caller import Caller, running
from tests.api.lab import SCHEMA, SERVED
from tests.api.writer import Writer, writing

ALL = [*discovered(), SERVED]
SERVES = [one for one in ALL if one.topic.domain in ("points", "governance", "lab")]


@pytest.fixture
def serves() -> Sequence[Served]:
    """What the edge serves; a module whose tests are about every route says ALL."""
    return SERVES


@pytest.fixture
async def prepared(settings: Settings, serves: Sequence[Served]) -> Settings:
    """Settings of a namespace whose schemas and topics are there."""
    await migrate(settings.postgres, settings.namespace, [one.topic.domain for one in serves if one is not SERVED])
    connection = await connect(settings.postgres)
    schema = f"{settings.namespace}lab"
    await connection.execute("SELECT 1")
    await migrate_domain(connection, settings.namespace, "lab", schema)
    await connection.execute(
        f'SET search_path = "{schema}"; {SCHEMA}; GRANT SELECT ON samples TO "{settings.namespace}edge"'
    )
    await connection.close()
    kafka = Kafka(settings)
    await kafka.declare([one.topic for one in serves])
    await kafka.stop()
    return settings


@pytest.fixture
async def edge(prepared: Settings, serves: Sequence[Served]) -> AsyncIterator[Caller]:
    """A caller of the edge, which is ready."""
    async with running(create_app(prepared, serves), prepared) as caller:
        await caller.until("/ready", 200)
        yield caller


@pytest.fixture
async def writer(prepared: Settings) -> AsyncIterator[Writer]:
    """One that writes u1's balance."""
    async with writing(prepared) as one:
        yield one
