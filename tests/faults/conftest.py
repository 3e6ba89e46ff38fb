"""Points on the run's Kafka and Postgres, in a namespace of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.faults.ground import Ground


@pytest.fixture
async def ground(settings: Settings, tmp_path: Path) -> AsyncIterator[Ground]:
    """Topics and schemas; no worker runs yet."""
    async with Ground(settings, tmp_path) as ground:
        yield ground
