"""Parked records and what operators asked for them, as the owner of the partition reads and writes them; and how a process hears that somebody asked."""

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from sinks.postgres.faults import DRIVER
from sinks.postgres.names import literal, quoted, schema_of, storable
from streams.store import HELD, Acted, Parked, Queue, Request, Slot, fitting

CHANNEL = "caravan_requests"  # the trigger of each schema tells the schema's name
LOOK_S = 5.0  # between two looks, should a word be lost
AWAY_S = 1.0  # before the next try while Postgres is away
_PLACE = "agent = $1 AND topic = $2 AND partition = $3"
_PARKED = '"offset", key, value, headers, cause, error, command_id, actor, holds, timestamp, before, attempts'
_ASKED = f"""
SELECT id, "offset", action, value, by, reason, record_headers IS NOT NULL, ran, record_key FROM {{schema}}.requests
WHERE {_PLACE} AND status = 'waiting' ORDER BY asked_at, id LIMIT $4"""
_SIZES = f"""
SELECT "offset", coalesce(octet_length(value), 0) AS size FROM {{schema}}.parked WHERE {_PLACE} AND holds AND key = $4
ORDER BY at, command_id, "offset" LIMIT $5"""
_ACT = """
UPDATE {schema}.requests r SET status = n.status, outcome = n.outcome, ran = n.ran, done_at = CASE WHEN n.status = 'waiting' THEN NULL ELSE now() END,
    record_key = CASE WHEN n.headers IS NULL THEN r.record_key ELSE n.key END, record_value = CASE WHEN n.headers IS NULL THEN r.record_value ELSE n.value END,
    record_headers = coalesce(n.headers, r.record_headers), cause = coalesce(n.cause, r.cause)
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[], $7::json[], $8::text[])
    AS n (id, status, outcome, ran, key, value, headers, cause)
WHERE r.id = n.id AND r.status = 'waiting'"""
TAKEN_ON = f"""
ON CONFLICT (agent, topic, partition, "offset") DO UPDATE SET value = excluded.value, headers = excluded.headers, cause = excluded.cause,
    error = excluded.error, command_id = excluded.command_id, actor = excluded.actor, holds = excluded.holds, attempts = excluded.attempts,
    last_tried_at = now() WHERE excluded.cause <> '{HELD}' OR NOT p.holds"""
"""How a record that is parked already takes on what is parked again."""


async def waiting_requests(connection: Any, schema: str, slot: Slot, limit: int) -> list[Request]:
    """The requests of a slot that wait, first asked first."""
    return [Request(*row) for row in await connection.fetch(_ASKED.format(schema=schema), *slot[1:], limit)]


async def parked_records(connection: Any, schema: str, slot: Slot, offsets: Collection[int]) -> list[Parked]:
    """Those of these records that are parked, in the order in which they run."""
    rows = await connection.fetch(
        f'SELECT {_PARKED} FROM {schema}.parked WHERE {_PLACE} AND "offset" = ANY($4) ORDER BY at, command_id, "offset"',
        *slot[1:], list(offsets),
    )  # fmt: skip
    return [Parked(**{**row, "headers": headers_of(row["headers"])}) for row in rows]


async def queue_of(connection: Any, schema: str, slot: Slot, key: bytes, limit: int) -> Queue:
    """The first records that hold a key; how large the others are is asked first, since all of them may not fit into memory."""
    rows = await connection.fetch(_SIZES.format(schema=schema), *slot[1:], key, limit + 1)
    count = fitting([row["size"] for row in rows], limit)
    first = [row["offset"] for row in rows[:count]]
    return Queue(await parked_records(connection, schema, slot, first) if first else [], count < len(rows))


async def act(connection: Any, schema: str, acted: Sequence[Acted]) -> bool:
    """Write what became of requests, in the transaction that is open; False when one of them waits no longer."""
    done: str = await connection.execute(_ACT.format(schema=schema), *zip(*map(_row, acted), strict=True))
    return done == f"UPDATE {len(acted)}"


async def unpark(connection: Any, schema: str, slot: Slot, offsets: Sequence[int]) -> None:
    """Take records away, in the transaction that is open."""
    await connection.execute(
        f'DELETE FROM {schema}.parked WHERE {_PLACE} AND "offset" = ANY($4)', *slot[1:], list(offsets)
    )


def headers_json(headers: Sequence[tuple[str, bytes]]) -> str:
    """Headers as they are stored."""
    return json.dumps([[name, value.hex()] for name, value in headers])


def headers_of(stored: str) -> list[tuple[str, bytes]]:
    """Headers as they were."""
    return [(name, bytes.fromhex(value)) for name, value in json.loads(stored)]


def _row(acted: Acted) -> tuple[Any, ...]:
    record = acted.record
    if record is None:
        return acted.id, acted.status, storable(acted.outcome), acted.ran, None, None, None, None
    return (
        acted.id, acted.status, storable(acted.outcome), acted.ran, record.key, record.value, headers_json(record.headers),
        record.cause,
    )  # fmt: skip


class Listener:
    """Hears what operators ask in the schemas of some domains; `asked` is called for each slot at which a request waits, until it does no longer.

    It also is the first to know when Postgres was away: `returned` is called each time that it is there again.
    """

    def __init__(
        self,
        dsn: str,
        namespace: str,
        domains: Collection[str],
        asked: Callable[[Slot], None],
        returned: Callable[[], None],
    ) -> None:
        """Nothing is heard before `start`."""
        self._dsn, self._asked, self._returned = dsn, asked, returned
        self._domains = {schema_of(namespace, domain): domain for domain in domains}
        self._told: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen from now on; a claim looks for itself at what was asked before."""
        self._task = asyncio.create_task(self._listen(), name="hear what operators ask")

    async def stop(self) -> None:
        """Listen no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        was_there = False
        while True:
            with suppress(*DRIVER):
                connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=5)
                try:
                    if was_there:
                        self._returned()
                    was_there = True
                    await connection.add_listener(CHANNEL, self._heard)
                    connection.add_termination_listener(lambda _: self._wake.set())
                    self._told.update(self._domains)
                    while not connection.is_closed():
                        told, self._told = self._told, set()
                        await self._look(connection, told or self._domains)
                        await self._woken()
                finally:
                    connection.terminate()
            await asyncio.sleep(AWAY_S)

    def _heard(self, _connection: Any, _pid: int, _channel: str, schema: object) -> None:
        if isinstance(schema, str) and schema in self._domains:
            self._told.add(schema)
            self._wake.set()

    async def _look(self, connection: Any, schemas: Collection[str]) -> None:
        """One query for all of them; while nobody asked anything each part of it is a look at an empty index."""
        parts = [
            f"SELECT DISTINCT {literal(schema)} AS schema, agent, topic, partition FROM {quoted(schema)}.requests WHERE status = 'waiting'"
            for schema in schemas
        ]
        for row in await connection.fetch(" UNION ALL ".join(parts)):
            self._asked(Slot(self._domains[row["schema"]], row["agent"], row["topic"], row["partition"]))

    async def _woken(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        self._wake.clear()
