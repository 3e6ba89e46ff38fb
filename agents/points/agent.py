"""Points: commands lead to events by the rules; a transfer goes on from event to command until it is settled.

What users do elsewhere is looked at by the program's rules; quests and referrals say themselves what they reward; and vouchers are paid with points.
"""

from hashlib import blake2b
from typing import Any

from agents.points import rules, sink
from agents.points.table import ACCOUNTS
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.commerce import COMMERCE, OrderPaid, OrderRefunded
from topics.fitness import FITNESS, WorkoutRecorded
from topics.identity import IDENTITY, UserRegistered
from topics.meetups import MEETUPS, ParticipantCheckedIn
from topics.points import (
    POINTS,
    AwardPoints,
    CaptureHold,
    CompleteTransfer,
    CreditTransfer,
    HoldPoints,
    ObserveEvent,
    PointsTransferDeclined,
    PointsTransferReceived,
    PointsTransferStarted,
    RefundSource,
    ReleaseHold,
    ReturnTransfer,
    ReversePointsEntry,
)
from topics.points.observed import name_of, seen
from topics.promotions import (
    PROMOTIONS,
    VoucherPurchased,
    VoucherPurchaseFailed,
    VoucherPurchaseStarted,
    VoucherRedeemed,
    VoucherRedemptionRolledBack,
    VoucherRefunded,
    hold_of,
)
from topics.quests import QUESTS, PartyRewardGranted, QuestCompleted
from topics.referrals import REFERRALS, ReferralRewardClawedBack, ReferralRewardGranted


def credit(fact: Fact[PointsTransferStarted]) -> CreditTransfer:
    """Points left the sender: give them to the recipient."""
    sent = fact.event
    return CreditTransfer(
        user_id=sent.to,
        transfer_id=sent.transfer_id,
        sender=sent.user_id,
        amount=sent.amount,
        note=sent.note,
        lots=sent.lots,
    )


def complete(fact: Fact[PointsTransferReceived]) -> CompleteTransfer:
    """The recipient has them: tell the sender."""
    return CompleteTransfer(user_id=fact.event.sender, transfer_id=fact.event.transfer_id)


def give_back(fact: Fact[PointsTransferDeclined]) -> ReturnTransfer:
    """The recipient cannot take them: the sender gets them back."""
    return ReturnTransfer(user_id=fact.event.sender, transfer_id=fact.event.transfer_id, code=fact.event.code)


def observe(fact: Fact[Any]) -> ObserveEvent:
    """Something happened to a user: the rules say whether it is rewarded, once for the event."""
    return ObserveEvent(
        user_id=fact.event.user_id,
        event=name_of(type(fact.event)),
        source=fact.event_id,
        occurred_at=fact.at,
        facts=seen(fact.event),
    )


def paid(fact: Fact[OrderPaid]) -> ObserveEvent:
    """An order is rewarded once, by its id; its total may go back."""
    paid = fact.event
    return observe(fact).model_copy(update={"source": paid.order_id, "base": paid.total or None})


def refund(fact: Fact[OrderRefunded]) -> RefundSource:
    """Money went back: so do the points for it."""
    refunded = fact.event
    return RefundSource(
        user_id=refunded.user_id, event=name_of(OrderPaid), source=refunded.order_id, amount=refunded.amount
    )


def finish(fact: Fact[QuestCompleted]) -> list[AwardPoints | ObserveEvent]:
    """A quest is done: give what it says, beside what the rules say."""
    return [*_quest_points(fact), observe(fact)]


def share(fact: Fact[PartyRewardGranted]) -> list[AwardPoints]:
    """So it is for a party: each member who has done it gets what it says."""
    return _quest_points(fact)


def _quest_points(fact: Fact[QuestCompleted] | Fact[PartyRewardGranted]) -> list[AwardPoints]:
    done = fact.event
    award = {"user_id": done.user_id, "amount": done.points, "rule": f"quest:{done.quest_id}", "source": fact.event_id}
    return [AwardPoints.model_validate(award)] if done.points else []


def reward(fact: Fact[ReferralRewardGranted]) -> AwardPoints:
    """A referral is rewarded, once."""
    granted = fact.event
    return AwardPoints(user_id=granted.user_id, amount=granted.points, rule=_rule_of(granted), source=granted.reward_id)


def claw_back(fact: Fact[ReferralRewardClawedBack]) -> ReversePointsEntry:
    """A referral is void: take back exactly what was given for it."""
    void = fact.event
    entry = f"award/{_rule_of(void)}/{void.reward_id}"
    return ReversePointsEntry(user_id=void.user_id, entry=entry, reason="The referral is void.")


def _rule_of(event: ReferralRewardGranted | ReferralRewardClawedBack) -> str:
    return f"referral:{event.scheme_id}"


def hold(fact: Fact[VoucherPurchaseStarted]) -> list[HoldPoints]:
    """Somebody wants a voucher: set its price aside, if it has any."""
    wanted = fact.event
    if wanted.price == 0:
        return []
    return [HoldPoints(user_id=wanted.user_id, hold_id=_hold_id(wanted), amount=wanted.price)]


def capture(fact: Fact[VoucherPurchased]) -> list[CaptureHold | ObserveEvent]:
    """The voucher is bought: take its price, and look whether that is rewarded."""
    bought = fact.event
    own = [CaptureHold(user_id=bought.user_id, hold_id=_hold_id(bought))] if bought.price else []
    return [*own, observe(fact)]


def pay_back(fact: Fact[VoucherRefunded]) -> list[ReversePointsEntry]:
    """The voucher was taken back: who bought it gets the price again."""
    due = fact.event
    entry = f"hold/{_hold_id(due)}"
    back = ReversePointsEntry(user_id=due.user_id, entry=entry, reason="The voucher was taken back.")
    return [back] if due.price else []


def redeemed(fact: Fact[VoucherRedeemed]) -> ObserveEvent:
    """A redemption is rewarded once; its value may go back."""
    taken = fact.event
    return observe(fact).model_copy(update={"source": _redemption(taken), "base": taken.value})


def roll_back(fact: Fact[VoucherRedemptionRolledBack]) -> RefundSource:
    """The voucher has its value again: so the points for it go back."""
    undone = fact.event
    return RefundSource(
        user_id=undone.user_id, event=name_of(VoucherRedeemed), source=_redemption(undone), amount=undone.value
    )


def _redemption(event: VoucherRedeemed | VoucherRedemptionRolledBack) -> str:
    """A redemption as a source: campaign and id in full would be longer than a source may be."""
    name = f"{event.campaign_id}/{event.redemption_id or event.voucher_id}"
    return blake2b(name.encode(), digest_size=16, person=b"redemption").hexdigest()


def release(fact: Fact[VoucherPurchaseFailed]) -> list[ReleaseHold]:
    """Nothing was bought: give the price back. The hold may come late, but its command went before this one, so it is there by then."""
    if fact.event.reason == "insufficient":
        return []
    return [ReleaseHold(user_id=fact.event.user_id, hold_id=_hold_id(fact.event))]


def _hold_id(event: VoucherPurchaseStarted | VoucherPurchased | VoucherPurchaseFailed | VoucherRefunded) -> str:
    return hold_of(event.campaign_id, event.voucher_id)


POINTS_DECIDER = Decider(
    POINTS, ACCOUNTS, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer, rules.consults
)

TRANSFERS = Policy(
    "transfers",
    POINTS,
    POINTS,
    on={PointsTransferStarted: credit, PointsTransferReceived: complete, PointsTransferDeclined: give_back},
)

SIGN_UPS = Policy("sign_ups", IDENTITY, POINTS, on={UserRegistered: observe})

PURCHASES = Policy(
    "purchases",
    PROMOTIONS,
    POINTS,
    on={
        VoucherPurchaseStarted: hold,
        VoucherPurchased: capture,
        VoucherPurchaseFailed: release,
        VoucherRedeemed: redeemed,
        VoucherRedemptionRolledBack: roll_back,
        VoucherRefunded: pay_back,
    },
)

FINISHED_QUESTS = Policy("finished_quests", QUESTS, POINTS, on={QuestCompleted: finish, PartyRewardGranted: share})

REWARDS = Policy("rewards", REFERRALS, POINTS, on={ReferralRewardGranted: reward, ReferralRewardClawedBack: claw_back})

ORDERS = Policy("orders", COMMERCE, POINTS, on={OrderPaid: paid, OrderRefunded: refund})

CHECK_INS = Policy("check_ins", MEETUPS, POINTS, on={ParticipantCheckedIn: observe})

WORKOUTS = Policy("workouts", FITNESS, POINTS, on={WorkoutRecorded: observe})
