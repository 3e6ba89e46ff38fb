"""Migrations: a schema and a role per domain, the core's tables in each, then the domain's own numbered scripts."""

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

import asyncpg

from sinks.postgres.names import literal, quoted, schema_of
from streams import discover
from streams.errors import CaravanError

EDGE = "edge"  # the edge's own schema and role
KEYS = "edge_keys"  # role that may read the keys of personal data, to be granted to analysts
DAYS_AHEAD = 3  # partitions of the inbox that are made in advance
_LOCK = 0x0CA2A7A2  # advisory lock: one migrator at a time


async def migrate(dsn: str, namespace: str = "", domains: Collection[str] | None = None) -> list[str]:
    """Bring the schemas of these domains (default: all) up to date; returns what was applied, as `domain/0001_name`. Raises CaravanError."""
    connection = await connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        applied = await _migrate_edge(connection, namespace)
        for domain in discover.domains() if domains is None else domains:
            applied += await migrate_domain(connection, namespace, domain, schema_of(namespace, domain))
        return applied
    finally:
        await connection.close()


async def pending(dsn: str, namespace: str = "") -> list[str]:
    """What `migrate` would apply. Raises CaravanError."""
    connection = await connect(dsn)
    try:
        waiting = []
        for domain, scripts in [(EDGE, _core(EDGE)), *((d, _scripts(d)) for d in discover.domains())]:
            done = await _done(connection, schema_of(namespace, domain))
            waiting += [f"{domain}/{name}" for name, _ in scripts if name not in done]
        return waiting
    finally:
        await connection.close()


async def migrate_beside(dsn: str, namespace: str, domain: str) -> str:
    """Make a domain's schema once more, empty, to rebuild it beside the live one; returns the schema's name. Raises CaravanError."""
    schema = f"{schema_of(namespace, domain)}_shadow"
    connection = await connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await migrate_domain(connection, namespace, domain, schema)
    finally:
        await connection.close()
    return schema


async def migrate_domain(connection: Any, namespace: str, domain: str, schema: str) -> list[str]:
    """Bring one schema of a domain up to date: its own, or one beside it for a rebuild."""
    role = schema_of(namespace, domain)
    await _make_schema(connection, role, schema)
    applied = await _apply(connection, role, schema, domain, _scripts(domain))
    await add_result_partitions(connection, schema)
    reader = quoted(schema_of(namespace, EDGE))
    await connection.execute(
        f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {reader}; GRANT SELECT ON ALL TABLES IN SCHEMA {quoted(schema)} TO {reader}; "
        f'GRANT INSERT (id, agent, topic, partition, "offset", action, value, by, reason) ON {quoted(schema)}.requests TO {reader}'
    )
    return applied


async def add_result_partitions(connection: Any, schema: str) -> None:
    """Make the inbox's daily partitions from yesterday to some days ahead, those that are missing."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    there = {
        row["name"]
        for row in await connection.fetch(
            "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = to_regclass($1)",
            f"{quoted(schema)}.results",
        )
    }
    for day in (today + timedelta(days=n) for n in range(-1, DAYS_AHEAD)):
        name = f"results_{day:%Y%m%d}"
        low, high = (literal(str(_first_id(day + timedelta(days=n)))) for n in (0, 1))
        if name not in there:
            await _make_partition(connection, schema, name, low, high)


async def _make_partition(connection: Any, schema: str, name: str, low: str, high: str) -> None:
    # its ids stand in the default partition already, or another worker made it
    with suppress(asyncpg.CheckViolationError, asyncpg.DuplicateTableError):
        await connection.execute(
            f"CREATE TABLE {quoted(schema)}.{quoted(name)} PARTITION OF {quoted(schema)}.results FOR VALUES FROM ({low}) TO ({high})"
        )


async def _migrate_edge(connection: Any, namespace: str) -> list[str]:
    schema = schema_of(namespace, EDGE)
    await _make_schema(connection, schema, schema)
    applied = await _apply(connection, schema, schema, EDGE, _core(EDGE))
    readers = schema_of(namespace, KEYS)
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", readers):
        await connection.execute(f"CREATE ROLE {quoted(readers)} NOLOGIN")
    await connection.execute(
        f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(readers)}; "
        f"GRANT SELECT ON {quoted(schema)}.readable_keys TO {quoted(readers)}"
    )
    return applied


async def _make_schema(connection: Any, role: str, schema: str) -> None:
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            await connection.execute(f"CREATE ROLE {quoted(role)} NOLOGIN")
        await connection.execute(f"GRANT {quoted(role)} TO CURRENT_USER")
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)} AUTHORIZATION {quoted(role)}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise CaravanError(f"Migrating needs a login that may create roles and schemas: {error}.") from error
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {quoted(schema)}.migrations "
        "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )


async def _apply(connection: Any, role: str, schema: str, domain: str, scripts: list[tuple[str, str]]) -> list[str]:
    done = await _done(connection, schema)
    applied = []
    for name, sql in scripts:
        if name not in done:
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL ROLE {quoted(role)}; SET LOCAL search_path = {quoted(schema)}")
                    await connection.execute(sql)
                    await connection.execute("RESET ROLE")
                    await connection.execute(f"INSERT INTO {quoted(schema)}.migrations (name) VALUES ($1)", name)
            except asyncpg.PostgresError as error:
                raise CaravanError(f"Migration {domain}/{name} failed and changed nothing: {error}") from error
            applied.append(f"{domain}/{name}")
    return applied


async def _done(connection: Any, schema: str) -> set[str]:
    if not await connection.fetchval("SELECT to_regclass($1)", f"{quoted(schema)}.migrations"):
        return set()
    return {row["name"] for row in await connection.fetch(f"SELECT name FROM {quoted(schema)}.migrations")}


def _scripts(domain: str) -> list[tuple[str, str]]:
    return [*_core("core"), *discover.migrations(domain)]


def _core(folder: str) -> list[tuple[str, str]]:
    scripts = sorted((files("sinks.postgres") / "schema" / folder).iterdir(), key=lambda f: f.name)
    return [
        (f"{folder}_{f.name.removesuffix('.sql')}", f.read_text("utf-8")) for f in scripts if f.name.endswith(".sql")
    ]


def _first_id(day: datetime) -> UUID:
    return UUID(int=int(day.timestamp() * 1000) << 80)


async def connect(dsn: str, **settings: str) -> Any:
    """A connection for administration, with these settings of Postgres; raises CaravanError."""
    try:
        return await asyncpg.connect(dsn, timeout=10, server_settings=settings)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CaravanError(f"Postgres cannot be reached: {error}. Look at CARAVAN_POSTGRES.") from error
