"""The Python client against a whole platform: the tour, its own writes, cut connections, an edge that is started again."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from agents.points.view import Balance, balance, statement
from agents.promotions.view import my_vouchers
from api.client import Client, EdgeError, Named, Page, Paging, Refused, Unreachable
from examples.tour import tour
from tests.api.whole import Whole, whole
from tests.caravan.conftest import ROOT
from tests.caravan.running import Running
from tests.faults.outside import until
from tests.faults.proxy import HERE, Proxy
from topics.identity import RegisterUser
from topics.points import AwardPoints, SpendPoints, TransferPoints
from topics.promotions import ActivateCampaign, CreateCampaign, PurchaseVoucher, RedeemVoucher

PATIENCE_S = 60


@pytest.fixture(scope="module")
def platform(infra: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """One for all tests here, each with users of its own."""
    with whole(infra, tmp_path_factory.mktemp("whole")) as platform:
        yield platform


def admin(platform: Whole, url: str = "", **options: Any) -> Client:
    """An admin's client."""
    return Client(url or platform.url, token=platform.bearer("root", "Admin"), patience=PATIENCE_S, **options)


async def test_what_the_tour_leaves_out(platform: Whole) -> None:
    """Commands, a transfer, a no, bad input, the statement, what is hidden, what is live."""
    async with admin(platform) as ada:
        una, vic = (ada.by(platform.bearer(user)) for user in ("una", "vic"))
        taken = await ada.issue(AwardPoints(user_id="una", amount=150))
        assert (taken.status, taken.domain, bool(taken.token)) == ("pending", "points", True)
        first = await una.view(balance, user_id="una").after(taken.token)
        assert first == Balance(user_id="una", active=150, held=0, available=150)

        lunch = TransferPoints(user_id="una", transfer_id="lunch-2", to="vic", amount=30, note="for lunch")
        sent = (await una.issue(lunch, wait=20, key="lunch-2")).expect()
        assert [event.type for event in sent.events] == ["points_transfer_started"]
        again = await una.issue(lunch, wait=20, key="lunch-2")
        assert (again.command_id, again.status) == (sent.command_id, "accepted")

        refused = await vic.issue(SpendPoints(user_id="vic", amount=999), wait=20)
        assert (refused.status, refused.code, refused.details) == ("rejected", "insufficient", {"available": 30})
        with pytest.raises(Refused, match="insufficient"):
            refused.expect()
        received = [entry async for entry in vic.items(statement, "vic", Paging())]
        assert [(entry.kind, entry.amount, entry.note) for entry in received] == [("received", 30, "for lunch")]

        with pytest.raises(EdgeError) as hidden:
            await vic.view(balance, user_id="una")
        assert (hidden.value.code, hidden.value.status) == ("not_found", 404)
        with pytest.raises(EdgeError) as wrong:
            await vic.send("points", "spend_points", b'{"user_id": "vic", "amount": -1.5}', key="wrong")
        assert wrong.value.status == 422
        assert [(error.field, error.code) for error in wrong.value.errors] == [("amount", "int_type")]

        async with una.live(balance, user_id="una") as states:
            assert [state async for state in _first(states, 1)] == [
                Balance(user_id="una", active=120, held=0, available=120)
            ]


async def test_the_tour_is_as_documented(platform: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    """`examples/tour.py` prints what docs/clients.md shows, to the letter; so no other test here is about ann and bob."""
    who = {"ADMIN": ("root", "Admin"), "ANN": ("ann", "User"), "BOB": ("bob", "User")}
    await tour({"CARAVAN_URL": platform.url} | {name: platform.bearer(*one) for name, one in who.items()})

    shown = (ROOT / "docs" / "clients.md").read_text("utf-8").partition("$ python -m examples.tour\n")[2]
    assert capsys.readouterr().out == shown.partition("```")[0]


async def _first(states: Any, count: int) -> Any:
    """So many of what comes."""
    async for state in states:
        yield state
        count -= 1
        if not count:
            return


async def test_a_voucher_is_bought(platform: Whole) -> None:
    """Three domains, by who is who; the end of it all is awaited on a live list."""
    async with Client(platform.url, patience=PATIENCE_S) as guest:
        (await guest.issue(RegisterUser(user_id="eve", email="Eve@Example.com"), wait=20)).expect()
        taken = await guest.issue(RegisterUser(user_id="eva", email="eve@example.com"), wait=20)
        assert (taken.code, taken.details) == ("login_taken", {"field": "email"})

        eve, cafe = guest.by(platform.bearer("eve")), guest.by(lambda: platform.bearer("cafe", "Partner"))
        espresso = CreateCampaign(
            campaign_id="espresso", partner_id="cafe", name="An espresso", price=40, value=250, currency="EUR",
            quantity=100, budget=25000, valid_days=30,
        )  # fmt: skip
        (await cafe.issue(espresso, wait=20)).expect()
        (await cafe.issue(ActivateCampaign(campaign_id="espresso", partner_id="cafe"), wait=20)).expect()
        async with eve.live(balance, user_id="eve") as states:
            async for state in states:
                if state is not None and state.available == 100:
                    break
        (await eve.issue(PurchaseVoucher(campaign_id="espresso", voucher_id="v1", user_id="eve"), wait=20)).expect()
        (voucher,) = [one async for one in eve.items(my_vouchers, "eve", Paging(limit=1))]
        assert (voucher.status, voucher.price) == ("valid", 40)
        assert voucher.code is not None
        till = RedeemVoucher(campaign_id="espresso", partner_id="cafe", code=voucher.code)
        (await cafe.issue(till, wait=20)).expect()
        assert (await cafe.issue(till, wait=20)).code == "already_redeemed"


async def test_what_a_client_wrote_it_reads(platform: Whole) -> None:
    """Also where the platform lags; unless it says that anything will do."""
    every = Named("points/statement/{user_id}", Page[dict[str, Any]])
    async with admin(platform) as ada:
        (await ada.issue(AwardPoints(user_id="carl", amount=1), wait=20)).expect()
        with platform.frozen_worker():
            late = [await ada.issue(AwardPoints(user_id="carl", amount=n)) for n in (10, 100)]
            assert [one.status for one in late] == ["pending", "pending"]
            assert (await ada.view(balance, user_id="carl").after()).active == 1
            reading = [asyncio.ensure_future(_read(ada, view)) for view in (balance, every)]
            assert (await ada.wait(late[-1], 0.1)).status == "pending"
            assert not any(task.done() for task in reading)
        balanced, page = await asyncio.gather(*reading)
        assert balanced.active == 111
        assert [item["amount"] for item in page.items] == [100, 10, 1]
        assert [(await ada.wait(one)).status for one in late] == ["accepted", "accepted"]


async def _read(client: Client, view: Any) -> Any:
    return await client.view(view, user_id="carl")


async def test_a_command_whose_connection_is_cut_has_one_effect(platform: Whole) -> None:
    """Before the edge had it, and before its answer came back; the client tells nothing of it."""
    proxy = Proxy(HERE, platform.port)
    await proxy.start()
    try:
        async with admin(platform, f"http://{HERE}:{proxy.port}") as ada:
            for number, cut in enumerate((_in_the_request, _before_the_answer)):
                before = proxy.taken
                issued = asyncio.ensure_future(ada.issue(AwardPoints(user_id=f"dora{number}", amount=7), wait=20))
                await cut(proxy, f"dora{number}")
                outcome = (await issued).expect()
                assert proxy.taken > before
                assert [row[0] for row in await platform.rows(
                    "points", "SELECT amount FROM ledger WHERE user_id = $1", f"dora{number}")] == [7]  # fmt: skip
                assert len(await platform.rows(
                    "points", "SELECT FROM results WHERE command_id = $1::uuid", outcome.command_id)) == 1  # fmt: skip
    finally:
        await proxy.close()


async def _in_the_request(proxy: Proxy, _user: str) -> None:
    """It is held on its way to the edge, and the connection reset."""
    proxy.black_hole("up")
    await until(lambda: _true(proxy.taken > 0), "the client has connected")
    proxy.cut()
    proxy.heal()


async def _before_the_answer(proxy: Proxy, user: str) -> None:
    """The edge has it, and its answer is lost."""
    proxy.hold_answer_to(user.encode())
    await asyncio.wait_for(proxy.held.wait(), PATIENCE_S)
    proxy.cut_held()


async def _true(condition: bool) -> bool:
    return condition


@pytest.mark.full
async def test_a_live_view_goes_on_across_restarts_of_the_edge(platform: Whole) -> None:
    """Nothing older is shown, nothing twice, and the newest always; so it is for who comes back with an id."""
    seen: list[int] = []

    async def follow(client: Client) -> None:
        async with aclosing(client.live(balance, user_id="fred")) as states:
            async for state in states:
                seen.append(state.active if state else 0)
                if seen[-1] == 4:
                    return

    async with admin(platform) as ada:
        following = asyncio.create_task(follow(ada))
        for amount in (1, 2, 3, 4):
            await until(partial(_shown, seen, amount - 1), f"{amount - 1} is shown")
            if amount in (2, 4):
                platform.restart_edge()
            (await ada.issue(AwardPoints(user_id="fred", amount=1), wait=20)).expect()
        await asyncio.wait_for(following, PATIENCE_S)

        assert seen == [0, 1, 2, 3, 4]
        live = ada.live(balance, user_id="fred")
        async with live as states:
            assert [state.active async for state in _first(states, 1)] == [4]
        await ada.issue(AwardPoints(user_id="fred", amount=1))
        async with ada.live(balance, user_id="fred").since(live.last_id) as states:
            assert [state.active async for state in _first(states, 1)] == [5]


@pytest.mark.full
async def test_a_stream_outlives_its_token(platform: Whole) -> None:
    """The edge ends it with the token; the client comes back with a fresh one. One that cannot is told so."""
    given: list[str] = []

    def fresh() -> str:
        given.append(platform.bearer("iris", exp=int(time.time()) + 6))
        return given[-1]

    async with admin(platform) as ada:
        async with ada.by(fresh).live(balance, user_id="iris") as states:
            following = aiter(states)
            assert await anext(following) is None
            later = asyncio.ensure_future(anext(following))
            await until(lambda: _true(len(given) > 1), "the token was renewed")
            (await ada.issue(AwardPoints(user_id="iris", amount=3), wait=20)).expect()
            assert (await later) == Balance(user_id="iris", active=3, held=0, available=3)
        async with ada.by(fresh()).live(balance, user_id="iris") as states:
            following = aiter(states)
            assert await anext(following) is not None
            with pytest.raises(EdgeError) as error:
                await anext(following)
            assert error.value.code == "unauthorized"


async def _shown(seen: list[int], last: int) -> bool:
    return seen[-1:] == [last]


async def test_an_edge_that_is_away_is_unreachable(platform: Whole, free_port: int) -> None:
    """Once the client's patience is over, for commands, views and streams."""
    async with Client(f"http://127.0.0.1:{free_port}", patience=0.5) as client:
        for asked in (
            client.probe(),
            client.issue(AwardPoints(user_id="u1", amount=1)),
            _read(client, balance),
            anext(aiter(client.live(balance, user_id="u1"))),
        ):
            with pytest.raises(Unreachable) as error:
                await asked
            assert (error.value.code, error.value.status) == ("unreachable", 0)
            assert f"http://127.0.0.1:{free_port}" in error.value.detail
