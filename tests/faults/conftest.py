"""Points on the run's Kafka and Postgres, in a namespace of its own; what a test measured is kept."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.faults.ground import Ground
from tests.faults.report import Figures


@pytest.fixture
async def ground(settings: Settings, tmp_path: Path) -> AsyncIterator[Ground]:
    """Topics and schemas; no worker runs yet."""
    async with Ground(settings, tmp_path) as ground:
        yield ground


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Takes what this test measured, under the scenarios that it is marked with."""
    marks = request.node.iter_markers("scenario")
    return Figures([str(mark.args[0]) for mark in marks], request.node.nodeid)
