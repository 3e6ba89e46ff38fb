"""The views of KYC and AML on a real Postgres, and what the audit says of rows that do not add up."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from agents.governance.audit import kyc as checks
from agents.governance.sink.kyc import KycDocumentRow, KycRow, ScreeningRow
from agents.governance.view.kyc import aml_alerts, kyc_queue, kyc_status
from sinks.postgres import migrate
from streams.envelope import Actor
from streams.testing import user
from streams.view import Page, Paging
from tests.caravan.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)


async def put(db: Any, *rows: Any) -> None:
    for row in rows:
        await db.copy_records_to_table(row.__rows__.name, records=[row])


def papers(user_id: str, attempt: int = 1) -> list[KycDocumentRow]:
    """All that an attempt needs."""
    kinds = ("passport", "selfie")
    return [KycDocumentRow(user_id, attempt, f"{kind}{attempt}", kind, NOON) for kind in kinds]


def waiting(user_id: str, n: int, status: str = "pending") -> KycRow:
    """An attempt that was handed in after so many hours."""
    row = KycRow(user_id, status, 1, NOON, NOON + n * HOUR, None, None, None, None, None)
    if status == "on_hold":
        return row._replace(decided_at=NOON + 9 * HOUR, decided_by="piet", reason="The back is missing")
    return row


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(infra: Running) -> AsyncIterator[Any]:
    """A schema with these rows; what a test adds is taken back."""
    namespace = f"t{secrets.token_hex(3)}_"
    await migrate(infra.postgres, namespace, ["governance"])
    connection = await asyncpg.connect(infra.postgres, server_settings={"search_path": f'"{namespace}governance"'})
    await put(
        connection,
        KycRow("ann", "approved", 2, NOON, NOON, NOON + HOUR, "piet", None, None, NOON + YEAR),
        KycRow("bob", "rejected", 1, NOON, NOON, NOON + HOUR, "piet", "Not to be read", True, None),
        KycRow("cy", "init", 1, NOON, None, None, None, None, None, None),
        waiting("dan", 3),
        waiting("eve", 1, "on_hold"),
        waiting("fay", 3),
        *(row for name in ("ann", "bob", "dan", "eve", "fay") for row in papers(name)),
        *papers("ann", 2),
        ScreeningRow("ann", "s1", "user", "lists", "", "clear", NOON, None, None, None),
        ScreeningRow("ann", "s2", "user", "lists", "eu un", "open", NOON + HOUR, None, None, None),
        ScreeningRow("bob", "s1", "withdrawal:w1", "lists", "eu", "open", NOON, None, None, None),
        ScreeningRow("cy", "s1", "user", "lists", "eu", "cleared", NOON, NOON + HOUR, "piet", "Another person"),
    )
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def db(filled: Any) -> AsyncIterator[Any]:
    changes = filled.transaction()
    await changes.start()
    yield filled
    await changes.rollback()


async def pages(view: Any, db: Any) -> list[Any]:
    """All of a list, two at a time."""
    found, paging = [], Paging(limit=2)
    while True:
        page: Page[Any] = await view(db, paging)
        assert len(page.items) <= 2
        found += page.items
        if page.next is None:
            return found
        paging = Paging.read(page.next, 2)


@pytest.mark.req("SR142")
async def test_users_see_how_far_they_have_come_with_the_papers_of_their_last_attempt(db: Any) -> None:
    found = await kyc_status(db, "ann")

    assert found
    assert (found.status, found.attempt, found.expires_at) == ("approved", 2, NOON + YEAR)
    assert [paper.media_id for paper in found.documents] == ["passport2", "selfie2"]
    assert await kyc_status(db, "nobody") is None


async def test_admins_see_what_waits_the_oldest_first(db: Any) -> None:
    assert [one.user_id for one in await pages(kyc_queue, db)] == ["eve", "dan", "fay"]
    assert [(one.user_id, one.alert_id, one.hits) for one in await pages(aml_alerts, db)] == [
        ("bob", "s1", ["eu"]),
        ("ann", "s2", ["eu", "un"]),
    ]


@pytest.mark.parametrize(
    ("view", "who", "sees"),
    [
        (kyc_status, user("ann"), True),
        (kyc_status, user("bob"), False),
        (kyc_status, user("piet", "Admin"), True),
        (kyc_queue, user("ann", "PRO"), False),
        (aml_alerts, user("ann"), False),
        (aml_alerts, user("piet", "Admin"), True),
    ],
)
async def test_nobody_else_sees_them_and_no_user_their_alerts(view: Any, who: Actor, sees: bool) -> None:
    assert view.__readers__.admit(who, {"user_id": "ann"}) is sees


DAMAGES = [
    (checks.kyc_is_what_its_status_says, "UPDATE kyc SET decided_by = user_id WHERE user_id = 'ann'"),
    (checks.kyc_is_what_its_status_says, "UPDATE kyc SET reason = NULL WHERE user_id = 'bob'"),
    (checks.kyc_is_what_its_status_says, "UPDATE kyc SET expires_at = NULL WHERE user_id = 'ann'"),
    (checks.kyc_is_what_its_status_says, "DELETE FROM kyc_document WHERE user_id = 'dan' AND kind = 'selfie'"),
    (checks.alerts_are_screenings_with_hits, "UPDATE aml_screening SET status = 'clear' WHERE user_id = 'bob'"),
    (checks.alerts_are_screenings_with_hits, "UPDATE aml_screening SET cleared_by = 'cy' WHERE user_id = 'cy'"),
]


@pytest.mark.parametrize(("check", "damage"), DAMAGES)
async def test_the_audit_finds_what_does_not_add_up(db: Any, check: Any, damage: str) -> None:
    assert await check(db) == []
    await db.execute(damage)
    assert await check(db) != []
