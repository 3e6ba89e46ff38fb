"""Parked records as operators see them, and their requests, which only the owner of the partition acts on.

The functions take a `Db` in the schema of one domain. Nothing here touches `parked` itself.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from sinks.postgres.migrations import connect
from sinks.postgres.names import quoted, schema_of, storable
from sinks.postgres.reader import Reader
from streams.errors import CaravanError
from streams.store import HELD
from streams.view import Db

Action = Literal["redrive", "skip", "edit"]
HEAD = 1024  # bytes of a value in which the type of its message stands
POLL_S = 0.2  # between two looks at a request
STATEMENT_MS = 20_000
FOLLOWER = HELD  # the cause of a record that only waits behind another one of its key
_TYPE = re.compile(rb'"type"\s*:\s*"([A-Za-z0-9_]{1,100})"')


class Place(NamedTuple):
    """Where a record stood, and the agent that parked it."""

    agent: str
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Wanted:
    """Which parked records are meant; None means any. Without `followers`, those that only wait behind another are left out."""

    agent: str | None = None
    topic: str | None = None
    key: bytes | None = None
    cause: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    holds: bool | None = None
    followers: bool = True


class Line(NamedTuple):
    """A parked record in a list; `behind` counts those of its key that wait behind it."""

    place: Place
    key: bytes | None
    type: str | None
    cause: str
    command_id: UUID | None
    actor: str | None
    holds: bool
    attempts: int
    parked_at: datetime
    tried_at: datetime
    behind: int


class Record(NamedTuple):
    """A parked record, whole; `front` is the place of the one that it waits behind."""

    line: Line
    value: bytes | None
    headers: list[tuple[str, bytes]]
    error: str
    front: Place | None


class Request(NamedTuple):
    """What somebody asked for a record, and what became of it: waiting, done or refused.

    `key`, `value` and `cause` are those of the record once its owner has begun, which has run `ran` records since;
    `still_parked` tells whether one of those that it was to run has failed and is parked now.
    """

    id: UUID
    place: Place
    action: str
    by: str
    reason: str | None
    asked_at: datetime
    status: str
    outcome: str | None
    done_at: datetime | None
    cause: str | None
    key: bytes | None
    value: bytes | None
    edited: bytes | None
    ran: int
    still_parked: bool


class Count(NamedTuple):
    """So many records, of one agent and cause."""

    agent: str
    cause: str
    records: int
    since: datetime


# -- looking


async def listed(db: Db, wanted: Wanted, after: Place | None, limit: int) -> list[Line]:
    """Those records beyond the place `after`, in the order of their places."""
    where, args = _where(wanted)
    if after is not None:
        where += f' AND (p.agent, p.topic, p.partition, p."offset") > (${len(args) + 1}, ${len(args) + 2}, ${len(args) + 3}, ${len(args) + 4})'
        args += after
    rows = await db.fetch(
        f'SELECT {_LINE} FROM parked p WHERE {where} ORDER BY p.agent, p.topic, p.partition, p."offset" LIMIT {int(limit)}',
        *args,
    )
    return [_line(row) for row in rows]


async def counted(db: Db, wanted: Wanted) -> list[Count]:
    """How many there are, by agent and cause."""
    where, args = _where(wanted)
    rows = await db.fetch(
        f"SELECT p.agent, p.cause, count(*) AS records, min(p.parked_at) AS since FROM parked p WHERE {where} GROUP BY 1, 2 ORDER BY 1, 2",
        *args,
    )
    return [Count(*row.values()) for row in rows]


async def behind(db: Db, wanted: Wanted) -> int:
    """How many records wait behind those."""
    where, args = _where(wanted)
    found: int = await db.fetchval(
        f"""SELECT count(*) FROM parked b WHERE b.holds AND b.cause = 'held' AND EXISTS (SELECT FROM parked p WHERE {where}
        AND p.holds AND p.agent = b.agent AND p.topic = b.topic AND p.partition = b.partition AND p.key = b.key)""",
        *args,
    )
    return found


async def agents_at(db: Db, topic: str, partition: int, offset: int) -> list[str]:
    """The agents that have, or had, this record parked."""
    rows = await db.fetch(
        """SELECT agent FROM parked WHERE topic = $1 AND partition = $2 AND "offset" = $3
        UNION SELECT agent FROM requests WHERE topic = $1 AND partition = $2 AND "offset" = $3 ORDER BY 1""",
        topic, partition, offset,
    )  # fmt: skip
    return [row["agent"] for row in rows]


async def record(db: Db, place: Place) -> Record | None:
    """One record, whole."""
    row = await db.fetchrow(f"SELECT {_LINE}, p.value, p.headers, p.error FROM parked p WHERE {_HERE}", *place)
    if row is None:
        return None
    line = _line(row)
    front = None
    if line.cause == FOLLOWER:
        ahead = await db.fetchrow(
            """SELECT agent, topic, partition, "offset" FROM parked p WHERE agent = $1 AND topic = $2 AND partition = $3 AND key = $4
            AND holds AND cause <> 'held' ORDER BY at, command_id, "offset" LIMIT 1""",
            *place[:3], line.key,
        )  # fmt: skip
        front = Place(*ahead.values()) if ahead else None
    headers = [(str(name), bytes.fromhex(told)) for name, told in json.loads(row["headers"])]
    return Record(line, row["value"], headers, row["error"], front)


async def history(db: Db, place: Place) -> list[Request]:
    """What was asked for this record, oldest first."""
    rows = await db.fetch(f"SELECT {_REQUEST} FROM requests p WHERE {_HERE} ORDER BY asked_at, id", *place)
    return [_request(row) for row in rows]


async def request(db: Db, request_id: UUID) -> Request | None:
    """One request."""
    row = await db.fetchrow(f"SELECT {_REQUEST} FROM requests p WHERE id = $1", request_id)
    return _request(row) if row else None


async def awaited(db: Db, ids: Collection[UUID], seconds: float) -> list[Request]:
    """The requests, once none of them waits any more or that time is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        waiting = await db.fetchval(
            "SELECT EXISTS (SELECT FROM requests WHERE id = ANY($1) AND status = 'waiting')", list(ids)
        )
        if not waiting or loop.time() >= deadline:
            break
        await asyncio.sleep(min(POLL_S, max(0.0, deadline - loop.time())))
    rows = await db.fetch(
        f'SELECT {_REQUEST} FROM requests p WHERE id = ANY($1) ORDER BY asked_at, agent, topic, partition, "offset"',
        list(ids),
    )
    return [_request(row) for row in rows]


# -- asking


async def ask(
    db: Db, place: Place, action: Action, *, by: str, reason: str | None = None, value: bytes | None = None
) -> UUID | None:
    """Ask the owner to act on a record; None when it is not parked (any more)."""
    asked: UUID | None = await db.fetchval(
        """INSERT INTO requests (id, agent, topic, partition, "offset", action, value, by, reason)
        SELECT $5, p.agent, p.topic, p.partition, p."offset", $6, $7, $8, $9 FROM parked p
        WHERE p.agent = $1 AND p.topic = $2 AND p.partition = $3 AND p."offset" = $4 RETURNING id""",
        *place, uuid4(), action, value, storable(by), storable(reason),
    )  # fmt: skip
    return asked


async def redrive_all(db: Db, wanted: Wanted, *, by: str, reason: str | None = None) -> list[UUID]:
    """Ask for all of these records to be redriven, but those for which that waits to be done already."""
    where, args = _where(wanted)
    rows = await db.fetch(
        f"""INSERT INTO requests (id, agent, topic, partition, "offset", action, by, reason)
        SELECT gen_random_uuid(), p.agent, p.topic, p.partition, p."offset", 'redrive', ${len(args) + 1}, ${len(args) + 2} FROM parked p
        WHERE {where} AND NOT EXISTS (SELECT FROM requests r WHERE r.status = 'waiting' AND r.action = 'redrive' AND r.agent = p.agent
            AND r.topic = p.topic AND r.partition = p.partition AND r."offset" = p."offset")
        ORDER BY p.agent, p.topic, p.partition, p."offset" RETURNING id""",
        *args, storable(by), storable(reason),
    )  # fmt: skip
    return [row["id"] for row in rows]


class Desk:
    """Every domain's parked records over one connection, for an operator. Use it with `async with`. Raises CaravanError while Postgres is away."""

    def __init__(self, dsn: str, namespace: str, domains: Sequence[str]) -> None:
        """Connects to nothing yet."""
        self._dsn, self._namespace, self.domains = dsn, namespace, domains
        self._connection: Any = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Desk"]:
        """Connect; the domains that have their tables are kept."""
        self._connection = await connect(self._dsn)
        try:
            await self._connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
            self.domains = [domain for domain in self.domains if await self._migrated(domain)]
            yield self
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise CaravanError(f"Postgres: {type(error).__name__}: {error}") from error
        finally:
            await self._connection.close()

    async def of(self, domain: str) -> Db:
        """The domain's tables; of one domain at a time."""
        await self._connection.execute(f"SET search_path TO {quoted(schema_of(self._namespace, domain))}")
        return Reader(self._connection, domain)

    async def _migrated(self, domain: str) -> bool:
        schema = quoted(schema_of(self._namespace, domain))
        there = await self._connection.fetchrow(
            "SELECT to_regclass($1) IS NOT NULL AS parked, to_regclass($2) IS NOT NULL AS requests",
            f"{schema}.parked", f"{schema}.requests",
        )  # fmt: skip
        if there["parked"] and not there["requests"]:
            raise CaravanError(f"the database lacks migrations of {domain}; run: caravan migrate")
        return bool(there["parked"])


# -- parts

_HERE = 'p.agent = $1 AND p.topic = $2 AND p.partition = $3 AND p."offset" = $4'
_LINE = f"""p.agent, p.topic, p.partition, p."offset", p.key, substring(p.value FOR {HEAD}) AS head, p.cause, p.command_id, p.actor, p.holds,
    p.attempts, p.parked_at, p.last_tried_at, CASE WHEN p.holds AND p.cause <> 'held' THEN (SELECT count(*) FROM parked b WHERE b.agent = p.agent AND
    b.topic = p.topic AND b.partition = p.partition AND b.key = p.key AND b.holds AND b.cause = 'held') ELSE 0 END AS behind"""
_REQUEST = """id, agent, topic, partition, "offset", action, by, reason, asked_at, status, outcome, done_at, cause,
    record_key, record_value, value, ran, status <> 'waiting' AND EXISTS (SELECT FROM parked k WHERE (k.agent, k.topic, k.partition) = (p.agent, p.topic, p.partition)
        AND (k."offset" = p."offset" OR k.key = p.record_key) AND k.parked_at < p.asked_at AND k.last_tried_at >= p.asked_at) AS still_parked"""


def _where(wanted: Wanted) -> tuple[str, list[Any]]:
    """The condition and its parameters, which come first in the statement."""
    parts, args = ["true"], list[Any]()
    for column in ("agent", "topic", "key", "cause", "holds"):
        if (value := getattr(wanted, column)) is not None:
            args.append(value)
            parts.append(f"p.{column} = ${len(args)}")
    if wanted.type is not None:
        args.append(f'"type":"{wanted.type}"'.encode())
        parts.append(f"position(${len(args)}::bytea IN substring(p.value FOR {HEAD})) > 0")
    for sign, at in ((">=", wanted.since), ("<", wanted.until)):
        if at is not None:
            args.append(at)
            parts.append(f"p.parked_at {sign} ${len(args)}")
    if not wanted.followers:
        parts.append(f"p.cause <> '{FOLLOWER}'")
    return " AND ".join(parts), args


def _line(row: Any) -> Line:
    found = _TYPE.search(row["head"] or b"")
    return Line(
        Place(row["agent"], row["topic"], row["partition"], row["offset"]),
        row["key"],
        found[1].decode() if found else None,
        row["cause"],
        row["command_id"],
        row["actor"],
        row["holds"],
        row["attempts"],
        row["parked_at"],
        row["last_tried_at"],
        row["behind"],
    )


def _request(row: Any) -> Request:
    place = Place(row["agent"], row["topic"], row["partition"], row["offset"])
    return Request(
        row["id"], place, row["action"], row["by"], row["reason"], row["asked_at"], row["status"], row["outcome"],
        row["done_at"], row["cause"], row["record_key"], row["record_value"], row["value"], row["ran"], row["still_parked"],
    )  # fmt: skip
