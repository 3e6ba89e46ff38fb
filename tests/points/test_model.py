"""The laws of rules as data, tiers, pending points and what is taken back: random histories of points, and of the plain model, are the same."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.points.agent import POINTS_DECIDER
from agents.points.rules import SIGN_UP_POINTS, Account, Progress
from streams.agent import Decider
from streams.contract import Command
from tests.acceptance.planting import planted
from tests.points.model import FAR, Points, Purse, Written
from tests.points.platform import Platform
from tests.stepping import START, rebuilt
from topics.points import (
    ActivatePointsRule,
    AdjustPoints,
    AwardPoints,
    CaptureHold,
    DeactivatePointsRule,
    DefinePointsRule,
    DefineTiers,
    HoldPoints,
    ObserveEvent,
    RefundSource,
    ReleaseHold,
    ReversePointsEntry,
    ReviewTier,
    SpendPoints,
)

PAID = "commerce.order_paid"
QUICK = settings(max_examples=60)
RULES = {
    "a": (
        Written("event.total >= 10", "event.total / 2", lambda facts: facts["total"] // 2 if facts["total"] >= 10 else 0, cap_per_day=30),
        Written("true", 7, lambda facts: 7, cap_per_user=20, validity=2),
    ),
    "b": (
        Written("user.tier != 'gold'", 9, lambda facts: 9 if facts["tier"] != "gold" else 0, pending=1, validity=3),
        Written("user.available < 20", "20 - user.available", lambda facts: max(0, 20 - facts["available"]), validity=40),
        Written("true", "event.total - 15", lambda facts: facts["total"] - 15, pending=2),
    ),
}  # fmt: skip
USERS = ("ann", "bob")
TIERS: tuple[list[tuple[int, str]], ...] = ([], [(10, "silver"), (25, "gold")], [(20, "gold")])

Move = Callable[["Both"], None]


class Both:
    """Points and the model, side by side."""

    def __init__(self, decider: Decider = POINTS_DECIDER) -> None:
        self.real, self.model = Platform(decider), Points(SIGN_UP_POINTS)

    def pass_time(self, by: timedelta) -> None:
        """Every timer fires at its time."""
        to = self.real.now + by
        while due := [timer.at for timer in self.real.timers.values() if timer.at <= to]:
            self.real.now = max(self.real.now, min(due))
            self.real.fire()
        self.real.now = to

    def play(self, command: Command, word: str, /, **data: Any) -> None:
        """The same in both."""
        user = getattr(command, "user_id", "main")
        self.pass_time(timedelta(seconds=1))
        self.real.now -= timedelta(seconds=1)
        outcome = self.real.send(command)
        self.pass_time(timedelta())
        assert self.model.play(word, self.real.now, user, **data) == outcome.code, command
        self.compare(user)

    def define(self, rule: str, nth: int) -> None:
        """Define a rule, in one of its wordings."""
        self.pass_time(timedelta(seconds=1))
        written = RULES[rule][nth % len(RULES[rule])]
        limits = {name: getattr(written, name) for name in ("cap_per_day", "cap_per_user", "validity", "pending")}
        terms = {"condition": written.condition, "amount": written.amount, **limits}
        assert self.real.send(DefinePointsRule(rule_id=rule, event=PAID, **terms)).status == "accepted"
        self.model.defined[rule] = written

    def activate(self, rule: str, *, on: bool) -> None:
        """Let a rule count, or not."""
        self.pass_time(timedelta(seconds=1))
        kind = ActivatePointsRule if on else DeactivatePointsRule
        accepted = self.real.send(kind(rule_id=rule)).status == "accepted"
        if on and rule in self.model.defined:
            self.model.counting[rule] = self.model.defined[rule]
        elif not on:
            assert (self.model.counting.pop(rule, None) is not None) == accepted

    def tiers(self, nth: int, period: int | None) -> None:
        """Define the tiers."""
        self.pass_time(timedelta(seconds=1))
        for user in USERS:
            self.model.pass_time(user, self.real.now)
        steps = TIERS[nth]
        tiers = [{"tier_id": name, "name": name, "points": points} for points, name in steps]
        assert self.real.send(DefineTiers.model_validate({"tiers": tiers, "period": period})).status == "accepted"
        self.model.tiers, self.model.days = steps, period

    def compare(self, user: str) -> None:
        """What both say of a user."""
        account, purse = self.real.account(user), self.model.purses[user]
        assert shown(account) == expected(purse)
        progress: Progress = self.real.state("points", user, "tier")
        counted = progress.ever, progress.earned, progress.before, progress.until, progress.tier
        earned = purse.earned
        assert counted == (purse.ever, earned[purse.period], earned[purse.period - 1], purse.until, purse.tier)


def shown(account: Account) -> dict[str, Any]:
    """What an account says, in the model's words."""
    free = {shelf.expires_at: shelf.free for shelf in account.shelves if shelf.free}
    tally = account.tally
    return {
        "available": account.available,
        "expiring": free,
        "held": account.held,
        "pending": {lock.unlocks_at: lock.amount for lock in account.pending},
        "owed": account.owed,
        "gone": (tally.spent, tally.expired, tally.reversed, tally.adjusted),
    }


def expected(purse: Purse) -> dict[str, Any]:
    """What the model says."""
    return {
        "available": sum(purse.free.values()),
        "expiring": {end: amount for end, amount in purse.free.items() if amount and end < FAR},
        "held": sum(entry.amount for entry in purse.entries.values() if entry.status == "open"),
        "pending": {at: coins.total() for at, coins in purse.locked.items()},
        "owed": purse.owed,
        "gone": tuple(purse.gone[word] for word in ("spent", "expired", "reversed", "adjusted")),
    }


def award(user: str, amount: int, hours: int | None, source: str | None) -> Move:
    def move(both: Both) -> None:
        end = None if hours is None else START + timedelta(hours=hours)
        rule = {"rule": "r", "source": source} if source else {}
        command = AwardPoints(user_id=user, amount=amount, expires_at=end, **rule)
        both.play(command, "award", amount=amount, end=end, name=source and f"award/r/{source}")

    return move


def observe(user: str, source: str, total: int, days: int) -> Move:
    def move(both: Both) -> None:
        at: datetime = both.real.now - timedelta(days=days)
        facts = {"total": total, "currency": "EUR"}
        about = {"user_id": user, "event": PAID, "source": source, "occurred_at": at}
        both.play(ObserveEvent(**about, facts=facts, base=total or None), "observe", source=source, at=at, total=total)

    return move


def reverse(user: str, entry: str, amount: int | None) -> Move:
    command = ReversePointsEntry(user_id=user, entry=entry, amount=amount, reason="why")
    return lambda both: both.play(command, "reverse", name=entry, amount=amount)


def refund(user: str, source: str, amount: int) -> Move:
    command = RefundSource(user_id=user, event=PAID, source=source, amount=amount)
    return lambda both: both.play(command, "refund", source=source, amount=amount)


def spend(user: str, amount: int, name: str | None) -> Move:
    command = SpendPoints(user_id=user, amount=amount, spend_id=name)
    return lambda both: both.play(command, "spend", amount=amount, name=name and f"spend/{name}")


def hold(user: str, amount: int, name: str) -> Move:
    command = HoldPoints(user_id=user, amount=amount, hold_id=name)
    return lambda both: both.play(command, "hold", amount=amount, name=f"hold/{name}")


def end_hold(user: str, name: str, captured: bool) -> Move:
    command = (CaptureHold if captured else ReleaseHold)(user_id=user, hold_id=name)
    return lambda both: both.play(command, "end_hold", name=f"hold/{name}", captured=captured)


def adjust(user: str, amount: int) -> Move:
    command = AdjustPoints(user_id=user, amount=amount, reason="why")
    return lambda both: both.play(command, "adjust", amount=amount)


users, few, amounts = st.sampled_from(USERS), st.sampled_from(("x", "y", "z")), st.integers(1, 30)
entries = st.sampled_from(
    [f"{kind}/{name}" for kind in ("spend", "hold", "award/r", "award/a", "award/b") for name in "xyz"]
)
moves: st.SearchStrategy[Move] = st.one_of(
    st.builds(award, users, amounts, st.none() | st.integers(1, 200), st.none() | few),
    st.builds(observe, users, few, st.integers(0, 60), st.sampled_from((0, 0, 1, 3))),
    st.builds(observe, users, st.integers(0, 99).map(str), st.integers(0, 60), st.just(0)),
    st.builds(spend, users, amounts, st.none() | few),
    st.builds(hold, users, amounts, few),
    st.builds(end_hold, users, few, st.booleans()),
    st.builds(reverse, users, entries, st.none() | amounts),
    st.builds(refund, users, few, amounts),
    st.builds(adjust, users, st.integers(-20, 20).filter(bool)),
    st.builds(lambda user: lambda both: both.play(ReviewTier(user_id=user), "review"), users),
    st.builds(lambda hours: lambda both: both.pass_time(timedelta(hours=hours)), st.sampled_from((1, 20, 50, 400))),
    st.builds(lambda rule, nth: lambda both: both.define(rule, nth), st.sampled_from("ab"), st.integers(0, 2)),
    st.builds(lambda rule, on: lambda both: both.activate(rule, on=on), st.sampled_from("ab"), st.sampled_from((True, True, False))),
    st.builds(lambda nth, days: lambda both: both.tiers(nth, days), st.integers(0, 2), st.sampled_from((None, 2, 5))),
)  # fmt: skip
beginnings = st.sampled_from((0, 1, 2))


def run(beginning: int, history: list[Move], decider: Decider = POINTS_DECIDER) -> Both:
    """Play a history: in the first beginning there are no rules yet."""
    both = Both(decider)
    for rule in "ab" if beginning else "":
        both.define(rule, beginning)
        both.activate(rule, on=True)
        both.tiers(beginning, 5 * (beginning - 1) or None)
    for move in history:
        move(both)
    both.pass_time(timedelta(days=60))
    for user in USERS:
        both.model.pass_time(user, both.real.now)
        both.compare(user)
    return both


@pytest.mark.req("SR047")
@pytest.mark.req("SR048")
@QUICK
@given(beginnings, st.lists(moves, max_size=40))
def test_points_are_those_of_the_plain_model(beginning: int, history: list[Move]) -> None:
    """Rules once for a source and within their caps, lots by their time, tiers, pending points, and what is taken back, owed and collected."""
    both = run(beginning, history)
    again = rebuilt(both.real, *both.real.agents)

    assert again.documents == both.real.documents
    assert again.rows == both.real.rows
    assert again.timers == both.real.timers


@pytest.mark.full
@settings(max_examples=1000)
@given(beginnings, st.lists(moves, max_size=80))
def test_points_are_those_of_the_plain_model_at_length(beginning: int, history: list[Move]) -> None:
    run(beginning, history)


BUGS = {
    "a source is rewarded again": ("return rule_id in source.awards", "return False"),
    "the cap of a day is forgotten": ("(terms.cap_per_day, on_the_day)", "(None, on_the_day)"),
    "the cap of a user is forgotten": ("(terms.cap_per_user, ever)", "(None, ever)"),
    "an entry is taken back twice": ("if entry.reversed:", "if False:"),
    "more is taken back than there was": ("if amount > entry.amount:", "if amount > 2 * entry.amount:"),
    "what was used is not owed": ("return replace(after, owed=after.owed + event.owed)", "return after"),
    "what is owed is not collected": ("min(account.owed, account.usable(course.now))", "0"),
    "what expires last is used first": ("for shelf in self.shelves:\n            if taken", "for shelf in self.shelves[::-1]:\n            if taken"),
    "the period before does not count": ("max(progress.before, progress.earned)", "progress.earned"),
    "what was taken back stays earned": ("less = replace(progress, ever=progress.ever - amount)", "less = progress"),
    "a refund takes back all": ("given.amount * min(refunded, given.base) // given.base", "given.amount"),
    "what expires in a month does so on the day": ("if days > SOON:", "if False:"),
    "an adjustment goes below nothing": ("-command.amount > (usable :=", "-command.amount > 5 + (usable :="),
    "nothing is pending": ("if terms.pending and", "if False and"),
    "a rule that counts does not know it": ("return replace(rule, active=event.revision)", "return replace(rule, active=0)"),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_is_seen(bug: str) -> None:
    decider = planted(POINTS_DECIDER, *BUGS[bug])

    @settings(max_examples=1500, phases=[Phase.generate], database=None, derandomize=True)
    @given(beginnings, st.lists(moves, min_size=20, max_size=60))
    def play(beginning: int, history: list[Move]) -> None:
        run(beginning, history, decider)

    with pytest.raises((AssertionError, ValidationError)):
        play()
