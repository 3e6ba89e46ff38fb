"""The platform's virtual clock: commands are issued in its time; tokens of callers stay in the machine's."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from api.app import create_app
from sinks.postgres.clock import advance
from streams.ids import milliseconds
from streams.settings import Settings
from tests.api.caller import Caller, running
from tests.api.conftest import SERVES

AWARD, BODY, ROOT = "/v1/points/award_points", {"user_id": "u1", "amount": 5}, "root/Admin"
DAYS = timedelta(days=2)


async def _ahead(caller: Caller) -> tuple[timedelta, timedelta]:
    """How far a command's time and its id's are ahead of the machine's."""
    answer = await caller.post(AWARD, BODY, ROOT)
    assert answer.status_code == 202
    told = datetime.fromisoformat((await caller.record(answer))["issued_at"])
    named = datetime.fromtimestamp(milliseconds(UUID(answer.json()["command_id"])) / 1000, UTC)
    now = datetime.now(UTC)
    return told - now, named - now


async def test_commands_are_issued_in_the_platforms_time(prepared: Settings) -> None:
    """Every edge moves with it, one that starts later at once; callers stay logged in."""
    virtual = replace(prepared, clock="virtual")
    app = create_app(virtual, SERVES)
    async with running(app, virtual) as caller:
        await caller.until("/ready", 200)
        assert max(await _ahead(caller)) <= timedelta()
        await advance(virtual.postgres, virtual.namespace, DAYS)
        async with asyncio.timeout(30):  # it looks a few times a second
            while min(await _ahead(caller)) < DAYS - timedelta(hours=1):
                pass

        other = create_app(virtual, SERVES)
        async with running(other, virtual):
            assert other.state.edge.clock.offset == DAYS


async def test_the_systems_clock_is_not_moved(edge: Caller) -> None:
    """Whatever the table says."""
    await advance(edge.settings.postgres, edge.settings.namespace, DAYS)

    assert max(await _ahead(edge)) <= timedelta()
