"""The infrastructure that every other test stands on."""

import asyncpg
import pytest

from caravan.embedded import kafka
from streams.settings import Settings
from tests.caravan.running import Running


@pytest.mark.req("SR133")
async def test_the_run_has_a_broker_and_a_database(infra: Running, settings: Settings) -> None:
    """Both answer, and a test's settings point at them with a namespace of its own."""
    host, port = infra.kafka.removeprefix("kafka://").split(":")
    connection = await asyncpg.connect(infra.postgres)
    version = await connection.fetchval("show server_version_num")
    await connection.close()

    assert kafka.answers(host, int(port))
    assert int(version) >= 180000
    assert settings.namespace
