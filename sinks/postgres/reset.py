"""Taking a namespace's schemas and roles away again: for development and tests."""

from collections.abc import Collection
from typing import Any

import asyncpg

from sinks.postgres.migrations import EDGE, KEYS, connect
from sinks.postgres.names import quoted, schema_of
from streams.errors import CaravanError


async def schemas(dsn: str, namespace: str, domains: Collection[str]) -> list[str]:
    """The schemas of these domains and of the edge that there are. Raises CaravanError."""
    connection = await connect(dsn)
    try:
        return await _there(connection, namespace, domains)
    finally:
        await connection.close()


async def working(dsn: str, namespace: str) -> list[str]:
    """Who is connected in the name of the namespace's edge. Raises CaravanError."""
    connection = await connect(dsn)
    try:
        name = schema_of(namespace, EDGE)
        found = await connection.fetch(
            "SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name = $1", name
        )
        return [f"an edge, {row['application_name']}" for row in found]
    finally:
        await connection.close()


async def drop(dsn: str, namespace: str, domains: Collection[str]) -> list[str]:
    """Drop those schemas with all that is in them, and their roles; returns the schemas. Raises CaravanError."""
    connection = await connect(dsn)
    try:
        there = await _there(connection, namespace, domains)
        async with connection.transaction():
            for schema in there:
                await connection.execute(f"DROP SCHEMA {quoted(schema)} CASCADE")
            for role in (schema_of(namespace, name) for name in (*domains, EDGE, KEYS)):
                if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                    await connection.execute(f"DROP OWNED BY {quoted(role)}; DROP ROLE {quoted(role)}")
        return there
    except asyncpg.PostgresError as error:
        raise CaravanError(f"Postgres did not drop the schemas, and nothing was changed there: {error}") from error
    finally:
        await connection.close()


async def _there(connection: Any, namespace: str, domains: Collection[str]) -> list[str]:
    names = [schema_of(namespace, name) for name in (*domains, EDGE)]
    names += [f"{name}_shadow" for name in names]
    rows = await connection.fetch("SELECT nspname AS name FROM pg_namespace WHERE nspname = ANY($1) ORDER BY 1", names)
    return [row["name"] for row in rows]
