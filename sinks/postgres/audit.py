"""What Postgres holds at one moment, for the auditor: one snapshot of all domains, which can only be read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from sinks.postgres.faults import DRIVER
from sinks.postgres.migrations import connect
from sinks.postgres.names import quoted, schema_of
from streams.audit import Check
from streams.errors import CaravanError

END_S = 3.0  # how long Postgres may take to say goodbye
CHUNK = 2000  # rows that are fetched at a time


class Position(NamedTuple):
    """Where an agent stands on a partition; `idle` is for how many seconds nothing was written there."""

    agent: str
    topic: str
    partition: int
    next: int
    number: int
    epoch: int
    relayed: int
    last_id: str | None
    idle: float


class Shape(NamedTuple):
    """A table: its columns with their SQL types, and those of its primary key."""

    columns: Mapping[str, str]
    key: tuple[str, ...]


class Offending(NamedTuple):
    """What a domain's own check found: rows, or why it could not be run."""

    rows: list[dict[str, Any]]
    error: str | None = None


class Snapshot:
    """Use it with `async with`; everything is told as of the moment of the first question. Raises CaravanError while Postgres is away.

    The transaction is REPEATABLE READ and READ ONLY: whatever is run in it can change nothing.
    """

    def __init__(self, dsn: str, namespace: str = "") -> None:
        """Connects to nothing yet."""
        self._dsn, self._namespace = dsn, namespace
        self._connection: Any = None
        self._transaction: Any = None

    async def __aenter__(self) -> Self:
        """Connect, and begin."""
        self._connection = await connect(self._dsn)
        self._transaction = self._connection.transaction(isolation="repeatable_read", readonly=True)
        try:
            await self._transaction.start()
        except BaseException:  # given up before anybody has it to close
            self._connection.terminate()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        try:
            async with asyncio.timeout(END_S):
                await self._connection.close()
        except (TimeoutError, *DRIVER):
            self._connection.terminate()

    async def migrated(self, domain: str) -> bool:
        """Whether the domain has its tables."""
        return bool(await self._value("SELECT to_regclass($1)", self._table(domain, "offsets")))

    async def positions(self, domain: str) -> list[Position]:
        """Where every agent of the domain stands."""
        query = (
            "SELECT agent, topic, partition, next, number, epoch, relayed, last_id, "
            "extract(epoch FROM clock_timestamp() - moved_at)::float8 AS idle "
            f"FROM {self._table(domain, 'offsets')} ORDER BY agent, topic, partition"
        )
        return [Position(*row) async for rows in self._rows(query) for row in rows]

    async def shape(self, domain: str, table: str) -> Shape | None:
        """What a table looks like; None where there is none."""
        with away():
            return await shape_of(self._connection, self._table(domain, table))

    async def rows(
        self,
        domain: str,
        table: str,
        columns: Collection[str],
        where: Mapping[str, Any] = MappingProxyType({}),
        order: Collection[str] = (),
    ) -> AsyncIterator[list[Any]]:
        """The rows of a table, a chunk at a time: all of them, or those with these values in these columns; in the order of others if asked for."""
        query = f"SELECT {', '.join(map(quoted, columns))} FROM {self._table(domain, table)}"
        if where:
            query += " WHERE " + " AND ".join(f"{quoted(column)} = ${n}" for n, column in enumerate(where, 1))
        if order:
            query += " ORDER BY " + ", ".join(map(quoted, order))
        async for rows in self._rows(query, *where.values()):
            yield rows

    async def view(self, domain: str, function: Callable[..., Awaitable[Any]], /, **given: Any) -> Any:
        """What a view of the domain finds."""
        with away():
            await self._connection.execute(f"SET LOCAL search_path = {quoted(schema_of(self._namespace, domain))}")
            return await function(self._connection, **given)

    async def check(self, domain: str, check: Check) -> Offending:
        """Run a check of the domain's own in its schema; what goes wrong there ends nothing else."""
        await self._connection.execute(f"SET LOCAL search_path = {quoted(schema_of(self._namespace, domain))}")
        try:
            async with self._connection.transaction():
                return Offending([dict(row) for row in await check(self._connection)])
        except Exception as error:
            if self._connection.is_closed():
                raise CaravanError(f"Postgres is away: {error}") from error
            return Offending([], f"{type(error).__name__}: {error}")

    def _table(self, domain: str, table: str) -> str:
        return f"{quoted(schema_of(self._namespace, domain))}.{quoted(table)}"

    async def _value(self, query: str, *args: Any) -> Any:
        with away():
            return await self._connection.fetchval(query, *args)

    async def _rows(self, query: str, *args: Any) -> AsyncIterator[list[Any]]:
        with away():
            cursor = await self._connection.cursor(query, *args)
            while rows := await cursor.fetch(CHUNK):
                yield rows


@contextmanager
def away() -> Iterator[None]:
    """Turn what the driver raises into the one error that callers know."""
    try:
        yield
    except DRIVER as error:
        raise CaravanError(f"Postgres is away, or refuses: {error}") from error


async def shape_of(connection: Any, table: str) -> Shape | None:
    """What a table, named with its schema, looks like; None where there is none."""
    with_type = (
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a "
        "WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    )
    in_key = (
        "SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (number, place) "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
        "WHERE i.indrelid = to_regclass($1) AND i.indisprimary ORDER BY k.place"
    )
    columns = {row["attname"]: row["type"] for row in await connection.fetch(with_type, table)}
    key = tuple(row["attname"] for row in await connection.fetch(in_key, table))
    return Shape(columns, key) if columns else None


async def numbers(dsn: str, namespace: str, domain: str) -> dict[int, int]:
    """The last number that each partition of the domain's decider has given, as of now. Raises CaravanError."""
    async with Snapshot(dsn, namespace) as now:
        return {at.partition: at.number for at in await now.positions(domain) if at.agent == domain}
