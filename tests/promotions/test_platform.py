"""Vouchers through real processes: an edge, workers and several clients at the same moment; the chain by HTTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from sinks.postgres import migrate
from streams import discover
from streams.kafka import Kafka
from streams.settings import Settings
from tests.acceptance.children import Child
from tests.api.caller import token

CLIENTS = 6
PATIENCE_S = 60.0
WAIT = {"Prefer": "wait=30"}
PARTNER, ADMIN = "p1/Partner", "root/Admin"
USERS = tuple(f"u{n}" for n in range(5))


class Platform:
    """An edge, and a worker for promotions and points."""

    def __init__(self, settings: Settings, port: int, folder: Path) -> None:
        """Start them."""
        self.settings = settings
        self._folder = folder
        self._clients = [
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) for _ in range(CLIENTS)
        ]
        self._turn = 0
        self.children: list[Child] = []
        self.start("api", "--port", str(port))
        self.start("worker", "--domains", "points,promotions")

    def start(self, *arguments: str) -> Child:
        """Start one more process."""
        self.children.append(Child(arguments, self.settings, self._folder / f"{len(self.children)}.log"))
        return self.children[-1]

    async def post(self, command: str, who: str, **body: Any) -> httpx.Response:
        """Send a command by the next of the clients and wait for its result."""
        self._turn += 1
        client = self._clients[self._turn % CLIENTS]
        return await client.post(f"/v1/{command}", json=body, headers=self._by(who) | WAIT)

    async def get(self, view: str, who: str) -> httpx.Response:
        """Read a view."""
        return await self._clients[0].get(f"/v1/{view}", headers=self._by(who))

    def _by(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token(self.settings, *who.split('/'))}"}

    async def ready(self) -> bool:
        """Whether all runs."""
        if not self.children[1].says("worker ready"):
            return False
        try:
            return (await self._clients[0].get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def rows(self, schema: str, query: str) -> list[tuple[Any, ...]]:
        """What a domain's tables hold."""
        path = {"search_path": f'"{self.settings.namespace}{schema}"'}
        connection = await asyncpg.connect(self.settings.postgres, server_settings=path)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def close(self) -> None:
        """End all."""
        for client in self._clients:
            await client.aclose()
        for child in self.children:
            child.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - it changes in other processes
            await asyncio.sleep(0.05)


@pytest.fixture
async def platform(settings: Settings, free_port: int, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform, ready; every user has 100 points."""
    await migrate(settings.postgres, settings.namespace)
    kafka = Kafka(settings)
    await kafka.declare([discover.topic(domain) for domain in discover.domains()])
    await kafka.stop()
    platform = Platform(settings, free_port, tmp_path)
    try:
        await until(platform.ready)
        for user in (*USERS, "rich"):
            given = await platform.post("points/award_points", ADMIN, user_id=user, amount=100)
            assert given.status_code == 200, given.text
        yield platform
    finally:
        await platform.close()


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
    await rebuilds(platform)


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


async def rebuilds(platform: Platform) -> None:
    """The events alone give the same rows, in a schema beside the live one."""
    tables = {"promotions": ("campaign", "voucher"), "points": ("ledger", "balance")}
    for domain, names in tables.items():
        live = [await platform.rows(domain, f"SELECT * FROM {name} ORDER BY 1, 2") for name in names]
        worker = platform.start("worker", "--rebuild", domain)

        async def same(
            worker: Child = worker, domain: str = domain, names: tuple[str, ...] = names, live: list[Any] = live
        ) -> bool:
            if not worker.says("worker ready"):
                return False
            queries = [f"SELECT * FROM {name} ORDER BY 1, 2" for name in names]
            return [await platform.rows(f"{domain}_shadow", query) for query in queries] == live

        await until(same)
