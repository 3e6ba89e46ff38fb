"""Referrals through real processes: an edge, a worker, and friends who come and buy at the same moment."""

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

ADMIN, PARTNER = "root/Admin", "p1/Partner"
FRIENDS = tuple(f"friend{n}" for n in range(7))
SCHEME = {"scheme_id": "s", "name": "Friends", "event": "voucher_purchased", "levels": [{"points": 10}], "budget": 40}
CAMPAIGN = {
    "campaign_id": "c",
    "partner_id": "p1",
    "name": "Tea",
    "price": 0,
    "value": 9,
    "currency": "EUR",
    "valid_days": 9,
}


class Platform(Processes):
    """An edge, and a worker for all that a referral goes through."""

    domains = "identity,points,promotions,referrals"

    async def post(self, command: str, who: str | None = None, **body: Any) -> httpx.Response:
        """Send a command and wait for its result."""
        return await self.send(command, body, who)

    async def done(self, command: str, who: str | None = None, **body: Any) -> None:
        """Send a command that is accepted."""
        answer = await self.post(command, who, **body)
        assert answer.status_code == 200, answer.text

    async def register(self, user_id: str, **given: Any) -> None:
        """Somebody registers, and referrals know of it."""
        await self.done("identity/register_user", user_id=user_id, email=f"{user_id}@example.com", **given)

    async def standing(self, **wanted: int) -> None:
        """Wait until so many referrals are in each of these states."""

        async def stand() -> bool:
            found = await self.rows("referrals", "SELECT status FROM referral")
            return Counter(status for (status,) in found) == wanted

        await until(stand)

    async def balances(self) -> dict[str, int]:
        """What everybody has, but what all have who register."""
        return {user: had - 100 for user, had in await self.rows("points", "SELECT user_id, available FROM balance")}


@pytest.fixture
async def platform(settings: Settings, free_port: int, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform with a scheme, a campaign, and two who want the same code at once."""
    async with running(Platform, settings, free_port, tmp_path) as platform:
        await platform.done("referrals/create_referral_scheme", ADMIN, **SCHEME)
        await platform.done("referrals/activate_referral_scheme", ADMIN, scheme_id="s")
        await platform.done("promotions/create_campaign", PARTNER, quantity=99, budget=999, **CAMPAIGN)
        await platform.done("promotions/activate_campaign", PARTNER, campaign_id="c", partner_id="p1")
        for user in ("ann", "bob"):
            await platform.register(user, device_id=f"phone of {user}")
        yield platform


@pytest.mark.full
@pytest.mark.req("SR045")
@pytest.mark.req("SR046")
async def test_of_all_friends_who_come_at_once_as_many_are_rewarded_as_the_budget_has(platform: Platform) -> None:
    """One gets the code; who is on the referrer's device waits; the events alone say the same."""

    async def owner() -> str | None:
        wishes = [
            await platform.post("referrals/create_referral_code", user, user_id=user, code="party", scheme_id="s")
            for user in ("ann", "bob")
        ]
        return next((user for user, wish in zip(("ann", "bob"), wishes, strict=True) if wish.status_code == 200), None)

    while (referrer := await owner()) is None:  # who has registered this moment may not be known yet
        pass
    known = {"referral_code": " Party "}
    await asyncio.gather(*(platform.register(user, **known) for user in FRIENDS))
    await platform.register("twin", device_id=f"phone of {referrer}", **known)
    await platform.register("lost", referral_code="no such code")
    await platform.standing(attributed=len(FRIENDS) + 1)

    buy = "promotions/purchase_voucher"
    buyers = (*FRIENDS, "twin", "lost")
    await asyncio.gather(
        *(platform.done(buy, user, campaign_id="c", voucher_id=f"v-{user}", user_id=user) for user in buyers)
    )
    await platform.standing(approved=len(FRIENDS), flagged=1)

    async def rewarded() -> bool:
        return (await platform.balances())[referrer] == SCHEME["budget"]

    await until(rewarded)
    stats = (await platform.get("referrals/scheme_stats/s", ADMIN)).json()
    assert (stats["points"], stats["left"], stats["exhausted"], stats["approved"]) == (40, 0, 3, 7)
    queue = (await platform.get("referrals/flagged_queue", ADMIN)).json()["items"]
    assert [(one["referral_id"], one["reason"]) for one in queue] == [("twin", "device")]
    assert (await platform.get("referrals/my_referrals/ann", "bob")).status_code == 404
    await platform.rebuilds("referrals", ("referral", "descendant", "reward", "bank", "code", "ignored"))
