"""Rules as data, tiers and pending points, case by case."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agents.points.rules import MAX_LOTS, SIGN_UP_POINTS, Award, Catalogue
from agents.points.rules.earning import MAX_RULES, end_of
from streams.envelope import Actor
from tests.points.platform import Platform
from tests.stepping import START, Outcome
from topics.points import (
    ActivatePointsRule,
    AdjustPoints,
    AwardPoints,
    DeactivatePointsRule,
    DefinePointsRule,
    DefineTiers,
    HoldPoints,
    ObserveEvent,
    PointsAwarded,
    PointsRuleFailed,
    ReviewTier,
    SpendPoints,
    TierDowngraded,
    TierUpgraded,
)
from topics.points.observed import OBSERVED, samples

PAID, TRAINED, REGISTERED = "commerce.order_paid", "fitness.workout_recorded", "identity.user_registered"
DAY = timedelta(days=1)
EUROS = {"total": 4200, "currency": "EUR", "venue_id": None}


def defined(platform: Platform, rule_id: str = "r", event: str = PAID, **terms: Any) -> Outcome:
    """Define a rule and let it count."""
    platform.send(DefinePointsRule(rule_id=rule_id, event=event, **{"amount": 10, **terms}))
    return platform.send(ActivatePointsRule(rule_id=rule_id))


def observed(platform: Platform, source: str = "s", **given: Any) -> Outcome:
    """Something happened to ann, an order of 42 EUR unless it is said otherwise."""
    about = {"event": PAID, "facts": EUROS, "occurred_at": platform.now, **given}
    return platform.send(ObserveEvent(user_id="ann", source=source, **about))


def awards(outcome: Outcome) -> list[tuple[str | None, int]]:
    """By which rule, and how many."""
    return [(event.rule, event.amount) for event in outcome.events if isinstance(event, PointsAwarded)]


@pytest.mark.req("SR048")
def test_a_rule_turns_an_event_into_one_award_once_it_is_activated_and_until_it_no_longer_is() -> None:
    platform = Platform()
    platform.send(
        DefinePointsRule(rule_id="r", event=PAID, condition="event.total >= 1000", amount="event.total / 100")
    )

    assert observed(platform, "too-early").events == []
    assert platform.send(ActivatePointsRule(rule_id="r")).status == "accepted"
    assert awards(observed(platform)) == [("r", 42)]
    assert observed(platform).events == [], "the same source"
    assert observed(platform, "small", facts={**EUROS, "total": 999}).events == []
    assert observed(platform, "other", event=TRAINED, facts={"minutes": 30}).events == []
    platform.send(DeactivatePointsRule(rule_id="r"))
    assert observed(platform, "too-late").events == []
    assert platform.balances() == {"ann": (42, 0)}


def test_a_rule_that_is_defined_again_counts_as_before_until_it_is_activated_again() -> None:
    platform = Platform()
    defined(platform)
    platform.send(DefinePointsRule(rule_id="r", event=PAID, amount=20))

    assert awards(observed(platform, "a")) == [("r", 10)]
    platform.send(ActivatePointsRule(rule_id="r"))
    assert awards(observed(platform, "b")) == [("r", 20)]
    assert observed(platform, "a").events == [], "a source is rewarded once, whatever the revision"


def test_every_rule_rewards_an_event_in_the_order_of_their_names() -> None:
    platform = Platform()
    for rule_id in ("b", "a"):
        defined(platform, rule_id)

    assert awards(observed(platform)) == [("a", 10), ("b", 10)]


@pytest.mark.req("SR048")
def test_an_award_is_cut_to_what_the_caps_leave_and_late_events_count_on_their_day() -> None:
    platform = Platform()
    defined(platform, amount=10, cap_per_day=15, cap_per_user=30)
    yesterday = platform.now - DAY

    assert awards(observed(platform, "a")) == [("r", 10)]
    assert awards(observed(platform, "b")) == [("r", 5)]
    assert awards(observed(platform, "c")) == []
    assert awards(observed(platform, "d", occurred_at=yesterday)) == [("r", 10)]
    assert awards(observed(platform, "e", occurred_at=yesterday)) == [("r", 5)]
    assert awards(observed(platform, "f", occurred_at=yesterday - DAY)) == [], "all that the user ever gets"


@pytest.mark.parametrize(
    ("condition", "amount", "words"),
    [
        ("event.colour == 'red'", 1, "no field"),
        ("event.total", 1, "neither true nor false"),
        ("event.total > 'much'", 1, ""),
        ("nothing.total > 1", 1, ""),
        ("event.venue_id.startsWith('v')", 1, ""),
        ("true", "event.currency", "no whole number"),
        ("true", "event.total / 0", ""),
        ("false", "event.colour", "no field"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_when_it_is_defined(condition: str, amount: Any, words: str) -> None:
    platform = Platform()
    command = DefinePointsRule(rule_id="r", event=PAID, condition=condition, amount=amount)
    told = platform.send(command)

    assert (told.status, told.code, told.events) == ("rejected", "bad_condition", [])


@pytest.mark.parametrize(
    "condition", ["event.venue_id == 'v1'", "has(event.venue_id) && event.total > 5", "at > timestamp('2020-01-01T00:00:00Z')", "user.tier == 'gold'"]
)  # fmt: skip
def test_a_condition_may_look_at_the_event_its_time_and_the_user(condition: str) -> None:
    assert defined(Platform(), condition=condition).status == "accepted"


@pytest.mark.parametrize(
    "body",
    [
        {"condition": "1 +"},
        {"condition": "x" * 501},
        {"condition": ""},
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.5},
        {"amount": "1 +"},
        {"amount": 2**53},
        {"cap_per_day": 0},
        {"validity": 0},
        {"validity": 4000},
        {"pending": 32},
        {"pending": 5, "validity": 5},
        {"rule_id": "referral:mine"},
        {"program": "another"},
        {"colour": "red"},
        {"event": "a b"},
    ],
)
def test_a_rule_is_written_as_the_contract_says(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DefinePointsRule.model_validate({"rule_id": "r", "event": PAID, "amount": 1, **body})


def test_rules_that_are_not_there_or_not_so_are_refused_by_name() -> None:
    platform = Platform()

    assert platform.send(DefinePointsRule(rule_id="r", event="news.read", amount=1)).code == "unknown_event"
    assert platform.send(ActivatePointsRule(rule_id="r")).code == "rule_not_found"
    assert platform.send(DeactivatePointsRule(rule_id="r")).code == "rule_not_found"
    defined(platform)
    assert platform.send(DefinePointsRule(rule_id="r", event=TRAINED, amount=1)).code == "other_event"
    assert platform.send(ActivatePointsRule(rule_id="r")).code == "rule_active"
    platform.send(DeactivatePointsRule(rule_id="r"))
    assert platform.send(DeactivatePointsRule(rule_id="r")).code == "rule_inactive"
    platform.documents["points", "main"]["rules"] = Catalogue(MAX_RULES)
    assert platform.send(DefinePointsRule(rule_id="new", event=PAID, amount=1)).code == "too_many_rules"
    assert platform.send(DefinePointsRule(rule_id="r", event=PAID, amount=1)).status == "accepted"


def test_a_rule_that_fails_on_an_event_is_told_and_the_others_go_on() -> None:
    platform = Platform()
    defined(platform, "a", amount="100 / event.total", condition="event.total != 1")
    assert platform.send(DefinePointsRule(rule_id="a", event=PAID, amount="event.total - 5")).status == "accepted"
    platform.send(ActivatePointsRule(rule_id="a"))
    defined(platform, "b")
    told = observed(platform, facts={"total": None})

    (failed,) = (event for event in told.events if isinstance(event, PointsRuleFailed))
    assert (failed.rule_id, failed.revision, failed.source) == ("a", 1, "s")
    assert awards(told) == [("b", 10)]


def test_a_program_begins_with_the_rule_for_who_signs_up() -> None:
    platform = Platform()
    signed_up = {"event": REGISTERED, "facts": {}}

    assert awards(observed(platform, "e1", **signed_up)) == [("sign_up", SIGN_UP_POINTS)]
    assert platform.send(ActivatePointsRule(rule_id="sign_up")).code == "rule_active"
    assert platform.send(DefinePointsRule(rule_id="sign_up", event=REGISTERED, amount=7)).status == "accepted"
    assert awards(observed(platform, "e2", **signed_up)) == [("sign_up", SIGN_UP_POINTS)]
    platform.send(ActivatePointsRule(rule_id="sign_up"))
    assert awards(observed(platform, "e3", **signed_up)) == [("sign_up", 7)]
    platform.send(DeactivatePointsRule(rule_id="sign_up"))
    assert observed(platform, "e4", **signed_up).events == []


@pytest.mark.req("SR055")
def test_who_was_paid_for_signing_up_before_there_were_rules_is_not_paid_again() -> None:
    platform = Platform()
    platform.documents["points", "ann"]["award/sign_up/e1"] = Award(given=True)

    assert observed(platform, "e1", event=REGISTERED, facts={}).events == []
    again = AwardPoints(user_id="ann", amount=100, rule="sign_up", source="e1")
    assert platform.send(again).code == "already_awarded"


@pytest.mark.req("SR055")
def test_a_source_is_rewarded_once_by_hand_or_by_rule() -> None:
    platform = Platform()
    defined(platform)
    observed(platform, "a")
    platform.send(AwardPoints(user_id="ann", amount=1, rule="r", source="b"))

    assert platform.send(AwardPoints(user_id="ann", amount=1, rule="r", source="a")).code == "already_awarded"
    assert observed(platform, "b").events == []


def test_what_a_rule_sees_has_nothing_personal() -> None:
    for kind in OBSERVED.values():
        for payload in samples(kind):
            assert not {"email", "phone", "display_name", "email_login", "phone_login", "device", "network"} & {
                *payload
            }
            assert "user_id" in kind.model_fields


# -- pending points, and when they expire


@pytest.mark.parametrize(
    ("days", "end"), [(1, datetime(2026, 1, 31, tzinfo=UTC)), (31, datetime(2026, 3, 2, tzinfo=UTC)), (32, datetime(2026, 4, 1, tzinfo=UTC)), (700, datetime(2028, 1, 1, tzinfo=UTC))]
)  # fmt: skip
def test_what_is_soon_happens_at_the_end_of_a_day_and_what_is_later_at_the_end_of_a_month(
    days: int, end: datetime
) -> None:
    assert end_of(datetime(2026, 1, 29, 23, 59, tzinfo=UTC), days) == end


def test_pending_points_are_unlocked_at_their_time_and_not_used_before() -> None:
    platform = Platform()
    defined(platform, amount=10, pending=2, validity=5)
    observed(platform)
    unlocks, expires = START + 3 * DAY, START + 6 * DAY

    assert (platform.balances()["ann"], platform.rows["pending"]) == ((0, 0), {("ann", unlocks): ("ann", unlocks, 10)})
    assert platform.send(SpendPoints(user_id="ann", amount=1)).code == "insufficient"
    platform.advance(3 * DAY)
    assert platform.fire()
    assert platform.balances()["ann"] == (10, 0)
    assert platform.rows["pending"]["ann", unlocks][2] == 0
    assert platform.rows["expiring"]["ann", expires][2] == 10
    platform.advance(3 * DAY)
    assert platform.fire()
    assert platform.balances()["ann"] == (0, 0)


def test_pending_points_whose_time_has_come_are_there_though_their_timer_was_not_run() -> None:
    platform = Platform()
    defined(platform, amount=10, pending=2)
    observed(platform)
    platform.advance(4 * DAY)
    told = platform.send(HoldPoints(user_id="ann", hold_id="h", amount=10))

    assert [event.wire_name for event in told.events] == ["points_unlocked", "points_held"]
    assert not platform.fire()


def test_points_of_an_event_that_is_told_late_may_be_unlocked_at_once_or_expired() -> None:
    platform = Platform()
    defined(platform, amount=10, pending=2, validity=5)
    told = observed(platform, "a", occurred_at=START - 3 * DAY)
    assert [event.wire_name for event in told.events] == ["points_rule_applied", "points_awarded"]
    observed(platform, "b", occurred_at=START - 30 * DAY)

    assert platform.send(SpendPoints(user_id="ann", amount=11)).code == "insufficient"
    platform.settle()
    assert platform.balances()["ann"] == (10, 0)


def test_an_award_by_rule_is_never_lost_for_want_of_room_for_its_time() -> None:
    platform = Platform()
    defined(platform, amount=10, validity=40)
    for n in range(MAX_LOTS):
        platform.send(AwardPoints(user_id="ann", amount=1, expires_at=START + timedelta(days=100, hours=n)))
    observed(platform)

    assert platform.account("ann").shelves[0].free == 11, "it expires with what expires next"


# -- tiers


def with_tiers(period: int | None = None) -> Platform:
    """Silver from 100 on, gold from 200 on; each order gives 60."""
    platform = Platform()
    tiers = [{"tier_id": "silver", "name": "Silver", "points": 100}, {"tier_id": "gold", "name": "Gold", "points": 200}]
    platform.send(DefineTiers.model_validate({"tiers": tiers, "period": period}))
    defined(platform, amount=60)
    return platform


def tiers_of(outcome: Outcome) -> list[tuple[str, str | None, int]]:
    """What is told of tiers."""
    rises = [one for one in outcome.events if isinstance(one, TierUpgraded | TierDowngraded)]
    return [(event.wire_name, event.tier, event.points) for event in rises]


def test_who_has_earned_enough_rises_and_gifts_do_not_count() -> None:
    platform = with_tiers()
    platform.send(AwardPoints(user_id="ann", amount=1000))
    told = [observed(platform, str(n)) for n in range(4)]

    assert [tiers_of(one) for one in told] == [
        [],
        [("tier_upgraded", "silver", 120)],
        [],
        [("tier_upgraded", "gold", 240)],
    ]
    assert platform.state("points", "ann", "tier").tier == "gold"


def test_a_tier_lasts_for_the_period_and_the_next_one() -> None:
    platform = with_tiers(period=10)
    for n in range(2):
        observed(platform, str(n))
    first = platform.state("points", "ann", "tier")
    assert (first.tier, first.earned, first.period) == ("silver", 120, 1)

    platform.advance(10 * DAY)
    platform.settle()
    second = platform.state("points", "ann", "tier")
    assert (second.tier, second.earned, second.before, second.until) == ("silver", 0, 120, first.until + 10 * DAY)
    platform.advance(10 * DAY)
    platform.settle()
    third = platform.state("points", "ann", "tier")
    assert (third.tier, third.until) == (None, None), "no period runs until points are earned"
    observed(platform, "later")
    assert platform.state("points", "ann", "tier").until == platform.now + 10 * DAY


def test_tiers_that_are_defined_anew_count_from_the_next_look_on() -> None:
    platform = with_tiers()
    observed(platform)
    platform.send(DefineTiers.model_validate({"tiers": [{"tier_id": "bronze", "name": "Bronze", "points": 50}]}))

    assert platform.state("points", "ann", "tier").tier is None
    assert tiers_of(platform.send(ReviewTier(user_id="ann"))) == [("tier_upgraded", "bronze", 60)]
    platform.send(DefineTiers(tiers=()))
    assert tiers_of(platform.send(ReviewTier(user_id="ann"))) == [("tier_downgraded", None, 60)]


@pytest.mark.parametrize(
    "steps", [[("a", 2), ("b", 1)], [("a", 1), ("b", 1)], [("a", 1), ("a", 2)], [("a", 0)], [("a:b", 1)], [(f"t{n}", n + 1) for n in range(21)]]
)  # fmt: skip
def test_tiers_rise_and_have_ids_of_their_own(steps: list[tuple[str, int]]) -> None:
    tiers = [{"tier_id": tier_id, "name": "A tier", "points": points} for tier_id, points in steps]
    with pytest.raises(ValidationError):
        DefineTiers.model_validate({"tiers": tiers})


@pytest.mark.parametrize(
    "contract", [DefinePointsRule, ActivatePointsRule, DeactivatePointsRule, DefineTiers, AdjustPoints, ReviewTier]
)
def test_only_admins_say_what_is_given(contract: Any) -> None:
    command = contract.model_validate(contract.examples[0])

    who = Actor("user", "u1", "User"), Actor("user", "u1", "Partner"), Actor("user", "root", "Admin")
    assert [command.may_be_issued_by(one) for one in who] == [False, False, True]
