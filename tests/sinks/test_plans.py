"""How Postgres finds what views and the core ask for: by an index, whatever the size of the tables."""

import asyncio
import inspect
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from sinks.postgres.migrations import migrate
from sinks.postgres.reader import Reader
from sinks.postgres.store import PostgresStore
from streams import discover
from streams.settings import Settings
from streams.sink import Rows
from streams.store import Settled, Slot, Stored, Work
from streams.view import Paging
from tests.sinks.test_store import new_id, outgoing, record, result

FEW, MANY = 5_000, 1_000_000  # rows
DOMAINS = discover.domains()
SMALL = {"migrations", "offsets"}  # a row a migration, or an agent and partition
FILL = {  # a value of each type, made of the number `n` of its row
    "text": "'k' || n", "bigint": "n", "integer": "n % 1000", "boolean": "true", "uuid": "('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid",
    "timestamp with time zone": "timestamptz '2026-01-01' + n * interval '1 s'", "date": "date '2026-01-01' + n::integer", "json": "'[]'::json", "bytea": "('k' || n)::bytea",
}  # fmt: skip
WORD = {  # few of these differ
    "agent": "'points'", "topic": "'points.commands'", "partition": "(n % 4)::integer", "action": "'skip'", "status": "'waiting'",
}  # fmt: skip
CORE = {"results", "outbox", "parked", "state", "timers", "effects", "requests"}
SLOT = Slot("points", "points", "points.commands", 1)


WHOLE = {"points.issued_vs_spent", "governance.moderation_stats"}  # sums over everybody, for admins


class Recorder:
    """A `db` that finds nothing and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        self.asked.append((query, args))
        return []

    async def fetchrow(self, query: str, *args: Any) -> None:
        self.asked.append((query, args))


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator[Any]:
    await migrate(settings.postgres, settings.namespace)
    connection = await asyncpg.connect(settings.postgres)
    yield connection
    await connection.close()


async def fill(admin: Any, schema: str, rows: int, *, core: bool) -> None:
    """Every table of the core in a schema, or else of the domain's views; each row another key."""
    columns = await admin.fetch(
        "SELECT c.oid, c.relname, a.attname, format_type(a.atttypid, NULL) AS type FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped "
        "AND a.attgenerated = ''",
        f'"{schema}"',
    )
    await admin.execute(
        f"""SET search_path = "{schema}"; SET session_replication_role = replica"""
    )  # no word to anybody
    tables = {row["relname"] for row in columns} - SMALL
    for table in tables & CORE if core else tables - CORE:
        of = [row for row in columns if row["relname"] == table]
        names = ", ".join(f'"{row["attname"]}"' for row in of)
        values = ", ".join((table in CORE and WORD.get(row["attname"])) or FILL[row["type"]] for row in of)
        await admin.execute(
            f'INSERT INTO "{table}" ({names}) SELECT {values} FROM generate_series(1, {rows}) n; ANALYZE "{table}"'
        )
    await admin.execute("RESET session_replication_role")


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def plan_of(admin: Any, query: str, args: tuple[Any, ...]) -> list[tuple[str, str | None]]:
    told = await admin.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *args)
    return [(node["Node Type"], node.get("Relation Name")) for node in nodes(json.loads(told)[0]["Plan"])]


def given(function: Any) -> dict[str, Any]:
    """Arguments that name a key which is there."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    kinds: dict[Any, Any] = {Paging: Paging(), datetime | None: datetime.now(UTC)}
    return {p.name: kinds.get(p.annotation, "k77") for p in parameters}


async def every_view_goes_by_an_index(admin: Any, namespace: str, domain: str, rows: int) -> None:
    await fill(admin, f"{namespace}{domain}", rows, core=False)
    for name, function in discover.views(domain).items():
        db = Recorder()
        await function(db, **given(function))
        assert db.asked, f"{name} asked nothing"
        for query, args in db.asked:
            found = await plan_of(admin, query, args)
            kinds = [kind for kind, _ in found]
            assert "Seq Scan" not in kinds or f"{domain}.{name}" in WHOLE, f"{domain}.{name}: {found}"
            assert any("Index" in kind for kind in kinds) or f"{domain}.{name}" in WHOLE, f"{domain}.{name}: {found}"


@pytest.mark.parametrize("domain", DOMAINS)
async def test_every_query_of_every_view_goes_by_an_index(admin: Any, namespace: str, domain: str) -> None:
    await every_view_goes_by_an_index(admin, namespace, domain, FEW)


@pytest.mark.full
@pytest.mark.timeout(600)  # a million rows of each table
@pytest.mark.req("SR146")
@pytest.mark.parametrize("domain", DOMAINS)
async def test_every_query_of_every_view_goes_by_an_index_at_a_million_rows(
    admin: Any, namespace: str, domain: str
) -> None:
    await every_view_goes_by_an_index(admin, namespace, domain, MANY)


async def scans(admin: Any, schema: str) -> dict[str, int]:
    """How often each table was read from end to end."""
    found = await admin.fetch(
        "SELECT relname, pg_stat_get_numscans(relid) AS scans FROM pg_stat_user_tables WHERE schemaname = $1", schema
    )
    return {row["relname"]: row["scans"] for row in found if row["relname"] not in SMALL}


async def ask_everything(settings: Settings, schema: str) -> None:
    """All that a worker asks in its loop, and the edge of the core's tables; the sessions then end, which tells their counts."""
    named = f"{settings.postgres}{'&' if '?' in settings.postgres else '?'}application_name={schema}"
    store = PostgresStore(named, settings.namespace)
    await store.start()
    claim = await store.claim(SLOT, "me", None)
    ids = [UUID(int=(7 << 76) + int(str(n), 16)) for n in (77, 99)]
    await store.standing(SLOT)
    await store.load(SLOT, ["k77", "new"])
    await store.known(SLOT, ids)
    await store.held(SLOT, [b"k77"])
    await store.asked(SLOT, 10)
    await store.parked(SLOT, 77)
    await store.queue(SLOT, b"k77", 10)
    await store.timers(SLOT, 10)
    await store.owed(SLOT, 10)
    await store.calls_of(SLOT, [77])
    await store.unsent(SLOT, 77, 10)
    for begin in range(2):
        await store.commit(SLOT, claim.epoch, everything(begin))
    await store.sent(SLOT, claim.epoch, 5)
    await store.stop()
    edge = await asyncpg.connect(named, server_settings={"search_path": f'"{schema}"'})
    reader = Reader(edge, "points")
    await reader.stand(1, 77)
    await reader.outcome(ids[0], 1, 77)
    await reader.outcome(ids[0], None, None)
    await edge.close()


def everything(begin: int) -> Work:
    """A batch that changes something of everything; the second one changes what the first one wrote."""
    last = 50_000_000 + begin
    settled = Settled(new_id(), "accepted", None, None)
    balance = Rows("balance", ("user_id", "available", "held"), ("user_id",))
    return Work(
        begin, begin + 1, last, "id", relayed=6000 * begin,
        results=[result(new_id(), offset=begin)],
        settled=[settled],
        outbox=[outgoing(last)],
        rows=defaultdict(list, {balance: [("k77", 1, 0), ("new", 1, 0)]}),
        states=[Stored("new", begin + 1, begin, 1, 1, "{}")],
        timers={"k77": None, "new": begin},
        parked=[record(last, b"new")],
        unparked=[77],
    )  # fmt: skip


async def the_core_reads_no_table_from_end_to_end(admin: Any, settings: Settings, rows: int) -> None:
    schema = f"{settings.namespace}points"
    await fill(admin, schema, rows, core=True)
    before = await scans(admin, schema)
    await ask_everything(settings, schema)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    async with asyncio.timeout(20):
        while await admin.fetchval(query, schema):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
    await admin.execute("SELECT pg_stat_clear_snapshot()")
    after = await scans(admin, schema)
    assert {table: count for table, count in after.items() if count > before[table]} == {}
    assert after.keys() > CORE - {"results"}


async def test_the_core_reads_no_table_from_end_to_end(admin: Any, settings: Settings) -> None:
    await the_core_reads_no_table_from_end_to_end(admin, settings, FEW)


@pytest.mark.full
@pytest.mark.timeout(600)  # a million rows of each table
@pytest.mark.req("SR146")
async def test_the_core_reads_no_table_from_end_to_end_at_a_million_rows(admin: Any, settings: Settings) -> None:
    await the_core_reads_no_table_from_end_to_end(admin, settings, MANY)
