"""The laws of promotions and points together: purchases and redemptions at the same time, steps and timers in any order that topics allow."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.promotions.rules.documents import PATIENCE, Campaign, Voucher
from streams.agent import agents_of
from streams.contract import Command
from tests.stepping import START, Outcome, Stepping, rebuilt
from topics.points import AwardPoints, HoldPoints, PointsHeld, PointsHoldReleased, ReleaseHold, SpendPoints
from topics.promotions import (
    ActivateCampaign,
    ConfirmPurchase,
    CreateCampaign,
    ExpireVoucher,
    FailPurchase,
    PurchaseVoucher,
    RedeemVoucher,
    VoucherPurchased,
    VoucherPurchaseStarted,
    VoucherRedeemed,
    hold_of,
    purchase_of,
)

AGENTS = [*agents_of("promotions"), *agents_of("points")]
USERS = ("ann", "bob")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "few": {"price": 30, "quantity": 3, "budget": 1000, "per_user": 2, "valid_days": 2},
    "poor": {"price": 20, "quantity": 9, "budget": 250, "per_user": 9, "valid_to": START + 3 * DAY},
    "free": {"price": 0, "quantity": 2, "budget": 1000, "per_user": 1, "valid_days": 1},
}
VOUCHERS = tuple(f"v-{n}" for n in range(8))


def drawn_up(**terms: Any) -> CreateCampaign:
    """A campaign of partner p1."""
    usual = {"campaign_id": "c", "partner_id": "p1", "name": "A coffee", "price": 30, "value": 100, "currency": "EUR"}
    return CreateCampaign.model_validate(
        {**usual, "quantity": 10, "budget": 1000, **({} if "valid_to" in terms else {"valid_days": 2}), **terms}
    )


def opened(**campaigns: dict[str, Any]) -> Stepping:
    """A platform with these campaigns on sale."""
    platform = Stepping(*AGENTS, ordered=True)
    for name, terms in campaigns.items():
        platform.send(drawn_up(campaign_id=name, **terms))
        platform.send(ActivateCampaign(campaign_id=name, partner_id="p1"))
    return platform


class Till(NamedTuple):
    """Somebody shows one of the codes that were given so far."""

    nth: int


users, campaigns, vouchers = st.sampled_from(USERS), st.sampled_from(list(CAMPAIGNS)), st.sampled_from(VOUCHERS)
purchases = st.builds(PurchaseVoucher, campaign_id=campaigns, voucher_id=vouchers, user_id=users)
others = st.one_of(
    st.builds(AwardPoints, user_id=users, amount=st.integers(1, 60)),
    st.builds(SpendPoints, user_id=users, amount=st.integers(1, 60)),
    st.builds(HoldPoints, user_id=users, hold_id=vouchers, amount=st.integers(1, 60)),
    st.builds(ReleaseHold, user_id=users, hold_id=vouchers),
)
steps, times = st.integers(0, 5), st.sampled_from((MINUTE, PATIENCE, DAY))
tills = st.builds(Till, st.integers(0, 5))
Entry = Command | int | timedelta | Till | None
histories = st.lists(
    st.one_of(purchases, purchases, purchases, steps, steps, steps, tills, tills, others, times, st.none()),
    min_size=15,
    max_size=80,
)
"""Commands in the order in which they come; a number carries on one of the sagas by a step, time passes, None runs a timer that is due."""


def codes(platform: Stepping) -> list[tuple[str, str]]:
    """Campaign and code of each voucher that was sold."""
    bought = [fact.event for fact in platform.facts if isinstance(fact.event, VoucherPurchased)]
    return [(event.campaign_id, event.code) for event in bought]


def documents(platform: Stepping) -> Iterator[tuple[str, str, Voucher]]:
    """Campaign, id and document of each voucher."""
    for name in CAMPAIGNS:
        for sub_key, document in platform.documents["promotions", name].items():
            if isinstance(document, Voucher):
                yield name, sub_key.removeprefix("voucher/"), document


def hold(platform: Stepping, campaign_id: str, voucher_id: str, user_id: str) -> str:
    """How the hold for a voucher stands."""
    status: str = platform.state("points", user_id, f"hold/{hold_of(campaign_id, voucher_id)}").status
    return status


HOLDS = {
    "started": {"unknown", "open"},
    "failed": {"unknown", "open", "released"},
    "valid": {"open", "captured"},
    "redeemed": {"open", "captured"},
    "expired": {"open", "captured"},
}
"""How the hold of a voucher may stand by the voucher's state."""


def check(platform: Stepping) -> None:
    """What holds at every moment."""
    for name in CAMPAIGNS:
        check_campaign(platform, name)
    for name, voucher_id, voucher in documents(platform):
        stands = hold(platform, name, voucher_id, voucher.user_id)
        assert stands in (HOLDS[voucher.status] if CAMPAIGNS[name]["price"] else {"unknown"})
        row = platform.rows["voucher"][name, voucher_id]
        assert (row[2], row[8], row[10]) == (voucher.user_id, voucher.status, voucher.code)
    for user in USERS:
        account = platform.state("points", user)
        assert min(account.available, account.held) >= 0


def check_campaign(platform: Stepping, name: str) -> None:
    """The limits hold, and the counts are those of the vouchers."""
    campaign: Campaign = platform.state("promotions", name)
    of = [voucher for campaign_id, _, voucher in documents(platform) if campaign_id == name]
    states = Counter(voucher.status for voucher in of)

    assert campaign.issued + campaign.reserved <= campaign.quantity
    assert campaign.value * (campaign.issued + campaign.reserved) <= campaign.budget
    assert (campaign.reserved, campaign.failed) == (states["started"], states["failed"])
    assert (campaign.redeemed, campaign.expired) == (states["redeemed"], states["expired"])
    assert campaign.issued == states["valid"] + states["redeemed"] + states["expired"]
    counts = (campaign.reserved, campaign.issued, campaign.failed, campaign.redeemed, campaign.expired)
    assert platform.rows["campaign"][name,][9:14] == counts
    for user in USERS:
        has = sum(voucher.user_id == user and voucher.status != "failed" for voucher in of)
        assert has == platform.state("promotions", name, f"user/{user}").count <= campaign.per_user


def run(history: list[Entry]) -> Stepping:
    """Play a history to its end, looking at every moment."""
    platform = opened(**CAMPAIGNS)
    platform.send(AwardPoints(user_id="ann", amount=100))
    platform.send(AwardPoints(user_id="bob", amount=60, expires_at=START + 20 * MINUTE))
    for entry in history:
        play(platform, entry)
        check(platform)
    platform.settle()
    platform.advance(PATIENCE)
    while platform.step() or platform.fire():
        check(platform)
    return platform


def play(platform: Stepping, entry: Entry) -> None:
    """One step of a history."""
    match entry:
        case None:
            platform.fire()
        case Till(nth=nth):
            if known := codes(platform):
                campaign_id, code = known[nth % len(known)]
                platform.send(RedeemVoucher(campaign_id=campaign_id, partner_id="p1", code=code))
        case int():
            platform.step(entry)
        case timedelta():
            platform.advance(entry)
        case _:
            platform.send(entry)


@pytest.mark.req("SR066")
@settings(max_examples=25)
@given(histories)
def test_at_every_moment_quantity_budget_and_the_share_of_a_user_hold(history: list[Entry]) -> None:
    run(history)


@pytest.mark.req("SR054")
@settings(max_examples=25)
@given(histories)
def test_in_the_end_a_voucher_is_bought_exactly_when_its_points_were_taken_and_no_hold_is_left(
    history: list[Entry],
) -> None:
    platform = run(history)
    own = Counter[str]()
    for user in USERS:
        for name in VOUCHERS:
            document = platform.state("points", user, f"hold/{name}")
            own[user] += document.amount if document.status == "open" else 0

    assert {outcome.status for outcome in platform.outcomes.values()} <= {"accepted", "rejected"}
    for name, voucher_id, voucher in documents(platform):
        stands = hold(platform, name, voucher_id, voucher.user_id)
        assert voucher.status != "started"
        if CAMPAIGNS[name]["price"]:
            assert (stands == "captured") == (voucher.status != "failed")
        assert stands != "open"
    assert {user: platform.state("points", user).held for user in USERS} == {user: own[user] for user in USERS}


@pytest.mark.req("SR054")
@settings(max_examples=25)
@given(histories)
def test_a_voucher_is_redeemed_once_and_in_its_time(history: list[Entry]) -> None:
    platform = run(history)
    bought = {(fact.key, fact.event.voucher_id): fact.event for fact in facts(platform, VoucherPurchased)}
    redeemed = Counter((fact.key, fact.event.voucher_id) for fact in facts(platform, VoucherRedeemed))

    assert set(redeemed.values()) <= {1}
    for fact in facts(platform, VoucherRedeemed):
        voucher = bought[fact.key, fact.event.voucher_id]
        assert voucher.valid_from <= fact.at < voucher.valid_to


@settings(max_examples=25)
@given(histories)
def test_who_was_refused_got_nothing_and_who_was_not_has_the_voucher(history: list[Entry]) -> None:
    platform = run(history)
    has = {(name, voucher_id): voucher for name, voucher_id, voucher in documents(platform)}
    bought = [one for one in platform.outcomes.values() if isinstance(one.command, PurchaseVoucher)]

    for outcome in bought:
        mine = has.get((outcome.command.campaign_id, outcome.command.voucher_id))
        if outcome.status == "accepted":
            assert mine
            assert mine.code
            assert mine.user_id == outcome.command.user_id
    kept = [voucher for voucher in has.values() if voucher.status != "failed"]
    assert sum(outcome.status == "accepted" for outcome in bought) == len(kept)


@settings(max_examples=25)
@given(histories)
def test_the_events_alone_give_the_same_documents_rows_and_timers(history: list[Entry]) -> None:
    live = run(history)
    again = rebuilt(live, *AGENTS)

    assert again.documents == live.documents
    assert again.rows == live.rows
    assert again.timers == live.timers


def facts(platform: Stepping, kind: type) -> list[Any]:
    """The facts of this kind."""
    return [fact for fact in platform.facts if isinstance(fact.event, kind)]


def buy(platform: Stepping, voucher_id: str = "v1", user_id: str = "ann", campaign_id: str = "c") -> Outcome:
    """Somebody begins to buy a voucher."""
    return platform.send(PurchaseVoucher(campaign_id=campaign_id, voucher_id=voucher_id, user_id=user_id))


def redeem(platform: Stepping, code: str, partner_id: str = "p1", campaign_id: str = "c") -> Outcome:
    """Somebody shows a code at the till."""
    return platform.send(RedeemVoucher(campaign_id=campaign_id, partner_id=partner_id, code=code))


def sold(**terms: Any) -> tuple[Stepping, str]:
    """A platform with a voucher of ann's, and its code."""
    platform = opened(c=terms)
    platform.send(AwardPoints(user_id="ann", amount=100))
    buy(platform)
    platform.settle()
    ((_, code),) = codes(platform)
    return platform, code


@pytest.mark.req("SR054")
def test_a_purchase_goes_from_the_reservation_over_the_hold_to_the_voucher_and_the_capture() -> None:
    platform = opened(c={})
    platform.send(AwardPoints(user_id="ann", amount=100))
    outcome = buy(platform)
    assert outcome.status == "pending"
    platform.settle()

    assert outcome.status == "accepted"
    assert [fact.event.wire_name for fact in platform.facts[3:]] == [
        "voucher_purchase_started",
        "points_held",
        "voucher_purchased",
        "points_hold_captured",
    ]
    assert (platform.state("points", "ann").available, platform.state("points", "ann").held) == (70, 0)


@pytest.mark.req("SR054")
def test_who_has_not_enough_points_gets_no_voucher_and_the_reservation_is_free_again() -> None:
    platform = opened(c={"quantity": 1})
    outcome = buy(platform)
    assert buy(platform, "v2", "bob").code == "sold_out"
    platform.settle()

    assert (outcome.status, outcome.code) == ("rejected", "insufficient")
    platform.send(AwardPoints(user_id="bob", amount=30))
    assert buy(platform, "v2", "bob").status == "pending"
    assert buy(platform, "v1").code == "voucher_exists"


@pytest.mark.req("SR054")
def test_points_that_come_too_late_are_given_back() -> None:
    platform = opened(c={})
    platform.send(AwardPoints(user_id="ann", amount=100))
    outcome = buy(platform)
    platform.advance(PATIENCE)
    assert platform.fire()
    assert (outcome.status, outcome.code) == ("rejected", "timed_out")
    platform.settle()

    assert [type(fact.event) for fact in platform.facts[-2:]] == [PointsHeld, PointsHoldReleased]
    assert (platform.state("points", "ann").available, platform.state("points", "ann").held) == (100, 0)
    assert codes(platform) == []


def test_a_free_voucher_is_bought_at_once_and_touches_no_points() -> None:
    platform = opened(c={"price": 0})
    outcome = buy(platform)
    platform.settle()

    assert outcome.status == "accepted"
    assert len(codes(platform)) == 1
    assert not platform.documents["points", "ann"]


def test_a_purchase_fails_whose_voucher_could_not_be_used_any_more() -> None:
    platform = opened(c={"valid_to": START + 10 * MINUTE})
    platform.send(AwardPoints(user_id="ann", amount=100))
    outcome = buy(platform)
    platform.advance(10 * MINUTE)
    assert buy(platform, "v2").code == "campaign_ended"
    redeem(platform, "nothing")  # an event of the campaign, behind which its time cannot go back
    platform.settle()

    assert (outcome.status, outcome.code) == ("rejected", "campaign_ended")
    assert (platform.state("points", "ann").available, platform.state("points", "ann").held) == (100, 0)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"quantity": 1}, "sold_out"),
        ({"budget": 199}, "budget_exhausted"),
        ({"per_user": 1}, "limit_reached"),
        ({"sale_to": START + MINUTE}, "campaign_ended"),
        ({"valid_to": START + MINUTE}, "campaign_ended"),
    ],
)
def test_a_second_voucher_is_refused_by_name(terms: dict[str, Any], code: str) -> None:
    platform = opened(c={"per_user": 5, **terms})
    assert buy(platform).status == "pending"
    if code == "campaign_ended":
        platform.advance(MINUTE)
    told = buy(platform, "v2")

    assert (told.status, told.code) == ("rejected", code)


def test_a_campaign_sells_when_it_is_active_and_its_sale_has_begun() -> None:
    platform = Stepping(*AGENTS)
    assert buy(platform).code == "campaign_not_found"
    assert platform.send(drawn_up(sale_from=START + DAY)).status == "accepted"
    assert platform.send(drawn_up()).code == "campaign_exists"
    assert buy(platform).code == "campaign_not_active"
    assert platform.send(ActivateCampaign(campaign_id="c", partner_id="p2")).code == "campaign_not_found"
    assert platform.send(ActivateCampaign(campaign_id="c", partner_id="p1")).status == "accepted"
    assert platform.send(ActivateCampaign(campaign_id="c", partner_id="p1")).code == "already_active"
    assert buy(platform).code == "sale_not_begun"
    platform.advance(DAY)
    assert buy(platform).status == "pending"


def test_a_campaign_that_is_over_before_it_begins_is_refused() -> None:
    platform = Stepping(*AGENTS)

    assert platform.send(drawn_up(sale_to=START)).code == "already_over"
    assert platform.send(drawn_up(valid_to=START)).code == "already_over"


def test_a_voucher_is_taken_at_the_till_of_its_partner() -> None:
    platform, code = sold()
    told = redeem(platform, code)

    assert told.status == "accepted"
    (event,) = told.events
    assert isinstance(event, VoucherRedeemed)
    assert (event.user_id, event.value, event.currency, event.redeemed_at) == ("ann", 100, "EUR", told.at)


@pytest.mark.req("SR054")
def test_the_second_till_is_told_when_the_first_took_it() -> None:
    platform, code = sold()
    first, second = redeem(platform, code), redeem(platform, code)

    assert (first.status, second.status, second.code) == ("accepted", "rejected", "already_redeemed")
    assert platform.state("promotions", "c", "voucher/v1").redeemed_at == first.at


def test_unknown_foreign_and_not_yet_valid_codes_are_told_alike() -> None:
    platform, code = sold(valid_from=START + DAY)
    tills = [
        redeem(platform, code),
        redeem(platform, code, partner_id="p2"),
        redeem(platform, code, campaign_id="d"),
        redeem(platform, f"{code[:-1]}{'A' if code[-1] != 'A' else 'B'}"),
        redeem(platform, "v1"),
        redeem(platform, "nothing-at-all"),
    ]

    assert {(one.status, one.code) for one in tills} == {("rejected", "not_found")}
    assert {event.reason for one in tills for event in one.events} == {"not_found"}  # type: ignore[attr-defined]
    platform.advance(DAY)
    assert redeem(platform, code, partner_id="p2").code == "not_found"
    assert redeem(platform, code).status == "accepted"


def test_only_a_hold_of_the_buyer_and_of_the_whole_price_pays_for_a_voucher() -> None:
    platform = opened(c={})
    platform.send(AwardPoints(user_id="ann", amount=100))
    outcome = buy(platform)
    for user_id, amount in (("ann", 29), ("ann", 31), ("bob", 30)):
        other = ConfirmPurchase(campaign_id="c", voucher_id="v1", user_id=user_id, amount=amount)
        assert platform.send(other).code == "purchase_not_found"
    stranger = FailPurchase(campaign_id="c", voucher_id="v1", user_id="bob", reason="insufficient")
    assert platform.send(stranger).code == "purchase_not_found"
    early = FailPurchase(campaign_id="c", voucher_id="v1", user_id="ann", reason="timed_out")
    assert platform.send(early).code == "not_due"
    assert platform.send(ExpireVoucher(campaign_id="c", voucher_id="v1")).code == "not_due"

    assert outcome.status == "pending"


def test_a_voucher_that_is_not_yet_paid_has_no_code() -> None:
    platform = opened(c={})
    buy(platform)

    assert platform.state("promotions", "c", "voucher/v1").code is None
    assert redeem(platform, "v1-").code == "not_found"


def test_a_voucher_expires_when_its_time_is_over_and_for_good() -> None:
    platform, code = sold()
    platform.advance(2 * DAY)
    assert redeem(platform, code).code == "expired"
    assert platform.fire()
    assert not platform.fire()

    assert platform.facts[-1].event.wire_name == "voucher_expired"
    assert redeem(platform, code).code == "expired"


def test_a_redeemed_voucher_does_not_expire() -> None:
    platform, code = sold()
    redeem(platform, code)
    platform.advance(9 * DAY)

    assert not platform.fire()
    assert redeem(platform, code).code == "already_redeemed"


def test_codes_of_the_same_voucher_id_differ_with_the_purchase() -> None:
    seen = set()
    for n in range(5):
        platform = opened(c={"price": 0})
        for _ in range(n):
            buy(platform, campaign_id="nothing")
        buy(platform)
        seen.update(codes(platform))

    assert len(seen) == 5
    assert all(code.startswith("v1-") and len(code) == 3 + 16 for _, code in seen)


@pytest.mark.parametrize(
    "terms",
    [
        {"price": -1},
        {"price": 1.5},
        {"value": 0},
        {"quantity": 0},
        {"per_user": 0},
        {"budget": 99},
        {"currency": "eur"},
        {"name": ""},
        {"campaign_id": "a:b"},
        {"campaign_id": "a/b"},
        {"campaign_id": "a" * 51},
        {"valid_to": "2030-01-01T00:00:00Z", "valid_days": 3},
        {"valid_days": None},
        {"valid_days": 3651},
        {"valid_to": "2030-01-01T00:00:00"},
        {"sale_from": "2030-01-01T00:00:00Z", "sale_to": "2030-01-01T01:00:00+01:00"},
        {"valid_from": "2030-01-01T00:00:00Z", "valid_to": "2029-01-01T00:00:00Z"},
        {"colour": "red"},
        {"kind": "coupon"},
        {"max_uses": 11},
        {"kind": "gift", "max_uses": 2},
        {"kind": "promo"},
        {"kind": "promo", "price": 0, "percent": 0},
        {"kind": "promo", "price": 0, "percent": 101},
        {"kind": "promo", "price": 0, "percent": 2.5},
        {"kind": "promo", "price": 0, "percent": -10},
        {"kind": "promo", "price": 0, "condition": "order.total >"},
        {"kind": "promo", "price": 0, "condition": ""},
        {"kind": "promo", "price": 0, "min_spend": -1},
        {"percent": 10},
        {"condition": "true"},
        {"min_spend": 1},
        {"venues": ("a/b",)},
        {"venues": tuple(f"v{n}" for n in range(51))},
    ],
)
def test_terms_that_make_no_sense_are_turned_away(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        drawn_up(**terms)


def test_the_id_of_a_hold_tells_its_voucher_and_other_holds_tell_none() -> None:
    longest = "c" * 50, "v" * 50

    assert purchase_of(hold_of(*longest)) == longest
    assert HoldPoints(user_id="u", hold_id=hold_of(*longest), amount=1).hold_id
    for other in (None, "h1", "voucher:c", "voucher:c:v:w", "order:c:v"):
        assert purchase_of(other) is None


def test_a_purchase_that_nobody_began_is_not_confirmed_by_a_hold() -> None:
    platform = opened(c={})
    platform.send(AwardPoints(user_id="ann", amount=100))
    platform.send(HoldPoints(user_id="ann", hold_id=hold_of("c", "v1"), amount=30))
    platform.settle()

    assert codes(platform) == []
    assert not facts(platform, VoucherPurchaseStarted)
