"""Points: commands lead to events by the rules; a transfer goes on from event to command until it is settled."""

from agents.points import rules, sink
from agents.points.table import ACCOUNTS
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.points import (
    POINTS,
    CompleteTransfer,
    CreditTransfer,
    PointsTransferDeclined,
    PointsTransferReceived,
    PointsTransferStarted,
    ReturnTransfer,
)


def credit(fact: Fact[PointsTransferStarted]) -> CreditTransfer:
    """Points left the sender: give them to the recipient."""
    sent = fact.event
    return CreditTransfer(
        user_id=sent.to, transfer_id=sent.transfer_id, sender=sent.user_id, amount=sent.amount, note=sent.note
    )


def complete(fact: Fact[PointsTransferReceived]) -> CompleteTransfer:
    """The recipient has them: tell the sender."""
    return CompleteTransfer(user_id=fact.event.sender, transfer_id=fact.event.transfer_id)


def give_back(fact: Fact[PointsTransferDeclined]) -> ReturnTransfer:
    """The recipient cannot take them: the sender gets them back."""
    return ReturnTransfer(user_id=fact.event.sender, transfer_id=fact.event.transfer_id, code=fact.event.code)


POINTS_DECIDER = Decider(POINTS, ACCOUNTS, rules.decide, rules.evolve, rules.reads, sink.project)

TRANSFERS = Policy(
    "transfers",
    POINTS,
    POINTS,
    on={PointsTransferStarted: credit, PointsTransferReceived: complete, PointsTransferDeclined: give_back},
)
