"""What is taken back, given back and put right, case by case."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agents.points.rules import MAX_LOTS, Account
from streams.envelope import Actor
from tests.points.platform import Platform, movements
from tests.points.test_earning import defined, observed, with_tiers
from tests.stepping import START, Outcome
from topics.points import (
    MAX_POINTS,
    AdjustPoints,
    AwardPoints,
    CaptureHold,
    HoldPoints,
    Lot,
    PointsAdjusted,
    PointsReversed,
    RefundSource,
    ReleaseHold,
    ReversePointsEntry,
    SpendPoints,
)

DAY = timedelta(days=1)


def rewarded(amount: int = 10) -> Platform:
    """Ann was rewarded by rule r for s."""
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=amount, rule="r", source="s"))
    return platform


def reversed_(platform: Platform, entry: str = "award/r/s", amount: int | None = None) -> Outcome:
    """Take it back."""
    return platform.send(ReversePointsEntry(user_id="ann", entry=entry, amount=amount, reason="A mistake."))


def spend(platform: Platform, amount: int, **more: Any) -> Outcome:
    """Ann spends."""
    return platform.send(SpendPoints(user_id="ann", amount=amount, **more))


def test_an_entry_is_taken_back_once_and_never_more_than_it_was() -> None:
    platform = rewarded()

    assert reversed_(platform, "award/r/other").code == "entry_not_found"
    assert reversed_(platform, amount=11).code == "more_than_entry"
    assert reversed_(platform, amount=4).events == [
        PointsReversed(user_id="ann", entry="award/r/s", amount=4, reason="A mistake.")
    ]
    assert reversed_(platform, amount=1).code == "already_reversed"
    assert platform.balances() == {"ann": (6, 0)}


def test_what_was_used_already_is_owed_and_taken_of_what_comes_in() -> None:
    platform = rewarded()
    spend(platform, 7)
    (told,) = reversed_(platform).events
    assert (told.amount, told.owed, platform.account("ann").owed) == (10, 7, 7)  # type: ignore[attr-defined]

    came = platform.send(AwardPoints(user_id="ann", amount=5))
    assert [event.wire_name for event in came.events] == ["points_awarded", "points_owed_collected"]
    assert spend(platform, 1).code == "insufficient"
    platform.send(AwardPoints(user_id="ann", amount=5))

    assert (platform.account("ann").owed, platform.balances()) == (0, {"ann": (3, 0)})
    assert sum(amount for _, credit, amount in movements(platform) if credit == "system:reversed") == 10


def test_what_is_held_is_not_taken_back_but_owed_until_it_is_free() -> None:
    platform = rewarded()
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=8))
    reversed_(platform)
    assert platform.balances() == {"ann": (0, 8)}

    platform.send(ReleaseHold(user_id="ann", hold_id="h"))
    assert platform.account("ann") == Account(tally=platform.account("ann").tally)


def test_what_is_pending_is_taken_back_from_there() -> None:
    platform = Platform()
    defined(platform, amount=10, pending=3, validity=9)
    for source in ("s", "t"):
        observed(platform, source)
    told = reversed_(platform)

    (reversal,) = told.events
    assert reversal.unlocks_at == START + 4 * DAY  # type: ignore[attr-defined]
    assert [lock.amount for lock in platform.account("ann").pending] == [10]
    platform.advance(4 * DAY)
    platform.settle()
    assert platform.balances() == {"ann": (10, 0)}
    assert platform.account("ann").owed == 0


def test_what_is_taken_back_is_no_longer_earned() -> None:
    platform = with_tiers()
    for n in range(2):
        observed(platform, str(n))
    told = reversed_(platform, "award/r/0", 30)

    assert [event.wire_name for event in told.events] == ["points_reversed", "tier_downgraded"]
    assert platform.state("points", "ann", "tier").ever == 90


def test_a_refund_takes_back_as_large_a_part_of_the_points_as_of_the_money() -> None:
    platform = Platform()
    defined(platform, "a", amount=10)
    defined(platform, "b", amount=7)
    observed(platform, "order", base=300)

    def refund(amount: int, source: str = "order") -> list[tuple[str, int]]:
        told = platform.send(RefundSource(user_id="ann", event="commerce.order_paid", source=source, amount=amount))
        assert told.status == "accepted"
        return [(one.entry, one.amount) for one in told.events if isinstance(one, PointsReversed)]

    assert refund(100) == [("award/a/order", 3), ("award/b/order", 2)]
    assert refund(100) == [("award/a/order", 3), ("award/b/order", 2)]
    assert refund(500) == [("award/a/order", 4), ("award/b/order", 3)], "never more than there was"
    assert refund(1) == []
    assert refund(1, "unknown") == []
    assert platform.balances() == {"ann": (0, 0)}


def test_what_was_spent_is_given_back_with_its_lots_last_ones_first() -> None:
    platform = Platform()
    for days in (2, 5):
        platform.send(AwardPoints(user_id="ann", amount=10, expires_at=START + days * DAY))
    platform.send(AwardPoints(user_id="ann", amount=10))
    spend(platform, 25, spend_id="x")

    assert spend(platform, 1, spend_id="x").code == "spend_exists"
    (told,) = reversed_(platform, "spend/x", 12).events
    assert told.lots == (Lot(expires_at=START + 5 * DAY, amount=7),)  # type: ignore[attr-defined]
    assert platform.balances() == {"ann": (17, 0)}
    assert [row[3:6] for row in platform.rows["ledger"].values()][-1] == (
        "refunded",
        "system:spent",
        "user:ann:available",
    )
    assert reversed_(platform, "spend/x", 1).code == "already_reversed"


def test_a_captured_hold_can_be_given_back_and_no_other() -> None:
    platform = rewarded()
    assert reversed_(platform, "hold/h").code == "entry_not_found"
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=6))
    assert reversed_(platform, "hold/h").code == "entry_not_found"
    platform.send(CaptureHold(user_id="ann", hold_id="h"))

    assert reversed_(platform, "hold/h").status == "accepted"
    assert platform.balances() == {"ann": (10, 0)}
    assert platform.send(ReleaseHold(user_id="ann", hold_id="h")).code == "hold_ended"


def test_what_is_given_back_has_room_whatever_came_in_between() -> None:
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=5, expires_at=START + DAY))
    spend(platform, 5, spend_id="x")
    for n in range(MAX_LOTS):
        platform.send(AwardPoints(user_id="ann", amount=1, expires_at=START + timedelta(days=9, hours=n)))
    reversed_(platform, "spend/x")

    assert platform.account("ann").shelves[0].free == 6, "it expires with what expires next"
    spend(platform, 1, spend_id="y")
    platform.send(AwardPoints(user_id="ann", amount=MAX_POINTS - MAX_LOTS - 4))
    assert reversed_(platform, "spend/y").code == "balance_limit"


def test_a_balance_is_put_right_and_never_below_nothing() -> None:
    platform = rewarded()

    def adjust(amount: int) -> Outcome:
        return platform.send(AdjustPoints(user_id="ann", amount=amount, reason="Counted again."))

    assert adjust(5).events == [PointsAdjusted(user_id="ann", amount=5, reason="Counted again.")]
    assert adjust(-16).code == "insufficient"
    assert adjust(-15).status == "accepted"
    assert platform.balances() == {"ann": (0, 0)}
    adjust(MAX_POINTS)
    assert adjust(1).code == "balance_limit"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "why", "amount": 0},
        {"reason": "why", "amount": 0.5},
        {"reason": "why", "amount": 2**53},
        {"reason": "why", "amount": "5"},
        {"reason": 5},
        {"reason": "x" * 1001},
        {"reason": "\0"},
    ],
)
def test_an_adjustment_has_a_reason_and_an_amount(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AdjustPoints.model_validate({"user_id": "ann", "amount": 1, **body})


@pytest.mark.parametrize("entry", ["award/r", "award/r/s/t", "gift/x", "hold/", "spend/a b", "transfer/t", ""])
def test_an_entry_is_named_as_it_stands_in_the_books(entry: str) -> None:
    with pytest.raises(ValidationError):
        ReversePointsEntry(user_id="ann", entry=entry, reason="why")


def test_only_admins_and_the_platform_take_back() -> None:
    command = ReversePointsEntry(user_id="ann", entry="hold/h", reason="why")

    who = (
        Actor("user", "ann", "User"),
        Actor("user", "root", "Admin"),
        Actor("service", "points"),
        Actor("service", "quests"),
    )
    assert [command.may_be_issued_by(one) for one in who] == [False, True, True, False]
