"""Rows of points: the double-entry ledger, one row per movement from a debited to a credited account, the balance and what expires.

The accounts are `user:<id>:available` and `user:<id>:held` of each user, and `system:issued`, `system:spent`, `system:expired` and
`system:transit`. A movement is written under the user whose event it is; both halves of a transfer pass through transit.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from streams.decision import ROOT
from streams.sink import Fact, rows
from topics.points import (
    PointsAwarded,
    PointsExpired,
    PointsHeld,
    PointsHoldCaptured,
    PointsHoldReleased,
    PointsSpent,
    PointsTransferReceived,
    PointsTransferReturned,
    PointsTransferStarted,
)

ISSUED, SPENT, EXPIRED, TRANSIT = "system:issued", "system:spent", "system:expired", "system:transit"


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


@rows("expiring", key=("user_id", "expires_at"))
class ExpiringRow(NamedTuple):
    user_id: str
    expires_at: datetime
    amount: int


Movement = tuple[str, str, str, str | None, str | None]
"""Kind, debit, credit, and for the statement what it was about and the note."""


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The movement, the balance and what expires of it after it; events that move nothing leave no rows."""
    event, key = fact.event, fact.key
    movement = _movement(event, key)
    if movement is None:
        return ()
    kind, debit, credit, reference, note = movement
    account = state[ROOT]
    ledger = LedgerRow(key, fact.seq, fact.at, kind, debit, credit, event.amount, reference, note)
    balance = BalanceRow(key, account.available, account.held)
    if kind == "awarded" and not account.shelves:  # nothing that expires, told without looking
        return ledger, balance
    left = {shelf.expires_at: shelf.free for shelf in account.shelves}
    return ledger, balance, *(ExpiringRow(key, lot.expires_at, left.get(lot.expires_at, 0)) for lot in event.lots)


def _movement(event: Any, user: str) -> Movement | None:
    available = f"user:{user}:available"
    match event:
        case PointsAwarded():
            return "awarded", ISSUED, available, event.source, None
        case PointsSpent():
            return "spent", available, SPENT, event.reference, None
        case PointsExpired():
            return "expired", available, EXPIRED, None, None
        case PointsHeld():
            return "held", available, f"user:{user}:held", event.hold_id, None
        case PointsHoldCaptured():
            return "captured", f"user:{user}:held", SPENT, event.hold_id, None
        case PointsHoldReleased():
            return "released", f"user:{user}:held", available, event.hold_id, None
        case PointsTransferStarted():
            return "sent", available, TRANSIT, event.transfer_id, event.note
        case PointsTransferReceived():
            return "received", TRANSIT, available, event.transfer_id, event.note
        case PointsTransferReturned():
            return "returned", TRANSIT, available, event.transfer_id, None
    return None
