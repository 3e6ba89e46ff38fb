"""The rules of points: what a command leads to, what an event changes, and when a document's time comes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agents.points.rules import accounts, earning, reversing, tiers
from agents.points.rules.builtin import BUILT_IN, SIGN_UP_POINTS
from agents.points.rules.course import Course
from agents.points.rules.documents import (
    MAX_LOTS,
    Account,
    Award,
    Catalogue,
    Day,
    Documents,
    Hold,
    Listening,
    Progress,
    Rule,
    Shelf,
    Source,
    Spend,
    Tally,
    Tiers,
    Transfer,
)
from agents.points.rules.folding import evolve
from agents.points.rules.reading import TIER, TIERS, consults, reads
from streams.decision import ROOT, Case, Decision, Refuse, Timer
from topics.points import (
    ActivatePointsRule,
    AdjustPoints,
    AwardPoints,
    CaptureHold,
    CompleteTransfer,
    CreditTransfer,
    DeactivatePointsRule,
    DefinePointsRule,
    DefineTiers,
    ExpirePoints,
    HoldPoints,
    ObserveEvent,
    RefundSource,
    ReleaseHold,
    ReturnTransfer,
    ReversePointsEntry,
    ReviewTier,
    SpendPoints,
    TransferPoints,
)

__all__ = [
    "BUILT_IN",
    "MAX_LOTS",
    "SIGN_UP_POINTS",
    "Account",
    "Award",
    "Catalogue",
    "Day",
    "Hold",
    "Listening",
    "Progress",
    "Rule",
    "Shelf",
    "Source",
    "Spend",
    "Tally",
    "Tiers",
    "Transfer",
    "consults",
    "decide",
    "evolve",
    "reads",
    "timer",
]


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """When something happens by itself: points expire or are unlocked, a period of a user's tier ends."""
    if sub_key == ROOT:
        return accounts.timer(key, document) if document.shelves or document.pending else None
    return tiers.timer(key, document) if sub_key == TIER else None


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    account: Account = state[ROOT]
    decided = _decide_up_to_date if account.pending or account.owed else _decide
    return decided(state, command, case)


def _decide_up_to_date(state: Documents, command: Any, case: Case) -> Decision:
    """Pending points whose time has come are there before, and what the user owes is taken before and after."""
    course = Course(command.key, state, case.now)
    accounts.unlock(course)
    accounts.collect(course)
    decision = _decide(course.state, command, case)
    if isinstance(decision, Refuse):
        return decision
    for event in decision if isinstance(decision, Sequence) else decision.events:
        course.tell(event)
    accounts.collect(course)
    return course.events if isinstance(decision, Sequence) else replace(decision, events=course.events)


def _decide(state: Documents, command: Any, case: Case) -> Decision:
    account: Account = state[ROOT]
    match command:
        case AwardPoints():
            return accounts.award(state, command, case)
        case SpendPoints():
            return accounts.spend(state, command, case)
        case HoldPoints():
            return accounts.hold(state, command, case)
        case CaptureHold() | ReleaseHold():
            return accounts.end_hold(state, command)
        case TransferPoints():
            return accounts.send(state, command, case)
        case CreditTransfer():
            return accounts.receive(account, command)
        case CompleteTransfer() | ReturnTransfer():
            return accounts.end_transfer(state, command)
        case ExpirePoints():
            return accounts.expire(state, command, case)
    return _decide_more(state, command, case)


def _decide_more(state: Documents, command: Any, case: Case) -> Decision:
    match command:
        case ObserveEvent():
            return earning.observe(state, command, case)
        case RefundSource():
            return reversing.refund(Course(command.user_id, state, case.now), command, case)
        case ReversePointsEntry():
            return reversing.reverse(Course(command.user_id, state, case.now), command, case)
        case AdjustPoints():
            return reversing.adjust(state[ROOT], command, case)
        case ReviewTier():
            return tiers.review(Course(command.user_id, state, case.now), case)
        case DefinePointsRule():
            return earning.define(state, command)
        case ActivatePointsRule():
            return earning.activate(state, command)
        case DeactivatePointsRule():
            return earning.deactivate(state, command)
        case DefineTiers():
            return tiers.define(state[TIERS], command)
    raise NotImplementedError(command.wire_name)
