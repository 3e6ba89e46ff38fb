"""Two schemas of a domain exchange tables in one transaction, beside readers and writers; doing it again is the way back.

Nobody can wait in a circle with it. Whoever tidies up the tables is waited for first, since that disturbs neither readers nor writers. Then the positions are held, so that no
batch is under way; then those views are let finish that ask more than once, and new ones wait before they have read anything (`sinks.postgres.reader`). What is left are single queries over
several tables: the locks that keep them out are given back after a moment and taken again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import asyncpg

from sinks.postgres.audit import away
from sinks.postgres.faults import DRIVER
from sinks.postgres.migrations import connect
from sinks.postgres.moves import message
from sinks.postgres.names import literal, quoted
from sinks.postgres.reader import GATE
from sinks.postgres.replay import HOLD_MS, IDLE_MS, Beside, Known, NotHeld, Stands, _stands, written
from streams.errors import CaravanError

TIDY_MS = 10_000  # how long autovacuum may take to give way, which it does when it is waited for
VIEWS_MS = 300  # how long views that have begun may take to end
READERS_MS = 100  # how long readers may be waited for while others wait behind
GAP_S = 0.05  # in which readers go on
TRIES = 5
CLOSE_S = 3.0

_TIED = """
SELECT format('column %s of %s has the type %s of the schema', a.attname, c.relname, t.typname) FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid OR t.typarray = a.atttypid
    WHERE a.attrelid = ANY($1) AND NOT a.attisdropped AND t.typnamespace = c.relnamespace
UNION ALL
SELECT format('trigger %s of %s calls a function of the schema', g.tgname, c.relname) FROM pg_trigger g
    JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_proc p ON p.oid = g.tgfoid
    WHERE g.tgrelid = ANY($1) AND NOT g.tgisinternal AND p.pronamespace = c.relnamespace
UNION ALL
SELECT format('%s refers to %s, which is not exchanged with it', k.conrelid::regclass, k.confrelid::regclass) FROM pg_constraint k
    WHERE k.contype = 'f' AND (k.conrelid = ANY($1)) <> (k.confrelid = ANY($1))
UNION ALL
SELECT format('the view %s reads %s', r.ev_class::regclass, d.refobjid::regclass) FROM pg_depend d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY($1) AND r.ev_class <> ALL($1)
UNION ALL
SELECT format('a default of %s needs %s', e.adrelid::regclass, d.refobjid::regclass) FROM pg_depend d
    JOIN pg_attrdef e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
    WHERE d.refclassid = 'pg_class'::regclass AND e.adrelid = ANY($1)
        AND NOT EXISTS (SELECT FROM pg_depend o WHERE o.objid = s.oid AND o.deptype IN ('a', 'i') AND o.refobjid = e.adrelid)"""


class Exchange(NamedTuple):
    """What is exchanged. `agents` (name and topic) write the tables; `caching` are those of them that keep rows of the tables in memory."""

    tables: Sequence[str]
    agents: Sequence[tuple[str, str]]
    caching: Sequence[str]
    decider: str | None = None
    """The agent whose timers are exchanged."""


async def exchange(beside: Beside, what: Exchange, reached: Callable[[Stands], Awaitable[bool]], told: Known) -> None:
    """Exchange the tables where both schemas stand at the same numbers: `reached` waits a moment for that; `told` is then written down.

    Raises NotHeld when somebody was in the way, and CaravanError when it cannot be; nothing was changed then.
    """
    connection = await connect(beside.dsn)
    try:
        with away():
            await _exchange(connection, beside, what, reached, told)
            await _tell(connection, beside, what)
    except CaravanError as error:
        raise _in_the_way(error) from error
    finally:
        with suppress(TimeoutError, *DRIVER):
            await connection.close(timeout=CLOSE_S)


def _in_the_way(error: CaravanError) -> CaravanError:
    busy = (
        asyncpg.LockNotAvailableError,
        asyncpg.DeadlockDetectedError,
        asyncpg.AdminShutdownError,  # of a worker that claims: it ends whoever keeps its position
        asyncpg.PostgresConnectionError,
    )
    return NotHeld(f"somebody was in the way: {error}") if isinstance(error.__cause__, busy) else error


async def _exchange(
    connection: Any,
    beside: Beside,
    what: Exchange,
    reached: Callable[[Stands], Awaitable[bool]],
    told: Known,
) -> None:
    aside, role = quoted(f"{beside.shadow}_aside"), quoted(beside.role)
    async with connection.transaction():
        await connection.execute(f"CREATE SCHEMA {aside} AUTHORIZATION {role}; SET LOCAL ROLE {role}")
        live, shadow = [await _there(connection, schema, what.tables) for schema in (beside.live, beside.shadow)]
        await connection.execute(
            f"SET LOCAL lock_timeout = {TIDY_MS}; SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"
        )
        await _lock(connection, [*live.values(), *shadow.values()], "SHARE UPDATE EXCLUSIVE")
        await _demand_free(connection, live)
        await _demand_free(connection, shadow)
        await connection.execute(
            f"SET LOCAL lock_timeout = {HOLD_MS}; LOCK TABLE {quoted(beside.live)}.offsets IN EXCLUSIVE MODE"
        )
        stands = await _stands(connection, beside.live, what.agents)
        if not await reached(stands):
            raise NotHeld("the replay is not where the live tables are yet")
        gate = GATE.format(schema=literal(beside.live))
        await connection.execute(f"SET LOCAL lock_timeout = {VIEWS_MS}; SELECT pg_advisory_xact_lock({gate})")
        await _keep_readers_out(connection, [*live.values(), *shadow.values()])
        await connection.execute(_moves(beside, what, live, shadow, aside))
        await connection.execute(f"RESET ROLE; {written(beside.shadow, told)}; DROP SCHEMA {aside}")


def _moves(beside: Beside, what: Exchange, live: Collection[str], shadow: Collection[str], aside: str) -> str:
    here, there = quoted(beside.live), quoted(beside.shadow)
    moves = []
    if what.decider is not None:  # a timer that was parked is on no list, and shall not be on one again
        moves.append(
            f"DELETE FROM {there}.timers t WHERE {parked_timers(beside.live, what.decider)} AND NOT EXISTS (SELECT FROM {here}.timers l WHERE l.key = t.key)"
        )
    moves += [f"ALTER TABLE {here}.{quoted(table)} SET SCHEMA {aside}" for table in live]
    moves += [f"ALTER TABLE {there}.{quoted(table)} SET SCHEMA {here}" for table in shadow]
    moves += [f"ALTER TABLE {aside}.{quoted(table)} SET SCHEMA {there}" for table in live]
    if what.caching:  # whoever remembers documents forgets them at the next commit, which is lost and done again
        names = ", ".join(map(literal, what.caching))
        moves.append(f"UPDATE {here}.offsets SET epoch = epoch + 1 WHERE agent IN ({names})")
    return "; ".join(moves)


def parked_timers(live: str, decider: str) -> str:
    """Whether timer `t` was taken off the list since its command is parked."""
    return (
        f'EXISTS (SELECT FROM {quoted(live)}.parked p WHERE p.agent = {literal(decider)} AND p."offset" < 0'
        " AND p.key = convert_to(split_part(t.key, '/', 1), 'UTF8'))"
    )


async def _there(connection: Any, schema: str, tables: Collection[str]) -> dict[str, str]:
    """Those of the tables that are there, in the order of their names, as SQL."""
    query = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2) AND relkind = 'r' ORDER BY relname"
    rows = await connection.fetch(query, quoted(schema), list(tables))
    return {row["relname"]: f"{quoted(schema)}.{quoted(row['relname'])}" for row in rows}


async def _lock(connection: Any, tables: Collection[str], mode: str) -> None:
    if tables:
        await connection.execute(f"LOCK TABLE {', '.join(sorted(tables))} IN {mode} MODE")


async def _demand_free(connection: Any, tables: dict[str, str]) -> None:
    """Raise CaravanError for tables that hang together with something that stays."""
    oids = await connection.fetch(
        "SELECT name::regclass::oid AS oid FROM unnest($1::text[]) AS name", [*tables.values()]
    )
    if tied := await connection.fetch(_TIED, [row["oid"] for row in oids]):
        raise CaravanError(f"tables cannot be exchanged: {tied[0][0]}; make it part of the table, or of none")


async def _keep_readers_out(connection: Any, tables: Collection[str]) -> None:
    await connection.execute(f"SET LOCAL lock_timeout = {READERS_MS}")
    for tried in range(1, TRIES + 1):
        try:
            async with connection.transaction():
                await _lock(connection, tables, "ACCESS EXCLUSIVE")
        except asyncpg.LockNotAvailableError:
            if tried == TRIES:
                raise
            await asyncio.sleep(GAP_S)
        else:
            return


async def _tell(connection: Any, beside: Beside, what: Exchange) -> None:
    """Have those who wait for anything in these tables look again."""
    channel = f"{beside.namespace}caravan"
    for (agent, partition), stand in (await _stands(connection, beside.live, what.agents)).items():
        told = message((beside.domain, agent, partition), stand.next, ())
        told = told.rstrip(":")  # no marks: any key may have changed
        await connection.execute("SELECT pg_notify($1, $2)", channel, told)
