"""The platform's virtual clock: what stands in Postgres moves the clock of every process, and never back."""

import asyncio
from datetime import timedelta

import pytest

from sinks.postgres.clock import Follower, advance, read_offset
from sinks.postgres.store import PostgresStore
from streams.clock import VirtualClock
from streams.settings import Settings

DAY = timedelta(days=1)


async def test_every_follower_moves_with_it(settings: Settings, postgres: PostgresStore) -> None:
    dsn, namespace = settings.postgres, settings.namespace
    assert await read_offset(dsn, namespace) == timedelta()
    assert await advance(dsn, namespace, DAY) == DAY
    clocks, moved = [VirtualClock(), VirtualClock()], [asyncio.Event(), asyncio.Event()]
    followers = [Follower(dsn, namespace, clocks[0], moved[0].set), postgres.follow(clocks[1], moved[1].set)]
    try:
        for follower in followers:
            await follower.start()
        assert [clock.offset for clock in clocks] == [DAY, DAY]  # from the start on
        for heard in moved:
            heard.clear()
        assert await advance(dsn, namespace, 2 * DAY) == 3 * DAY
        for heard in moved:
            await heard.wait()
        assert [clock.offset for clock in clocks] == [3 * DAY, 3 * DAY]
    finally:
        for follower in followers:
            await follower.stop()


async def test_it_moves_forward_only(settings: Settings, postgres: PostgresStore) -> None:
    with pytest.raises(ValueError, match="forward"):
        await advance(settings.postgres, settings.namespace, -DAY)
    clock = VirtualClock(DAY)
    follower = Follower(settings.postgres, settings.namespace, clock)
    await follower.start()
    await follower.stop()
    assert clock.offset == DAY
