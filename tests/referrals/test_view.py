"""The views of referrals on a real Postgres, and what the audit says of rows that do not add up."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from agents.referrals import audit
from agents.referrals.sink import (
    AmbassadorRow,
    BankRow,
    ClickRow,
    CodeRow,
    DescendantRow,
    EarningsRow,
    PayoutRow,
    ReferralRow,
    RewardRow,
    SchemeRow,
)
from agents.referrals.view import (
    CodeStats,
    Dashboard,
    Earnings,
    SchemeStats,
    ambassador_dashboard,
    flagged_queue,
    my_payouts,
    my_referral_codes,
    my_referrals,
    referral_tree,
    scheme_stats,
)
from sinks.postgres import migrate
from streams import discover
from streams.view import Page, Paging
from tests.caravan.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def referral(name: str, referrer: str, status: str, seconds: int = 0, **given: Any) -> ReferralRow:
    """Somebody who was brought so many seconds after noon."""
    at = NOON + seconds * SECOND
    begun = status == "attributed"
    row = ReferralRow(
        referral_id=name,
        referrer_id=referrer,
        scheme_id="s",
        code="ANN-1",
        touch="code",
        status=status,
        since=at,
        reason=None,
        source=None if begun else f"order:{name}",
        attributed_at=at,
        qualified_at=None if begun else at,
        approve_at=None,
    )
    return row._replace(**given)


def reward(name: str, level: int, user: str, points: int, commission: int = 0, status: str = "granted") -> RewardRow:
    """What a user got for a referral."""
    return RewardRow(f"{name}-{level}", "s", name, level, user, points, commission, status, NOON)


ROWS = (
    SchemeRow("s", "Friends", "active", 2, "order_paid", 2, 100, "EUR", 90, 30),
    SchemeRow("t", "Nobody came", "draft", 1, "order_paid", 1, 50, None, 0, None),
    BankRow("s", 36, 40, 3),
    CodeRow("ANN-1", "ann", "s", NOON, None),
    CodeRow("ANN-2", "ann", "s", NOON, NOON + DAY),
    ClickRow("v1", "ANN-1", "ann", "s", 3, False, NOON),
    ClickRow("v2", "ANN-1", "ann", "s", 1, False, NOON),
    ClickRow("v3", "ANN-1", "ann", "s", 7, True, NOON),
    referral("bob", "ann", "approved", 1),
    referral("cy", "bob", "approved", 2),
    referral("dan", "ann", "flagged", 3, reason="device", since=NOON + 9 * SECOND),
    referral("eve", "ann", "flagged", 3, reason="network, payment", since=NOON + 8 * SECOND),
    referral("fay", "ann", "voided", 4, reason="returned"),
    referral("gus", "ann", "attributed", 5),
    referral("hal", "cy", "pending", 6),
    *(
        DescendantRow(name, 1, above)
        for name, above in (("bob", "ann"), ("cy", "bob"), ("dan", "ann"), ("eve", "ann"), ("fay", "ann"))
    ),
    *(DescendantRow(name, 1, above) for name, above in (("gus", "ann"), ("hal", "cy"))),
    DescendantRow("cy", 2, "ann"),
    DescendantRow("hal", 2, "bob"),
    reward("bob", 0, "bob", 5),
    reward("bob", 1, "ann", 10, 40),
    reward("cy", 1, "bob", 20),
    reward("cy", 2, "ann", 1),
    reward("fay", 1, "ann", 10, 50, "clawed_back"),
    AmbassadorRow("ann", "active", "gold", NOON),
    EarningsRow("s", "ann", 40, 0, 35),
    PayoutRow("s", "ann", "p1", 35, "EUR", "completed", NOON),
    PayoutRow("s", "ann", "p2", 35, "EUR", "failed", NOON + SECOND),
    PayoutRow("s", "ann", "p3", 35, "EUR", "failed", NOON + SECOND),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(infra: Running) -> AsyncIterator[Any]:
    """A schema with these rows; what a test adds is taken back."""
    namespace = f"t{secrets.token_hex(3)}_"
    await migrate(infra.postgres, namespace, ["referrals"])
    connection = await asyncpg.connect(infra.postgres, server_settings={"search_path": f'"{namespace}referrals"'})
    for row in ROWS:
        await connection.copy_records_to_table(type(row).__rows__.name, records=[row])  # type: ignore[attr-defined]
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def db(filled: Any) -> AsyncIterator[Any]:
    changes = filled.transaction()
    await changes.start()
    yield filled
    await changes.rollback()


async def pages(view: Any, db: Any, *args: Any, limit: int) -> list[list[Any]]:
    """All parts of a list."""
    found, paging = [], Paging(limit=limit)
    while True:
        page: Page[Any] = await view(db, *args, paging)
        found.append(page.items)
        if page.next is None:
            return found
        paging = Paging.read(page.next, limit)


async def test_a_user_sees_whom_they_brought_and_what_they_have_got_for_it(db: Any) -> None:
    found = await pages(my_referrals, db, "ann", limit=2)

    assert [[one.referral_id for one in page] for page in found] == [["gus", "fay"], ["eve", "dan"], ["bob"]]
    last, first = found[0][1], found[2][0]
    assert (last.status, last.points, last.commission) == ("voided", 0, 0)
    assert (first.status, first.points, first.commission, first.qualified_at) == ("approved", 10, 40, NOON + SECOND)


async def test_the_tree_goes_down_level_by_level(db: Any) -> None:
    found = await pages(referral_tree, db, "ann", limit=4)

    assert [[(one.level, one.referral_id) for one in page] for page in found] == [
        [(1, "bob"), (1, "dan"), (1, "eve"), (1, "fay")],
        [(1, "gus"), (2, "cy")],
    ]
    assert (found[1][1].referrer_id, found[1][1].status) == ("bob", "approved")
    assert (await referral_tree(db, "gus", Paging())).items == []


async def test_a_user_sees_what_came_of_each_code(db: Any) -> None:
    assert await my_referral_codes(db, "ann") == [
        CodeStats(
            code="ANN-1", scheme_id="s", expires_at=None, clicks=4, own_clicks=7, visitors=2, referrals=7, approved=2
        ),
        CodeStats(
            code="ANN-2",
            scheme_id="s",
            expires_at=NOON + DAY,
            clicks=0,
            own_clicks=0,
            visitors=0,
            referrals=0,
            approved=0,
        ),
    ]


async def test_an_ambassador_sees_how_they_stand(db: Any) -> None:
    earned = Earnings(scheme_id="s", currency="EUR", earned=40, requested=0, paid=35, payable=5, threshold=30)
    counts = {"attributed": 1, "pending": 2, "approved": 1, "voided": 1, "points": 11}

    assert await ambassador_dashboard(db, "ann") == Dashboard(
        user_id="ann", status="active", tier="gold", since=NOON, earnings=[earned], **counts
    )
    assert await ambassador_dashboard(db, "bob") is None


async def test_payouts_go_back_page_by_page(db: Any) -> None:
    found = await pages(my_payouts, db, "ann", limit=1)

    assert [[(one.payout_id, one.status) for one in page] for page in found] == [
        [("p3", "failed")],
        [("p2", "failed")],
        [("p1", "completed")],
    ]


@pytest.mark.req("SR046")
async def test_the_figures_of_a_scheme_tell_what_came_and_what_it_gave(db: Any) -> None:
    states = {"attributed": 1, "qualified": 0, "pending": 1, "flagged": 2, "approved": 2, "voided": 1}
    points = {"budget": 100, "points": 36, "points_clawed_back": 10, "left": 64, "exhausted": 3}
    money = {"currency": "EUR", "commission_budget": 90, "commission": 40, "commission_clawed_back": 50}

    assert await scheme_stats(db, "s") == SchemeStats(
        scheme_id="s", name="Friends", status="active", revision=2, clicks=4, visitors=2, **states, **points, **money
    )
    empty = await scheme_stats(db, "t")
    assert empty
    assert (empty.clicks, empty.attributed, empty.left, empty.points) == (0, 0, 50, 0)
    assert await scheme_stats(db, "none") is None


async def test_who_was_flagged_first_is_decided_first(db: Any) -> None:
    found = await pages(flagged_queue, db, limit=1)

    assert [[(one.referral_id, one.reason) for one in page] for page in found] == [
        [("eve", "network, payment")],
        [("dan", "device")],
    ]


async def test_rows_that_add_up_are_not_found(db: Any) -> None:
    for name, check in discover.checks("referrals").items():
        assert await check(db) == [], name


@pytest.mark.parametrize(
    ("check", "damage", "told"),
    [
        (
            "nobody_is_above_themselves",
            "UPDATE referral SET referrer_id = 'cy' WHERE referral_id = 'bob'",
            {"bob", "cy"},
        ),
        ("nobody_is_above_themselves", "UPDATE referral SET referrer_id = 'gus' WHERE referral_id = 'gus'", {"gus"}),
        ("tree_is_its_referrals", "UPDATE descendant SET user_id = 'dan' WHERE referral_id = 'bob'", {"bob", "cy"}),
        ("tree_is_its_referrals", "DELETE FROM descendant WHERE referral_id = 'gus'", {"gus"}),
        (
            "tree_is_its_referrals",
            "UPDATE descendant SET user_id = 'eve' WHERE referral_id = 'hal' AND level = 2",
            {"hal"},
        ),
        ("scheme_keeps_its_budget", "UPDATE bank SET points = 35", {"s"}),
        ("scheme_keeps_its_budget", "DELETE FROM bank", {"s"}),
        ("scheme_keeps_its_budget", "UPDATE scheme SET budget = 35", {"s", "t"}),
        ("scheme_keeps_its_budget", "UPDATE scheme SET commission_budget = 39 WHERE scheme_id = 's'", {"s"}),
        (
            "reward_has_its_referral",
            "UPDATE referral SET status = 'flagged' WHERE referral_id = 'cy'",
            {"cy-1", "cy-2"},
        ),
        ("reward_has_its_referral", "UPDATE reward SET user_id = 'dan' WHERE reward_id = 'cy-2'", {"cy-2"}),
        ("reward_has_its_referral", "UPDATE reward SET level = 3 WHERE reward_id = 'cy-2'", {"cy-2"}),
        ("reward_has_its_referral", "UPDATE reward SET level = 1 WHERE reward_id = 'bob-0'", {"bob-0", "bob-1"}),
        ("earnings_are_their_rewards", "UPDATE earnings SET earned = 90", {"s"}),
        ("earnings_are_their_rewards", "UPDATE payout SET status = 'requested' WHERE payout_id = 'p2'", {"s"}),
    ],
)
async def test_rows_that_do_not_add_up_are_found(db: Any, check: str, damage: str, told: set[str]) -> None:
    await db.execute(damage)
    found = await getattr(audit, check)(db)

    assert found
    assert {row[0] for row in found} <= told
