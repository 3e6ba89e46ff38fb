"""The laws of referrals, over random histories whose sagas are carried on, and timers run, at random moments; and beside an independent model."""

from collections import Counter, defaultdict
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings

from tests.referrals.histories import TERMS, USERS, Entry, follow, histories, model, opened, play
from tests.referrals.model import Model
from tests.referrals.platform import Town
from tests.stepping import rebuilt
from topics.referrals import (
    NewcomerNoted,
    PayoutFailed,
    PayoutRequested,
    ReferralApproved,
    ReferralAttributed,
    ReferralCommissionClawedBack,
    ReferralCommissionEarned,
    ReferralRewardClawedBack,
    ReferralRewardGranted,
    ReferralVoided,
)

steps = histories(50, loose=True)
some = settings(max_examples=30)


def check(town: Town) -> None:
    """What holds at every moment."""
    attributed = town.told(ReferralAttributed)
    parents = {event.referral_id: event.referrer_id for event in attributed}
    assert len(parents) == len(attributed), "somebody was brought twice"
    for user in parents:
        above, steps = user, 0
        while above in parents:
            above, steps = parents[above], steps + 1
            assert above != user, "nobody is above themselves"
            assert steps <= len(USERS), "the referrers go round"
    spent: Counter[tuple[str, str]] = Counter()
    for event in chain(town.told(ReferralRewardGranted), town.told(ReferralCommissionEarned)):
        spent[event.scheme_id, type(event).__name__] += getattr(event, "points", 0) or getattr(event, "amount", 0)
    for event in town.told(ReferralRewardClawedBack):
        spent[event.scheme_id, "ReferralRewardGranted"] -= event.points
    for event in town.told(ReferralCommissionClawedBack):
        spent[event.scheme_id, "ReferralCommissionEarned"] -= event.amount
    for (scheme_id, kind), amount in spent.items():
        budget = "budget" if kind == "ReferralRewardGranted" else "commission_budget"
        assert 0 <= amount <= TERMS[scheme_id][budget]


def run(history: list[Any]) -> Town:
    """Play a history to its end, looking at every moment."""
    town = opened()
    for entry in history:
        match entry:
            case None:
                town.fire()
            case int():
                town.step(entry)
            case _:
                play(town, entry)
        check(town)
    while town.step() or town.fire():
        pass
    check(town)
    return town


@pytest.mark.req("SR045")
@some
@given(steps)
def test_the_referrers_are_a_forest_and_the_budgets_are_kept_at_every_moment(history: list[Any]) -> None:
    town = run(history)

    assert {outcome.status for outcome in town.outcomes.values()} <= {"accepted", "rejected"}


@pytest.mark.req("SR045")
@some
@given(steps)
def test_somebody_is_brought_only_when_they_register_and_by_who_had_registered_before(history: list[Any]) -> None:
    there: set[str] = set()
    for fact in run(history).facts:
        match fact.event:
            case NewcomerNoted(user_id=user):
                assert user not in there
                newcomer = (user, fact.command_id)
                there.add(user)
            case ReferralAttributed() as brought:
                assert (brought.referral_id, fact.command_id) == newcomer
                assert brought.referrer_id in there - {brought.referral_id}
                assert brought.upline[0] == brought.referrer_id
                assert len(set(brought.upline)) == len(brought.upline)


@pytest.mark.req("SR046")
@some
@given(steps)
def test_a_level_is_rewarded_once_after_the_approval_and_what_is_void_is_taken_back_exactly(history: list[Any]) -> None:
    town = run(history)
    granted: dict[Any, Any] = {}
    taken: dict[Any, Any] = {}
    approved: set[str] = set()
    for fact in town.facts:
        match fact.event:
            case ReferralApproved(referral_id=referral):
                assert referral not in approved
                approved.add(referral)
            case ReferralRewardGranted() | ReferralCommissionEarned() as given_:
                what = (given_.referral_id, given_.scheme_id, given_.level, isinstance(given_, ReferralRewardGranted))
                assert what not in granted
                assert given_.referral_id in approved
                assert given_.level <= len(TERMS[given_.scheme_id]["levels"])
                granted[what] = _told(given_)
            case ReferralRewardClawedBack() | ReferralCommissionClawedBack() as back:
                what = (back.referral_id, back.scheme_id, back.level, isinstance(back, ReferralRewardClawedBack))
                assert what not in taken
                taken[what] = _told(back)
    void = {event.referral_id for event in town.told(ReferralVoided)}

    assert taken == {what: told for what, told in granted.items() if what[0] in void}


def _told(reward: Any) -> tuple[Any, ...]:
    amount = reward.points if hasattr(reward, "points") else reward.amount
    return reward.reward_id, reward.user_id, amount


@pytest.mark.req("SR046")
@some
@given(steps)
def test_a_payout_is_of_what_is_earned_and_never_below_the_threshold(history: list[Any]) -> None:
    payable: Counter[str] = Counter()
    for fact in run(history).facts:
        match fact.event:
            case ReferralCommissionEarned(user_id=user, amount=amount) | PayoutFailed(user_id=user, amount=amount):
                payable[user] += amount
            case ReferralCommissionClawedBack(user_id=user, amount=amount):
                payable[user] -= amount
            case PayoutRequested(user_id=user, amount=amount):
                assert amount == payable[user] >= TERMS["paid"]["payout_threshold"]
                payable[user] -= amount


@some
@given(steps)
def test_the_events_alone_give_the_same_documents_rows_and_timers(history: list[Any]) -> None:
    live = run(history)
    again = rebuilt(live, *live.agents)

    assert again.documents == live.documents
    assert again.rows == live.rows
    assert again.timers == live.timers


def settled(history: list[Entry]) -> tuple[Town, Model]:
    """Each thing that happens is carried to its end before the next, on the rules and on the model."""
    town, other = opened(), model()
    for entry in history:
        play(town, entry)
        follow(other, town, entry)
        while town.step() or town.fire():
            pass
    return town, other


def compare(town: Town, other: Model) -> None:
    """The rows say what the model says."""
    rows = {name: list(found.values()) for name, found in town.rows.items()}
    referrals = {row[0]: (row[1], row[2], row[5]) for row in rows.get("referral", [])}
    friends = {user: friend for user, friend in other.friends.items() if friend.referrer}
    points: Counter[str] = Counter()
    tree: dict[str, list[str]] = defaultdict(list)
    for row in rows.get("reward", []):
        points[row[4]] += row[5] if row[7] == "granted" else 0
    for referral_id, _, user_id in sorted(rows.get("descendant", [])):
        tree[referral_id].append(user_id)
    payable = {(row[1], row[0]): row[2] - row[3] - row[4] for row in rows.get("earnings", [])}

    assert referrals == {user: (one.referrer, one.scheme, one.status) for user, one in friends.items()}
    assert {user: amount for user, amount in points.items() if amount} == other.points()
    assert dict(tree) == {user: above(other, user) for user in friends}
    assert all(payable.get((user, "paid"), 0) == other.payable(user, "paid") for user in USERS)
    assert {row[:3]: (row[3], row[5]) for row in rows.get("payout", [])} == other.payouts
    assert {row[0]: row[1:3] for row in rows.get("ambassador", [])} == other.ambassadors
    assert {row[0]: row[2] for row in rows.get("ignored", [])} == other.ignored
    assert {row[0]: row[1:3] for row in rows.get("code", [])} == {code: told[:2] for code, told in other.codes.items()}


def above(other: Model, user: str) -> list[str]:
    """Who is above somebody, as deep as the scheme goes."""
    found: list[str] = []
    depth, at = len(other.schemes[other.friends[user].scheme].levels), other.friends[user].referrer
    while at and len(found) < depth:
        found.append(at)
        at = other.friends[at].referrer
    return found


@pytest.mark.req("SR046")
@settings(max_examples=60)
@given(histories(60))
def test_what_stands_in_the_end_is_what_an_independent_model_says(history: list[Entry]) -> None:
    compare(*settled(history))


@pytest.mark.full
@pytest.mark.req("SR046")
@settings(max_examples=2000)
@given(histories(120))
def test_what_stands_after_long_histories_is_what_an_independent_model_says(history: list[Entry]) -> None:
    compare(*settled(history))
