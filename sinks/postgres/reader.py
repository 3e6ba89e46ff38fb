"""Reading in the schema of one domain: what views are given as `db`, and what the edge asks of the core's tables."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from sinks.postgres.faults import DRIVER

GATE = "hashtextextended({schema}, 2)"
"""The advisory lock that readers share who ask more than once, and that an exchange takes for itself."""
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock_shared({GATE.format(schema='current_schema()')})"
_SEVERAL: set[Callable[..., Any]] = set()
"""The views that were seen to ask more than once."""

_STAND = """
    SELECT next, EXISTS (
        SELECT FROM parked p WHERE p.agent = $1 AND p.topic = $2 AND p.partition = $3 AND p."offset" = $4
    ) AS parked
    FROM offsets WHERE agent = $1 AND topic = $2 AND partition = $3"""

# One statement, so one snapshot: a record that moves from parked to results is always seen in one of them.
_OUTCOME = """
    SELECT r.status, r.code, r.details, r.events, r.actor, r.partition, r."offset",
        p.cause, p.actor AS parked_actor, p.partition AS parked_partition, p."offset" AS parked_offset,
        (SELECT next FROM offsets WHERE agent = $2 AND topic = $3 AND partition = $4) AS next
    FROM (SELECT $1::uuid AS id) asked
    LEFT JOIN results r ON r.command_id = asked.id
    LEFT JOIN LATERAL (
        SELECT cause, actor, partition, "offset" FROM parked
        WHERE agent = $2 AND topic = $3 AND (command_id = asked.id OR partition = $4 AND "offset" = $5)
        ORDER BY partition, "offset" LIMIT 1
    ) p ON true"""

_STANDS = """
    SELECT agent, topic, partition, next, number, epoch,
        (SELECT sum(oid::bigint) FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
    FROM offsets ORDER BY 1, 2, 3"""


class Stand(NamedTuple):
    """Where a domain stands on a partition: the next offset, and whether the record asked about is parked."""

    next: int
    parked: bool


class AsksAgain(Exception):
    """A view that was to ask once asks once more."""


class Reader:
    """A connection in the schema of one domain; what its views are given as `db`."""

    def __init__(self, connection: Any, domain: str) -> None:
        """Take a connection that is in the schema of `domain`."""
        self._connection = connection
        self._domain = domain
        self._left: int | None = None  # questions that may still be asked

    async def view(self, function: Callable[..., Awaitable[Any]], given: Mapping[str, Any]) -> Any:
        """What a view finds, all of it in the same tables: while a replay exchanges them, one that asks more than once does so in a transaction.

        What it has read first cannot be exchanged before it ends then, and it begins when no exchange is about to. That costs two round trips, which whoever asks once
        is spared; a view that is not known yet is begun anew at its second question.
        """
        if function not in _SEVERAL:
            self._left = 1
            try:
                return await function(self, **given)
            except AsksAgain:
                _SEVERAL.add(function)
            finally:
                self._left = None
        try:
            async with self._unexchanged():
                return await function(self, **given)
        except asyncpg.InvalidCachedStatementError:  # migrated since it was prepared; that is forgotten now
            async with self._unexchanged():
                return await function(self, **given)

    @asynccontextmanager
    async def _unexchanged(self) -> AsyncIterator[None]:
        """A transaction in which no table of the schema is exchanged. Who waits for an exchange holds nothing that it wants."""
        try:
            await self._connection.execute(_BEGIN)
            yield
        except Exception:
            if not self._connection.is_closed():
                with suppress(*DRIVER):
                    await self._connection.execute("ROLLBACK")
            raise
        except BaseException:  # given up in the middle of an answer
            self._connection.terminate()
            raise
        await self._connection.execute("COMMIT")

    def _asks(self) -> None:
        if self._left is not None:
            if self._left == 0:
                raise AsksAgain
            self._left -= 1

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        self._asks()
        rows: list[Any] = await self._connection.fetch(query, *args)
        return rows

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row or None."""
        self._asks()
        return await self._connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first value of the first row or None."""
        self._asks()
        return await self._connection.fetchval(query, *args)

    async def stand(self, partition: int, offset: int) -> Stand:
        """Where the domain's decider stands on a partition, and whether it parked the record at `offset`."""
        row = await self._connection.fetchrow(_STAND, self._domain, f"{self._domain}.commands", partition, offset)
        return Stand(row["next"], row["parked"]) if row else Stand(0, parked=False)

    async def positions(self, partitions: Collection[int]) -> dict[int, int]:
        """The next offset of the domain's decider on each of these partitions."""
        rows = await self._connection.fetch(
            "SELECT partition, next FROM offsets WHERE agent = $1 AND topic = $2 AND partition = ANY($3)",
            self._domain, f"{self._domain}.commands", list(partitions),
        )  # fmt: skip
        return dict.fromkeys(partitions, 0) | {row["partition"]: row["next"] for row in rows}

    async def stands(self) -> list[tuple[Any, ...]]:
        """Where all agents of the domain stand, and which tables it has: as long as it is the same, no row has changed."""
        return [tuple(row) for row in await self._connection.fetch(_STANDS)]

    async def outcome(self, command_id: UUID, partition: int | None, offset: int | None) -> Any:
        """The row of `_OUTCOME`: all that is known of a command, in one snapshot; place it by partition and offset if known."""
        topic = f"{self._domain}.commands"
        return await self._connection.fetchrow(_OUTCOME, command_id, self._domain, topic, partition, offset)
