"""Two schemas of a domain on Postgres: what differs is found, and tables are exchanged beside readers and writers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from sinks.postgres.differing import Compared, Moment, Pair
from sinks.postgres.exchange import Exchange, exchange
from sinks.postgres.reader import Reader
from sinks.postgres.replay import Beside, Busy, Known, NotHeld, Stand, Stands
from sinks.postgres.store import PostgresStore
from streams.errors import CaravanError
from streams.settings import Settings

KNOWN = Known(tables=("entries", "totals"), whole=False, code="c0de")
TOTALS = Compared("totals", ("account", "total"), ("account",))
ENTRIES = Compared("entries", ("account", "seq", "amount", "note"), ("account", "seq", "amount", "note"))
PLACE = [("tally", "tally.commands")]
WHAT = Exchange(("entries", "totals"), PLACE, ())


@pytest.fixture
async def beside(settings: Settings, postgres: PostgresStore) -> AsyncIterator[Beside]:
    """The schema beside that of `tally`, all empty."""
    async with Beside(settings.postgres, settings.namespace, "tally") as beside:
        await beside.make(KNOWN)
        yield beside


async def put(admin: Any, schema: str, table: str, *rows: tuple[Any, ...]) -> None:
    """Write rows."""
    await admin.copy_records_to_table(table, records=rows, schema_name=schema)


async def rows(admin: Any, schema: str, table: str) -> list[tuple[Any, ...]]:
    """What a table says."""
    return sorted(tuple(row) for row in await admin.fetch(f'SELECT * FROM "{schema}".{table}'))


async def pairs(beside: Beside, table: Compared) -> list[Pair]:
    """All rows that differ."""
    async with await Moment.begin(beside) as moment:
        counts = await moment.counts(table)
        return [pair async for pair in moment.pairs(table, counts.ranges)]


async def at_once(stands: Stands) -> bool:
    """Both stand at the same numbers."""
    return True


async def test_rows_that_differ_are_found_by_their_keys(beside: Beside, admin: Any) -> None:
    """As of one moment: what comes later is not seen."""
    many = [(f"a{n}", n) for n in range(300)]
    await put(admin, beside.shadow, "totals", *many, ("changed", 1), ("missing", 2))
    await put(admin, beside.live, "totals", *many, ("changed", 5), ("extra", 3))
    async with await Moment.begin(beside) as moment:
        await put(admin, beside.live, "totals", ("later", 1))
        counts = await moment.counts(TOTALS)
    await admin.execute(f"DELETE FROM \"{beside.live}\".totals WHERE account = 'later'")
    assert (counts.rows, counts.live, len(counts.ranges)) == (302, 302, 3)
    assert await pairs(beside, TOTALS) == [
        Pair(["changed"], {"account": "changed", "total": "1"}, {"account": "changed", "total": "5"}),
        Pair(["extra"], None, {"account": "extra", "total": "3"}),
        Pair(["missing"], {"account": "missing", "total": "2"}, None),
    ]


async def test_without_a_key_equal_rows_are_counted(beside: Beside, admin: Any) -> None:
    """NULL is a value like others, and not the word."""
    same, twice, word = ("a", 1, 5, None), ("b", 1, 5, "x"), ("c", 1, 5, "NULL")
    await put(admin, beside.shadow, "entries", same, twice, twice, word)
    await put(admin, beside.live, "entries", same, twice, ("c", 1, 5, None))
    found = [(pair.replayed, pair.live) for pair in await pairs(beside, ENTRIES)]

    def told(row: tuple[Any, ...]) -> dict[str, str | None]:
        return {name: None if value is None else str(value) for name, value in zip(ENTRIES.columns, row, strict=True)}

    assert found == [(told(twice), None), (told(word), None), (None, told(("c", 1, 5, None)))]


async def test_while_positions_are_held_nobody_commits_and_everybody_reads(
    beside: Beside, admin: Any, settings: Settings
) -> None:
    """Who cannot have them in time says so, and has changed nothing."""
    await admin.execute(
        f"INSERT INTO \"{beside.live}\".offsets (agent, topic, partition, next, number) VALUES ('tally', 'tally.commands', 2, 7, 9)"
    )
    lock = f'LOCK TABLE "{beside.live}".offsets IN ROW SHARE MODE'
    async with beside.held(PLACE) as stands:
        assert stands == {("tally", 2): Stand(7, 9)}
        assert len(await rows(admin, beside.live, "offsets")) == 1
        with pytest.raises(asyncpg.LockNotAvailableError):
            await admin.execute(f"SET lock_timeout = 50; {lock}")
    async with admin.transaction():
        await admin.execute(lock)
        with pytest.raises(NotHeld):
            async with beside.held(PLACE):
                raise AssertionError("somebody has it")


async def test_tables_are_exchanged_and_exchanged_again(beside: Beside, admin: Any) -> None:
    """Once both stand at the same numbers."""

    async def behind(stands: Stands) -> bool:
        return False

    await put(admin, beside.live, "totals", ("old", 1))
    await put(admin, beside.shadow, "totals", ("new", 2))
    before = await rows(admin, beside.live, "totals"), await rows(admin, beside.shadow, "totals")
    with pytest.raises(NotHeld):
        await exchange(beside, WHAT, behind, KNOWN.now(state="swapped"))
    assert await rows(admin, beside.live, "totals") == [("old", 1)]
    assert await beside.known() == KNOWN
    for turn in (1, -1):
        await exchange(beside, WHAT, at_once, KNOWN.now(state="swapped" if turn == 1 else "back"))
        after = await rows(admin, beside.live, "totals"), await rows(admin, beside.shadow, "totals")
        assert after == before[::-turn]
    known = await beside.known()
    assert known is not None
    assert known.state == "back"
    assert await admin.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE $1", f"{beside.live}%aside") == 0


async def test_a_lost_table_is_put_in_place(beside: Beside, admin: Any) -> None:
    await put(admin, beside.shadow, "totals", ("new", 2))
    await admin.execute(f'DROP TABLE "{beside.live}".totals')
    await exchange(beside, WHAT, at_once, KNOWN)
    assert await rows(admin, beside.live, "totals") == [("new", 2)]


async def test_who_caches_documents_loses_its_epoch(beside: Beside, admin: Any) -> None:
    for agent in ("tally", "other"):
        await admin.execute(
            f"INSERT INTO \"{beside.live}\".offsets (agent, topic, partition, epoch) VALUES ($1, 'tally.commands', 0, 4)",
            agent,
        )
    await exchange(beside, Exchange(("totals",), PLACE, ("tally",)), at_once, KNOWN)
    found = await admin.fetch(f'SELECT agent, epoch FROM "{beside.live}".offsets ORDER BY agent')
    assert [tuple(row) for row in found] == [("other", 4), ("tally", 5)]


async def test_a_timer_that_was_parked_is_not_compared_and_not_put_back(beside: Beside, admin: Any) -> None:
    parked = 'INSERT INTO "{}".parked (agent, topic, partition, "offset", key, headers, cause, error, holds) VALUES '
    values = "('tally', 'tally.commands', 0, -5, 'p', '[]', 'rule_failed', '', true)"
    await admin.execute(parked.format(beside.live) + values)
    await put(admin, beside.shadow, "timers", ("p/hold/1", 0, 5), ("q", 0, 5))
    timers = Compared("timers", ("key", "partition", "due"), ("key",))
    assert [pair.key for pair in await pairs(beside, timers)] == [["q"]]

    await exchange(beside, Exchange(("timers",), PLACE, (), "tally"), at_once, KNOWN)
    assert await rows(admin, beside.live, "timers") == [("q", 0, 5)]


TIED = {
    "the view .*seen reads .*totals": 'CREATE VIEW "{schema}".seen AS SELECT * FROM "{schema}".totals',
    ".*child refers to .*totals": 'CREATE TABLE "{schema}".child (a text REFERENCES "{schema}".totals)',
    "column m of totals has the type mood": (
        'CREATE TYPE "{schema}".mood AS ENUM (\'glad\'); ALTER TABLE "{schema}".totals ADD m "{schema}".mood'
    ),
    "a default of .*totals needs .*n": (
        'CREATE SEQUENCE "{schema}".n; ALTER TABLE "{schema}".totals ADD n int DEFAULT nextval(\'"{schema}".n\')'
    ),
    "trigger g of totals calls a function of the schema": (
        "CREATE FUNCTION \"{schema}\".f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        'CREATE TRIGGER g BEFORE INSERT ON "{schema}".totals EXECUTE FUNCTION "{schema}".f()'
    ),
}
"""What is said of tables that hang together with something that stays, and how that is made."""


async def test_tables_that_hang_together_with_what_stays_are_left_where_they_are(beside: Beside, admin: Any) -> None:
    """Else dropping one schema would take something from the other."""
    for words, statement in TIED.items():
        await beside.drop()
        await beside.make(KNOWN)
        await put(admin, beside.shadow, "totals", ("new", 2))
        await admin.execute(statement.format(schema=beside.shadow))
        with pytest.raises(CaravanError, match=f"cannot be exchanged: {words}"):
            await exchange(beside, WHAT, at_once, KNOWN.now(state="swapped"))
        assert await rows(admin, beside.live, "totals") == []
        assert await beside.known() == KNOWN


async def test_one_replays_a_domain_at_a_time(beside: Beside, admin: Any, settings: Settings) -> None:
    async with Beside(settings.postgres, settings.namespace, "tally") as first:
        await first.alone()
        assert await beside.is_run()
        with pytest.raises(Busy, match="another replay of tally runs"):
            await beside.alone()
    assert not await beside.is_run()
    await beside.alone()

    # and dropping it takes nothing whose name begins alike
    for name in (f"{beside.shadow}x", f"x{beside.shadow}", beside.live.replace("tally", "tall_")):
        await admin.execute(f'CREATE SCHEMA "{name}"')
    await beside.drop()
    found = await admin.fetch("SELECT nspname FROM pg_namespace WHERE position($1 IN nspname) > 0", beside.namespace)
    left = {row["nspname"].replace(beside.namespace, "") for row in found}
    assert left == {"edge", "other", "tally", "tally_shadowx", "xtally_shadow", "tall_"}
    for name in (f"{beside.shadow}x", f"x{beside.shadow}", beside.live.replace("tally", "tall_")):
        await admin.execute(f'DROP SCHEMA "{name}"')


# -- readers beside an exchange


async def both(db: Any) -> tuple[str, str]:
    """A view of two queries, with some time between, in another order than the tables are locked for an exchange."""
    account = await db.fetchval("SELECT account FROM totals")
    await db.fetchval("SELECT pg_sleep(0.02)")
    return account, await db.fetchval("SELECT note FROM entries")


@asynccontextmanager
async def reading(beside: Beside) -> AsyncIterator[Reader]:
    """What the edge lends to views."""
    connection = await asyncpg.connect(beside.dsn, server_settings={"search_path": f'"{beside.live}"'})
    try:
        yield Reader(connection, "tally")
    finally:
        await connection.close()


async def test_no_view_reads_rows_of_both_tables(beside: Beside, admin: Any) -> None:
    """Several that read again and again while tables are exchanged back and forth; each answer is all old or all new, and none fails."""
    for schema, name in ((beside.live, "old"), (beside.shadow, "new")):
        await put(admin, schema, "entries", ("a", 1, 5, name))
        await put(admin, schema, "totals", (name, 1))
    seen: list[tuple[str, str]] = []
    done = asyncio.Event()

    async def read() -> None:
        async with reading(beside) as db:
            while not done.is_set():
                seen.append(await db.view(both, {}))

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(read())
        for n in range(6):
            while len(seen) < 8 * (n + 1):  # noqa: ASYNC110 - tasks make it true
                await asyncio.sleep(0)
            while True:
                try:
                    await exchange(beside, WHAT, at_once, KNOWN)
                except NotHeld:
                    continue
                break
        done.set()
    assert set(seen) == {("old", "old"), ("new", "new")}


async def test_a_view_of_one_query_costs_no_transaction(beside: Beside) -> None:
    """One that asks more often is begun anew once, and from then on has one from the beginning."""
    inside: list[bool] = []

    async def one(db: Any) -> None:
        inside.append(db._connection.is_in_transaction())
        await db.fetchval("SELECT 1")

    async def several(db: Any) -> None:
        await one(db)
        await one(db)

    async with reading(beside) as db:
        await db.view(one, {})
        await db.view(several, {})
        assert inside == [False, False, False, True, True]
        await db.view(several, {})
        assert inside[5:] == [True, True]
