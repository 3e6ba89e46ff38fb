"""From the qualifying act to the reward: who qualifies, who is looked at by hand, who approves, what a return takes back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.condition import sample
from streams.contract import Command, Event
from tests.referrals.platform import DAY, Town, brought
from topics.fitness import WorkoutRecorded
from topics.meetups import ParticipantCheckedIn
from topics.promotions import VoucherPurchased, VoucherRedeemed, VoucherRedemptionRolledBack, VoucherRefunded
from topics.quests import QuestCompleted
from topics.referrals import (
    ApproveReferral,
    ClawBackReferralRewards,
    CloseReferralScheme,
    FlagReferral,
    GrantReferralRewards,
    QualifyReferral,
    ReferralActKept,
    ReferralBudgetExhausted,
    ReferralFlagged,
    ReferralQualified,
    ReferralRewardClawedBack,
    ReferralRewardGranted,
    ScreenReferral,
    Share,
    VoidReferral,
)

TWO_LEVELS: dict[str, Any] = {"levels": [{"points": 10}, {"points": "event.total / 50"}], "friend_points": 5}


def ordered(town: Town, user_id: str = "cy", total: int = 200, order_id: str = "o1", **given: Any) -> str:
    """What becomes of a friend who orders."""
    town.order(user_id, order_id, total, **given)
    town.settle()
    return str(town.referral(user_id).status)


def points(town: Town) -> dict[str, int]:
    """What everybody has got, less what was taken back."""
    found: dict[str, int] = {}
    for event in town.told(ReferralRewardGranted):
        found[event.user_id] = found.get(event.user_id, 0) + event.points
    for event in town.told(ReferralRewardClawedBack):
        found[event.user_id] -= event.points
    return found


@pytest.mark.req("SR046")
def test_friend_and_those_above_get_what_the_scheme_says_for_each_level() -> None:
    town = brought(**TWO_LEVELS)

    assert ordered(town) == "approved"
    assert points(town) == {"cy": 5, "bob": 10, "ann": 4}
    assert [(event.level, event.user_id) for event in town.told(ReferralRewardGranted)] == [
        (0, "cy"),
        (1, "bob"),
        (2, "ann"),
    ]
    assert len({event.reward_id for event in town.told(ReferralRewardGranted)}) == 3


@pytest.mark.req("SR046")
def test_nobody_is_rewarded_beyond_the_depth_of_the_scheme() -> None:
    town = brought()

    assert ordered(town) == "approved"
    assert points(town) == {"bob": 10}


def test_levels_that_a_scheme_gets_later_are_for_those_who_come_later() -> None:
    town = brought()
    town.send_scheme(**TWO_LEVELS)

    ordered(town)
    assert points(town) == {"cy": 5, "bob": 10}


def test_a_friend_qualifies_once_and_by_what_the_scheme_asks_for() -> None:
    town = brought()

    assert ordered(town, total=99) == "attributed"
    assert ordered(town, total=100, order_id="o2") == "approved"
    assert ordered(town, total=500, order_id="o3") == "approved"
    assert [event.source for event in town.told(ReferralQualified)] == ["order:o2"]
    assert ordered(town, "ann") == "none"


@pytest.mark.parametrize(("days", "status"), [(6, "approved"), (7, "attributed")])
def test_a_friend_qualifies_in_time(days: int, status: str) -> None:
    town = brought(qualify_days=7)
    town.advance(days * DAY)

    assert ordered(town) == status


def test_what_was_done_in_time_counts_when_it_is_told_late() -> None:
    town = brought(qualify_days=7)
    town.order("cy", "o1", 200)
    town.advance(9 * DAY)
    town.settle()

    assert town.referral("cy").status == "approved"


def test_what_was_done_before_the_registration_does_not_count() -> None:
    town = brought(event="workout_recorded", condition="true")
    early = datetime(2025, 12, 31, tzinfo=UTC)
    town.hear(WorkoutRecorded(user_id="cy", workout_id="w1", kind="run", minutes=30, at=early))
    town.settle()

    assert town.referral("cy").status == "attributed"


def test_nobody_qualifies_any_more_when_the_scheme_is_closed_and_who_has_is_rewarded() -> None:
    town = brought(hold_days=1)
    ordered(town, "bob")
    town.send(CloseReferralScheme(scheme_id="s"))

    assert ordered(town) == "attributed"
    town.advance(DAY)
    town.settle()
    assert points(town) == {"ann": 10}


def test_an_act_that_is_told_before_the_registration_is_looked_at_then() -> None:
    town = brought()
    town.register("dee", "CY-1")
    (registration,) = town.waiting
    town.waiting.clear()
    for n in range(10):
        town.order("dee", f"o{n}", 99 + n)
    town.settle()
    assert len(town.told(ReferralActKept)) == 8
    town.waiting.append(registration)
    town.settle()

    assert town.referral("dee").status == "approved"
    assert town.referral("dee").source == "order:o1"
    assert points(town) == {"cy": 10}
    assert town.state("referrals", "dee", "early").acts == ()


def test_an_act_that_is_given_back_before_the_registration_is_known_is_not_looked_at() -> None:
    town = brought()
    town.register("dee", "CY-1")
    (registration,) = town.waiting
    town.waiting.clear()
    for name in ("o1", "o2"):
        town.order("dee", name, 200)
    town.refund("dee", "o1", 200)
    town.settle()
    town.waiting.append(registration)
    town.settle()

    assert town.referral("dee").source == "order:o2"


def test_an_expression_that_cannot_be_evaluated_on_an_event_does_not_hold() -> None:
    town = brought(condition="event.total / (event.total - 200) > 0")

    assert ordered(town, total=200) == "attributed"
    assert ordered(town, total=201, order_id="o2") == "approved"


ABOUT = {"user_id": "cy", "partner_id": "p1", "campaign_id": "c1", "voucher_id": "v1"}
ACTS: list[tuple[type[Event], dict[str, Any], str, type[Event] | None]] = [
    (VoucherPurchased, {}, "purchase:c1:v1", VoucherRefunded),
    (VoucherRedeemed, {"redemption_id": None}, "voucher:c1:v1", None),
    (VoucherRedeemed, {"redemption_id": "o7:v1"}, "voucher:c1:o7:v1", VoucherRedemptionRolledBack),
    (QuestCompleted, {"quest_id": "q1", "run": 2}, "quest:q1:2", None),
    (ParticipantCheckedIn, {"meetup_id": "m1"}, "meetup:m1", None),
    (WorkoutRecorded, {"workout_id": "w1"}, "workout:w1", None),
]


@pytest.mark.req("SR046")
@pytest.mark.parametrize(("kind", "given", "source", "back"), ACTS)
def test_a_friend_can_qualify_by_each_of_the_acts(
    kind: type[Event], given: dict[str, Any], source: str, back: type[Event] | None
) -> None:
    town = brought(event=kind.wire_name, condition="true")
    town.hear(made(kind, given))
    town.settle()
    assert (town.referral("cy").status, town.referral("cy").source) == ("approved", source)
    (act,) = (one.command for one in town.outcomes.values() if isinstance(one.command, QualifyReferral))
    assert "code" not in act.facts
    if back:
        town.hear(made(back, {**given, "campaign_id": "c2"}))
        town.settle()
        assert town.referral("cy").status == "approved", "that was another"
        town.hear(made(back, given))
        town.settle()
        assert (town.referral("cy").status, points(town)) == ("voided", {"bob": 0})


def made(kind: type[Event], given: dict[str, Any]) -> Event:
    """An event of Cy's, on a day in the future, so that it is after the registration."""
    payload = sample(kind)
    times = {name: "2026-06-01T00:00:00Z" for name in payload if name.endswith("at")}
    told = payload | ABOUT | times | {"currency": "EUR"} | given
    return kind.model_validate({name: told[name] for name in payload})


@pytest.mark.parametrize(
    ("known", "reasons"),
    [
        ({"device": "d1"}, ("device",)),
        ({"network": "n1"}, ("network",)),
        ({"device": "d1", "network": "n1"}, ("device", "network")),
        ({"device": "d2", "network": "n2"}, None),
        ({"device": "n1"}, None),
    ],
)
def test_a_friend_on_the_referrers_device_or_network_is_looked_at_by_hand(
    known: dict[str, str], reasons: tuple[str, ...] | None
) -> None:
    town = Town()
    town.open()
    town.register("ann", device="d1", network="n1")
    town.settle()
    town.invite("ann", "ann-1")
    town.settle()
    town.register("bob", "ANN-1", **known)

    assert ordered(town, "bob") == ("flagged" if reasons else "approved")
    assert [event.reasons for event in town.told(ReferralFlagged)] == ([reasons] if reasons else [])
    assert bool(points(town)) == (reasons is None)


def test_a_friend_who_pays_with_the_referrers_card_is_looked_at_by_hand() -> None:
    town = brought()
    for n in range(25):
        ordered(town, "bob", 1, f"b{n}", payment=f"card-{n}")

    assert ordered(town, payment="card-24") == "flagged"
    assert [event.reasons for event in town.told(ReferralFlagged)] == [("payment",)]
    assert points(town) == {}
    town.send(ApproveReferral(referral_id="cy"))
    town.settle()
    assert points(town) == {"bob": 10}


def test_a_pending_referral_is_approved_when_its_time_comes() -> None:
    town = brought(hold_days=2)
    assert ordered(town) == "pending"
    town.advance(2 * DAY - timedelta(minutes=1))
    town.settle()
    assert points(town) == {}
    town.advance(timedelta(minutes=1))
    town.settle()

    assert points(town) == {"bob": 10}


def test_what_is_approved_by_hand_waits_for_it() -> None:
    town = brought(approval="manual")
    assert ordered(town) == "pending"
    town.advance(999 * DAY)
    town.settle()
    assert points(town) == {}
    town.send(ApproveReferral(referral_id="cy"))
    town.settle()

    assert points(town) == {"bob": 10}


def test_a_referral_that_was_flagged_is_not_approved_by_itself() -> None:
    town = brought(hold_days=1)
    ordered(town)
    assert town.send(FlagReferral(referral_id="cy", reason="A doubt.")).status == "accepted"
    town.advance(2 * DAY)

    assert not town.fire()
    assert (town.referral("cy").status, town.referral("cy").reason) == ("flagged", "A doubt.")


@pytest.mark.req("SR046")
def test_an_order_that_is_given_back_takes_back_exactly_what_it_gave() -> None:
    town = brought(**TWO_LEVELS)
    ordered(town)
    ordered(town, "bob", 100, "o2")
    before = {
        event.reward_id: (event.user_id, event.points)
        for event in town.told(ReferralRewardGranted)
        if event.referral_id == "cy"
    }
    town.refund("cy", "o9", 200)
    town.settle()
    assert town.told(ReferralRewardClawedBack) == []
    town.refund("cy", "o1", 1)
    town.refund("cy", "o1", 1)
    town.settle()

    assert {event.reward_id: (event.user_id, event.points) for event in town.told(ReferralRewardClawedBack)} == before
    assert len(town.told(ReferralRewardClawedBack)) == 3
    assert points(town) == {"cy": 0, "bob": 5, "ann": 10}
    assert ordered(town, order_id="o3") == "voided"


def test_what_is_void_before_its_rewards_come_is_rewarded_and_taken_back() -> None:
    town = brought(approval="manual")
    ordered(town)
    town.send(ApproveReferral(referral_id="cy"))
    town.send(VoidReferral(referral_id="cy", reason="A fraud."))
    town.settle()

    assert points(town) == {"bob": 0}


def test_what_is_void_before_it_is_approved_never_gives_anything() -> None:
    town = brought(hold_days=1)
    ordered(town)
    town.send(VoidReferral(referral_id="cy", reason="A fraud."))
    town.advance(2 * DAY)
    town.settle()

    assert (points(town), town.told(ReferralRewardClawedBack)) == ({}, [])


@pytest.mark.req("SR046")
def test_the_budget_ends_the_rewards_and_what_is_taken_back_can_be_given_again() -> None:
    town = brought(**TWO_LEVELS, budget=25)
    ordered(town, "bob", 100, "o1")  # 15: friend and ann
    ordered(town, "cy", 100, "o2")  # 17 do not fit into 10

    assert points(town) == {"bob": 5, "ann": 10}
    (exhausted,) = town.told(ReferralBudgetExhausted)
    assert (exhausted.referral_id, exhausted.points) == ("cy", 17)
    assert town.referral("cy").status == "approved"
    town.refund("cy", "o2", 100)
    town.refund("bob", "o1", 100)
    town.settle()
    town.invite("ann", "ann-2")
    town.register("dee", "ANN-2")
    town.settle()
    town.register("eve", "ANN-1")
    ordered(town, "eve", 100, "o3")
    assert points(town) == {"bob": 0, "ann": 10, "eve": 5}


def test_what_was_granted_is_not_granted_again_and_what_was_not_is_not_taken_back() -> None:
    town = brought()
    ordered(town)
    shares = (Share(level=1, user_id="bob", points=10),)

    assert town.send(GrantReferralRewards(scheme_id="s", referral_id="cy", shares=shares)).code == "already_granted"
    nothing = ClawBackReferralRewards(scheme_id="s", referral_id="dee", shares=shares)
    assert town.send(nothing).code == "not_granted"
    assert town.send(ScreenReferral(referral_id="cy", referrer_id="bob")).code == "not_qualified"


def test_a_referral_is_decided_in_its_order() -> None:
    town = brought(approval="manual")

    def told(*commands: Command) -> list[str | None]:
        return [town.send(command).code for command in commands]

    approve = ApproveReferral(referral_id="cy")
    flag, void = FlagReferral(referral_id="cy", reason="x"), VoidReferral(referral_id="cy", reason="x")
    stranger = (
        ApproveReferral(referral_id="zoe"),
        FlagReferral(referral_id="zoe", reason="x"),
        VoidReferral(referral_id="zoe", reason="x"),
    )
    assert told(*stranger) == ["referral_not_found"] * 3
    assert told(approve, flag) == ["referral_attributed"] * 2
    ordered(town)
    assert told(flag, flag, approve, approve, flag) == [
        None,
        "referral_flagged",
        None,
        "referral_approved",
        "referral_approved",
    ]
    assert told(void, void, approve, flag) == [None, "referral_voided", "referral_voided", "referral_voided"]
