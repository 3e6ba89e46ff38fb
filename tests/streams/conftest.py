"""A rig for each test, and a loop that does not wait long before it tries again."""

from collections.abc import AsyncIterator, Iterator

import pytest

from streams import deciding, loop, relay
from tests.streams.rig import Rig


@pytest.fixture(scope="module", autouse=True)
def impatient() -> Iterator[None]:
    """Tries come quickly one after the other; what is waited for is a condition, never a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PATIENCE_S", (0.001, 0.01))
        patch.setattr(loop, "STOPPED_S", 0.005)
        patch.setattr(loop, "HINT_S", 0.001)
        patch.setattr(loop, "DRAIN_S", 0.05)
        patch.setattr(deciding, "DRAIN_S", 0.05)
        patch.setattr(loop, "DEFER_S", 0.01)
        patch.setattr(relay, "PATIENCE_S", (0.001, 0.01))
        patch.setattr(relay, "IDLE_S", 0.005)
        yield


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """The platform in memory; an error that ended one of its tasks fails the test."""
    rig = Rig()
    yield rig
    await rig.close()
