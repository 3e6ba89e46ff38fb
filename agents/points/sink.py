"""Rows of points: the double-entry ledger, one row per movement from a debited to a credited account, the balance and what expires or is pending.

The accounts are `user:<id>:available`, `user:<id>:held` and `user:<id>:pending` of each user, and `system:issued`, `system:spent`,
`system:expired`, `system:reversed`, `system:adjusted` and `system:transit`. A movement is written under the user whose event it is; both
halves of a transfer pass through transit.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from agents.points.rules import Account, Progress
from streams.decision import ROOT
from streams.sink import Fact, rows
from topics.points import (
    PointsAdjusted,
    PointsAwarded,
    PointsExpired,
    PointsHeld,
    PointsHoldCaptured,
    PointsHoldReleased,
    PointsLocked,
    PointsOwedCollected,
    PointsReversed,
    PointsRuleActivated,
    PointsRuleDeactivated,
    PointsRuleDefined,
    PointsSpent,
    PointsTransferReceived,
    PointsTransferReturned,
    PointsTransferStarted,
    PointsUnlocked,
    TierDowngraded,
    TierPeriodStarted,
    TiersDefined,
    TierUpgraded,
)

ISSUED, SPENT, EXPIRED, TRANSIT = "system:issued", "system:spent", "system:expired", "system:transit"
REVERSED, ADJUSTED = "system:reversed", "system:adjusted"


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


@rows("pending", key=("user_id", "unlocks_at"))
class PendingRow(NamedTuple):
    user_id: str
    unlocks_at: datetime
    amount: int


@rows("tally", key=("user_id",))
class TallyRow(NamedTuple):
    user_id: str
    spent: int
    expired: int
    reversed: int
    adjusted: int
    transit: int
    owed: int


@rows("tier", key=("user_id",))
class TierRow(NamedTuple):
    user_id: str
    tier: str | None
    ever: int
    earned: int
    before: int
    until: datetime | None


@rows("tiers", key=("program",))
class TiersRow(NamedTuple):
    program: str
    revision: int
    tiers: str
    period: int | None


@rows("rule", key=("program", "rule_id", "revision"))
class RuleRow(NamedTuple):
    program: str
    rule_id: str
    revision: int
    event: str
    condition: str
    amount: str
    cap_per_day: int | None
    cap_per_user: int | None
    validity: int | None
    pending: int | None


@rows("active_rule", key=("program", "rule_id"))
class ActiveRuleRow(NamedTuple):
    program: str
    rule_id: str
    revision: int


Movement = tuple[str, str, str, str | None, str | None]
"""Kind, debit, credit, and for the statement what it was about and the note."""


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The movement, and what is the case after it; events that move nothing leave no row in the ledger."""
    event, key = fact.event, fact.key
    movement = _movement(event, key)
    if movement is None:
        return _beside(event, key, state)
    kind, debit, credit, reference, note = movement
    account = state[ROOT]
    amount = event.amount if kind == "awarded" else _moved(event)
    ledger = LedgerRow(key, fact.seq, fact.at, kind, debit, credit, amount, reference, note)
    balance = BalanceRow(key, account.available, account.held)
    if kind == "awarded" and not account.shelves and event.rule is None:  # nothing else follows, told without looking
        return ledger, balance
    return ledger, balance, *_lots(event, key, account), *_beside(event, key, state)


def _moved(event: Any) -> int:
    """How much moves: of what was taken back, what was still there."""
    match event:
        case PointsReversed():
            return event.amount - event.owed
        case PointsAdjusted():
            return abs(event.amount)
    amount: int = event.amount
    return amount


def _lots(event: Any, user: str, account: Account) -> Iterator[Any]:
    """What is left of the times that the event is about."""
    left = {shelf.expires_at: shelf.free for shelf in account.shelves}
    for lot in event.lots:
        yield ExpiringRow(user, lot.expires_at, left.get(lot.expires_at, 0))
    if unlocks_at := getattr(event, "unlocks_at", None):
        locked = {lock.unlocks_at: lock.amount for lock in account.pending}
        yield PendingRow(user, unlocks_at, locked.get(unlocks_at, 0))


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
    return _correction(event, available, f"user:{user}:pending")


def _correction(event: Any, available: str, pending: str) -> Movement | None:
    match event:
        case PointsLocked():
            return "locked", available, pending, event.source, None
        case PointsUnlocked():
            return "unlocked", pending, available, None, None
        case PointsReversed() if not event.entry.startswith("award/"):
            return "refunded", SPENT, available, event.entry, None
        case PointsReversed() if event.unlocks_at is not None:
            return "reversed", pending, REVERSED, event.entry, None
        case PointsReversed() if event.owed < event.amount:
            return "reversed", available, REVERSED, event.entry, None
        case PointsOwedCollected():
            return "collected", available, REVERSED, None, None
        case PointsAdjusted() if event.amount > 0:
            return "adjusted", ADJUSTED, available, event.reason, None
        case PointsAdjusted():
            return "adjusted", available, ADJUSTED, event.reason, None
    return None


def _beside(event: Any, key: str, state: Mapping[str, Any]) -> Iterator[Any]:
    """What stands beside the balance, where the event changes it."""
    match event:
        case PointsAwarded() if event.rule is not None:
            yield _tier(key, state["tier"])
        case PointsReversed():
            yield _tally(key, state[ROOT])
            if "tier" in state:
                yield _tier(key, state["tier"])
        case TierPeriodStarted() | TierUpgraded() | TierDowngraded():
            yield _tier(key, state["tier"])
        case PointsSpent() | PointsExpired() | PointsHoldCaptured() | PointsAdjusted() | PointsOwedCollected():
            yield _tally(key, state[ROOT])
        case PointsTransferStarted() | PointsTransferReceived() | PointsTransferReturned():
            yield _tally(key, state[ROOT])
    yield from _of_program(event, key)


def _tally(user: str, account: Account) -> TallyRow:
    tally = account.tally
    return TallyRow(user, tally.spent, tally.expired, tally.reversed, tally.adjusted, tally.transit, account.owed)


def _tier(user: str, progress: Progress) -> TierRow:
    return TierRow(user, progress.tier, progress.ever, progress.earned, progress.before, progress.until)


def _of_program(event: Any, program: str) -> Iterator[Any]:
    match event:
        case PointsRuleDefined():
            limits = event.cap_per_day, event.cap_per_user, event.validity, event.pending
            revision = program, event.rule_id, event.revision
            yield RuleRow(*revision, event.event, event.condition, str(event.amount), *limits)
        case PointsRuleActivated():
            yield ActiveRuleRow(program, event.rule_id, event.revision)
        case PointsRuleDeactivated():
            yield ActiveRuleRow(program, event.rule_id, 0)
        case TiersDefined():
            tiers = json.dumps([tier.model_dump() for tier in event.tiers])
            yield TiersRow(program, event.revision, tiers, event.period)
