"""Schemes, ambassadors and payouts: what may be defined, who becomes what, and when money is paid."""

from typing import Any

import pytest
from pydantic import ValidationError

from agents.referrals.rules.schemes import MAX_SCHEMES
from streams.contract import Command
from tests.referrals.platform import Town, brought, scheme
from topics.referrals import (
    MAX_AMOUNT,
    ActivateReferralScheme,
    AmbassadorTierChanged,
    ApplyAsAmbassador,
    ApproveAmbassador,
    CloseReferralScheme,
    CompletePayout,
    CreateReferralCode,
    FailPayout,
    PayoutRequested,
    ReferralBudgetExhausted,
    ReferralCommissionClawedBack,
    ReferralCommissionEarned,
    ReferralQualified,
    ReferralSchemeCreated,
    RequestPayout,
    RevokeAmbassador,
    SetAmbassadorTier,
    VoidReferral,
)

PAID: dict[str, Any] = {
    "levels": [{"points": 1, "commission": "event.total / 10"}, {"points": 0, "commission": 7}],
    "currency": "EUR",
    "commission_budget": 1000,
    "payout_threshold": 30,
    "tiers": {"gold": 150, "lead": 0},
}


@pytest.mark.req("SR046")
@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"condition": "event.sum > 1"}, "condition"),
        ({"condition": "event.total"}, "condition"),
        ({"condition": "__import__('os').system('true')"}, "condition"),
        ({"condition": "event.total > 'much'"}, "condition"),
        ({"condition": "total > 1"}, "condition"),
        ({"event": "workout_recorded"}, "condition"),
        ({"event": "voucher_purchased", "condition": "event.code != ''"}, "condition"),
        ({"friend_points": "event.total > 1"}, "friend_points"),
        ({"levels": [{"points": 1}, {"points": "event.sum"}]}, "levels.1.points"),
        (PAID | {"levels": [{"points": 1, "commission": "1.5 * 2.0"}]}, "levels.0.commission"),
    ],
)
def test_an_expression_that_says_nothing_of_its_event_is_refused(terms: dict[str, Any], field: str) -> None:
    town = Town()
    outcome = town.send_scheme(**terms)

    assert (outcome.code, outcome.events) == ("bad_condition", [])
    assert town.send(ActivateReferralScheme(scheme_id="s")).code == "scheme_not_found"
    assert town.details(outcome)["field"] == field


@pytest.mark.parametrize(
    "terms",
    [
        {"condition": "1 +"},
        {"condition": "x" * 501},
        {"condition": ""},
        {"levels": []},
        {"levels": [{"points": 1}] * 6},
        {"levels": [{"points": -1}]},
        {"levels": [{"points": 1.5}]},
        {"levels": [{"points": 1, "colour": 2}]},
        {"levels": [{"points": 1, "commission": 5}]},
        PAID | {"currency": None},
        PAID | {"commission_budget": 0},
        PAID | {"payout_threshold": None},
        PAID | {"payout_threshold": 0},
        PAID | {"currency": "eur"},
        PAID | {"tiers": {"gold": 1001}},
        PAID | {"tiers": {"a b": 100}},
        {"budget": 0},
        {"budget": MAX_AMOUNT + 1},
        {"event": "user_registered"},
        {"name": ""},
        {"scheme_id": "a:b"},
        {"scheme_id": "a/b"},
        {"touch": "middle"},
        {"window_days": 0},
        {"hold_days": -1},
        {"qualify_days": 0},
        {"approval": "never"},
        {"program": "other"},
        {"colour": "red"},
    ],
)
def test_terms_that_make_no_sense_are_turned_away(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        scheme(**terms)


@pytest.mark.parametrize("code", ["", "abc", "a" * 33, "-abcd", "ann invites", "ann/1", "ännä", "\0\0\0\0", 12345])
def test_a_code_is_of_letters_digits_and_hyphens(code: object) -> None:
    with pytest.raises(ValidationError):
        CreateReferralCode.model_validate({"user_id": "ann", "code": code, "scheme_id": "s"})


def test_a_scheme_that_is_defined_again_has_its_next_revision_from_then_on() -> None:
    town = brought()
    assert town.send_scheme(levels=[{"points": 20}], budget=2000).status == "accepted"
    for user, order in (("bob", "o1"), ("cy", "o2")):
        town.order(user, order, 200)
        town.settle()

    assert [event.revision for event in town.told(ReferralSchemeCreated)] == [1, 2]
    assert [(event.revision, event.shares[0].points) for event in town.told(ReferralQualified)] == [(2, 20)] * 2


def test_what_a_scheme_promised_stays_covered_and_in_its_currency() -> None:
    town = Town()
    town.open(**PAID)

    assert town.send_scheme(**PAID, budget=999).code == "budget_lowered"
    assert town.send_scheme(**PAID | {"commission_budget": 999}).code == "budget_lowered"
    assert town.send_scheme(**PAID | {"currency": "USD"}).code == "currency_fixed"
    assert town.send_scheme().code == "currency_fixed"
    assert town.send_scheme(**PAID, name="The same").status == "accepted"


def test_a_scheme_is_activated_once_and_closed_for_good() -> None:
    town = Town()
    activate, close = ActivateReferralScheme(scheme_id="s"), CloseReferralScheme(scheme_id="s")

    assert [town.send(command).code for command in (activate, close)] == ["scheme_not_found"] * 2
    town.send_scheme()
    assert [town.send(command).code for command in (activate, activate, close, close, activate)] == [
        None,
        "scheme_active",
        None,
        "scheme_closed",
        "scheme_closed",
    ]
    assert town.send_scheme().code == "scheme_closed"


def test_there_are_so_many_schemes_and_no_more() -> None:
    town = Town()
    for n in range(MAX_SCHEMES):
        assert town.send_scheme(scheme_id=f"s{n}").status == "accepted"

    assert town.send_scheme(scheme_id="one-more").code == "too_many_schemes"
    assert town.send_scheme(scheme_id="s7", name="Another name").status == "accepted"


# -- ambassadors


def appointed(town: Town, user_id: str, tier: str | None = None) -> None:
    """Make somebody an ambassador."""
    assert town.send(ApplyAsAmbassador(user_id=user_id)).status == "accepted"
    assert town.send(ApproveAmbassador(user_id=user_id)).status == "accepted"
    if tier:
        assert town.send(SetAmbassadorTier(user_id=user_id, tier=tier)).status == "accepted"


@pytest.mark.req("SR046")
def test_an_ambassador_applies_is_approved_moves_between_tiers_and_is_revoked() -> None:
    town = Town()
    town.open(**PAID)
    apply, approve = ApplyAsAmbassador(user_id="ann"), ApproveAmbassador(user_id="ann")
    revoke = RevokeAmbassador(user_id="ann", reason="Spam.")
    gold, none_such = (SetAmbassadorTier(user_id="ann", tier=tier) for tier in ("gold", "silver"))

    def told(*commands: Command) -> list[str | None]:
        return [town.send(command).code for command in commands]

    assert told(approve, gold, revoke) == ["ambassador_not_found"] * 3
    assert told(apply, apply, gold) == [None, "ambassador_applied", "ambassador_applied"]
    assert told(approve, approve, apply) == [None, "ambassador_active", "ambassador_active"]
    assert told(none_such, gold, gold) == ["tier_not_found", None, None]
    assert [(event.was, event.tier) for event in town.told(AmbassadorTierChanged)] == [("standard", "gold")]
    assert told(revoke, revoke, apply, approve, gold) == [None, *["ambassador_revoked"] * 4]


@pytest.mark.req("SR046")
@pytest.mark.parametrize(("tier", "earned"), [(None, 20), ("gold", 30), ("lead", 0)])
def test_an_active_ambassador_earns_commission_by_the_tier(tier: str | None, earned: int) -> None:
    town = brought(**PAID)
    appointed(town, "bob", tier)
    town.order("cy", "o1", 200)
    town.settle()

    assert [(e.user_id, e.amount, e.currency) for e in town.told(ReferralCommissionEarned)] == (
        [("bob", earned, "EUR")] if earned else []
    )
    town.send(VoidReferral(referral_id="cy", reason="A fraud."))
    town.settle()
    assert [e.amount for e in town.told(ReferralCommissionClawedBack)] == ([earned] if earned else [])


def test_who_applied_or_was_revoked_earns_no_commission() -> None:
    town = brought(**PAID)
    town.send(ApplyAsAmbassador(user_id="bob"))
    appointed(town, "ann")
    town.send(RevokeAmbassador(user_id="ann", reason="Spam."))
    town.order("cy", "o1", 200)
    town.settle()

    assert town.told(ReferralCommissionEarned) == []


def test_a_referral_whose_commission_does_not_fit_in_gives_nothing() -> None:
    town = brought(**PAID | {"commission_budget": 26})
    appointed(town, "bob")
    appointed(town, "ann")
    town.order("cy", "o1", 200)
    town.settle()

    assert [(event.points, event.commission) for event in town.told(ReferralBudgetExhausted)] == [(1, 27)]
    assert town.told(ReferralCommissionEarned) == []


# -- payouts


def earning(total: int = 200) -> Town:
    """Bob, an ambassador, has earned a tenth of what Cy paid."""
    town = brought(**PAID)
    appointed(town, "bob")
    town.order("cy", "o1", total)
    town.settle()
    return town


def payout(name: str = "p1", user_id: str = "bob", scheme_id: str = "s") -> RequestPayout:
    """Somebody asks for what they have earned."""
    return RequestPayout(scheme_id=scheme_id, user_id=user_id, payout_id=name)


def end(name: str = "p1", *, reason: str | None = None) -> Command:
    """The money is paid, or for some reason it is not."""
    about = {"scheme_id": "s", "user_id": "bob", "payout_id": name}
    return FailPayout(**about, reason=reason) if reason else CompletePayout(**about)


@pytest.mark.req("SR046")
@pytest.mark.parametrize(("total", "code"), [(299, "below_threshold"), (300, None), (310, None)])
def test_a_payout_is_asked_for_from_the_threshold_on(total: int, code: str | None) -> None:
    town = earning(total)

    assert town.send(payout()).code == code
    assert [event.amount for event in town.told(PayoutRequested)] == ([] if code else [total // 10])


def test_a_payout_is_completed_or_fails_once_and_what_failed_is_asked_for_again() -> None:
    town = earning(500)

    def told(*commands: Command) -> list[str | None]:
        return [town.send(command).code for command in commands]

    assert told(end(), payout(scheme_id="none"), payout(user_id="ann")) == [
        "payout_not_found",
        "scheme_not_found",
        "below_threshold",
    ]
    assert told(payout(), payout(), payout("p2")) == [None, "payout_exists", "below_threshold"]
    assert told(end(reason="No account."), end(), payout(), payout("p2")) == [
        None,
        "payout_failed",
        "payout_exists",
        None,
    ]
    assert told(end("p2"), end("p2", reason="x"), payout("p3")) == [None, "payout_completed", "below_threshold"]
    assert list(town.rows["earnings"].values()) == [("s", "bob", 50, 0, 50)]


def test_what_is_taken_back_after_it_was_paid_is_taken_off_what_comes() -> None:
    town = earning(500)
    town.send(payout())
    town.send(end())
    town.refund("cy", "o1", 500)
    town.settle()
    assert town.state("referrals", "s", "earnings/bob").payable == -50
    for user, total in (("dee", 300), ("eve", 500)):
        assert town.send(payout("p2")).code == "below_threshold"
        town.register(user, "BOB-1")
        town.order(user, user, total)
        town.settle()

    assert town.send(payout("p2")).status == "accepted"
    assert [event.amount for event in town.told(PayoutRequested)] == [50, 30]
