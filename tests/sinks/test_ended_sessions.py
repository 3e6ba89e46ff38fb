"""Postgres has told a session that it ends, and the connection is still there: the driver is in the midst of that when it is asked again."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from sinks.postgres.clock import Follower, advance
from sinks.postgres.edge import EdgeStore
from sinks.postgres.migrations import migrate
from streams.clock import VirtualClock
from streams.settings import Settings
from streams.store import Unavailable
from tests.faults.outside import until
from tests.faults.proxy import Proxy, wires

HOUR = timedelta(hours=1)


@pytest.fixture
async def proxy(settings: Settings, tally: None) -> AsyncIterator[Proxy]:
    """Stands before Postgres; ends of sessions do not come through."""
    await migrate(settings.postgres, settings.namespace)
    async with wires(settings.postgres) as line:
        yield line.one


async def test_the_edge_says_that_postgres_is_away_and_is_there_again(
    settings: Settings, proxy: Proxy, admin: Any
) -> None:
    store = EdgeStore(through(settings, proxy), "", settings.namespace)
    await store.start()

    async def alive() -> bool:
        return store.alive

    async def refused() -> bool:
        try:
            await store.subject_key("u1")
        except Unavailable:
            return True
        return False

    async def answered() -> bool:
        return not await refused()

    try:
        await until(alive, "it hears Postgres")
        key = await store.subject_key("u1")
        proxy.keep_ends()
        await end_sessions(admin, f"{settings.namespace}edge")
        await until(refused, "the session is ended")
        proxy.heal()
        await until(answered, "it has another session")
        await until(alive, "it hears Postgres again")
        assert await store.subject_key("u1") == key
    finally:
        await store.stop()


async def test_a_clock_goes_on_following(settings: Settings, proxy: Proxy, admin: Any) -> None:
    clock = VirtualClock()
    follower = Follower(through(settings, proxy) + "?application_name=follower", settings.namespace, clock)
    await follower.start()
    try:
        proxy.keep_ends()
        await end_sessions(admin, "follower")
        await advance(settings.postgres, settings.namespace, HOUR)

        async def moved() -> bool:
            return clock.offset == HOUR

        await until(moved, "the clock was moved")
    finally:
        await follower.stop()


def through(settings: Settings, proxy: Proxy) -> str:
    """The DSN that leads through the proxy."""
    return settings.postgres.replace(f":{proxy.leads_to}/", f":{proxy.port}/")


async def end_sessions(admin: Any, name: str) -> None:
    """Wait until there are some of this name, and end them."""

    async def ended() -> bool:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
        return bool(await admin.fetch(query, name))

    await until(ended, f"{name} has sessions")
