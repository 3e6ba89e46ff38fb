"""A replay as Postgres knows it: the schema beside a domain's live one, what is known of it, and both schemas as of one moment at equal numbers."""

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Self

import asyncpg

from sinks.postgres.audit import Shape, away, shape_of
from sinks.postgres.faults import DRIVER
from sinks.postgres.migrations import connect, migrate_beside, pending
from sinks.postgres.names import literal, quoted, schema_of
from streams.errors import CaravanError

STATE, TIMERS = "state", "timers"
HOLD_MS = 1000  # how long the positions of a domain may take to be held
IDLE_MS = 2000  # how long they may be held by a process that does nothing, as a frozen one
_TABLE = "caravan_replay"  # in the schema beside; a domain has no view of this name
_CLOSE_S = 3.0


class Busy(CaravanError):
    """Another replay of this domain runs; wait for its end, or stop it."""


class NotHeld(CaravanError):
    """The domain's positions could not be held just now; try again."""


class Stand(NamedTuple):
    """Where an agent stands on a partition: the next offset, and the last number."""

    next: int
    number: int


Stands = dict[tuple[str, int], Stand]
"""By agent and partition."""


@dataclass(frozen=True)
class Known:
    """What is known of a replay. `state` is building, compared, swapped or back.

    `tables` are those that are built (and with `whole` the documents and timers besides), `since` tells the offsets from which on rows are written, by topic and
    partition, `asked` how that was asked for; `code` is the mark of the code that folds. `diff` is the mark of what differed when it was compared,
    None when nothing did, and `accepted` the one that was accepted; `lost` are tables that were not there.
    """

    tables: tuple[str, ...]
    whole: bool
    code: str
    state: str = "building"
    asked: str = "earliest"
    since: dict[str, int] = field(default_factory=dict)
    begun_at: str = ""
    compared_at: str | None = None
    swapped_at: str | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    differing: int = 0
    diff: str | None = None
    accepted: str | None = None
    lost: tuple[str, ...] = ()

    def now(self, **changes: Any) -> "Known":
        """The same with changes."""
        return replace(self, **changes)


class Beside:
    """The two schemas of a domain. Use it with `async with`; every method raises CaravanError while Postgres is away, or refuses."""

    def __init__(self, dsn: str, namespace: str, domain: str) -> None:
        """Connects to nothing yet."""
        self.dsn, self.namespace, self.domain = dsn, namespace, domain
        self.live = self.role = schema_of(namespace, domain)
        self.shadow = f"{self.live}_shadow"
        self.connection: Any = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self.connection = await connect(self.dsn)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        with suppress(TimeoutError, *DRIVER):
            await self.connection.close(timeout=_CLOSE_S)

    async def alone(self) -> None:
        """Be the only replay of this domain as long as the connection lives; raises Busy."""
        with away():
            if not await self.connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 1))", self.shadow):
                raise Busy(f"another replay of {self.domain} runs; wait for its end, or stop it")

    async def is_run(self) -> bool:
        """Whether some process replays it now."""
        query = (
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() AND objsubid = 1"
            " AND (classid::bigint << 32) + objid::bigint = hashtextextended($1, 1))"
        )
        return bool(await self._value(query, self.shadow))

    # -- what is known

    async def known(self) -> Known | None:
        """What is known of the replay; None when there is none."""
        if not await self._value("SELECT to_regclass($1)", self._named(self.shadow, _TABLE)):
            return None
        told = await self._value(f"SELECT told FROM {self._named(self.shadow, _TABLE)}")
        return _known(told) if told else None

    async def has_other(self) -> bool:
        """Whether something that is no replay has built in the schema beside."""
        table = self._named(self.shadow, "offsets")
        if await self.known() is not None or not await self._value("SELECT to_regclass($1)", table):
            return False
        return bool(await self._value(f"SELECT EXISTS (SELECT FROM {table})"))

    async def make(self, known: Known) -> None:
        """Make the schema beside with all its tables, those that are missing, and write down what is known."""
        await self.migrate()
        with away():
            await self.connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._named(self.shadow, _TABLE)} (one boolean PRIMARY KEY DEFAULT true, told json NOT NULL)"
            )
        await self.write(known)

    async def migrate(self) -> None:
        """Bring the schema beside to where the live one is; raises CaravanError when that is not up to date itself."""
        if waiting := [name for name in await pending(self.dsn, self.namespace) if name.startswith(f"{self.domain}/")]:
            raise CaravanError(f"the database lacks {len(waiting)} migrations ({waiting[0]}, …); run: caravan migrate")
        await migrate_beside(self.dsn, self.namespace, self.domain)

    async def write(self, known: Known) -> None:
        """Write it down."""
        with away():
            await self.connection.execute(written(self.shadow, known))

    async def drop(self) -> None:
        """Drop the schema beside with all that is in it."""
        with away():
            await self.connection.execute(f"DROP SCHEMA IF EXISTS {quoted(self.shadow)} CASCADE")

    # -- where both stand

    async def stands(self, agents: Sequence[tuple[str, str]], schema: str | None = None) -> Stands:
        """Where these agents stand on these topics in the live schema, or in another one."""
        with away():
            return await _stands(self.connection, schema or self.live, agents)

    async def stopped(self) -> str | None:
        """Why a partition of the replay does not go on, if one does not."""
        query = f"SELECT format('%s/%s: %s', topic, partition, stopped) FROM {self._named(self.shadow, 'offsets')} WHERE stopped IS NOT NULL LIMIT 1"
        told: str | None = await self._value(query)
        return told

    async def parked(self) -> tuple[int, str | None]:
        """How many events the replay could not fold, and of the first one where it stands and why."""
        table = self._named(self.shadow, "parked")
        query = f"""SELECT count(*) OVER () AS n, format('%s/%s/%s: %s', topic, partition, "offset", error) AS words
            FROM {table} WHERE holds AND cause <> 'held' ORDER BY topic, partition, "offset" LIMIT 1"""
        with away():
            row = await self.connection.fetchrow(query)
        return (row["n"], row["words"]) if row else (0, None)

    async def shape(self, table: str, schema: str | None = None) -> Shape | None:
        """What a table looks like."""
        with away():
            return await shape_of(self.connection, self._named(schema or self.live, table))

    async def sizes(self, tables: Collection[str], schema: str | None = None) -> dict[str, tuple[int, int]]:
        """Rows, about, and bytes on disk of each table that there is."""
        query = """SELECT c.relname, CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint ELSE s.n_live_tup END, pg_total_relation_size(c.oid)
            FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
            WHERE c.relnamespace = to_regnamespace($1) AND c.relname = ANY($2) AND c.relkind = 'r'"""
        with away():
            rows = await self.connection.fetch(query, quoted(schema or self.live), list(tables))
        return {name: (max(0, count), size) for name, count, size in rows}

    @asynccontextmanager
    async def held(self, agents: Sequence[tuple[str, str]]) -> AsyncIterator[Stands]:
        """No agent of the domain commits in the block; where these stand. Readers are not held. Raises NotHeld.

        Every batch locks its position before it writes anything, so those that have begun end first, and nobody waits in a circle.
        """
        connection = await connect(self.dsn)
        try:
            with away():
                await connection.execute(
                    f"BEGIN; SET LOCAL lock_timeout = {HOLD_MS}; SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"
                )
                try:
                    await connection.execute(f"LOCK TABLE {self._named(self.live, 'offsets')} IN EXCLUSIVE MODE")
                except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as busy:
                    raise NotHeld(NotHeld.__doc__) from busy
                yield await _stands(connection, self.live, agents)
        finally:
            with suppress(TimeoutError, *DRIVER):
                await connection.close(timeout=_CLOSE_S)

    # -- inside

    @staticmethod
    def _named(schema: str, table: str) -> str:
        return f"{quoted(schema)}.{quoted(table)}"

    async def _value(self, query: str, *args: Any) -> Any:
        with away():
            return await self.connection.fetchval(query, *args)


def written(shadow: str, known: Known) -> str:
    """The statement that writes down what is known."""
    told = literal(json.dumps(asdict(known)))
    into = f"{quoted(shadow)}.{quoted(_TABLE)}"
    return f"INSERT INTO {into} (told) VALUES ({told}) ON CONFLICT (one) DO UPDATE SET told = excluded.told"


def _known(told: str) -> Known:
    found = json.loads(told)
    return Known(**{**found, "tables": tuple(found["tables"]), "lost": tuple(found["lost"])})


async def _stands(connection: Any, schema: str, agents: Sequence[tuple[str, str]]) -> Stands:
    names, topics = zip(*agents, strict=True) if agents else ((), ())
    rows = await connection.fetch(
        f"SELECT agent, partition, next, number FROM {quoted(schema)}.offsets WHERE (agent, topic) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        list(names), list(topics),
    )  # fmt: skip
    return {(row["agent"], row["partition"]): Stand(row["next"], row["number"]) for row in rows}
