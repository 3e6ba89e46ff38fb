"""Points through the loop in memory: commands in, results, events, documents and rows out."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from agents.points.rules import SIGN_UP_POINTS, Account, Shelf, Tally, Transfer
from streams.contract import Command
from streams.decision import ROOT
from streams.envelope import Actor
from streams.personal import seal
from streams.testing import Kit, user
from tests.standins import StandIns, tell
from topics.commerce import OrderPaid, OrderRefunded
from topics.fitness import WorkoutRecorded
from topics.identity import RegisterUser, UserRegistered
from topics.meetups import ParticipantCheckedIn
from topics.points import (
    MAX_POINTS,
    POINTS,
    ActivatePointsRule,
    AdjustPoints,
    AwardPoints,
    CaptureHold,
    CreditTransfer,
    DefinePointsRule,
    DefineTiers,
    HoldPoints,
    Lot,
    PointsAwarded,
    PointsExpired,
    PointsSpendRejected,
    ReleaseHold,
    ReversePointsEntry,
    SpendPoints,
    TransferPoints,
)
from topics.promotions import VoucherRedeemed, VoucherRedemptionRolledBack, VoucherRefunded, hold_of
from topics.quests import QuestCompleted
from topics.referrals import ReferralRewardClawedBack, ReferralRewardGranted

SERVICE = Actor("service", "points")


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("points") as kit:
        yield kit


def with_predecessors(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in with_predecessors(POINTS.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


@pytest.mark.parametrize("name", [name for name, contract in POINTS.commands.items() if contract.roles])
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    contract = POINTS.commands[name]
    assert contract.examples

    assert {kit.send(command).status for command in with_predecessors(contract)} == {"accepted"}


def test_a_transfer_is_accepted_when_it_arrived(kit: Kit) -> None:
    kit.send(AwardPoints(user_id="ann", amount=10))
    told = kit.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=6), actor=user("ann"))

    assert told.status == "accepted"
    assert [event.wire_name for event in told.events] == [
        "points_transfer_started",
        "points_transfer_received",
        "points_transferred",
    ]
    assert kit.rows("balance") == [("ann", 4, 0), ("bob", 6, 0)]
    assert [(row[0], row[3], row[4], row[5], row[6]) for row in kit.rows("ledger")] == [
        ("ann", "awarded", "system:issued", "user:ann:available", 10),
        ("ann", "sent", "user:ann:available", "system:transit", 6),
        ("bob", "received", "system:transit", "user:bob:available", 6),
    ]
    assert kit.state("ann") == Account(available=4, tally=Tally(transit=6))
    transfer = kit.state("ann", "transfer/t")
    assert isinstance(transfer, Transfer)
    assert transfer.status == "arrived"


def test_a_transfer_that_comes_back_is_rejected_with_the_cause(kit: Kit) -> None:
    kit.send(AwardPoints(user_id="ann", amount=10))
    kit.send(AwardPoints(user_id="bob", amount=MAX_POINTS))
    told = kit.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=6))

    assert (told.status, told.code) == ("rejected", "balance_limit")
    assert kit.rows("balance") == [("ann", 10, 0), ("bob", MAX_POINTS, 0)]
    assert [row[3] for row in kit.rows("ledger") if row[0] == "ann"] == ["awarded", "sent", "returned"]


def test_an_overspend_is_told_as_a_fact_with_what_there_is(kit: Kit) -> None:
    kit.send(AwardPoints(user_id="ann", amount=10))
    told = kit.send(SpendPoints(user_id="ann", amount=11), actor=user("ann"))

    assert (told.status, told.code, told.details) == ("rejected", "insufficient", {"available": 10})
    assert told.events == [PointsSpendRejected(user_id="ann", amount=11, available=10, code="insufficient")]
    assert len(kit.rows("ledger")) == 1


@pytest.mark.req("SR055")
def test_a_source_is_rewarded_once_under_a_rule(kit: Kit) -> None:
    award = AwardPoints(user_id="ann", amount=10, rule="first_quest", source="quest-1")
    first, second = kit.send(award), kit.send(award)

    assert first.events == [PointsAwarded(user_id="ann", amount=10, rule="first_quest", source="quest-1")]
    assert (second.status, second.code) == ("rejected", "already_awarded")


@pytest.mark.req("SR056")
def test_who_signs_up_gets_points_once() -> None:
    with Kit.of("points", "identity") as kit:
        register = RegisterUser(user_id="ann", email="ann@example.com", email_login="e0")
        told, again = kit.send(register), kit.send(register)

        assert (told.status, again.status) == ("accepted", "rejected")
        assert [event.wire_name for event in told.events][-3:] == [
            "user_registered",
            "points_rule_applied",
            "points_awarded",
        ]
        assert kit.rows("balance") == [("ann", SIGN_UP_POINTS, 0)]
        (registered,) = [e for e in kit.envelopes() if e.type == UserRegistered.wire_name]
        award = AwardPoints(user_id="ann", amount=5, rule="sign_up", source=registered.event_id)
        assert kit.send(award).code == "already_awarded"


def test_points_expire_by_themselves_and_held_ones_when_they_come_back(kit: Kit) -> None:
    end = kit.clock.now() + timedelta(days=1)
    kit.send(AwardPoints(user_id="ann", amount=10, expires_at=end))
    kit.send(AwardPoints(user_id="ann", amount=5))
    kit.send(HoldPoints(user_id="ann", hold_id="h", amount=4), actor=user("ann"))
    assert kit.rows("expiring") == [("ann", end, 6)]

    told = kit.advance(timedelta(days=1))
    assert told == [PointsExpired(user_id="ann", amount=6, lots=(Lot(expires_at=end, amount=6),))]
    assert kit.rows("balance") == [("ann", 5, 4)]
    kit.send(ReleaseHold(user_id="ann", hold_id="h"), actor=user("ann"))
    kit.settle()

    assert kit.rows("balance") == [("ann", 5, 0)]
    assert kit.rows("expiring") == [("ann", end, 0)]
    assert [row[3:7] for row in kit.rows("ledger")][-1] == ("expired", "user:ann:available", "system:expired", 4)


@pytest.mark.parametrize(
    "command",
    [
        AwardPoints(user_id="ann", amount=1),
        SpendPoints(user_id="bob", amount=1),
        CreditTransfer(user_id="ann", transfer_id="t", sender="bob", amount=1),
    ],
)
def test_what_a_user_may_not_issue_is_refused_by_the_agent_too(kit: Kit, command: Command) -> None:
    told = kit.send(command, actor=user("ann"))

    assert (told.status, told.code) == ("rejected", "forbidden")
    assert kit.rows("ledger") == []


def test_a_sealed_note_passes_unread_into_the_statements_of_both(kit: Kit) -> None:
    note = seal("Happy birthday! " * 60, "ann", bytes(32))
    body = f'{{"user_id": "ann", "transfer_id": "t", "to": "bob", "amount": 1, "note": "{note}"}}'
    kit.send(AwardPoints(user_id="ann", amount=10))
    told = kit.send(TransferPoints.from_topic(body.encode()))

    assert told.status == "accepted"
    assert [row[8] for row in kit.rows("ledger")] == [None, note, note]


def test_the_events_alone_rebuild_documents_and_rows(kit: Kit) -> None:
    end = kit.clock.now() + timedelta(hours=1)
    for command in (
        AwardPoints(user_id="ann", amount=50),
        AwardPoints(user_id="ann", amount=30, expires_at=end),
        HoldPoints(user_id="ann", hold_id="h", amount=20),
        TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=5),
        SpendPoints(user_id="ann", amount=99),
    ):
        kit.send(command)
    kit.advance(timedelta(hours=1))
    live, rebuilt = kit.store.schemas[POINTS.domain], kit.rebuilt().schemas[POINTS.domain]

    assert rebuilt.rows == live.rows
    assert {key: stored.data for key, stored in rebuilt.states.items()} == {
        key: stored.data for key, stored in live.states.items()
    }
    assert kit.state("ann", ROOT) == Account(
        available=50, held=20, shelves=(Shelf(end, free=0, away=20),), tally=Tally(expired=5, transit=5)
    )
    assert kit.rows("balance") == [("ann", 50, 20), ("bob", 0, 0)]


def rule(kit: Kit, event: str, **terms: object) -> None:
    """A rule counts, of this event's name."""
    name = event.partition(".")[2]
    assert kit.send(DefinePointsRule.model_validate({"rule_id": name, "event": event, **terms})).status == "accepted"
    assert kit.send(ActivatePointsRule(rule_id=name)).status == "accepted"


@pytest.mark.req("SR048")
def test_what_users_do_elsewhere_is_rewarded_once_however_often_it_is_told(kit: Kit) -> None:
    rule(kit, "commerce.order_paid", amount="event.total / 100", condition="event.currency == 'EUR'")
    rule(kit, "meetups.participant_checked_in", amount=20, condition="event.city == 'Berlin'")
    rule(kit, "fitness.workout_recorded", amount="event.minutes", cap_per_day=40)
    now, told = kit.clock.now(), StandIns()
    records = [
        told.record(one, now)
        for one in (
            OrderPaid(order_id="o1", user_id="ann", total=1250, currency="EUR"),
            OrderPaid(order_id="o2", user_id="ann", total=1250, currency="USD"),
            ParticipantCheckedIn(meetup_id="m1", user_id="ann", author_id="cy", city="Berlin", at=now),
            ParticipantCheckedIn(meetup_id="m2", user_id="ann", author_id="cy", city="Bonn", at=now),
            WorkoutRecorded(user_id="ann", workout_id="w1", kind="run", minutes=30, at=now),
            WorkoutRecorded(user_id="ann", workout_id="w2", kind="run", minutes=30, at=now),
        )
    ]
    tell(kit, *records, *records)

    assert sorted(row[6] for row in kit.rows("ledger")) == [10, 12, 20, 30]
    assert kit.rows("balance") == [("ann", 72, 0)]


def test_a_refund_takes_back_the_points_of_the_order(kit: Kit) -> None:
    rule(kit, "commerce.order_paid", amount="event.total / 100")
    told, now = StandIns(), kit.clock.now()
    order = {"order_id": "o1", "user_id": "ann", "currency": "EUR"}
    tell(kit, told.record(OrderPaid(**order, total=1000), now))
    kit.send(SpendPoints(user_id="ann", amount=8), actor=user("ann"))
    back = [told.record(OrderRefunded(**order, amount=amount), now) for amount in (500, 500)]
    tell(kit, *back, *back)

    assert kit.rows("balance") == [("ann", 0, 0)]
    account = kit.state("ann")
    assert isinstance(account, Account)
    assert (account.owed, account.tally.reversed) == (8, 2)


LONG = f"{'o' * 50}:{'v' * 50}:{'u' * 128}"  # an order's redemption, as long as one can be


def redemption(redemption_id: str | None, value: int, campaign_id: str = "c") -> VoucherRedeemed:
    """Ann redeems her voucher, or so much of it."""
    about = {"campaign_id": campaign_id, "voucher_id": "v", "user_id": "ann", "partner_id": "p1", "currency": "EUR"}
    return VoucherRedeemed.model_validate(
        {**about, "redemption_id": redemption_id, "value": value, "redeemed_at": "2026-01-01T12:00:00Z"}
    )


def undone(redeemed: VoucherRedeemed, value: int | None = None) -> VoucherRedemptionRolledBack:
    """It is rolled back, or so much of it."""
    about = {
        name: getattr(redeemed, name) for name in ("campaign_id", "voucher_id", "user_id", "partner_id", "currency")
    }
    return VoucherRedemptionRolledBack(
        **about,
        redemption_id=redeemed.redemption_id or redeemed.voucher_id,
        value=value or redeemed.value,
        reason="Wrong table",
        rolled_back_at=redeemed.redeemed_at,
    )


@pytest.mark.req("SR048")
@pytest.mark.parametrize("redemption_id", [None, "v", LONG])
def test_a_redemption_that_is_rolled_back_gives_back_the_points_for_it_and_no_others(
    kit: Kit, redemption_id: str | None
) -> None:
    rule(kit, "promotions.voucher_redeemed", amount="event.value / 10")
    told, now = StandIns(), kit.clock.now()
    first, other, elsewhere = redemption(redemption_id, 300), redemption("x", 70), redemption(redemption_id, 500, "d")
    records = [told.record(one, now) for one in (first, other, elsewhere)]
    tell(kit, *records, *records)
    assert kit.rows("balance") == [("ann", 87, 0)]
    back = told.record(undone(first), now)
    tell(kit, back, back)

    assert kit.rows("balance") == [("ann", 57, 0)]
    assert [row[6] for row in kit.rows("ledger") if row[3] == "reversed"] == [30]
    assert kit.parked() == []


def test_a_gift_that_is_redeemed_in_parts_gives_back_the_points_of_those_that_are_rolled_back(kit: Kit) -> None:
    rule(kit, "promotions.voucher_redeemed", amount="event.value / 10")
    told, now = StandIns(), kit.clock.now()
    parts = [redemption(f"part{n}", value) for n, value in enumerate((100, 250))]
    tell(kit, *(told.record(part, now) for part in parts))
    kit.send(SpendPoints(user_id="ann", amount=30), actor=user("ann"))
    left = []
    for back in (undone(parts[1], 100), undone(parts[1], 150), undone(parts[0])):
        tell(kit, told.record(back, now))
        account = kit.state("ann")
        assert isinstance(account, Account)
        left.append((account.available, account.owed, account.tally.reversed))

    assert left == [(0, 5, 5), (0, 20, 5), (0, 30, 5)], "what was spent is owed"


def test_a_referral_that_is_void_gives_back_exactly_what_it_gave(kit: Kit) -> None:
    about = {"referral_id": "f1", "scheme_id": "autumn", "reward_id": "f1:autumn:0", "level": 0}
    told, now = StandIns(), kit.clock.now()
    granted = ReferralRewardGranted.model_validate({**about, "user_id": "ann", "points": 50})
    void = ReferralRewardClawedBack.model_validate({**about, "user_id": "ann", "points": 50})
    records = [told.record(granted, now), told.record(void, now)]
    tell(kit, *records, *records)

    assert [row[3:7] for row in kit.rows("ledger")] == [
        ("awarded", "system:issued", "user:ann:available", 50),
        ("reversed", "user:ann:available", "system:reversed", 50),
    ]


def test_a_quest_gives_what_it_says_and_what_the_rules_say(kit: Kit) -> None:
    rule(kit, "quests.quest_completed", amount=5)
    about = {"user_id": "ann", "quest_id": "q1", "run": 1, "revision": 1, "xp": 10, "completed_at": kit.clock.now()}
    record = StandIns().record(QuestCompleted(**about, points=30), kit.clock.now())
    tell(kit, record, record)

    assert sorted(row[6] for row in kit.rows("ledger")) == [5, 30]


def test_who_bought_a_voucher_that_was_taken_back_gets_the_price(kit: Kit) -> None:
    name = hold_of("c", "v")
    kit.send(AwardPoints(user_id="ann", amount=10))
    kit.send(HoldPoints(user_id="ann", hold_id=name, amount=6), actor=SERVICE)
    kit.send(CaptureHold(user_id="ann", hold_id=name), actor=SERVICE)
    due = VoucherRefunded(campaign_id="c", voucher_id="v", user_id="ann", price=6)
    tell(kit, StandIns().record(due, kit.clock.now()))

    assert kit.rows("balance") == [("ann", 10, 0)]


@pytest.mark.parametrize("contract", [AdjustPoints, ReversePointsEntry, DefinePointsRule, DefineTiers])
def test_what_is_an_admins_is_refused_by_the_agent_too(kit: Kit, contract: type[Command]) -> None:
    told = kit.send(contract.model_validate(contract.examples[0]), actor=user("u1"))

    assert (told.status, told.code) == ("rejected", "forbidden")


def test_the_events_alone_rebuild_rules_tiers_and_what_was_taken_back(kit: Kit) -> None:
    tiers = [{"tier_id": "silver", "name": "Silver", "points": 10}]
    kit.send(DefineTiers.model_validate({"tiers": tiers, "period": 30}))
    rule(kit, "commerce.order_paid", amount=15, pending=2, validity=9)
    told, now = StandIns(), kit.clock.now()
    for name in ("o1", "o2"):
        tell(kit, told.record(OrderPaid(order_id=name, user_id="ann", total=9, currency="EUR"), now))
    kit.advance(timedelta(days=3))
    kit.send(SpendPoints(user_id="ann", amount=20, spend_id="s"), actor=user("ann"))
    kit.send(ReversePointsEntry(user_id="ann", entry="award/order_paid/o1", reason="why"))
    kit.send(ReversePointsEntry(user_id="ann", entry="spend/s", amount=15, reason="why"))
    kit.send(AdjustPoints(user_id="ann", amount=3, reason="why"))
    kit.advance(timedelta(days=70))
    live, rebuilt = kit.store.schemas[POINTS.domain], kit.rebuilt().schemas[POINTS.domain]

    assert kit.parked() == []
    assert rebuilt.rows == live.rows
    assert {key: stored.data for key, stored in rebuilt.states.items()} == {
        key: stored.data for key, stored in live.states.items()
    }
    names = {event.wire_name for event in kit.events()}
    assert names >= {"tier_upgraded", "tier_downgraded", "points_unlocked", "points_reversed", "points_owed_collected"}
