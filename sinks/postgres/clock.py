"""The platform's clock where it is a virtual one: how far it is ahead stands in Postgres, so that edge and workers move together."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg

from sinks.postgres.faults import DRIVER
from sinks.postgres.migrations import EDGE, connect
from sinks.postgres.names import quoted, schema_of
from streams.clock import VirtualClock

LOOK_S = 0.1  # between two looks at it
AWAY_S = 1.0  # before the next try while Postgres is away


async def read_offset(dsn: str, namespace: str = "") -> timedelta:
    """How far the clock is ahead of the machine's. Raises CaravanError."""
    connection = await connect(dsn)
    try:
        return await _read(connection, namespace)
    finally:
        await connection.close()


async def advance(dsn: str, namespace: str, by: timedelta) -> timedelta:
    """Move the clock on; how far it is ahead then. Raises CaravanError, and ValueError for a step back."""
    if by < timedelta():
        raise ValueError("A clock moves forward only.")
    connection = await connect(dsn)
    try:
        moved: timedelta = await connection.fetchval(
            f"INSERT INTO {_table(namespace)} AS c (ahead) VALUES ($1) "
            "ON CONFLICT (one) DO UPDATE SET ahead = c.ahead + excluded.ahead RETURNING ahead",
            by,
        )
        return moved
    finally:
        await connection.close()


class Follower:
    """Keeps a process's clock where the platform's is, within about `LOOK_S`; `moved` is called after each move."""

    def __init__(self, dsn: str, namespace: str, clock: VirtualClock, moved: Callable[[], None] = lambda: None) -> None:
        """Nothing is read before `start`."""
        self._dsn, self._namespace = dsn, namespace
        self._clock, self._moved = clock, moved
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over how far the clock is ahead, if Postgres tells, and follow it from then on."""
        with suppress(*DRIVER):
            connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=5)
            try:
                await self._look(connection)
            finally:
                await connection.close()
        self._task = asyncio.create_task(self._follow(), name="follow the platform's clock")

    async def stop(self) -> None:
        """Follow it no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            with suppress(*DRIVER):
                connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=5)
                try:
                    while True:
                        await self._look(connection)
                        await asyncio.sleep(LOOK_S)
                finally:
                    connection.terminate()
            await asyncio.sleep(AWAY_S)

    async def _look(self, connection: Any) -> None:
        ahead = await _read(connection, self._namespace)
        if ahead > self._clock.offset:
            self._clock.offset = ahead
            self._moved()


async def _read(connection: Any, namespace: str) -> timedelta:
    ahead: timedelta | None = await connection.fetchval(f"SELECT ahead FROM {_table(namespace)}")
    return ahead or timedelta()


def _table(namespace: str) -> str:
    return f"{quoted(schema_of(namespace, EDGE))}.clock"
