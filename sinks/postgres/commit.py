"""One batch as one transaction: COPY what is new, upsert what changed, then the fence, then COMMIT."""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import asyncpg

from sinks.postgres.changes import FEW, Change, apply, insert, put
from sinks.postgres.effects import put_calls
from sinks.postgres.faults import DRIVER
from sinks.postgres.moves import message
from sinks.postgres.names import literal, quoted, storable
from sinks.postgres.requests import TAKEN_ON, act, headers_json, unpark
from streams.sink import Rows
from streams.store import Lost, Parked, Slot, Unavailable, Work

TRANSACTION_S = 30  # longer than any batch takes; a session that is stuck is ended by Postgres
SWEEP = 5_000  # sent events after which the outbox is cleared in passing
_RESULT = ("command_id", "status", "code", "details", "events", "hash", "actor", "partition", "offset")
_OUTBOX = ("partition", "number", "key", "value", "more", "traceparent")
_STATE = ("key", "version", "replaces", "rules", "at", "data")
_TIMER = ("key", "partition", "due")
_SETTLE = """
UPDATE {results} r SET status = n.status, code = n.code, details = n.details
FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS status, unnest($3::text[]) AS code, unnest($4::json[]) AS details) AS n
WHERE r.command_id = n.id AND r.status = 'pending'"""
_FENCE = """
UPDATE {offsets} SET next = $6, number = $7, relayed = greatest(relayed, $8), duplicates = duplicates + $9, last_id = $10, partitions = $11,
    moved_at = now() WHERE agent = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND next = $5"""
_PARKED = (
    "agent", "topic", "partition", "offset", "key", "value", "headers", "cause", "error", "command_id", "actor", "holds",
    "timestamp", "before", "attempts",
)  # fmt: skip


class Writer:
    """Writes the batches of one domain; knows the column types of its tables."""

    def __init__(
        self, schema: str, role: str, channel: str, types: dict[tuple[str, str], str], first: dict[str, str]
    ) -> None:
        """`types` maps (table, column) to the SQL type, `first` tables to the first column of their primary keys."""
        self._schema, self._role, self._channel, self._types, self._first = schema, role, channel, types, first
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
        first = await connection.fetch(
            "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] WHERE n.nspname = $1 AND i.indisprimary",
            schema,
        )
        types = {(row["relname"], row["attname"]): row["type"] for row in rows}
        return cls(schema, role, channel, types, {row["relname"]: row["attname"] for row in first})

    async def commit(self, connection: Any, slot: Slot, epoch: int, work: Work) -> None:
        """Do it; raises Lost when the fence, a document's version or the COMMIT's answer says that others were here."""
        try:
            await self._begin(connection, slot, epoch)
            await self._write(connection, slot, epoch, work)
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

    async def _write(self, connection: Any, slot: Slot, epoch: int, work: Work) -> None:
        """What came too much for one statement is copied first; the rest follows in one where it is little, the fence last."""
        if work.calls:
            await put_calls(connection, self._schema, slot, work.calls)
        if work.unparked:
            await unpark(connection, quoted(self._schema), slot, work.unparked)
        if work.acted and not await act(connection, quoted(self._schema), work.acted):
            raise Lost("A request was acted on by another owner.")
        appended: list[tuple[str, Sequence[str], Sequence[Any]]] = [
            ("results", _RESULT, work.results),
            ("outbox", _OUTBOX, work.outbox),
        ]
        appended += [
            (rows.name, rows.columns, self._ordered(rows, values)) for rows, values in work.rows.items() if not rows.key
        ]
        for table, columns, values in appended:
            if len(values) > FEW:
                await connection.copy_records_to_table(table, records=values, columns=columns, schema_name=self._schema)
        changes = [self._new(table, columns, values) for table, columns, values in appended if 0 < len(values) <= FEW]
        changes += self._put(slot, work)
        await apply(connection, [*changes, self._fence(slot, epoch, work)])
        if work.relayed - self._swept.get(slot, 0) >= SWEEP:
            await connection.execute(
                f"DELETE FROM {quoted(self._schema)}.outbox WHERE partition = $1 AND number <= $2",
                slot.partition,
                work.relayed,
            )
            self._swept[slot] = work.relayed

    def _ordered(self, rows: Rows, values: Sequence[Any]) -> Sequence[Any]:
        """Many rows by the beginning of their primary key: each page of the index is then found, read and changed once a batch, not once a row."""
        first = self._first.get(rows.name)
        if len(values) <= FEW or first not in rows.columns:
            return values
        return sorted(values, key=itemgetter(rows.columns.index(first)))

    def _put(self, slot: Slot, work: Work) -> Iterator[Change]:
        """What changes rows that may be there."""
        for rows, values in work.rows.items():
            if rows.key:
                yield self._upsert(rows, values)
        if states := work.states:
            sql = self._sql("state", lambda: self._merge("state", _STATE, 1, " AND r.version = n.replaces"))
            yield Change("state", sql, _columns(states), len(states), "A document was changed by another owner.")
        if ended := [key for key, due in work.timers.items() if due is None]:
            sql = f"DELETE FROM {self._table('timers')} WHERE key = ANY($1::text[])"
            yield Change("timers", sql, [ended], len(ended))
        if timers := [(key, slot.partition, due) for key, due in sorted(work.timers.items()) if due is not None]:
            sql = self._sql("timers", lambda: self._merge("timers", _TIMER, 1))
            yield Change("timers", sql, _columns(timers), len(timers))
        if work.settled:
            sql = _SETTLE.format(results=self._table("results"))
            yield Change("results", sql, _columns(work.settled), len(work.settled))
        if work.parked:
            sql = self._sql("parked", lambda: self._insert("parked", _PARKED, alias="p") + TAKEN_ON)
            yield Change("parked", sql, _columns([_parked(slot, p) for p in work.parked]), len(work.parked))

    def _fence(self, slot: Slot, epoch: int, work: Work) -> Change:
        values = (
            *slot[1:], epoch, work.expected, work.next, work.number, work.relayed, work.duplicates, work.last_id,
            work.partitions,
        )  # fmt: skip
        sql = _FENCE.format(offsets=self._table("offsets"))
        return Change("offsets", sql, values, 1, "The position was moved by another owner.")

    def _new(self, table: str, columns: Sequence[str], values: Sequence[tuple[Any, ...]]) -> Change:
        sql = self._sql(f"{table} insert", lambda: self._insert(table, columns))
        return Change(table, sql, _columns(values), len(values))

    def _upsert(self, rows: Rows, values: Sequence[tuple[Any, ...]]) -> Change:
        """The last row of a key stands; sorted by key, so that nobody waits for each other in a circle."""
        width = len(rows.key)
        last = {value[0]: value for value in values} if width == 1 else {value[:width]: value for value in values}
        keyed = [last[key] for key in sorted(last)]
        sql = self._sql(rows.name, lambda: self._merge(rows.name, rows.columns, width))
        return Change(rows.name, sql, _columns(keyed), len(keyed))

    def _sql(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._statements:
            self._statements[name] = make()
        return self._statements[name]

    def _insert(self, table: str, columns: Sequence[str], alias: str = "") -> str:
        into = self._table(table) + (f" AS {alias}" if alias else "")
        return insert(into, columns, self._kinds(table, columns))

    def _merge(self, table: str, columns: Sequence[str], key: int, guard: str = "") -> str:
        return put(self._table(table), columns, self._kinds(table, columns), key, guard)

    def _kinds(self, table: str, columns: Sequence[str]) -> list[str]:
        """The columns' SQL types; raises Unavailable."""
        for column in columns:
            if (table, column) not in self._types:
                raise Unavailable(f"{table} has no column {column}; migrate, then start the worker again.")
        return [self._types[table, column] for column in columns]

    def _table(self, table: str) -> str:
        return f"{quoted(self._schema)}.{quoted(table)}"


def _keys(work: Work) -> set[str]:
    """What a projection's rows may be asked by: whatever stands in their keys."""
    return {str(value) for rows, values in work.rows.items() for row in values for value in row[: len(rows.key) or 1]}


async def _rollback(connection: Any) -> None:
    try:
        await connection.execute("ROLLBACK")
    except DRIVER:
        connection.terminate()


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


def _parked(slot: Slot, parked: Parked) -> tuple[Any, ...]:
    return (
        slot.agent, slot.topic, slot.partition, parked.offset, parked.key, parked.value, headers_json(parked.headers), parked.cause,
        storable(parked.error), parked.command_id, storable(parked.actor), parked.holds, parked.timestamp, parked.before,
        parked.attempts,
    )  # fmt: skip
