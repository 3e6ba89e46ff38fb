"""The laws of points, over random commands with sagas carried on, and timers run, at random moments."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.points.rules import MAX_LOTS, Hold, Shelf
from streams.contract import Command
from streams.envelope import Actor
from tests.points.platform import Platform, movements
from tests.stepping import START, rebuilt
from topics.points import (
    MAX_POINTS,
    AwardPoints,
    CaptureHold,
    CreditTransfer,
    ExpirePoints,
    HoldPoints,
    Lot,
    PointsExpired,
    PointsSpendRejected,
    PointsSpent,
    PointsTransferDeclined,
    PointsTransferReceived,
    ReleaseHold,
    SpendPoints,
    TransferPoints,
)

USERS = ("ann", "bob", "cy")
users = st.sampled_from(USERS)
names = st.sampled_from(("a", "b", "c"))
amounts = st.integers(1, 60) | st.sampled_from((MAX_POINTS, MAX_POINTS - 1, MAX_POINTS // 2))
HOUR = timedelta(hours=1)
ends = st.none() | st.integers(1, 4).map(lambda hours: START + hours * HOUR)
pairs = st.permutations(USERS).map(lambda order: {"user_id": order[0], "to": order[1]})
commands = st.one_of(
    st.builds(AwardPoints, user_id=users, amount=amounts, expires_at=ends),
    st.builds(AwardPoints, user_id=users, amount=amounts, expires_at=ends, rule=names, source=names),
    st.builds(ExpirePoints, user_id=users),
    st.builds(SpendPoints, user_id=users, amount=amounts),
    st.builds(HoldPoints, user_id=users, hold_id=names, amount=amounts),
    st.builds(CaptureHold, user_id=users, hold_id=names),
    st.builds(ReleaseHold, user_id=users, hold_id=names),
    st.builds(
        lambda pair, name, amount: TransferPoints(**pair, transfer_id=name, amount=amount), pairs, names, amounts
    ),
)
Entry = Command | int | timedelta | None
histories = st.lists(
    commands | st.integers(0, 3) | st.sampled_from((timedelta(minutes=20), HOUR)) | st.none(), max_size=60
)
"""Commands in the order in which they come; a number carries on one of the sagas by a step, time passes, None runs a timer that is due."""


def accounts(platform: Platform) -> Counter[str]:
    """The balance of every account by the ledger."""
    balances: Counter[str] = Counter()
    for debit, credit, amount in movements(platform):
        balances[debit] -= amount
        balances[credit] += amount
    return balances


def check(platform: Platform) -> None:
    """What holds at every moment."""
    ledger = accounts(platform)
    assert sum(ledger.values()) == 0
    assert 0 <= ledger["system:transit"] <= sum(platform.account(user).outgoing for user in USERS)
    for user in USERS:
        account = platform.account(user)
        available, held = platform.balances().get(user, (0, 0))
        assert (available, held) == (account.available, account.held)
        assert (available, held) == (ledger[f"user:{user}:available"], ledger[f"user:{user}:held"])
        assert min(available, held, account.outgoing) >= 0
        assert available + held <= MAX_POINTS
        check_shelves(platform, user)


def check_shelves(platform: Platform, user: str) -> None:
    """What expires is a part of what there is, told by the view, and its time will come."""
    account = platform.account(user)
    shelves = account.shelves
    shown = {row[1]: row[2] for row in platform.rows.get("expiring", {}).values() if row[0] == user and row[2]}
    timer = platform.timers.get(("points", user, ""))

    assert [shelf.expires_at for shelf in shelves] == sorted({shelf.expires_at for shelf in shelves})
    assert all(min(shelf.free, shelf.away) >= 0 < shelf.free + shelf.away for shelf in shelves)
    assert sum(shelf.free for shelf in shelves) <= account.available
    assert sum(shelf.away for shelf in shelves) <= account.held + account.outgoing
    assert shown == {shelf.expires_at: shelf.free for shelf in shelves if shelf.free}
    assert (timer.at if timer else None) == min(shown, default=None)


def run(history: list[Entry]) -> Platform:
    """Play a history to its end, looking at every moment."""
    platform = Platform()
    for entry in history:
        match entry:
            case None:
                platform.fire()
            case int():
                platform.step(entry)
            case timedelta():
                platform.advance(entry)
            case _:
                platform.send(entry)
        check(platform)
    while platform.step() or platform.fire():
        check(platform)
    return platform


@pytest.mark.req("SR047")
@given(histories)
def test_at_every_moment_the_balances_are_the_ledger_and_the_ledger_sums_to_zero(history: list[Entry]) -> None:
    run(history)


@given(histories)
def test_in_the_end_nothing_is_in_transit_and_no_command_is_pending(history: list[Entry]) -> None:
    platform = run(history)

    assert accounts(platform)["system:transit"] == 0
    assert {outcome.status for outcome in platform.outcomes.values()} <= {"accepted", "rejected"}


@given(histories)
def test_a_transfer_takes_from_one_what_it_gives_to_the_other_or_gives_it_back(history: list[Entry]) -> None:
    platform = run(history)
    sent, ended = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for fact in platform.facts:
        match fact.event.wire_name:
            case "points_transfer_started":
                sent[fact.key, fact.event.transfer_id] += fact.event.amount
            case "points_transfer_received":
                ended[fact.event.sender, fact.event.transfer_id] += fact.event.amount
            case "points_transfer_returned":
                ended[fact.key, fact.event.transfer_id] += fact.event.amount

    assert sent == ended


@given(histories)
def test_each_hold_ends_at_most_once(history: list[Entry]) -> None:
    platform = run(history)
    lives: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fact in platform.facts:
        hold = getattr(fact.event, "hold_id", None)
        if hold and not isinstance(fact.event, PointsSpendRejected):
            lives[fact.key, hold].append(fact.event.wire_name)

    for life in lives.values():
        assert life[0] == "points_held"
        assert len(life) <= 2
        assert "points_held" not in life[1:]


@given(histories)
def test_a_rule_rewards_a_source_once(history: list[Entry]) -> None:
    platform = run(history)
    rewards = Counter(
        (fact.key, fact.event.rule, fact.event.source)
        for fact in platform.facts
        if fact.event.wire_name == "points_awarded" and fact.event.rule
    )

    assert set(rewards.values()) <= {1}


@given(histories)
def test_the_events_alone_give_the_same_documents_rows_and_timers(history: list[Entry]) -> None:
    live = run(history)
    again = rebuilt(live, *live.agents)

    assert again.documents == live.documents
    assert again.rows == live.rows
    assert again.timers == live.timers


@given(histories)
def test_what_expires_at_a_time_is_used_before_or_expires_then_whoever_has_it(history: list[Entry]) -> None:
    platform = run(history)
    given, gone = Counter[datetime](), Counter[datetime]()
    for fact in platform.facts:
        lots = {lot.expires_at: lot.amount for lot in getattr(fact.event, "lots", ())}
        match fact.event.wire_name:
            case "points_awarded":
                given.update(lots)
                assert all(fact.at < end for end in lots)
            case "points_spent" | "points_hold_captured":
                gone.update(lots)
            case "points_expired":
                gone.update(lots)
                assert all(end <= fact.at for end in lots)
                assert sum(lots.values()) == fact.event.amount
        if fact.event.wire_name in {"points_spent", "points_held", "points_transfer_started"}:
            assert all(fact.at < end for end in lots), "what has expired is not used"
    left = Counter[datetime]()
    for user in USERS:
        for shelf in platform.account(user).shelves:
            left[shelf.expires_at] += shelf.free + shelf.away
            assert shelf.free == 0 or platform.now < shelf.expires_at, "its timer is over"

    assert given == gone + left


@given(histories)
def test_a_refusal_moves_nothing(history: list[Entry]) -> None:
    platform = run(history)

    for outcome in platform.outcomes.values():
        if outcome.status == "rejected" and outcome.code != "balance_limit":
            assert all(isinstance(event, PointsSpendRejected) for event in outcome.events)


def test_of_two_spends_of_the_whole_balance_one_wins() -> None:
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=10))
    first, second = (platform.send(SpendPoints(user_id="ann", amount=10)) for _ in range(2))

    assert first.status == "accepted"
    assert (second.status, second.code) == ("rejected", "insufficient")
    assert second.events == [PointsSpendRejected(user_id="ann", amount=10, available=0, code="insufficient")]


def test_held_points_cannot_be_spent_and_come_back_on_release() -> None:
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=10))
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=7))

    assert platform.send(SpendPoints(user_id="ann", amount=4)).code == "insufficient"
    assert platform.send(ReleaseHold(user_id="ann", hold_id="h")).status == "accepted"
    assert platform.send(SpendPoints(user_id="ann", amount=4)).status == "accepted"
    assert platform.state("points", "ann", "hold/h") == Hold(7, "released")


@pytest.mark.parametrize("end", [CaptureHold, ReleaseHold])
def test_an_unknown_or_ended_hold_is_refused_by_name(end: type[CaptureHold | ReleaseHold]) -> None:
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=10))

    assert platform.send(end(user_id="ann", hold_id="h")).code == "hold_not_found"
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=10))
    assert platform.send(HoldPoints(user_id="ann", hold_id="h", amount=1)).code == "hold_exists"
    assert platform.send(end(user_id="ann", hold_id="h")).status == "accepted"
    assert platform.send(end(user_id="ann", hold_id="h")).code == "hold_ended"
    assert platform.send(HoldPoints(user_id="ann", hold_id="h", amount=1)).code == "hold_exists"


def test_a_transfer_is_pending_until_it_arrived() -> None:
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=10))
    transfer = platform.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=6))
    assert (transfer.status, platform.balances()) == ("pending", {"ann": (4, 0)})

    platform.step()
    assert (transfer.status, platform.balances()["bob"]) == ("pending", (6, 0))
    platform.settle()

    assert (transfer.status, platform.account("ann").outgoing) == ("accepted", 0)
    again = platform.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=1))
    assert again.code == "transfer_exists"


def test_what_the_recipient_cannot_take_comes_back() -> None:
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=10))
    platform.send(AwardPoints(user_id="bob", amount=MAX_POINTS))
    transfer = platform.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=6))
    platform.settle()

    assert (transfer.status, transfer.code) == ("rejected", "balance_limit")
    assert platform.balances() == {"ann": (10, 0), "bob": (MAX_POINTS, 0)}
    assert [type(fact.event) for fact in platform.facts].count(PointsTransferDeclined) == 1
    assert PointsTransferReceived not in [type(fact.event) for fact in platform.facts]


def test_there_is_always_room_for_points_that_may_come_back() -> None:
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=MAX_POINTS))
    platform.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=1))

    assert platform.send(AwardPoints(user_id="ann", amount=1)).code == "balance_limit"
    platform.settle()
    assert platform.send(AwardPoints(user_id="ann", amount=1)).status == "accepted"


@pytest.mark.parametrize("amount", [0, -1, 1.0, 0.5, "7", True, None, 2**53, float("nan")])
def test_an_amount_is_a_whole_number_of_at_least_one_that_json_keeps_exact(amount: object) -> None:
    with pytest.raises(ValidationError):
        SpendPoints.model_validate({"user_id": "ann", "amount": amount})


@pytest.mark.parametrize(
    "body",
    [
        {"user_id": "ann", "transfer_id": "t", "to": "ann", "amount": 1},
        {"user_id": "ann", "transfer_id": "t", "to": "bob", "amount": 1, "colour": "red"},
        {"user_id": "ann", "to": "bob", "amount": 1},
        {"user_id": "ann", "transfer_id": "t/u", "to": "bob", "amount": 1},
        {"user_id": "a\0", "transfer_id": "t", "to": "bob", "amount": 1},
        {"user_id": "ann", "transfer_id": "t", "to": "bob", "amount": 1, "note": "\0"},
        {"user_id": "ann", "transfer_id": "t" * 129, "to": "bob", "amount": 1},
    ],
)
def test_a_transfer_goes_to_somebody_else_and_has_nothing_strange_in_it(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TransferPoints.model_validate(body)


def test_rule_and_source_come_together() -> None:
    with pytest.raises(ValidationError):
        AwardPoints(user_id="ann", amount=1, rule="r")


def lot(hours: int, amount: int) -> Lot:
    """Points that expire so many hours after the start."""
    return Lot(expires_at=START + hours * HOUR, amount=amount)


def with_lots(*lots: Lot) -> Platform:
    """Ann has these and 10 points that do not expire."""
    platform = Platform()
    platform.send(AwardPoints(user_id="ann", amount=10))
    for one in lots:
        platform.send(AwardPoints(user_id="ann", amount=one.amount, expires_at=one.expires_at))
    return platform


def test_what_expires_first_is_spent_first_and_what_does_not_last() -> None:
    platform = with_lots(lot(5, 3), lot(2, 4), lot(5, 1))

    (first,) = platform.send(SpendPoints(user_id="ann", amount=6)).events
    (second,) = platform.send(SpendPoints(user_id="ann", amount=8)).events

    assert first == PointsSpent(user_id="ann", amount=6, lots=(lot(2, 4), lot(5, 2)))
    assert second == PointsSpent(user_id="ann", amount=8, lots=(lot(5, 2),))
    assert platform.account("ann").shelves == ()
    assert platform.timers == {}


def test_points_expire_when_their_time_comes_and_not_more_than_are_left() -> None:
    platform = with_lots(lot(2, 4), lot(3, 5))
    platform.send(SpendPoints(user_id="ann", amount=1))
    assert platform.send(ExpirePoints(user_id="ann")).events == []
    assert not platform.fire()

    platform.advance(2 * HOUR)
    assert platform.fire()

    assert platform.facts[-1].event == PointsExpired(user_id="ann", amount=3, lots=(lot(2, 3),))
    assert platform.balances() == {"ann": (15, 0)}
    assert accounts(platform)["system:expired"] == 3
    assert not platform.fire()


def test_what_has_expired_is_not_spent_though_its_timer_was_not_run() -> None:
    platform = with_lots(lot(2, 4), lot(3, 5))
    platform.advance(2 * HOUR)
    told = platform.send(SpendPoints(user_id="ann", amount=16))

    assert told.events == [PointsSpendRejected(user_id="ann", amount=16, available=15, code="insufficient")]
    assert platform.send(SpendPoints(user_id="ann", amount=15)).status == "accepted"
    assert platform.send(ExpirePoints(user_id="ann")).events == [
        PointsExpired(user_id="ann", amount=4, lots=(lot(2, 4),))
    ]


def test_held_points_expire_when_they_are_released_after_their_time() -> None:
    platform = with_lots(lot(2, 4))
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=6))
    platform.advance(3 * HOUR)
    assert not platform.fire()
    assert platform.account("ann").shelves == (Shelf(lot(2, 4).expires_at, 0, 4),)

    platform.send(ReleaseHold(user_id="ann", hold_id="h"))
    assert platform.balances() == {"ann": (14, 0)}
    assert platform.fire()

    assert platform.balances() == {"ann": (10, 0)}


def test_captured_points_have_not_expired() -> None:
    platform = with_lots(lot(2, 4))
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=6))
    platform.advance(3 * HOUR)
    platform.send(CaptureHold(user_id="ann", hold_id="h"))

    assert not platform.fire()
    assert platform.account("ann").shelves == ()
    assert accounts(platform)["system:spent"] == 6


def test_a_transfer_takes_along_when_its_points_expire() -> None:
    platform = with_lots(lot(2, 4))
    platform.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=6))
    platform.advance(3 * HOUR)
    platform.settle()

    assert platform.balances() == {"ann": (8, 0), "bob": (2, 0)}
    assert isinstance(platform.facts[-1].event, PointsExpired)
    assert platform.facts[-1].key == "bob"


def test_a_transfer_that_comes_back_brings_its_lots() -> None:
    platform = with_lots(lot(2, 4))
    platform.send(AwardPoints(user_id="bob", amount=MAX_POINTS))
    platform.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=6))
    platform.settle()

    assert platform.account("ann").shelves == (Shelf(lot(2, 4).expires_at, 4),)


def test_an_account_has_so_many_lots_and_no_more_and_always_room_for_what_comes_back() -> None:
    platform = with_lots(*(lot(n, 1) for n in range(1, MAX_LOTS + 1)))
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=MAX_LOTS))

    more = platform.send(AwardPoints(user_id="ann", amount=1, expires_at=lot(100, 1).expires_at))
    assert (more.status, more.code) == ("rejected", "too_many_lots")
    assert platform.send(AwardPoints(user_id="ann", amount=1, expires_at=lot(1, 1).expires_at)).status == "accepted"
    credit = CreditTransfer(user_id="ann", transfer_id="t", sender="bob", amount=1, lots=(lot(100, 1),))
    assert platform.send(credit).events == [
        PointsTransferDeclined(user_id="ann", transfer_id="t", sender="bob", amount=1, code="too_many_lots")
    ]
    platform.send(ReleaseHold(user_id="ann", hold_id="h"))
    assert len(platform.account("ann").shelves) == MAX_LOTS


def test_points_that_have_expired_are_not_awarded() -> None:
    platform = Platform()

    told = platform.send(AwardPoints(user_id="ann", amount=1, expires_at=START))
    assert (told.status, told.code) == ("rejected", "already_expired")


@pytest.mark.parametrize(
    "time", [5, "5", 1e9, "2030-01-01", "2030-01-01T00:00:00", "1999-12-31T00:00:00Z", "soon", True]
)
def test_a_time_is_written_out_with_its_offset(time: Any) -> None:
    with pytest.raises(ValidationError):
        AwardPoints.model_validate({"user_id": "ann", "amount": 1, "expires_at": time})


@pytest.mark.parametrize("contract", [HoldPoints, CaptureHold, ReleaseHold])
def test_the_platforms_own_holds_are_nobody_elses(contract: type[HoldPoints | CaptureHold | ReleaseHold]) -> None:
    amount = {"amount": 1} if contract is HoldPoints else {}
    own, voucher = (
        contract.model_validate({"user_id": "ann", "hold_id": name, **amount}) for name in ("h", "voucher:c:v")
    )

    ann, admin, service = Actor("user", "ann", "User"), Actor("user", "root", "Admin"), Actor("service", "points")
    assert [own.may_be_issued_by(who) for who in (ann, admin, service)] == [True, True, True]
    assert [voucher.may_be_issued_by(who) for who in (ann, admin, service)] == [False, False, True]
