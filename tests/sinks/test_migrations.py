"""Migrations: each script once, all or nothing, by one migrator at a time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sinks.postgres import migrations
from sinks.postgres.migrations import migrate, migrate_beside, pending
from sinks.postgres.status import status
from sinks.postgres.store import PostgresStore
from streams import discover
from streams.errors import CaravanError
from streams.ids import uuid7
from streams.settings import Settings
from tests.sinks.test_store import SLOT, record, result, work

CORE = [name for name, _ in migrations._core("core")]
ALL = [
    *(f"edge/{name}" for name, _ in migrations._core("edge")),
    *(f"other/{name}" for name in CORE),
    *(f"tally/{name}" for name in CORE),
    "tally/0001_rows",
]


async def tables(admin: Any, schema: str) -> set[str]:
    rows = await admin.fetch("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = $1", schema)
    return {row["name"] for row in rows}


async def test_each_script_is_applied_once(settings: Settings, tally: None) -> None:
    dsn, namespace = settings.postgres, settings.namespace
    assert await pending(dsn, namespace) == ALL
    assert await migrate(dsn, namespace) == ALL
    assert await pending(dsn, namespace) == []
    assert await migrate(dsn, namespace) == []


async def test_migrators_at_once_take_turns(settings: Settings, tally: None) -> None:
    done = await asyncio.gather(*(migrate(settings.postgres, settings.namespace) for _ in range(4)))
    assert sorted(done, key=len) == [[], [], [], ALL]


async def test_a_script_that_fails_changes_nothing_and_says_which_it_was(
    settings: Settings, tally: None, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, namespace = settings.postgres, settings.namespace
    scripts = [("0001_good", "CREATE TABLE good ()"), ("0002_bad", "CREATE TABLE half (); SELECT 1 / 0")]
    monkeypatch.setattr(discover, "migrations", lambda domain: scripts if domain == "tally" else [])
    with pytest.raises(CaravanError, match="tally/0002_bad failed and changed nothing"):
        await migrate(dsn, namespace)
    there = await tables(admin, f"{namespace}tally")
    assert "good" in there
    assert "half" not in there
    assert await pending(dsn, namespace) == ["tally/0002_bad"]
    scripts[1] = ("0002_bad", "CREATE TABLE half ()")
    assert await migrate(dsn, namespace) == ["tally/0002_bad"]


async def test_a_new_table_belongs_to_its_domain_and_the_edge_may_read_it(
    settings: Settings, tally: None, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, namespace = settings.postgres, settings.namespace
    await migrate(dsn, namespace)
    monkeypatch.setattr(discover, "migrations", lambda _: [("0002_later", "CREATE TABLE later (a int)")])
    await migrate(dsn, namespace)
    await admin.execute(f'SET ROLE "{namespace}tally"; INSERT INTO "{namespace}tally".later VALUES (1)')
    await admin.execute(f'RESET ROLE; SET ROLE "{namespace}edge"')
    assert await admin.fetchval(f'SELECT a FROM "{namespace}tally".later') == 1


async def test_a_schema_beside_the_live_one_is_whole_and_empty(settings: Settings, tally: None, admin: Any) -> None:
    await migrate(settings.postgres, settings.namespace)
    beside = await migrate_beside(settings.postgres, settings.namespace, "tally")
    assert beside == f"{settings.namespace}tally_shadow"
    assert await tables(admin, beside) == await tables(admin, f"{settings.namespace}tally")


async def test_postgres_away_is_told_in_words(free_port: int) -> None:
    with pytest.raises(CaravanError, match="CARAVAN_POSTGRES"):
        await migrate(f"postgresql://nobody:nothing@127.0.0.1:{free_port}/none")


async def test_results_go_into_the_partition_of_their_ids_day(
    postgres: PostgresStore, admin: Any, namespace: str
) -> None:
    claim = await postgres.claim(SLOT, "me", None)
    now = datetime.now(UTC)
    days = [now, now + timedelta(days=1), now - timedelta(days=400)]
    results = [result(uuid7(int(day.timestamp() * 1000))) for day in days]
    await postgres.commit(SLOT, claim.epoch, work(0, 4, results=results))
    rows = await admin.fetch(f'SELECT tableoid::regclass::text AS part FROM "{namespace}tally".results')
    parts = {row["part"].split(".")[-1].strip('"') for row in rows}
    assert parts == {f"results_{days[0]:%Y%m%d}", f"results_{days[1]:%Y%m%d}", "results_default"}


async def test_partitions_of_coming_days_are_made_in_time(
    postgres: PostgresStore, admin: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await postgres.claim(SLOT, "me", None)
    await postgres.commit(SLOT, claim.epoch, work(0, 4))
    monkeypatch.setattr(migrations, "DAYS_AHEAD", 6)
    await asyncio.gather(postgres.keep_up(), postgres.keep_up())
    there = await tables(admin, f"{namespace}tally")
    ahead = [datetime.now(UTC) + timedelta(days=n) for n in range(6)]
    assert {f"results_{day:%Y%m%d}" for day in ahead} <= there


async def test_status_tells_where_everything_stands(postgres: PostgresStore, settings: Settings) -> None:
    claim = await postgres.claim(SLOT, "me", None)
    parked = [record(1, b"a"), record(2, b"a"), record(3, b"b", holds=False)]
    await postgres.commit(SLOT, claim.epoch, work(0, 4, parked=parked, relayed=3, duplicates=2))
    await postgres.stopped(SLOT, "Because.")
    (row,) = await status(settings.postgres, settings.namespace)
    told = {name: row[name] for name in ("domain", "agent", "topic", "partition", "next", "epoch", "owner")}
    assert told == {
        "domain": "tally", "agent": "tally", "topic": "tally.commands", "partition": 1, "next": 4, "epoch": 1, "owner": "me",
    }  # fmt: skip
    assert (row["parked"], row["held_keys"], row["stopped"], row["relayed"], row["duplicates"]) == (
        3,
        1,
        "Because.",
        3,
        2,
    )
    assert row["bytes"] > 0
