"""Vouchers through real processes: an edge, workers and several clients at the same moment; the chain by HTTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.settings import Settings
from tests.acceptance.workers import until
from tests.processes import Processes, running

PARTNER, ADMIN = "p1/Partner", "root/Admin"
USERS = tuple(f"u{n}" for n in range(5))


class Platform(Processes):
    """An edge, and a worker for promotions and points."""

    domains = "points,promotions"

    async def post(self, command: str, who: str, **body: Any) -> httpx.Response:
        """Send a command and wait for its result."""
        return await self.send(command, body, who)


@pytest.fixture
async def platform(settings: Settings, free_port: int, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform, ready; every user has 100 points."""
    async with running(Platform, settings, free_port, tmp_path) as platform:
        for user in (*USERS, "rich"):
            given = await platform.post("points/award_points", ADMIN, user_id=user, amount=100)
            assert given.status_code == 200, given.text
        yield platform


async def open_sale(platform: Platform, campaign_id: str, **terms: Any) -> None:
    """A campaign on sale."""
    usual = {"name": "A coffee", "price": 10, "value": 300, "currency": "EUR", "quantity": 100, "budget": 100_000}
    body = {"campaign_id": campaign_id, "partner_id": "p1", "valid_days": 2, **usual, **terms}
    assert (await platform.post("promotions/create_campaign", PARTNER, **body)).status_code == 200
    active = await platform.post("promotions/activate_campaign", PARTNER, campaign_id=campaign_id, partner_id="p1")
    assert active.status_code == 200


async def buy(platform: Platform, user: str, voucher_id: str, campaign_id: str = "c") -> httpx.Response:
    """A user buys a voucher."""
    body = {"campaign_id": campaign_id, "voucher_id": voucher_id, "user_id": user}
    return await platform.post("promotions/purchase_voucher", f"{user}/User", **body)


async def redeem(platform: Platform, code: str, campaign_id: str = "c") -> httpx.Response:
    """The partner takes a voucher."""
    return await platform.post(
        "promotions/redeem_voucher", PARTNER, campaign_id=campaign_id, partner_id="p1", code=code
    )


@pytest.mark.req("SR054")
@pytest.mark.req("SR066")
async def test_limits_hold_when_all_buy_at_once_and_a_voucher_is_redeemed_at_one_of_two_tills(
    platform: Platform,
) -> None:
    """Two for each user, seven by the budget; what was paid is what was sold; and the events alone say the same."""
    await open_sale(platform, "c", per_user=2, quantity=9, budget=7 * 300 + 299)
    answers = await asyncio.gather(*(buy(platform, user, f"{user}-{n}") for n in range(4) for user in USERS))
    codes = Counter(answer.json()["code"] for answer in answers)
    assert {answer.status_code for answer in answers} == {200, 409}
    assert codes[None] == 7
    assert codes.keys() <= {None, "limit_reached", "budget_exhausted"}

    bought = await platform.rows("promotions", "SELECT user_id, code FROM voucher WHERE status = 'valid'")
    each = Counter(user for user, _ in bought)
    assert max(each.values()) <= 2
    assert sum(each.values()) == len({code for _, code in bought}) == 7
    left = {("rich", 100, 0), *((user, 100 - 10 * each[user], 0) for user in USERS)}

    async def paid() -> bool:
        return set(await platform.rows("points", "SELECT user_id, available, held FROM balance")) == left

    await until(paid)

    tills = await asyncio.gather(*(redeem(platform, code) for _, code in bought for _ in range(2)))
    told = Counter((answer.status_code, answer.json()["code"]) for answer in tills)
    assert told == {(200, None): 7, (409, "already_redeemed"): 7}
    times = {one[0].isoformat() for one in await platform.rows("promotions", "SELECT redeemed_at FROM voucher")}
    assert {answer.json()["details"]["redeemed_at"] for answer in tills if answer.status_code == 409} == times
    await shows_over_http(platform)
    await holds_for_gifts_and_codes(platform)
    await platform.rebuilds("promotions", ("campaign", "voucher", "promo_code", "redemption"))
    await platform.rebuilds("points", ("ledger", "balance"))


async def shows_over_http(platform: Platform) -> None:
    """A voucher from the campaign to the till: its owner sees it, its partner finds it by the code, nobody else does."""
    await open_sale(platform, "d", price=60, per_user=3)
    assert (await buy(platform, "rich", "v1", "d")).json()["status"] == "accepted"
    short = await buy(platform, "rich", "v2", "d")
    assert (short.status_code, short.json()["code"]) == (409, "insufficient")

    page = (await platform.get("promotions/my_vouchers/rich", "rich/User")).json()
    assert [(one["voucher_id"], one["status"], one["reason"]) for one in page["items"]] == [
        ("v2", "failed", "insufficient"),
        ("v1", "valid", None),
    ]
    assert (await platform.get("promotions/my_vouchers/rich", "u2/User")).status_code == 404
    code = page["items"][1]["code"]
    shown = await platform.get(f"promotions/voucher_by_code/p1/{code}", PARTNER)
    assert (shown.status_code, shown.json()["status"], shown.json()["value"]) == (200, "valid", 300)
    hidden = [
        await platform.get(f"promotions/voucher_by_code/p1/{code}", "p2/Partner"),
        await platform.get(f"promotions/voucher_by_code/p2/{code}", "p2/Partner"),
        await platform.get("promotions/voucher_by_code/p1/v1-OTHER", PARTNER),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in hidden} == {(404, "not_found")}

    foreign = {"campaign_id": "d", "partner_id": "p2", "code": code}
    unknown = {"campaign_id": "d", "partner_id": "p1", "code": "v1-OTHER"}
    for who, body in (("p2/Partner", foreign), (PARTNER, unknown)):
        answer = await platform.post("promotions/redeem_voucher", who, **body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await redeem(platform, code, "d")).status_code == 200
    stats = (await platform.get("promotions/campaign_stats/p1/d", PARTNER)).json()
    counts = {"reserved": 0, "issued": 1, "redeemed": 1, "expired": 0, "failed": 1, "points_taken": 60, "left": 99}
    assert counts.items() <= stats.items()
    mine = {"user_id": "u1", "hold_id": "voucher:d:v9"}
    assert (await platform.post("points/release_hold", "u1/User", **mine)).status_code == 403


async def holds_for_gifts_and_codes(platform: Platform) -> None:
    """A gift is not worth more at many tills at once, nor a budget larger for many orders; and who guesses has to wait."""
    partner: dict[str, Any] = {"partner_id": "p1"}
    await open_sale(platform, "gift", kind="gift", price=0, value=1000)
    given = await platform.post(
        "promotions/issue_voucher", PARTNER, campaign_id="gift", voucher_id="g1", user_id="u1", **partner
    )
    assert given.status_code == 200, given.text
    ((code,),) = await platform.rows("promotions", "SELECT code FROM voucher WHERE campaign_id = 'gift'")
    shown = {"campaign_id": "gift", "code": code, "amount": 300, **partner}
    tills = await asyncio.gather(
        *(platform.post("promotions/redeem_voucher", PARTNER, **shown, redemption_id=f"r{n}") for n in range(6))
    )
    assert Counter(answer.json()["code"] for answer in tills) == {None: 3, "insufficient_balance": 3}

    await open_sale(platform, "code", kind="promo", price=0, value=400, budget=1500, max_uses=9)
    made = await platform.post("promotions/generate_promo_codes", PARTNER, campaign_id="code", codes=["TEN"], **partner)
    assert made.status_code == 200, made.text
    order = {"campaign_id": "code", "code": "TEN", "total": 5000, "currency": "EUR"}
    orders = await asyncio.gather(
        *(
            platform.post("promotions/apply_promo_code", f"{user}/User", **order, user_id=user, order_id=f"o-{user}")
            for user in USERS
        )
    )
    assert Counter(answer.json()["code"] for answer in orders) == {None: 3, "budget_exhausted": 2}

    for n in range(10):
        assert (await redeem(platform, f"g1-{n}", "gift")).status_code == 404
    waits = await redeem(platform, code, "gift")
    assert (waits.status_code, waits.json()["code"]) == (429, "too_many_attempts")
