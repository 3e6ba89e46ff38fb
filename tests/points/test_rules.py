"""The laws of points, over random commands with sagas carried on at random moments."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.points.rules import Hold
from streams.contract import Command
from tests.points.platform import Platform, movements
from topics.points import (
    MAX_POINTS,
    AwardPoints,
    CaptureHold,
    HoldPoints,
    PointsSpendRejected,
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
pairs = st.permutations(USERS).map(lambda order: {"user_id": order[0], "to": order[1]})
commands = st.one_of(
    st.builds(AwardPoints, user_id=users, amount=amounts),
    st.builds(AwardPoints, user_id=users, amount=amounts, rule=names, source=names),
    st.builds(SpendPoints, user_id=users, amount=amounts),
    st.builds(HoldPoints, user_id=users, hold_id=names, amount=amounts),
    st.builds(CaptureHold, user_id=users, hold_id=names),
    st.builds(ReleaseHold, user_id=users, hold_id=names),
    st.builds(
        lambda pair, name, amount: TransferPoints(**pair, transfer_id=name, amount=amount), pairs, names, amounts
    ),
)
histories = st.lists(commands | st.none(), max_size=60)
"""Commands in the order in which they come; None carries on the oldest saga by a step."""


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


def run(history: list[Command | None]) -> Platform:
    """Play a history to its end, looking at every moment."""
    platform = Platform()
    for entry in history:
        if entry is None:
            platform.step()
        else:
            platform.send(entry)
        check(platform)
    while platform.step():
        check(platform)
    return platform


@pytest.mark.req("SR047")
@given(histories)
def test_at_every_moment_the_balances_are_the_ledger_and_the_ledger_sums_to_zero(history: list[Command | None]) -> None:
    run(history)


@given(histories)
def test_in_the_end_nothing_is_in_transit_and_no_command_is_pending(history: list[Command | None]) -> None:
    platform = run(history)

    assert accounts(platform)["system:transit"] == 0
    assert {outcome.status for outcome in platform.outcomes.values()} <= {"accepted", "rejected"}


@given(histories)
def test_a_transfer_takes_from_one_what_it_gives_to_the_other_or_gives_it_back(history: list[Command | None]) -> None:
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
def test_each_hold_ends_at_most_once(history: list[Command | None]) -> None:
    platform = run(history)
    lives: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fact in platform.facts:
        if hold := getattr(fact.event, "hold_id", None):
            lives[fact.key, hold].append(fact.event.wire_name)

    for life in lives.values():
        assert life[0] == "points_held"
        assert len(life) <= 2
        assert "points_held" not in life[1:]


@given(histories)
def test_a_rule_rewards_a_source_once(history: list[Command | None]) -> None:
    platform = run(history)
    rewards = Counter(
        (fact.key, fact.event.rule, fact.event.source)
        for fact in platform.facts
        if fact.event.wire_name == "points_awarded" and fact.event.rule
    )

    assert set(rewards.values()) <= {1}


@given(histories)
def test_the_events_alone_give_the_same_documents_and_rows(history: list[Command | None]) -> None:
    live, rebuilt = run(history), Platform()
    for fact in live.facts:
        parsed = type(fact.event).from_topic(fact.event.to_json())
        rebuilt.replay(fact._replace(event=parsed))

    assert rebuilt.documents == live.documents
    assert rebuilt.rows == live.rows


@given(histories)
def test_a_refusal_moves_nothing(history: list[Command | None]) -> None:
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
    assert platform.documents["ann"]["hold/h"] == Hold(7, "released")


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
