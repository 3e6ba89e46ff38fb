"""Stores to hold to the port's suite: the one in memory, and Postgres with the schema of a tiny domain."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from sinks.postgres.migrations import migrate
from sinks.postgres.store import PostgresStore
from streams import discover
from streams.memory import MemoryStore
from streams.settings import Settings

SCHEMA = """
CREATE TABLE entries (account text NOT NULL, seq bigint NOT NULL, amount bigint NOT NULL CHECK (amount > -100), note text);
CREATE TABLE totals (account text NOT NULL PRIMARY KEY, total bigint NOT NULL);
CREATE TABLE unlike (account text NOT NULL, code integer NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE results_board (account text NOT NULL PRIMARY KEY);
"""


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> None:
    """The domains of a deployment are `tally` and `other`."""
    monkeypatch.setattr(discover, "domains", lambda: ["other", "tally"])
    monkeypatch.setattr(discover, "migrations", lambda domain: [("0001_rows", SCHEMA)] if domain == "tally" else [])


@pytest.fixture
async def postgres(settings: Settings, tally: None) -> AsyncIterator[PostgresStore]:
    """A store on migrated schemas."""
    await migrate(settings.postgres, settings.namespace)
    store = PostgresStore(settings.postgres, settings.namespace)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator[Any]:
    """A connection that looks from outside."""
    connection = await asyncpg.connect(settings.postgres)
    yield connection
    await connection.close()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Any:
    """Each of the stores in turn."""
    return request.getfixturevalue("postgres") if request.param == "postgres" else MemoryStore()


@pytest.fixture
def tables(store: Any, namespace: str) -> Any:
    """Give the rows of a view's table, sorted."""

    async def rows(name: str) -> list[tuple[Any, ...]]:
        if isinstance(store, MemoryStore):
            found = store.schemas["tally"].rows.get(name, [])
            return sorted(found.values() if isinstance(found, dict) else found)
        async with store._read.acquire() as connection:
            return sorted(tuple(row) for row in await connection.fetch(f'SELECT * FROM "{namespace}tally".{name}'))

    return rows


@pytest.fixture
def places(store: Any, namespace: str) -> Any:
    """Give the one offsets row of `tally`."""

    async def place() -> dict[str, Any]:
        if isinstance(store, MemoryStore):
            (found,) = store.schemas["tally"].places.values()
            return vars(found)
        async with store._read.acquire() as connection:
            return dict(await connection.fetchrow(f'SELECT * FROM "{namespace}tally".offsets'))

    return place


@pytest.fixture
def outcomes(store: Any, namespace: str) -> Any:
    """Give status, code and details of a result."""

    async def outcome(command_id: UUID) -> tuple[Any, ...]:
        if isinstance(store, MemoryStore):
            found = store.schemas["tally"].results[command_id]
            return found.status, found.code, found.details
        query = f'SELECT status, code, details FROM "{namespace}tally".results WHERE command_id = $1'
        async with store._read.acquire() as connection:
            return tuple(await connection.fetchrow(query, command_id))

    return outcome
