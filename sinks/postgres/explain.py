"""What Postgres knows about one command and what followed from it: for people who ask, so read-only and short."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self
from uuid import UUID

from sinks.postgres.migrations import EDGE, connect
from sinks.postgres.names import quoted, schema_of

STATEMENT_MS = 20_000


class Known(NamedTuple):
    """The result of a command; `events` are (id, type). A timer's `offset` is below zero: it stood on no topic."""

    status: str
    code: str | None
    details: Any
    events: list[tuple[str, str]]
    actor: str
    partition: int
    offset: int


class Waiting(NamedTuple):
    """A record that was parked, and by which agent."""

    agent: str
    cause: str
    error: str
    partition: int
    offset: int


class Owed(NamedTuple):
    """A call to the outside that has not ended."""

    status: str
    attempts: int
    error: str | None


class Evidence:
    """Use it with `async with`. Raises CaravanError while Postgres is away."""

    def __init__(self, dsn: str, namespace: str = "") -> None:
        """Connects to nothing yet."""
        self._dsn, self._namespace = dsn, namespace
        self._connection: Any = None
        self._keys: dict[tuple[str, str], tuple[str, ...]] = {}

    async def __aenter__(self) -> Self:
        """Connect, to read only."""
        self._connection = await connect(
            self._dsn, statement_timeout=str(STATEMENT_MS), default_transaction_read_only="on"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self._connection.close()

    async def migrated(self, domain: str) -> bool:
        """Whether the domain has its tables."""
        return bool(await self._connection.fetchval("SELECT to_regclass($1)", self._table(domain, "results")))

    async def result(self, domain: str, command_id: UUID) -> Known | None:
        """What became of a command in this domain."""
        row = await self._connection.fetchrow(
            f"""SELECT status, code, details, events, actor, partition, "offset" FROM {self._table(domain, "results")}
            WHERE command_id = $1""",
            command_id,
        )
        if row is None:
            return None
        details = json.loads(row["details"] or "null")
        return Known(**{**row, "details": details, "events": [tuple(event) for event in json.loads(row["events"])]})

    async def parked(self, domain: str, command_id: UUID) -> Waiting | None:
        """Where a command waits for an operator; one that was never validly accepted is found by the words of its record."""
        row = await self._connection.fetchrow(
            f"""SELECT agent, cause, error, partition, "offset" FROM {self._table(domain, "parked")}
            WHERE command_id = $1 OR command_id IS NULL AND topic = $2 AND position($3::bytea in value) > 0
            ORDER BY parked_at LIMIT 1""",
            command_id, f"{domain}.commands", f'"command_id":"{command_id}"'.encode(),
        )  # fmt: skip
        return Waiting(*row.values()) if row else None

    async def published(self, command_id: UUID) -> tuple[str, int, int] | None:
        """Domain, partition and offset of a command that the edge published under an Idempotency-Key."""
        row = await self._connection.fetchrow(
            f'SELECT domain, partition, "offset" FROM {self._table(EDGE, "idempotency")} WHERE command_id = $1 AND partition IS NOT NULL',
            command_id,
        )
        return tuple(row.values()) if row else None

    async def documents(self, domain: str, keys: Collection[str]) -> Mapping[str, str]:
        """The documents of a domain's table, as JSON, those that there are."""
        found = await self._connection.fetch(
            f"SELECT key, data FROM {self._table(domain, 'state')} WHERE key = ANY($1)", list(keys)
        )
        return {row["key"]: row["data"] for row in found}

    async def names(self, domain: str, key: str) -> list[str]:
        """The documents of an aggregate: its own, and those beside it."""
        rows = await self._connection.fetch(
            f"""SELECT key FROM {self._table(domain, "state")} WHERE key = $1
            OR key COLLATE "C" >= $1 || '/' AND key COLLATE "C" < $1 || '0'""",  # 0 follows / in ASCII
            key,
        )
        return [row["key"] for row in rows]

    async def row(self, domain: str, table: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """A view's row as it stands now, found by what identifies it in `row`."""
        key = await self._key(domain, table) or tuple(row)
        same = " AND ".join(f"{quoted(column)} IS NOT DISTINCT FROM ${n}" for n, column in enumerate(key, 1))
        found = await self._connection.fetchrow(
            f"SELECT * FROM {self._table(domain, table)} WHERE {same} LIMIT 1", *(row[column] for column in key)
        )
        return dict(found) if found else None

    async def number(self, domain: str, agent: str, topic: str, partition: int) -> int | None:
        """The last number of an event that an agent has seen there; None where it never was."""
        seen: int | None = await self._connection.fetchval(
            f"SELECT number FROM {self._table(domain, 'offsets')} WHERE agent = $1 AND topic = $2 AND partition = $3",
            agent, topic, partition,
        )  # fmt: skip
        return seen

    async def owed(self, domain: str, agent: str, partition: int, number: int) -> Owed | None:
        """The call that an effect owes because of that event, if it has not ended."""
        row = await self._connection.fetchrow(
            f"SELECT status, attempts, error FROM {self._table(domain, 'effects')} WHERE agent = $1 AND partition = $2 AND number = $3",
            agent, partition, number,
        )  # fmt: skip
        return Owed(*row.values()) if row else None

    async def _key(self, domain: str, table: str) -> tuple[str, ...]:
        """The columns of the table's primary key."""
        if (domain, table) not in self._keys:
            found = await self._connection.fetch(
                """SELECT a.attname AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
                WHERE i.indrelid = to_regclass($1) AND i.indisprimary""",
                self._table(domain, table),
            )
            self._keys[domain, table] = tuple(row["name"] for row in found)
        return self._keys[domain, table]

    def _table(self, domain: str, table: str) -> str:
        return f"{quoted(schema_of(self._namespace, domain))}.{quoted(table)}"
