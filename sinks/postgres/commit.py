"""One batch as one transaction: COPY what is new, upsert what changed, then the fence, then COMMIT."""

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from sinks.postgres.effects import put_calls
from sinks.postgres.faults import DRIVER
from sinks.postgres.moves import message
from sinks.postgres.names import literal, quoted, storable
from sinks.postgres.requests import TAKEN_ON, act, headers_json, unpark
from streams.sink import Rows
from streams.store import Lost, Parked, Slot, Stored, Unavailable, Work

TRANSACTION_S = 30  # longer than any batch takes; a session that is stuck is ended by Postgres
FEW = 64  # rows up to which an INSERT is cheaper than a COPY
SWEEP = 5_000  # sent events after which the outbox is cleared in passing
_OFFSETS = "agent = $1 AND topic = $2 AND partition = $3"
_RESULT = ("command_id", "status", "code", "details", "events", "hash", "actor", "partition", "offset")
_OUTBOX = ("partition", "number", "key", "value", "more", "traceparent")
_STATE = ("key", "version", "replaces", "rules", "at", "data")
_TIMER = ("key", "partition", "due")
_MOVED = "ON CONFLICT (key) DO UPDATE SET due = excluded.due, partition = excluded.partition"
_PARKED = (
    "agent", "topic", "partition", "offset", "key", "value", "headers", "cause", "error", "command_id", "actor", "holds",
    "timestamp", "before", "attempts",
)  # fmt: skip


class Writer:
    """Writes the batches of one domain; knows the column types of its tables."""

    def __init__(self, schema: str, role: str, channel: str, types: dict[tuple[str, str], str]) -> None:
        """`types` maps (table, column) to the SQL type."""
        self._schema, self._role, self._channel, self._types = schema, role, channel, types
        self._swept: dict[Slot, int] = {}
        self._statements: dict[str, str] = {}

    @classmethod
    async def of(cls, connection: Any, schema: str, role: str, channel: str) -> "Writer":
        """Read the schema's columns."""
        rows = await connection.fetch(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a "
            "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')",
            schema,
        )
        return cls(schema, role, channel, {(row["relname"], row["attname"]): row["type"] for row in rows})

    async def commit(self, connection: Any, slot: Slot, epoch: int, work: Work) -> None:
        """Do it; raises Lost when the fence, a document's version or the COMMIT's answer says that others were here."""
        try:
            await self._begin(connection, slot, epoch)
            await self._write(connection, slot, work)
            await self._fence(connection, slot, epoch, work)
        except BaseException:
            if not connection.is_closed():
                await _rollback(connection)
            raise
        try:
            await connection.execute(self._commit_statement(slot, work))
        except asyncpg.IntegrityConstraintViolationError:  # a deferred constraint: rolled back, and the record's fault
            raise
        except DRIVER as error:
            raise Lost(f"The COMMIT got no answer ({error!r}).") from error

    def _commit_statement(self, slot: Slot, work: Work) -> str:
        """COMMIT, and in the same round trip a word to those who wait for the domain's position, or for a key: rows change by events only.

        It comes after the COMMIT: a NOTIFY inside the transaction would make all commits of the server wait for each other. What is built in a schema
        beside the domain's own is shown to nobody.
        """
        if slot.agent == slot.domain:
            keys = {event.key for event in work.outbox}
        elif work.rows and self._schema == self._role:
            keys = _keys(work)
        else:
            return "COMMIT"
        told = message((slot.domain, slot.agent, slot.partition), work.next, keys)
        return f"COMMIT; SELECT pg_notify({literal(self._channel)}, {literal(told)})"

    async def _begin(self, connection: Any, slot: Slot, epoch: int) -> None:
        """Open the transaction with the row locked: a successor then waits for it, and can end it."""
        where = (
            f"agent = {literal(slot.agent)} AND topic = {literal(slot.topic)} AND partition = {slot.partition:d} "
            f"AND epoch = {epoch:d}"
        )
        locked = await connection.execute(
            f"BEGIN; SET LOCAL ROLE {quoted(self._role)}; SET LOCAL transaction_timeout = '{TRANSACTION_S}s'; "
            f"SELECT FROM {quoted(self._schema)}.offsets WHERE {where} FOR NO KEY UPDATE"
        )
        if locked != "SELECT 1":
            raise Lost("Another owner holds this partition.")

    async def _write(self, connection: Any, slot: Slot, work: Work) -> None:
        await self._copy(connection, "results", _RESULT, work.results)
        await self._copy(connection, "outbox", _OUTBOX, work.outbox)
        for rows, values in work.rows.items():
            if rows.key:
                await self._upsert(connection, rows, values)
            else:
                await self._copy(connection, rows.name, rows.columns, values)
        await self._put_states(connection, work.states)
        await self._put_timers(connection, slot, work)
        await self._settle(connection, work)
        if work.calls:
            await put_calls(connection, self._schema, slot, work.calls)
        await self._park(connection, slot, work)
        if work.relayed - self._swept.get(slot, 0) >= SWEEP:
            await connection.execute(
                f"DELETE FROM {quoted(self._schema)}.outbox WHERE partition = $1 AND number <= $2",
                slot.partition,
                work.relayed,
            )
            self._swept[slot] = work.relayed

    async def _park(self, connection: Any, slot: Slot, work: Work) -> None:
        schema = quoted(self._schema)
        if work.parked:
            statement = self._statement("parked", lambda: self._insert("parked", _PARKED, alias="p") + TAKEN_ON)
            await connection.execute(statement, *_columns([_parked(slot, p) for p in work.parked]))
        if work.unparked:
            await unpark(connection, schema, slot, work.unparked)
        if work.acted and not await act(connection, schema, work.acted):
            raise Lost("A request was acted on by another owner.")

    async def _fence(self, connection: Any, slot: Slot, epoch: int, work: Work) -> None:
        moved = await connection.execute(
            f"UPDATE {quoted(self._schema)}.offsets SET next = $6, number = $7, relayed = greatest(relayed, $8), "
            f"duplicates = duplicates + $9, last_id = $10, partitions = $11, moved_at = now() "
            f"WHERE {_OFFSETS} AND epoch = $4 AND next = $5",
            *slot[1:], epoch, work.expected, work.next, work.number, work.relayed, work.duplicates, work.last_id,
            work.partitions,
        )  # fmt: skip
        if moved != "UPDATE 1":
            raise Lost("The position was moved by another owner.")

    async def _copy(self, connection: Any, table: str, columns: Sequence[str], values: Sequence[Any]) -> None:
        """COPY, or for a few rows an INSERT, which takes one round trip less."""
        if len(values) > FEW:
            await connection.copy_records_to_table(table, records=values, columns=columns, schema_name=self._schema)
        elif values:
            statement = self._statement(f"{table} insert", lambda: self._insert(table, columns))
            await connection.execute(statement, *_columns(values))

    async def _upsert(self, connection: Any, rows: Rows, values: Sequence[tuple[Any, ...]]) -> None:
        """The last row of a key stands; sorted by key, so that nobody waits for each other in a circle."""
        width = len(rows.key)
        last = {value[:width]: value for value in values}
        keyed = [last[key] for key in sorted(last)]

        def sql() -> str:
            rest = rows.columns[width:]
            change = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in rest)
            action = f"DO UPDATE SET {change}" if rest else "DO NOTHING"
            return f"{self._insert(rows.name, rows.columns)} ON CONFLICT ({_list(rows.key)}) {action}"

        await connection.execute(self._statement(rows.name, sql), *_columns(keyed))

    async def _put_states(self, connection: Any, states: Sequence[Stored]) -> None:
        if not states:
            return

        def sql() -> str:
            change = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in _STATE[1:])
            guard = "WHERE s.version = excluded.replaces"
            return f"{self._insert('state', _STATE, alias='s')} ON CONFLICT (key) DO UPDATE SET {change} {guard}"

        done = await connection.execute(self._statement("state", sql), *_columns(states))
        if done != f"INSERT 0 {len(states)}":
            raise Lost("A document was changed by another owner.")

    async def _put_timers(self, connection: Any, slot: Slot, work: Work) -> None:
        if ended := [key for key, due in work.timers.items() if due is None]:
            await connection.execute(f"DELETE FROM {quoted(self._schema)}.timers WHERE key = ANY($1)", ended)
        if timers := [(key, slot.partition, due) for key, due in sorted(work.timers.items()) if due is not None]:
            statement = self._statement("timers", lambda: f"{self._insert('timers', _TIMER)} {_MOVED}")
            await connection.execute(statement, *_columns(timers))

    async def _settle(self, connection: Any, work: Work) -> None:
        if work.settled:
            await connection.execute(
                f"UPDATE {quoted(self._schema)}.results r SET status = n.status, code = n.code, details = n.details "
                "FROM unnest($1::uuid[], $2::text[], $3::text[], $4::json[]) AS n (id, status, code, details) "
                "WHERE r.command_id = n.id AND r.status = 'pending'",
                *_columns(work.settled),
            )

    def _statement(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._statements:
            self._statements[name] = make()
        return self._statements[name]

    def _insert(self, table: str, columns: Sequence[str], alias: str = "") -> str:
        """INSERT of many rows, given as one array a column."""
        types = [self._types.get((table, column)) for column in columns]
        if None in types:
            raise Unavailable(
                f"{table} has no column {columns[types.index(None)]}; migrate, then start the worker again."
            )
        arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types, 1))
        into = f"{quoted(self._schema)}.{quoted(table)}" + (f" AS {alias}" if alias else "")
        return f"INSERT INTO {into} ({_list(columns)}) SELECT * FROM unnest({arrays})"


def _keys(work: Work) -> set[str]:
    """What a projection's rows may be asked by: whatever stands in their keys."""
    return {str(value) for rows, values in work.rows.items() for row in values for value in row[: len(rows.key) or 1]}


async def _rollback(connection: Any) -> None:
    try:
        await connection.execute("ROLLBACK")
    except DRIVER:
        connection.terminate()


def _list(columns: Sequence[str]) -> str:
    return ", ".join(map(quoted, columns))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


def _parked(slot: Slot, parked: Parked) -> tuple[Any, ...]:
    return (
        slot.agent, slot.topic, slot.partition, parked.offset, parked.key, parked.value, headers_json(parked.headers), parked.cause,
        storable(parked.error), parked.command_id, storable(parked.actor), parked.holds, parked.timestamp, parked.before,
        parked.attempts,
    )  # fmt: skip
