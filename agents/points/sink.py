"""Rows of points: the double-entry ledger, one row per movement from a debited to a credited account, and the balance.

The accounts are `user:<id>:available` and `user:<id>:held` of each user, and `system:issued`, `system:spent` and
`system:transit`. A movement is written under the user whose event it is; both halves of a transfer pass through transit.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from streams.decision import ROOT
from streams.sink import Fact, rows
from topics.points import (
    PointsAwarded,
    PointsHeld,
    PointsHoldCaptured,
    PointsHoldReleased,
    PointsSpent,
    PointsTransferReceived,
    PointsTransferReturned,
    PointsTransferStarted,
)

ISSUED, SPENT, TRANSIT = "system:issued", "system:spent", "system:transit"


@rows("ledger")
class LedgerRow(NamedTuple):
    user_id: str
    seq: int
    at: datetime
    kind: str
    debit: str
    credit: str
    amount: int
    reference: str | None
    note: str | None


@rows("balance", key=("user_id",))
class BalanceRow(NamedTuple):
    user_id: str
    available: int
    held: int


class Movement(NamedTuple):
    """What an event moves, and for the statement what it was about."""

    kind: str
    debit: str
    credit: str
    reference: str | None
    note: str | None = None


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The movement and the balance after it; events that move nothing leave no rows."""
    movement = _movement(fact.event)
    if movement is None:
        return
    kind, debit, credit, reference, note = movement
    yield LedgerRow(fact.key, fact.seq, fact.at, kind, debit, credit, fact.event.amount, reference, note)
    account = state[ROOT]
    yield BalanceRow(fact.key, account.available, account.held)


def _movement(event: Any) -> Movement | None:
    available, held = f"user:{event.user_id}:available", f"user:{event.user_id}:held"
    match event:
        case PointsAwarded():
            return Movement("awarded", ISSUED, available, event.source)
        case PointsSpent():
            return Movement("spent", available, SPENT, event.reference)
        case PointsHeld():
            return Movement("held", available, held, event.hold_id)
        case PointsHoldCaptured():
            return Movement("captured", held, SPENT, event.hold_id)
        case PointsHoldReleased():
            return Movement("released", held, available, event.hold_id)
        case PointsTransferStarted():
            return Movement("sent", available, TRANSIT, event.transfer_id, event.note)
        case PointsTransferReceived():
            return Movement("received", TRANSIT, available, event.transfer_id, event.note)
        case PointsTransferReturned():
            return Movement("returned", TRANSIT, available, event.transfer_id)
    return None
