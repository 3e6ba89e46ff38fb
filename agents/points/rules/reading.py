"""Which documents a message of points is about, and which of the program's a command consults."""

from datetime import datetime
from typing import Any

from agents.points.rules.builtin import SIGN_UP, USER_REGISTERED
from topics.points import (
    ActivatePointsRule,
    AwardPoints,
    CaptureHold,
    CompleteTransfer,
    DeactivatePointsRule,
    DefinePointsRule,
    DefineTiers,
    HoldPoints,
    ObserveEvent,
    PointsAwarded,
    PointsHeld,
    PointsHoldCaptured,
    PointsHoldReleased,
    PointsLocked,
    PointsReversed,
    PointsRuleActivated,
    PointsRuleApplied,
    PointsRuleDeactivated,
    PointsRuleDefined,
    PointsSourceRefunded,
    PointsSpent,
    PointsTransferred,
    PointsTransferReturned,
    PointsTransferStarted,
    RefundSource,
    ReleaseHold,
    ReturnTransfer,
    ReversePointsEntry,
    ReviewTier,
    SpendPoints,
    TierDowngraded,
    TierPeriodStarted,
    TiersDefined,
    TierUpgraded,
    TransferPoints,
)

TIER, GIVEN = "tier", "given"
RULES, LISTENING, TIERS = "rules", "on", "tiers"
PROGRAM_RULES, PROGRAM_TIERS = f"main/{LISTENING}", f"main/{TIERS}"  # as they are consulted


def reads(message: Any) -> tuple[str, ...]:
    """The documents that a command or event is about, if any, beside the account."""
    match message:
        case PointsAwarded():
            return (f"source/{message.source}", TIER) if message.rule else ()
        case AwardPoints():
            if not message.rule:
                return ()
            return f"source/{message.source}", TIER, f"award/{message.rule}/{message.source}"
        case HoldPoints() | CaptureHold() | ReleaseHold() | PointsHeld() | PointsHoldCaptured() | PointsHoldReleased():
            return (f"hold/{message.hold_id}",)
        case SpendPoints() | PointsSpent():
            return (f"spend/{message.spend_id}",) if message.spend_id else ()
        case TransferPoints() | CompleteTransfer() | ReturnTransfer():
            return (f"transfer/{message.transfer_id}",)
        case PointsTransferStarted() | PointsTransferred() | PointsTransferReturned():
            return (f"transfer/{message.transfer_id}",)
    return _of_rules(message)


def _of_rules(message: Any) -> tuple[str, ...]:
    match message:
        case ObserveEvent():
            given = f"source/{message.source}", TIER, day(message.occurred_at), GIVEN
            return (*given, f"award/{SIGN_UP}/{message.source}") if message.event == USER_REGISTERED else given
        case PointsRuleApplied():
            return f"source/{message.source}", day(message.occurred_at), GIVEN
        case PointsLocked() | PointsSourceRefunded():
            return (f"source/{message.source}",)
        case RefundSource():
            return f"source/{message.source}", TIER
        case ReversePointsEntry() | PointsReversed():
            return reversed_in(message.entry)
        case ReviewTier() | TierPeriodStarted() | TierUpgraded() | TierDowngraded():
            return (TIER,)
    return _of_program(message)


def _of_program(message: Any) -> tuple[str, ...]:
    match message:
        case DefinePointsRule() | PointsRuleDefined():
            return f"rule/{message.rule_id}", RULES
        case ActivatePointsRule() | DeactivatePointsRule() | PointsRuleActivated() | PointsRuleDeactivated():
            return f"rule/{message.rule_id}", LISTENING
        case DefineTiers() | TiersDefined():
            return (TIERS,)
    return ()


def day(at: datetime) -> str:
    """Where it stands what was given for what happened on this day."""
    return f"day/{at.date()}"


def reversed_in(entry: str) -> tuple[str, ...]:
    """The documents that an entry stands in; the first one is its own."""
    match entry.split("/"):
        case ["award", _, source]:
            return f"source/{source}", TIER
    return (entry,)


def consults(command: Any) -> tuple[str, ...]:
    """What a command needs to know of the program."""
    match command:
        case AwardPoints():
            return (PROGRAM_TIERS,) if command.rule else ()
        case ObserveEvent():
            return PROGRAM_RULES, PROGRAM_TIERS
        case ReversePointsEntry() | RefundSource() | ReviewTier():
            return (PROGRAM_TIERS,)
    return ()
