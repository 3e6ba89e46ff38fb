"""The calls that effects owe, as rows: written in a batch's transaction, answered by whoever made the call."""

import json
from collections.abc import Collection, Sequence
from typing import Any

from sinks.postgres.names import quoted, storable
from streams.store import Call, Slot

# Written such that a backlog of any length costs nothing: every look goes by an index, a key or a number at a time.
_SAME = "agent = $1 AND partition = $2"
_COLUMNS = 'number, "offset", key, value, headers, intent, due, status, unknown, attempts, epoch, outcome, error'
_CALLS = f"SELECT {_COLUMNS} FROM {{schema}}.effects WHERE {_SAME} AND first AND status <> 'parked' ORDER BY due, number LIMIT $3"
_OF = f"SELECT {_COLUMNS} FROM {{schema}}.effects WHERE {_SAME} AND number = ANY($3) ORDER BY number"
_PUT = f"""
INSERT INTO {{schema}}.effects AS e (agent, partition, {_COLUMNS}, first)
SELECT $1, $2, n.*, row_number() OVER (PARTITION BY key ORDER BY number) = 1
    AND (SELECT o.number FROM {{schema}}.effects o WHERE o.agent = $1 AND o.partition = $2 AND o.key = n.key LIMIT 1) IS NULL
FROM unnest($3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::json[], $8::json[], $9::bigint[], $10::text[], $11::boolean[],
    $12::integer[], $13::bigint[], $14::json[], $15::text[]) AS n ({_COLUMNS})
ON CONFLICT (agent, partition, number) DO UPDATE SET due = excluded.due, status = excluded.status, unknown = excluded.unknown,
    attempts = excluded.attempts, epoch = excluded.epoch, outcome = excluded.outcome, error = excluded.error"""
_END = f"DELETE FROM {{schema}}.effects WHERE {_SAME} AND number = ANY($3)"
_NEXT = f"""
UPDATE {{schema}}.effects SET first = true WHERE {_SAME} AND NOT first AND number = ANY(ARRAY(
    SELECT n.number FROM unnest($3::bytea[]) AS k (key) CROSS JOIN LATERAL
        (SELECT number FROM {{schema}}.effects WHERE {_SAME} AND key = k.key ORDER BY number LIMIT 1) AS n))"""
_ANSWER = f"""
UPDATE {{schema}}.effects SET due = $6, status = $7, unknown = $8, outcome = $9, error = $10
WHERE {_SAME} AND number = $3 AND epoch = $4 AND attempts = $5 AND status = 'claimed'"""


_DOUBT = """
INSERT INTO {schema}.offsets AS o (agent, topic, partition, next, relayed) VALUES ($1, $2, $3, 0, $4)
ON CONFLICT (agent, topic, partition) DO UPDATE SET relayed = greatest(o.relayed, excluded.relayed), epoch = o.epoch + 1,
    next = CASE o.number WHEN 0 THEN 0 ELSE o.next END, last_id = CASE o.number WHEN 0 THEN NULL ELSE o.last_id END"""
_DOUBTFUL = "UPDATE {schema}.effects SET unknown = true WHERE agent = $1 AND status = 'waiting' AND NOT unknown"


async def doubt(connection: Any, schema: str, slot: Slot, number: int) -> None:
    """What an effect asked for because of events up to `number` is not known here; in the transaction that is open."""
    await connection.execute(_DOUBT.format(schema=schema), *slot[1:], number)
    await connection.execute(_DOUBTFUL.format(schema=schema), slot.agent)


async def put_calls(connection: Any, schema: str, slot: Slot, calls: Sequence[Call]) -> None:
    """Write new and changed calls, in the transaction that is open; those that are done make way for the next of their keys."""
    place = slot.agent, slot.partition
    into = quoted(schema)
    if ended := [call for call in calls if call.status == "done"]:
        await connection.execute(_END.format(schema=into), *place, [call.number for call in ended])
        await connection.execute(_NEXT.format(schema=into), *place, sorted({call.key for call in ended}))
    if rows := [_row(call) for call in calls if call.status != "done"]:
        await connection.execute(_PUT.format(schema=into), *place, *zip(*rows, strict=True))


async def first_calls(connection: Any, schema: str, slot: Slot, limit: int) -> list[Call]:
    """The first call of each key, earliest due first."""
    rows = await connection.fetch(_CALLS.format(schema=schema), slot.agent, slot.partition, limit)
    return [_call(row) for row in rows]


async def calls_of(connection: Any, schema: str, slot: Slot, numbers: Collection[int]) -> list[Call]:
    """The calls of these events, those that are still owed."""
    rows = await connection.fetch(_OF.format(schema=schema), slot.agent, slot.partition, list(numbers))
    return [_call(row) for row in rows]


async def answer_call(connection: Any, schema: str, slot: Slot, call: Call) -> bool:
    """Write what came of a call, if it is still as it was claimed."""
    done: str = await connection.execute(
        _ANSWER.format(schema=schema), slot.agent, slot.partition, call.number, call.epoch, call.attempts,
        call.due, call.status, call.unknown, call.outcome, storable(call.error),
    )  # fmt: skip
    return done == "UPDATE 1"


def _row(call: Call) -> tuple[Any, ...]:
    headers = json.dumps([[name, value.hex()] for name, value in call.headers])
    return (
        call.number, call.offset, call.key, call.value, headers, call.intent, call.due, call.status, call.unknown,
        call.attempts, call.epoch, call.outcome, storable(call.error),
    )  # fmt: skip


def _call(row: Any) -> Call:
    headers = [(name, bytes.fromhex(value)) for name, value in json.loads(row["headers"])]
    return Call(**{**row, "headers": headers})
