"""Points: commands lead to events by the rules; a transfer goes on from event to command until it is settled.

New users get points, and vouchers are paid with points.
"""

from agents.points import rules, sink
from agents.points.table import ACCOUNTS
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.identity import IDENTITY, UserRegistered
from topics.points import (
    POINTS,
    AwardPoints,
    CaptureHold,
    CompleteTransfer,
    CreditTransfer,
    HoldPoints,
    PointsTransferDeclined,
    PointsTransferReceived,
    PointsTransferStarted,
    ReleaseHold,
    ReturnTransfer,
)
from topics.promotions import PROMOTIONS, VoucherPurchased, VoucherPurchaseFailed, VoucherPurchaseStarted, hold_of

SIGN_UP_POINTS = 100


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


def welcome(fact: Fact[UserRegistered]) -> AwardPoints:
    """A new user gets points, once."""
    return AwardPoints(user_id=fact.event.user_id, amount=SIGN_UP_POINTS, rule="sign_up", source=fact.event_id)


def hold(fact: Fact[VoucherPurchaseStarted]) -> list[HoldPoints]:
    """Somebody wants a voucher: set its price aside, if it has any."""
    wanted = fact.event
    if wanted.price == 0:
        return []
    return [HoldPoints(user_id=wanted.user_id, hold_id=_hold_id(wanted), amount=wanted.price)]


def capture(fact: Fact[VoucherPurchased]) -> list[CaptureHold]:
    """The voucher is bought: take its price."""
    return [CaptureHold(user_id=fact.event.user_id, hold_id=_hold_id(fact.event))] if fact.event.price else []


def release(fact: Fact[VoucherPurchaseFailed]) -> list[ReleaseHold]:
    """Nothing was bought: give the price back. The hold may come late, but its command went before this one, so it is there by then."""
    if fact.event.reason == "insufficient":
        return []
    return [ReleaseHold(user_id=fact.event.user_id, hold_id=_hold_id(fact.event))]


def _hold_id(event: VoucherPurchaseStarted | VoucherPurchased | VoucherPurchaseFailed) -> str:
    return hold_of(event.campaign_id, event.voucher_id)


POINTS_DECIDER = Decider(POINTS, ACCOUNTS, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer)

TRANSFERS = Policy(
    "transfers",
    POINTS,
    POINTS,
    on={PointsTransferStarted: credit, PointsTransferReceived: complete, PointsTransferDeclined: give_back},
)

SIGN_UPS = Policy("sign_ups", IDENTITY, POINTS, on={UserRegistered: welcome})

PURCHASES = Policy(
    "purchases",
    PROMOTIONS,
    POINTS,
    on={VoucherPurchaseStarted: hold, VoucherPurchased: capture, VoucherPurchaseFailed: release},
)
