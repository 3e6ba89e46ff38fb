"""The views of promotions on a real Postgres."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from agents.promotions.sink import CampaignRow, VoucherRow
from agents.promotions.view import CampaignStats, campaign_stats, my_vouchers, voucher_by_code
from sinks.postgres import migrate
from streams.settings import Settings
from streams.view import Paging

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
    )
    return bought._replace(**given)


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Any]:
    await migrate(settings.postgres, settings.namespace)
    path = {"search_path": f'"{settings.namespace}promotions"'}
    connection = await asyncpg.connect(settings.postgres, server_settings=path)
    nothing: dict[str, Any] = {"status": "failed", "reason": "insufficient", "code": None}
    rows = [voucher(n, "ann", "p1") for n in range(1, 8)]
    rows += [voucher(8, "bob", "p2"), voucher(9, "bob", "p1", valid_from=None, valid_to=None, **nothing)]
    await connection.copy_records_to_table("voucher", records=rows)
    terms = {"partner_id": "p1", "name": "A coffee", "status": "active", "price": 30, "value": 100, "currency": "EUR"}
    counts = {"reserved": 1, "issued": 4, "failed": 9, "redeemed": 2, "expired": 1}
    campaigns = [
        CampaignRow(campaign_id=name, quantity=10, budget=budget, **terms, **counts)  # type: ignore[arg-type]
        for name, budget in (("c", 5000), ("d", 799))
    ]
    await connection.copy_records_to_table("campaign", records=campaigns)
    yield connection
    await connection.close()


async def test_the_vouchers_of_a_user_go_back_page_by_page_to_the_first(db: Any) -> None:
    seen, paging = [], Paging(limit=3)
    while True:
        page = await my_vouchers(db, "ann", paging)
        seen.append([one.voucher_id for one in page.items])
        if page.next is None:
            break
        paging = Paging.read(page.next, 3)

    assert seen == [["v6", "v7", "v4"], ["v5", "v2", "v3"], ["v1"]]


async def test_a_purchase_that_failed_says_why(db: Any) -> None:
    bought, failed = (await my_vouchers(db, "bob", Paging())).items

    assert (failed.status, failed.reason, failed.code) == ("failed", "insufficient", None)
    assert (bought.status, bought.code, bought.valid_to) == ("valid", "v8-SECRET", NOON + timedelta(days=1))


async def test_a_partner_sees_a_voucher_of_his_own_by_its_code_and_not_whose_it_is(db: Any) -> None:
    found = await voucher_by_code(db, "p1", "v3-SECRET")

    assert found
    assert (found.campaign_id, found.voucher_id, found.status, found.value) == ("c", "v3", "valid", 100)
    assert "user_id" not in found.model_dump()
    assert await voucher_by_code(db, "p2", "v3-SECRET") is None
    assert await voucher_by_code(db, "p1", "v3-OTHER") is None


async def test_the_figures_of_a_campaign_tell_what_is_left_by_quantity_and_by_budget(db: Any) -> None:
    usual = {"name": "A coffee", "status": "active", "quantity": 10, "currency": "EUR"}
    counts = {"reserved": 1, "issued": 4, "redeemed": 2, "expired": 1, "failed": 9, "points_taken": 120, "spend": 500}

    expected = CampaignStats.model_validate({"campaign_id": "c", "budget": 5000, "left": 5, **usual, **counts})
    assert await campaign_stats(db, "p1", "c") == expected
    poor = await campaign_stats(db, "p1", "d")
    assert poor
    assert (poor.budget, poor.left) == (799, 2)
    assert await campaign_stats(db, "p2", "c") is None
