"""What the edge needs of Postgres: views and results to read, and two tables of its own.

It acts as the role `<namespace>edge`, which in the schemas of domains may only read, and ask something of the owners of parked records. Nothing here takes longer than
`ANSWER_S`; while Postgres is away every method raises Unavailable, and `alive` tells it within seconds.
"""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from sinks.postgres.clock import Follower
from sinks.postgres.faults import DRIVER
from sinks.postgres.lending import Lender, Loan
from sinks.postgres.moves import Moves
from sinks.postgres.reader import Reader
from streams.clock import VirtualClock
from streams.personal import Erased
from streams.store import Unavailable

ANSWER_S = 4.5  # how long a request may keep a connection, waiting for one included
STATEMENT_MS = 4_000
CHECK_MS = 500  # between two looks of a running statement whether we are still there
LEASE_S = (
    1  # for which a repeat is told that its key is in another request's hands; more than an untroubled request takes
)
KEEP_H = 48  # how long an Idempotency-Key is remembered
PROBE_S = 1.0
_READERS, _WRITERS = 12, 6  # connections


class Claim(NamedTuple):
    """An Idempotency-Key as this request found or made it.

    `fresh`: the key was unseen. `mine`: this request holds the lease and is to publish `record`. Otherwise it is
    answered already (`partition` and `offset` are set), in another request's hands, or bound to another body (`hash`).
    A lease may end under its holder: two then publish the same record, which has its effect once.
    """

    fresh: bool
    mine: bool
    hash: str
    command_id: UUID
    record_key: bytes
    record: bytes | None
    partition: int | None
    offset: int | None
    lease: datetime


class EdgeStore:
    """Pools for reading and for the edge's own tables, and the shared connection that hears how positions move."""

    def __init__(self, dsn: str, read_dsn: str, namespace: str = "") -> None:
        """Take the DSN of the primary, and of the server to read views from; connects to nothing yet."""
        self._dsn, self._read_dsn, self._namespace = dsn, read_dsn or dsn, namespace
        self._edge = f'"{namespace}edge"'
        self._readers = self._lender(self._read_dsn, _READERS, default_transaction_read_only="on")
        self._writers = self._lender(self._dsn, _WRITERS)
        self._started = False
        self._watch: asyncio.Task[None] | None = None
        self.moves = Moves()
        self.alive = False

    async def start(self) -> None:
        """Begin; does not fail while Postgres is away, for `alive` tells that."""
        self._started = True
        self._watch = asyncio.create_task(self._watching(), name="edge: listen to Postgres")

    async def stop(self) -> None:
        """Close every connection."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._started = self.alive = False
        await self._readers.close()
        await self._writers.close()

    def follow(self, clock: VirtualClock) -> Follower:
        """What keeps this clock where the platform's is; to be started and stopped."""
        return Follower(self._dsn, self._namespace, clock)

    def db(self, domain: str) -> "Reading":
        """A connection for the views of a domain. Raises Unavailable, and BadData for values that Postgres cannot take."""
        return Reading(self._loan(self._readers, self._namespace + domain), domain)

    def primary(self, domain: str) -> "Reading":
        """A connection to the primary, in the schema of a domain: to ask for something there, and to see it at once."""
        return Reading(self._loan(self._writers, self._namespace + domain), domain)

    # -- Idempotency-Keys

    async def reserve(
        self, who: tuple[str, str, str], digest: str, command_id: UUID, record: tuple[bytes, bytes]
    ) -> Claim:
        """Take a key (principal, domain, key) for a command with this record (key and value), or find what became of it."""
        async with self._loan(self._writers) as connection:
            row = await connection.fetchrow(
                f"""
                INSERT INTO {self._edge}.idempotency AS i
                    (principal, domain, key, hash, command_id, record_key, record, lease)
                VALUES ($1, $2, $3, $4, $5, $6, $7, now() + $8 * interval '1 s')
                ON CONFLICT (principal, domain, key) DO UPDATE SET lease = excluded.lease
                    WHERE i.hash = excluded.hash AND i.partition IS NULL AND i.lease <= now()
                RETURNING command_id = $5 AS fresh, true AS mine, hash, command_id, record_key, record, partition, "offset", lease
                """,
                *who, digest, command_id, *record, float(LEASE_S),
            )  # fmt: skip
            if row is None:
                row = await connection.fetchrow(
                    f"""SELECT false AS fresh, false AS mine, hash, command_id, record_key, record, partition, "offset",
                    lease FROM {self._edge}.idempotency WHERE principal = $1 AND domain = $2 AND key = $3""",
                    *who,
                )
        if row is None:  # forgotten between the two statements, by a failed or an aged request: the client tries again
            raise Unavailable("The key was just given up by another request.")
        return Claim(*row.values())

    async def answered(self, who: tuple[str, str, str], partition: int, offset: int) -> tuple[int, int]:
        """Kafka has the command of this key; what is answered for it from now on, which is where somebody first had it."""
        async with self._loan(self._writers) as connection:
            row = await connection.fetchrow(
                f"""UPDATE {self._edge}.idempotency
                SET partition = coalesce(partition, $4), "offset" = coalesce("offset", $5), record = NULL
                WHERE principal = $1 AND domain = $2 AND key = $3 RETURNING partition, "offset"
                """,
                *who, partition, offset,
            )  # fmt: skip
        return (row["partition"], row["offset"]) if row else (partition, offset)

    async def release(self, who: tuple[str, str, str]) -> None:
        """Give up without knowing; the next one with this key publishes the same record."""
        await self._edge_execute(
            f"UPDATE {self._edge}.idempotency SET lease = now() WHERE principal = $1 AND domain = $2 AND key = $3", *who
        )

    async def forget(self, who: tuple[str, str, str], lease: datetime) -> None:
        """Nothing was sent under this key: it is free again, unless somebody else has taken it on since."""
        await self._edge_execute(
            f"DELETE FROM {self._edge}.idempotency WHERE principal = $1 AND domain = $2 AND key = $3 AND lease = $4",
            *who, lease,
        )  # fmt: skip

    async def _edge_execute(self, statement: str, *args: Any) -> None:
        async with self._loan(self._writers) as connection:
            await connection.execute(statement, *args)

    # -- keys of subjects

    async def subject_key(self, subject: str) -> bytes:
        """The key (32 bytes) that this subject's personal data is sealed with; made when there is none. Raises Erased."""
        async with self._loan(self._writers) as connection:
            key: bytes | None = await connection.fetchval(
                f"""WITH made AS (
                    INSERT INTO {self._edge}.subject_keys (subject, key) VALUES ($1, $2)
                    ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject RETURNING key
                ) SELECT key FROM made""",
                subject, os.urandom(32),
            )  # fmt: skip
        if key is None:
            raise Erased(f"{subject} was erased.")
        return key

    async def subject_keys(self, subjects: Iterable[str]) -> dict[str, bytes]:
        """The keys of those subjects that still have one."""
        async with self._loan(self._writers) as connection:
            rows = await connection.fetch(
                f"SELECT subject, key FROM {self._edge}.subject_keys WHERE subject = ANY($1) AND key IS NOT NULL",
                list(subjects),
            )
        return {row["subject"]: row["key"] for row in rows}

    # -- connections

    def _lender(self, dsn: str, size: int, **settings: str) -> Lender:
        # A query whose connection was given up, since its client has left, ends in Postgres as well.
        checked = {"client_connection_check_interval": str(CHECK_MS), "statement_timeout": str(STATEMENT_MS)}
        return Lender(dsn, size, ANSWER_S, {**checked, **self._settings(), **settings})

    def _loan(self, lender: Lender, schema: str | None = None) -> Loan:
        if not self._started:
            raise Unavailable("The edge has not started.")
        return lender.lend(schema)

    def _settings(self) -> dict[str, str]:
        return {"role": f"{self._namespace}edge", "application_name": f"{self._namespace}edge"}

    # -- hearing

    async def _watching(self) -> None:
        """Listen and probe for ever; a lost connection is made again and the pools' old ones are not trusted."""
        while True:
            with suppress(Unavailable, *DRIVER):
                await self._listening()
            self.alive = False
            self.moves.unheard()
            await asyncio.sleep(PROBE_S / 4)

    async def _listening(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=2, command_timeout=2, server_settings=self._settings())
        try:
            await connection.add_listener(f"{self._namespace}caravan", self._heard)
            self._readers.expire()
            self._writers.expire()
            self.moves.unheard()
            purged = 0
            while True:
                async with asyncio.timeout(2):
                    await self._probe(connection)
                self.alive = True
                if purged == 0:
                    await self._purge(connection)
                purged = (purged + 1) % int(3600 / PROBE_S)
                await asyncio.sleep(PROBE_S)
        finally:
            connection.terminate()

    async def _probe(self, connection: Any) -> None:
        """That Postgres answers, and that the edge's migrations are there."""
        await connection.fetchval(f"SELECT count(*) FROM (SELECT FROM {self._edge}.idempotency LIMIT 1) AS one")
        if self._read_dsn != self._dsn:
            async with self._readers.lend() as reader:
                await reader.fetchval("SELECT 1")

    async def _purge(self, connection: Any) -> None:
        await connection.execute(
            f"DELETE FROM {self._edge}.idempotency WHERE created_at < now() - $1 * interval '1 h'",
            float(KEEP_H),
        )

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self.moves.heard(str(payload))


class Reading:
    """`async with` gives a Reader of one domain."""

    __slots__ = ("_domain", "_loan")

    def __init__(self, loan: Loan, domain: str) -> None:
        """Nothing is taken yet."""
        self._loan, self._domain = loan, domain

    async def __aenter__(self) -> Reader:
        """As a Loan."""
        return Reader(await self._loan.__aenter__(), self._domain)

    async def __aexit__(self, *raised: object) -> None:
        """As a Loan."""
        await self._loan.__aexit__(*raised)  # type: ignore[arg-type]  # as they came
