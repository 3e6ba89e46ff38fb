"""The views of promotions on a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from agents.promotions.sink import CampaignRow, PromoCodeRow, RedemptionRow, StaffRow, VoucherRow
from agents.promotions.view import (
    CampaignStats,
    active_promotions,
    campaign_stats,
    my_vouchers,
    promo_codes,
    redemptions_by_partner,
    voucher_at_venue,
    voucher_by_code,
)
from sinks.postgres import migrate
from streams import discover
from streams.envelope import Actor
from streams.settings import Settings
from streams.testing import ADMIN, Kit
from streams.view import Paging
from topics.promotions import (
    ActivateCampaign,
    ApplyPromoCode,
    CreateCampaign,
    GeneratePromoCodes,
    IssueVoucher,
    NoteOrder,
    RedeemVoucher,
    RollBackRedemption,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def voucher(n: int, user: str, partner: str, **given: Any) -> VoucherRow:
    """A voucher that was bought n seconds after noon, two of them at the same time."""
    bought = VoucherRow(
        campaign_id="c" if n % 2 else "d",
        voucher_id=f"v{n}",
        user_id=user,
        partner_id=partner,
        name="A coffee",
        price=30,
        value=100,
        currency="EUR",
        status="valid",
        reason=None,
        code=f"v{n}-SECRET",
        started_at=NOON + timedelta(seconds=n // 2),
        valid_from=NOON,
        valid_to=NOON + timedelta(days=1),
        redeemed_at=None,
        kind="voucher",
        capacity=1,
        used=0,
        held=0,
    )
    return bought._replace(**given)


def redemption(n: int) -> RedemptionRow:
    """What was redeemed n seconds after noon, two at the same time; the first was rolled back."""
    status, reason = ("redeemed", None) if n else ("rolled_back", "A mistake")
    at, undone = NOON + timedelta(seconds=n // 2), None if n else NOON + timedelta(hours=1)
    ids = "c", f"r{n}", "p1", "v1", "ann", None, "bar", "sue"
    return RedemptionRow(*ids, 100, "EUR", status, reason, at, undone)


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Any]:
    await migrate(settings.postgres, settings.namespace, ["promotions"])
    path = {"search_path": f'"{settings.namespace}promotions"'}
    connection = await asyncpg.connect(settings.postgres, server_settings=path)
    nothing: dict[str, Any] = {"status": "failed", "reason": "insufficient", "code": None}
    rows = [voucher(n, "ann", "p1") for n in range(1, 8)]
    rows += [voucher(8, "bob", "p2"), voucher(9, "bob", "p1", valid_from=None, valid_to=None, **nothing)]
    await connection.copy_records_to_table("voucher", records=rows)
    terms = {"partner_id": "p1", "name": "A coffee", "status": "active", "price": 30, "value": 100, "currency": "EUR"}
    counts = {"reserved": 1, "issued": 4, "failed": 9, "redeemed": 2, "expired": 1, "given": 1, "taken": 200}
    nothing = dict.fromkeys(CampaignRow._fields) | dict.fromkeys(("cancelled", "refunded", "min_spend"), 0)
    usual = {
        "kind": "voucher",
        "venues": "v1 v2",
        "quantity": 10,
        "max_uses": 1,
        "min_quantity": 1,
        "per_user": 1,
        "spend": 500,
    }
    campaigns = [
        CampaignRow(**{**nothing, **usual, **terms, **counts, "campaign_id": name, "budget": budget, "unsold": left})
        for name, budget, left in (("c", 5000, 5), ("d", 799, 2))
    ]
    await connection.copy_records_to_table("campaign", records=campaigns)
    codes = [PromoCodeRow("d", f"CODE{n}", "p1", 5, n, 1, NOON, NOON + timedelta(days=1)) for n in range(3)]
    await connection.copy_records_to_table("promo_code", records=codes)
    uses = [redemption(n) for n in range(4)]
    await connection.copy_records_to_table("redemption", records=[*uses, redemption(4)._replace(partner_id="p2")])
    staff = [StaffRow("bar", "sue", "p1"), StaffRow("bar", "tim", None), StaffRow("inn", "sue", "p2")]
    await connection.copy_records_to_table("staff", records=staff)
    yield connection
    await connection.close()


async def the_vouchers_of_a_user_go_back_page_by_page_to_the_first(db: Any) -> None:
    seen, paging = [], Paging(limit=3)
    while True:
        page = await my_vouchers(db, "ann", paging)
        seen.append([one.voucher_id for one in page.items])
        if page.next is None:
            break
        paging = Paging.read(page.next, 3)

    assert seen == [["v6", "v7", "v4"], ["v5", "v2", "v3"], ["v1"]]


async def a_purchase_that_failed_says_why(db: Any) -> None:
    bought, failed = (await my_vouchers(db, "bob", Paging())).items

    assert (failed.status, failed.reason, failed.code) == ("failed", "insufficient", None)
    assert (bought.status, bought.code, bought.valid_to) == ("valid", "v8-SECRET", NOON + timedelta(days=1))


async def a_partner_sees_a_voucher_of_his_own_by_its_code_and_not_whose_it_is(db: Any) -> None:
    found = await voucher_by_code(db, "p1", "v3-SECRET")

    assert found
    assert (found.campaign_id, found.voucher_id, found.status, found.value) == ("c", "v3", "valid", 100)
    assert "user_id" not in found.model_dump()
    assert await voucher_by_code(db, "p2", "v3-SECRET") is None
    assert await voucher_by_code(db, "p1", "v3-OTHER") is None


async def who_works_at_a_venue_sees_the_vouchers_of_the_partner_there(db: Any) -> None:
    found = await voucher_at_venue(db, "sue", "bar", "v3-SECRET")

    assert found
    assert (found.voucher_id, found.left) == ("v3", 1)
    assert await voucher_at_venue(db, "sue", "inn", "v3-SECRET") is None
    assert await voucher_at_venue(db, "tim", "bar", "v3-SECRET") is None
    assert await voucher_at_venue(db, "eve", "bar", "v3-SECRET") is None


async def redemptions_of_a_partner_go_back_to_the_first_and_tell_which_were_undone(db: Any) -> None:
    first = await redemptions_by_partner(db, "p1", Paging(limit=3))
    rest = await redemptions_by_partner(db, "p1", Paging.read(first.next, 3))

    assert [one.redemption_id for one in (*first.items, *rest.items)] == ["r3", "r2", "r1", "r0"]
    assert [(one.status, one.reason) for one in (*first.items, *rest.items)][2:] == [
        ("redeemed", None),
        ("rolled_back", "A mistake"),
    ]
    assert rest.next is None
    assert "user_id" not in first.items[0].model_dump()


async def promo_codes_are_shown_to_their_partner_alone(db: Any) -> None:
    first = await promo_codes(db, "p1", "d", Paging(limit=2))

    assert [(one.code, one.used, one.reserved, one.left) for one in first.items] == [
        ("CODE0", 0, 1, 4),
        ("CODE1", 1, 1, 3),
    ]
    rest = await promo_codes(db, "p1", "d", Paging.read(first.next, 2))
    assert [one.code for one in rest.items] == ["CODE2"]
    assert (await promo_codes(db, "p2", "d", Paging())).items == []


async def what_is_on_sale_is_for_all_to_see(db: Any) -> None:
    await db.execute("UPDATE campaign SET status = 'paused' WHERE campaign_id = 'd'")
    (shown,) = (await active_promotions(db, Paging())).items

    assert (shown.campaign_id, shown.left, shown.venues, shown.sale_to) == ("c", 5, ["v1", "v2"], None)


async def the_figures_of_a_campaign_tell_what_is_left_by_quantity_and_by_budget(db: Any) -> None:
    usual = {"name": "A coffee", "status": "active", "quantity": 10, "currency": "EUR", "kind": "voucher"}
    counts = {
        "reserved": 1,
        "issued": 4,
        "redeemed": 2,
        "expired": 1,
        "cancelled": 0,
        "failed": 9,
        "given": 1,
        "refunded": 0,
    }
    counts |= {"points_taken": 90, "spend": 500, "taken": 200}

    expected = CampaignStats.model_validate({"campaign_id": "c", "budget": 5000, "left": 5, **usual, **counts})
    assert await campaign_stats(db, "p1", "c") == expected
    poor = await campaign_stats(db, "p1", "d")
    assert poor
    assert (poor.budget, poor.left) == (799, 2)
    assert await campaign_stats(db, "p2", "c") is None


LOOKS = (
    the_vouchers_of_a_user_go_back_page_by_page_to_the_first,
    a_purchase_that_failed_says_why,
    a_partner_sees_a_voucher_of_his_own_by_its_code_and_not_whose_it_is,
    who_works_at_a_venue_sees_the_vouchers_of_the_partner_there,
    redemptions_of_a_partner_go_back_to_the_first_and_tell_which_were_undone,
    promo_codes_are_shown_to_their_partner_alone,
    the_figures_of_a_campaign_tell_what_is_left_by_quantity_and_by_budget,
    what_is_on_sale_is_for_all_to_see,
)


async def test_what_each_view_shows(db: Any) -> None:
    """One after the other on the same rows; the last changes them."""
    for look in LOOKS:
        await look(db)


DAMAGES = {
    "campaign_counts_its_vouchers": "DELETE FROM promo_code WHERE code = 'OTHER'",
    "campaign_keeps_its_limits": "UPDATE campaign SET budget = spend - 1 WHERE kind = 'promo'",
    "campaign_takes_what_is_redeemed": "UPDATE campaign SET taken = taken - 1 WHERE taken > 0",
    "voucher_is_used_as_often_as_redeemed": "UPDATE redemption SET value = value + 1 WHERE campaign_id = 'gift'",
}


def worked() -> dict[str, list[tuple[Any, ...]]]:
    """Rows by table that commands have led to: vouchers, gifts and codes, redeemed, reserved and undone."""
    with Kit.of("promotions") as kit:
        for contract in (CreateCampaign, ActivateCampaign, IssueVoucher):
            for example in contract.examples:
                assert kit.send(contract.model_validate(example)).status == "accepted"
        codes = {row[1]: row[10] for row in kit.rows("voucher")}
        ids: dict[str, Any] = {"campaign_id": "gift", "partner_id": "p1"}
        order: dict[str, Any] = {
            "campaign_id": "summer",
            "user_id": "u1",
            "currency": "EUR",
            "quantity": 2,
            "total": 5000,
        }
        sent = (
            RedeemVoucher(**ids, code=codes["g1"], amount=700, redemption_id="r1"),
            RedeemVoucher(**ids, code=codes["g1"], amount=300, redemption_id="r2"),
            RollBackRedemption(**ids, voucher_id="g1", redemption_id="r2", reason="Wrong"),
            RedeemVoucher(campaign_id="coffee", partner_id="p1", code=codes["v2"]),
            GeneratePromoCodes(campaign_id="summer", partner_id="p1", codes=("SUMMER", "OTHER")),
            ApplyPromoCode(**order, code="SUMMER", order_id="o1"),
            ApplyPromoCode(**order, code="SUMMER", order_id="o2"),
            NoteOrder(order_id="o1", user_id="u1", status="paid", amount=4500),
        )
        services = Actor("service", "promotions")
        told = [kit.send(one, actor=services if isinstance(one, NoteOrder) else ADMIN) for one in sent]
        assert {one.status for one in told} == {"accepted"}
        return {name: kit.rows(name) for name in ("campaign", "voucher", "promo_code", "redemption")}


async def test_the_audit_finds_what_does_not_add_up(settings: Settings) -> None:
    await migrate(settings.postgres, settings.namespace, ["promotions"])
    path = {"search_path": f'"{settings.namespace}promotions"'}
    connection = await asyncpg.connect(settings.postgres, server_settings=path)
    checks = discover.checks("promotions")
    assert checks.keys() == DAMAGES.keys()
    for table, rows in (await asyncio.to_thread(worked)).items():
        await connection.copy_records_to_table(table, records=rows)
    for name, damage in DAMAGES.items():
        assert {one: await check(connection) for one, check in checks.items()} == {one: [] for one in checks}
        undone = connection.transaction()
        await undone.start()
        await connection.execute(damage)
        assert await checks[name](connection) != []
        await undone.rollback()
    await connection.close()
