"""The store of the core on Postgres: positions, documents, results, outbox and parked records of every domain.

Each domain has its own schema and role; a transaction acts as the role of its domain. Writing and reading have pools of their own, so
that a batch which loads documents while another one commits cannot wait for itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from sinks.postgres.clock import Follower
from sinks.postgres.commit import Writer
from sinks.postgres.effects import answer_call, calls_of, doubt, first_calls
from sinks.postgres.faults import understood
from sinks.postgres.migrations import add_result_partitions
from sinks.postgres.names import quoted, schema_of
from sinks.postgres.requests import Listener, parked_records, queue_of, waiting_requests
from streams.clock import VirtualClock
from streams.errors import CaravanError
from streams.store import Call, Claim, Outgoing, Parked, Queue, Request, Slot, Stored, Unavailable, Work

WRITERS, READERS = 8, 6  # connections a process
WAIT_S = 1.0  # how long a claimer waits for the row before it ends whoever holds it
STATEMENT_S = 30.0
BY_INDEX = {  # a plan that is kept while tables grow from nothing to millions of rows must be the one for many
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class PostgresStore:
    """One process's store. `schemas` puts an agent's domain into another schema (a rebuild beside the live one)."""

    def __init__(
        self, dsn: str, namespace: str = "", schemas: Mapping[str, str] | None = None, *, flush: bool = True
    ) -> None:
        """Nothing is connected before `start`. Without `flush` a crash of Postgres may take back the last commits: all of each, its position too."""
        self._dsn, self._namespace = dsn, namespace
        self._server = {} if flush else {"synchronous_commit": "off"}
        self._schemas = dict(schemas or {})
        self._write: Any = None
        self._read: Any = None
        self._writers: dict[str, Writer] = {}

    async def start(self) -> None:
        """Connect; raises CaravanError when Postgres cannot be reached or refuses us."""
        try:
            self._write = await self._pool(WRITERS, BY_INDEX)
            self._read = await self._pool(READERS, {})
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            await self.stop()  # the first pool may be there already
            raise CaravanError(f"Postgres cannot be reached: {error}. Look at CARAVAN_POSTGRES.") from error

    async def _pool(self, size: int, settings: Mapping[str, str]) -> Any:
        return await asyncpg.create_pool(
            self._dsn,
            min_size=1,
            max_size=size,
            command_timeout=STATEMENT_S,
            reset=_nothing,
            server_settings={**self._server, **settings},
            init=_moments,
        )

    async def stop(self) -> None:
        """Close the connections."""
        for pool in (self._write, self._read):
            if pool is not None:
                try:
                    await asyncio.wait_for(pool.close(), 3)
                except TimeoutError:
                    pool.terminate()

    # -- the core's protocol

    async def claim(self, slot: Slot, owner: str, held: int | None, begin: int = 0) -> Claim:
        """Become the owner: a new epoch, unless the row still shows the epoch `held`.

        Whoever keeps the row locked for more than `WAIT_S` (a frozen process; no time-out of Postgres fires while a client is silent inside a
        COPY) loses its connection.
        """
        with understood():
            async with self._as_domain(self._write, slot) as (connection, schema):
                taking = asyncio.create_task(_take(connection, schema, slot, owner, held, begin))
                try:
                    while not taking.done():
                        await asyncio.wait([taking], timeout=WAIT_S)
                        if not taking.done():
                            await self._end_blockers(connection.get_server_pid())
                    row = await taking
                finally:  # given up: the connection must be quiet before its transaction is rolled back
                    taking.cancel()
                    await asyncio.wait([taking])
                waits = await connection.fetchrow(_WAITS.format(schema=schema), *slot[1:])
        return Claim(*row, *waits)

    async def standing(self, slot: Slot) -> tuple[int, int]:
        """Where an agent stands, whoever owns it: next offset and last number; 0 and 0 where nobody was yet."""
        query = "SELECT next, number FROM {schema}.offsets WHERE agent = $1 AND topic = $2 AND partition = $3"
        rows = await self._fetch(slot, query, *slot[1:])
        return (rows[0]["next"], rows[0]["number"]) if rows else (0, 0)

    async def doubt(self, slots: Collection[Slot], number: int) -> None:
        """What these effects of one domain asked for because of events up to `number` is not known here."""
        with understood():
            for slot in sorted(slots):
                async with self._as_domain(self._write, slot) as (connection, schema):
                    await doubt(connection, schema, slot, number)

    async def load(self, slot: Slot, keys: Collection[str]) -> Mapping[str, Stored]:
        """The documents of these keys, those that there are."""
        rows = await self._fetch(
            slot,
            "SELECT key, version, replaces, rules, at, data FROM {schema}.state WHERE key = ANY($1::text[])",
            list(keys),
        )
        return {row["key"]: Stored(*row) for row in rows}

    async def known(self, slot: Slot, ids: Collection[UUID]) -> set[UUID]:
        """Which of these ids the inbox has."""
        query = "SELECT command_id FROM {schema}.results WHERE command_id = ANY($1::uuid[])"
        return {row["command_id"] for row in await self._fetch(slot, query, list(ids))}

    async def held(self, slot: Slot, keys: Collection[bytes]) -> set[bytes]:
        """Which of these keys wait behind a parked record."""
        query = (  # by the index, one row a key, however many wait behind it
            "SELECT k.key FROM unnest($4::bytea[]) AS k (key) CROSS JOIN LATERAL (SELECT FROM {schema}.parked p "
            "WHERE agent = $1 AND topic = $2 AND partition = $3 AND holds AND p.key = k.key LIMIT 1) AS found"
        )
        return {row["key"] for row in await self._fetch(slot, query, *slot[1:], list(keys))}

    async def asked(self, slot: Slot, limit: int) -> list[Request]:
        """The requests that wait, first asked first."""
        with understood():
            async with self._read.acquire() as connection:
                return await waiting_requests(connection, quoted(self._schema(slot.domain)), slot, limit)

    async def parked(self, slot: Slot, offset: int) -> Parked | None:
        """The record of this offset, if it is parked."""
        with understood():
            async with self._read.acquire() as connection:
                found = await parked_records(connection, quoted(self._schema(slot.domain)), slot, [offset])
        return found[0] if found else None

    async def queue(self, slot: Slot, key: bytes, limit: int) -> Queue:
        """The first records that hold this key."""
        with understood():
            async with self._read.acquire() as connection:
                return await queue_of(connection, quoted(self._schema(slot.domain)), slot, key, limit)

    async def timers(self, slot: Slot, limit: int) -> list[tuple[str, int]]:
        """The first documents of this partition to be due, earliest first."""
        query = "SELECT key, due FROM {schema}.timers WHERE partition = $1 ORDER BY due, key LIMIT $2"
        return [(row["key"], row["due"]) for row in await self._fetch(slot, query, slot.partition, limit)]

    async def owed(self, slot: Slot, limit: int) -> list[Call]:
        """The first call of each key, earliest due first."""
        with understood():
            async with self._read.acquire() as connection:
                return await first_calls(connection, quoted(self._schema(slot.domain)), slot, limit)

    async def calls_of(self, slot: Slot, numbers: Collection[int]) -> list[Call]:
        """The calls of these events, those that are still owed."""
        with understood():
            async with self._read.acquire() as connection:
                return await calls_of(connection, quoted(self._schema(slot.domain)), slot, numbers)

    async def answer(self, slot: Slot, call: Call) -> bool:
        """Write down what came of a claimed call, whoever owns the partition now; False when somebody has acted on it since."""
        with understood():
            async with self._as_domain(self._write, slot) as (connection, schema):
                return await answer_call(connection, schema, slot, call)

    async def unsent(self, slot: Slot, after: int, limit: int) -> list[Outgoing]:
        """The next events above number `after`, in order; whole commands."""
        query = (
            "SELECT partition, number, key, value, more, traceparent FROM {schema}.outbox "
            "WHERE partition = $1 AND number > $2 ORDER BY number LIMIT $3"
        )
        rows = [Outgoing(*row) for row in await self._fetch(slot, query, slot.partition, after, limit)]
        if rows and rows[-1].more and len(rows) == limit:  # the last command is cut: leave it to the next call
            whole = next((n for n in range(len(rows) - 1, 0, -1) if not rows[n - 1].more), None)
            if whole is None:
                return await self.unsent(slot, after, limit * 2)
            rows = rows[:whole]
        return rows

    async def commit(self, slot: Slot, epoch: int, work: Work) -> None:
        """Do the work in one transaction under the fence."""
        with understood():
            writer = await self._writer(slot.domain)
            async with self._write.acquire() as connection:
                try:
                    await writer.commit(connection, slot, epoch, work)
                except Unavailable:  # a table that was not there when its columns were read; it may be by now
                    self._writers.pop(slot.domain, None)
                    raise

    async def sent(self, slot: Slot, epoch: int, number: int) -> None:
        """Kafka has all events up to `number`; a lost epoch makes this a no-op."""
        with understood():
            async with self._as_domain(self._write, slot) as (connection, schema):
                moved = await connection.execute(
                    f"UPDATE {schema}.offsets SET relayed = $5 "
                    "WHERE agent = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND relayed < $5",
                    *slot[1:], epoch, number,
                )  # fmt: skip
                if moved == "UPDATE 1":
                    await connection.execute(
                        f"DELETE FROM {schema}.outbox WHERE partition = $1 AND number <= $2", slot.partition, number
                    )

    async def stopped(self, slot: Slot, why: str | None) -> None:
        """Write down why the owner stopped this partition (None: it runs)."""
        with understood():
            async with self._as_domain(self._write, slot) as (connection, schema):
                await connection.execute(
                    f"UPDATE {schema}.offsets SET stopped = $4 WHERE agent = $1 AND topic = $2 AND partition = $3",
                    *slot[1:], why,
                )  # fmt: skip

    async def keep_up(self) -> None:
        """Make the partitions of the inbox for the coming days; call it now and then. Raises Unavailable."""
        with understood():
            async with self._write.acquire() as connection:
                for domain in self._writers:
                    await add_result_partitions(connection, self._schema(domain))

    def follow(self, clock: VirtualClock, moved: Callable[[], None]) -> Follower:
        """What keeps a process's clock where the platform's is, once it is started."""
        return Follower(self._dsn, self._namespace, clock, moved)

    def listen(self, domains: Collection[str], asked: Callable[[Slot], None], returned: Callable[[], None]) -> Listener:
        """What tells a process, once it is started, at which of its slots an operator's request waits, and that Postgres was away and is back."""
        return Listener(self._dsn, self._namespace, domains, asked, returned)

    # -- parts

    def _schema(self, domain: str) -> str:
        return self._schemas.get(domain) or schema_of(self._namespace, domain)

    async def _writer(self, domain: str) -> Writer:
        if domain not in self._writers:
            async with self._read.acquire() as connection:
                self._writers[domain] = await Writer.of(
                    connection, self._schema(domain), schema_of(self._namespace, domain), f"{self._namespace}caravan"
                )
        return self._writers[domain]

    @asynccontextmanager
    async def _as_domain(self, pool: Any, slot: Slot) -> AsyncIterator[tuple[Any, str]]:
        role = quoted(schema_of(self._namespace, slot.domain))
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {role}")
            yield connection, quoted(self._schema(slot.domain))

    async def _fetch(self, slot: Slot, query: str, *args: Any) -> list[Any]:
        with understood():
            async with self._read.acquire() as connection:
                rows: list[Any] = await connection.fetch(query.format(schema=quoted(self._schema(slot.domain))), *args)
                return rows

    async def _end_blockers(self, pid: int) -> None:
        async with self._read.acquire() as connection:
            await connection.execute("SELECT pg_terminate_backend(b) FROM unnest(pg_blocking_pids($1)) b", pid)


ZERO = datetime(2000, 1, 1, tzinfo=UTC)  # of Postgres
MICROSECOND = timedelta(microseconds=1)
_WAITS = """
SELECT EXISTS (SELECT FROM {schema}.parked WHERE agent = $1 AND topic = $2 AND partition = $3 AND holds),
    EXISTS (SELECT FROM {schema}.requests WHERE agent = $1 AND topic = $2 AND partition = $3 AND status = 'waiting')"""


async def _moments(connection: Any) -> None:
    """Times by arithmetic: the driver's own way takes twice as long, and was half of what a ledger's row costs here."""
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=_since,
        decoder=lambda told: ZERO + told[0] * MICROSECOND,
    )


def _since(moment: datetime) -> tuple[int]:
    passed = moment - ZERO
    return ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds,)


async def _nothing(connection: Any) -> None:
    """Connections need no reset between uses: whatever is set here is LOCAL to its transaction."""


async def _take(connection: Any, schema: str, slot: Slot, owner: str, held: int | None, begin: int) -> Any:
    """Make the row if need be, lock it, and raise the epoch unless it is still ours."""
    await connection.execute(  # it waits, too, for whoever has moved the position and not yet committed
        f"INSERT INTO {schema}.offsets (agent, topic, partition, next) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        *slot[1:], begin,
    )  # fmt: skip
    return await connection.fetchrow(
        f"UPDATE {schema}.offsets SET owner = $4, epoch = CASE WHEN epoch = $5 THEN epoch ELSE epoch + 1 END, "
        "moved_at = now() WHERE agent = $1 AND topic = $2 AND partition = $3 "
        "RETURNING next, epoch, number, relayed, last_id, partitions",
        *slot[1:], owner, held,
    )  # fmt: skip
