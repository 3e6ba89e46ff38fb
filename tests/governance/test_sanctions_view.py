"""What may be asked about sanctions, what the edge is told, and what the audit finds, on Postgres."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from agents.governance.audit import sanctions as audit
from agents.governance.sink.sanctions import AdminRow, SanctionRow, StandingRow
from agents.governance.view.sanctions import active_sanctions, admins, my_sanctions, open_appeals, standings
from sinks.postgres import migrate
from streams.view import Page, Paging, Standing
from tests.caravan.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CHECKS = (
    audit.standing_is_its_sanctions,
    audit.a_ban_ends_the_sessions_before_it,
    audit.no_admin_is_banned,
    audit.the_list_of_admins_is_not_empty_again,
    audit.nobody_judges_themselves,
)


def sanction(user: str, name: str, kind: str, hours: int, **other: Any) -> SanctionRow:
    """One that root imposed so many hours after noon."""
    row = SanctionRow(
        *(user, name, kind, "active", "so", "root", NOON + hours * HOUR, None, "", None, "none"),
        *(None, None, None, None, None),
    )
    return row._replace(**other)


ROWS = [
    sanction("ann", "w1", "warning", 0, appeal="filed", text="No.", filed_at=NOON + 3 * HOUR),
    sanction("ann", "b1", "ban", 1, until=NOON + 9 * HOUR, appeal="filed", text="No!", filed_at=NOON + 2 * HOUR),
    sanction("bob", "r1", "restriction", 1, scopes="points,quests"),
    sanction("cy", "b1", "ban", 0, status="lifted", ended_at=NOON + HOUR, appeal="upheld", decided_by="deputy"),
    StandingRow("ann", True, NOON + 9 * HOUR, "{}", NOON + HOUR),
    StandingRow("bob", False, None, '{"points":null,"quests":"2026-01-02T00:00:00Z"}', None),
    StandingRow("cy", False, None, "{}", NOON),
    StandingRow("dan", False, None, "{}", None),
    AdminRow("root", NOON, "root"),
    AdminRow("deputy", NOON + HOUR, "root"),
    AdminRow("former", None, "root"),
]


async def put(db: Any, *rows: Any) -> None:
    for row in rows:
        await db.copy_records_to_table(row.__rows__.name, records=[row])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(infra: Running) -> AsyncIterator[Any]:
    """A schema with these rows; what a test changes is taken back."""
    namespace = f"t{secrets.token_hex(3)}_"
    await migrate(infra.postgres, namespace, ["governance"])
    connection = await asyncpg.connect(infra.postgres, server_settings={"search_path": f'"{namespace}governance"'})
    await put(connection, *ROWS)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def db(filled: Any) -> AsyncIterator[Any]:
    changes = filled.transaction()
    await changes.start()
    yield filled
    await changes.rollback()


async def pages(view: Any, db: Any, *args: Any, **asked: Any) -> list[Any]:
    """All of a list, one at a time."""
    found, paging = [], Paging(limit=1)
    while True:
        page: Page[Any] = await view(db, *args, paging, **asked)
        found += page.items
        if page.next is None:
            return found
        paging = Paging.read(page.next, 1)


@pytest.mark.req("SR098")
async def test_the_active_the_oldest_first_and_those_of_one_user_or_kind(db: Any) -> None:
    everything = await pages(active_sanctions, db)
    assert [(one.user_id, one.sanction_id) for one in everything] == [("ann", "w1"), ("ann", "b1"), ("bob", "r1")]
    assert everything[2].scopes == ("points", "quests")
    assert [one.sanction_id for one in await pages(active_sanctions, db, user_id="ann")] == ["w1", "b1"]
    assert [one.user_id for one in await pages(active_sanctions, db, kind="restriction")] == ["bob"]
    assert await pages(active_sanctions, db, user_id="dan") == []


async def test_users_see_theirs_the_newest_first_and_nobodys_name(db: Any) -> None:
    mine = await pages(my_sanctions, db, "ann")
    assert [(one.sanction_id, one.appeal) for one in mine] == [("b1", "filed"), ("w1", "filed")]
    assert not {"imposed_by", "decided_by"} & {*type(mine[0]).model_fields}
    assert [one.status for one in await pages(my_sanctions, db, "cy")] == ["lifted"]


async def test_appeals_that_wait_the_oldest_first_and_admins_who_are_listed(db: Any) -> None:
    assert [one.sanction_id for one in await pages(open_appeals, db)] == ["b1", "w1"]
    assert [one.user_id for one in await pages(admins, db)] == ["deputy", "root"]


async def test_the_edge_is_told_of_those_from_whom_something_is_kept(db: Any) -> None:
    found = sorted(await standings(db))
    assert found == [
        Standing("ann", True, NOON + 9 * HOUR, {}, NOON + HOUR),
        Standing("bob", False, None, {"points": None, "quests": datetime(2026, 1, 2, tzinfo=UTC)}, None),
        Standing("cy", False, None, {}, NOON),
    ]


async def test_the_audit_finds_nothing_where_nothing_is_wrong(db: Any) -> None:
    assert [await check(db) for check in CHECKS] == [[]] * len(CHECKS)


@pytest.mark.parametrize(
    ("change", "finds"),
    [
        ("UPDATE standing SET banned = false WHERE user_id = 'ann'", "standing_is_its_sanctions"),
        ("UPDATE standing SET restricted = '{}' WHERE user_id = 'bob'", "standing_is_its_sanctions"),
        ("DELETE FROM standing WHERE user_id = 'bob'", "standing_is_its_sanctions"),
        ("UPDATE standing SET banned = true WHERE user_id = 'dan'", "standing_is_its_sanctions"),
        ("UPDATE standing SET not_before = NULL WHERE user_id = 'cy'", "a_ban_ends_the_sessions_before_it"),
        ("UPDATE standing SET not_before = '2026-01-01' WHERE user_id = 'ann'", "a_ban_ends_the_sessions_before_it"),
        ("UPDATE admin SET user_id = 'ann' WHERE user_id = 'deputy'", "no_admin_is_banned"),
        ("UPDATE admin SET since = NULL", "the_list_of_admins_is_not_empty_again"),
        ("UPDATE sanction SET imposed_by = 'bob' WHERE user_id = 'bob'", "nobody_judges_themselves"),
        ("UPDATE sanction SET decided_by = 'root' WHERE user_id = 'cy'", "nobody_judges_themselves"),
    ],
)
async def test_the_audit_finds_what_was_changed(db: Any, change: str, finds: str) -> None:
    await db.execute(change)

    assert [check.__name__ for check in CHECKS if await check(db)] == [finds]
