"""What only Postgres can show: owners that froze, connections that are cut, roles, constraints."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from sinks.postgres import store as module
from sinks.postgres.faults import DRIVER
from sinks.postgres.migrations import migrate_beside
from sinks.postgres.moves import mark
from sinks.postgres.store import PostgresStore
from streams.errors import CaravanError
from streams.ids import uuid7
from streams.settings import Settings
from streams.sink import Rows
from streams.store import BadData, Lost, Unavailable, Work
from tests.sinks.test_store import ENTRIES, SLOT, document, new_id, outgoing, record, result, whole, work

UNLIKE = Rows("unlike", ("account", "code"))
BOARD = Rows("results_board", ("account",))
LOCK = 'SELECT FROM "{}tally".offsets FOR UPDATE'


async def blocked(admin: Any, count: int = 1) -> None:
    """Wait until so many sessions wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'"
    async with asyncio.timeout(20):
        while await admin.fetchval(query, "offsets") < count:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
async def frozen(settings: Settings) -> AsyncIterator[Any]:
    """A session of another process that will say nothing any more."""
    connection = await asyncpg.connect(settings.postgres)
    yield connection
    connection.terminate()


@pytest.fixture
async def begun(postgres: PostgresStore) -> int:
    """The position is 4; the epoch."""
    claim = await postgres.claim(SLOT, "me", None)
    await postgres.commit(SLOT, claim.epoch, work(0, 4))
    return claim.epoch


async def test_an_owner_frozen_in_its_transaction_is_ended(
    postgres: PostgresStore, frozen: Any, namespace: str, begun: int
) -> None:
    await frozen.execute("BEGIN")
    await frozen.execute(LOCK.format(namespace))
    async with asyncio.timeout(20):  # without ending it this would take for ever
        claim = await postgres.claim(SLOT, "you", None)
    assert (claim.next, claim.epoch) == (4, begun + 1)
    with pytest.raises(DRIVER):
        await frozen.execute("COMMIT")


async def test_an_owner_frozen_inside_a_copy_is_ended(
    postgres: PostgresStore, frozen: Any, namespace: str, begun: int
) -> None:
    """No time-out of Postgres fires while a client is silent inside a COPY."""
    silent, asked = asyncio.Event(), asyncio.Event()

    async def rows() -> AsyncIterator[bytes]:
        yield b"a\t1\t5\tx\n"
        asked.set()
        await silent.wait()

    await frozen.execute("BEGIN")
    await frozen.execute(LOCK.format(namespace))
    copying = asyncio.create_task(
        frozen.copy_to_table("entries", source=rows(), schema_name=f"{namespace}tally", format="text")
    )
    await asked.wait()
    async with asyncio.timeout(20):
        claim = await postgres.claim(SLOT, "you", None)
    assert claim.epoch == begun + 1
    silent.set()
    outcome = await asyncio.gather(copying, return_exceptions=True)
    assert isinstance(outcome[0], Exception)
    assert await count(postgres, namespace, "entries") == 0


async def test_an_owner_frozen_in_its_very_first_claim_is_ended(
    postgres: PostgresStore, frozen: Any, namespace: str
) -> None:
    await frozen.execute("BEGIN")
    await frozen.execute(
        f"INSERT INTO \"{namespace}tally\".offsets (agent, topic, partition) VALUES ('tally', 'tally.commands', 1)"
    )
    async with asyncio.timeout(20):
        assert (await postgres.claim(SLOT, "you", None)).epoch == 1


async def test_a_claim_that_is_given_up_leaves_its_connection_usable(
    postgres: PostgresStore, frozen: Any, admin: Any, namespace: str, begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 60.0)
    await frozen.execute("BEGIN")
    await frozen.execute(LOCK.format(namespace))
    claiming = asyncio.create_task(postgres.claim(SLOT, "you", None))
    await blocked(admin)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    await frozen.execute("ROLLBACK")
    assert (await postgres.claim(SLOT, "me", begun)).epoch == begun


async def count(store: PostgresStore, namespace: str, table: str) -> int:
    async with store._read.acquire() as connection:
        return int(await connection.fetchval(f'SELECT count(*) FROM "{namespace}tally".{table}'))


async def holding(admin: Any, namespace: str) -> list[int]:
    """The sessions that hold the position's row, once there are any."""
    query = "SELECT pid FROM pg_locks WHERE relation = to_regclass($1) AND mode = 'RowShareLock' AND granted"
    async with asyncio.timeout(20):
        while not (pids := await admin.fetch(query, f'"{namespace}tally".offsets')):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
    return [row["pid"] for row in pids]


async def test_a_connection_cut_in_a_commit_does_nothing_by_half(
    postgres: PostgresStore, frozen: Any, admin: Any, namespace: str, begun: int
) -> None:
    await frozen.execute("BEGIN")
    await frozen.execute(f'LOCK TABLE "{namespace}tally".totals IN SHARE ROW EXCLUSIVE MODE')
    committing = asyncio.create_task(postgres.commit(SLOT, begun, whole()))
    for pid in await holding(admin, namespace):  # as a failing network or a restart does
        await admin.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises((Unavailable, Lost)):
        await committing
    await frozen.execute("ROLLBACK")
    assert [await count(postgres, namespace, t) for t in ("entries", "state", "parked", "outbox")] == [0, 0, 0, 0]
    await postgres.commit(SLOT, begun, whole())
    assert [await count(postgres, namespace, t) for t in ("entries", "state", "parked", "outbox")] == [1, 1, 1, 1]


async def test_a_commit_that_is_cancelled_does_nothing_and_leaves_its_connection_usable(
    postgres: PostgresStore, frozen: Any, admin: Any, namespace: str, begun: int
) -> None:
    await frozen.execute("BEGIN")
    await frozen.execute(f'LOCK TABLE "{namespace}tally".totals IN SHARE ROW EXCLUSIVE MODE')
    committing = asyncio.create_task(postgres.commit(SLOT, begun, whole()))
    await holding(admin, namespace)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    await frozen.execute("ROLLBACK")
    await postgres.commit(SLOT, begun, whole())
    assert await count(postgres, namespace, "entries") == 1


async def test_a_commit_under_way_ends_before_a_claim_or_is_fenced(
    postgres: PostgresStore, frozen: Any, admin: Any, namespace: str, begun: int
) -> None:
    await frozen.execute("BEGIN")
    await frozen.execute(f'LOCK TABLE "{namespace}tally".totals IN SHARE ROW EXCLUSIVE MODE')
    committing = asyncio.create_task(postgres.commit(SLOT, begun, whole()))
    claiming = asyncio.create_task(postgres.claim(SLOT, "you", None))
    await asyncio.wait([claiming])
    await frozen.execute("ROLLBACK")
    (outcome,) = await asyncio.gather(committing, return_exceptions=True)
    claim = claiming.result()
    assert isinstance(outcome, Lost | Unavailable)
    assert claim.next == 4
    assert await count(postgres, namespace, "entries") == 0


async def test_postgres_away_is_unavailable(settings: Settings, free_port: int) -> None:
    away = f"postgresql://nobody:nothing@127.0.0.1:{free_port}/none"
    with pytest.raises(CaravanError, match="CARAVAN_POSTGRES"):
        await PostgresStore(away).start()


async def test_a_store_that_is_stopped_is_unavailable(postgres: PostgresStore) -> None:
    await postgres.stop()
    with pytest.raises(Unavailable):
        await postgres.claim(SLOT, "me", None)
    await postgres.stop()


# -- whose fault it is


@pytest.mark.parametrize(
    "rows",
    [
        {ENTRIES: [("a", 1, -100, None)]},  # CHECK
        {ENTRIES: [(None, 1, 1, None)]},  # NOT NULL
        {ENTRIES: [("a", "one", 1, None)]},  # another type
        {ENTRIES: [("a", "one", 1, None)] * 100},
        {ENTRIES: [("a", 1, 1.5, object())]},
        {ENTRIES: [(7, 1, 1, None)] * 100},
        {BOARD: [("a",), ("a",)]},  # another table whose name begins like the inbox's
        {BOARD: [("a",)] * 100},
        {UNLIKE: [("a", 1), ("b", 1)]},  # known at COMMIT only
    ],
    ids=["check", "null", "type", "types", "object", "text", "unique", "unique many", "at commit"],
)
async def test_the_record_is_at_fault(
    postgres: PostgresStore, namespace: str, begun: int, rows: dict[Rows, list[tuple[Any, ...]]]
) -> None:
    with pytest.raises(BadData):
        await postgres.commit(SLOT, begun, whole(rows=rows))
    assert [await count(postgres, namespace, t) for t in ("entries", "state", "parked", "outbox")] == [0, 0, 0, 0]
    await postgres.commit(SLOT, begun, whole())


@pytest.mark.parametrize(
    "columns", [("nowhere", ("a",), ()), ("entries", ("nothing",), ()), ("nowhere", ("a",), ("a",))]
)
@pytest.mark.parametrize("width", [1, 100])
async def test_a_table_that_is_missing_is_no_records_fault(
    postgres: PostgresStore, begun: int, columns: Any, width: int
) -> None:
    with pytest.raises(Unavailable):
        await postgres.commit(SLOT, begun, whole(rows={Rows(*columns): [("x",)] * width}))


async def test_a_number_that_is_taken_is_no_records_fault(postgres: PostgresStore, begun: int) -> None:
    await postgres.commit(SLOT, begun, work(4, 5, outbox=[outgoing(8)]))
    with pytest.raises(Lost):
        await postgres.commit(SLOT, begun, work(5, 6, outbox=[outgoing(8)]))


async def test_many_rows_at_once(postgres: PostgresStore, begun: int, namespace: str) -> None:
    results = [result(uuid7(1_795_000_000_000 + n)) for n in range(5000)]
    outbox = [outgoing(n) for n in range(1, 5001)]
    states = [document(f"k{n}", 1, 0) for n in range(5000)]
    parked = [record(n, b"k%d" % n) for n in range(5000)]
    entries = {ENTRIES: [("a", n, n, None) for n in range(5000)]}
    await postgres.commit(
        SLOT, begun, work(4, 9, results=results, outbox=outbox, states=states, parked=parked, rows=entries)
    )
    tables = ("results", "outbox", "state", "parked", "entries")
    assert [await count(postgres, namespace, table) for table in tables] == [5000] * 5


async def test_events_that_kafka_has_are_swept_in_passing(postgres: PostgresStore, begun: int, namespace: str) -> None:
    await postgres.commit(SLOT, begun, work(4, 5, outbox=[outgoing(n) for n in range(1, 101)]))
    await postgres.commit(SLOT, begun, work(5, 6, relayed=6000))
    assert await count(postgres, namespace, "outbox") == 0


async def test_who_waits_is_told_after_the_commit(
    postgres: PostgresStore, admin: Any, namespace: str, begun: int
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await admin.add_listener(f"{namespace}caravan", lambda *message: heard.put_nowait(message[-1]))
    await postgres.commit(SLOT, begun, work(4, 9))
    event = outgoing(1)
    await postgres.commit(SLOT, begun, work(9, 10, outbox=[event]))
    async with asyncio.timeout(20):
        assert [await heard.get() for _ in range(2)] == ["tally:tally:1:9:", f"tally:tally:1:10:{mark(event.key)}"]


# -- roles


@pytest.mark.req("SR008")
async def test_a_domain_sees_its_own_schema_only(postgres: PostgresStore, admin: Any, namespace: str) -> None:
    await admin.execute(f'SET ROLE "{namespace}tally"')
    await admin.execute(f"INSERT INTO \"{namespace}tally\".totals VALUES ('a', 1)")
    for statement in (
        f'SELECT * FROM "{namespace}other".results',
        f'SELECT * FROM "{namespace}edge".idempotency',
        f'DELETE FROM "{namespace}other".state',
        f'CREATE TABLE "{namespace}other".mine ()',
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await admin.execute(statement)


@pytest.mark.req("SR008")
async def test_the_edge_only_reads_what_domains_keep(postgres: PostgresStore, admin: Any, namespace: str) -> None:
    await admin.execute(f'SET ROLE "{namespace}edge"')
    for table in ("totals", "entries", "results", "offsets", "parked", "state"):
        await admin.fetch(f'SELECT * FROM "{namespace}tally".{table}')
        for statement in ("INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await admin.execute(statement.format(f'"{namespace}tally".{table}'))
    await admin.execute(f'DELETE FROM "{namespace}edge".idempotency')


async def test_a_commit_acts_as_its_domain(postgres: PostgresStore, admin: Any, namespace: str, begun: int) -> None:
    await admin.execute(f'REVOKE INSERT ON "{namespace}tally".entries FROM "{namespace}tally"')
    with pytest.raises(Unavailable, match="42501"):
        await postgres.commit(SLOT, begun, whole())


async def test_a_rebuild_goes_into_the_schema_beside(
    settings: Settings, postgres: PostgresStore, namespace: str
) -> None:
    beside = PostgresStore(
        settings.postgres, namespace, {"tally": await migrate_beside(settings.postgres, namespace, "tally")}
    )
    await beside.start()
    claim = await beside.claim(SLOT, "me", None)
    batch: Work = whole(results=[result(new_id())])
    batch.expected = 0
    await beside.commit(SLOT, claim.epoch, batch)
    await beside.stop()
    assert await count(postgres, namespace, "entries") == 0
    assert await count(postgres, namespace, "results") == 0
