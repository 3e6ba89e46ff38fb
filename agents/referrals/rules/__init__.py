"""The rules of referrals: what a command leads to, what an event changes, and what is consulted; a module for each concern."""

from collections.abc import Iterable, Mapping
from typing import Any

from agents.referrals.rules import ambassadors, attribution, codes, qualification, rewards, schemes
from agents.referrals.rules.documents import DEFINITIONS, EARLY, REFERRAL, SCHEMES, Documents
from streams.decision import Case, Decision, State, Timer
from topics.referrals import (
    AmbassadorApplied,
    AmbassadorApproved,
    AmbassadorRevoked,
    AmbassadorTierChanged,
    AttributeReferral,
    ClaimReferralCode,
    ClawBackReferralRewards,
    ConfirmReferralCode,
    CreateReferralCode,
    FailReferralCode,
    GrantReferralRewards,
    NewcomerNoted,
    OfCode,
    OfPayout,
    OfReferral,
    OfScheme,
    QualifyReferral,
    ReferralActDropped,
    ReferralActKept,
    ReferralAttributed,
    ReferralBudgetExhausted,
    ReferralCodeConfirmed,
    ReferralCodeFailed,
    ReferralCodeRefused,
    ReferralSignalSeen,
    RequestPayout,
    Reward,
    ScreenReferral,
    SetAmbassadorTier,
    TrackReferralClick,
    VoidReferral,
)

CodeCommand = CreateReferralCode | ClaimReferralCode | ConfirmReferralCode | FailReferralCode | TrackReferralClick
CodeEvent = OfCode | ReferralCodeRefused | ReferralCodeConfirmed | ReferralCodeFailed
SchemeCommand = GrantReferralRewards | ClawBackReferralRewards | OfPayout
SchemeEvent = Reward | ReferralBudgetExhausted | OfPayout


def reads(message: Any) -> Iterable[str]:
    """The documents that a command or event is about, beside that of the user."""
    match message:
        case OfScheme():
            return (SCHEMES,)
        case AttributeReferral() | QualifyReferral() | VoidReferral():
            return REFERRAL, EARLY
        case NewcomerNoted() | ReferralActKept() | ReferralActDropped():
            return (EARLY,)
        case _ if isinstance(message, CodeCommand | CodeEvent):
            return codes.reads(message)
        case _ if isinstance(message, SchemeCommand | SchemeEvent):
            return rewards.reads(message)
        case OfReferral():
            return (REFERRAL,)
    return ()


def consults(command: Any) -> Iterable[str]:
    """What of other keys a command needs to know: the schemes, and what it names."""
    match command:
        case AttributeReferral():
            return attribution.consults(command)
        case GrantReferralRewards():
            return rewards.consults(command)
        case TrackReferralClick():
            return DEFINITIONS, codes.place_of(command.code)
        case ScreenReferral():
            return DEFINITIONS, command.referrer_id
        case (
            CreateReferralCode() | QualifyReferral() | ClawBackReferralRewards() | RequestPayout() | SetAmbassadorTier()
        ):
            return (DEFINITIONS,)
    return ()


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """Only a referral has a time of its own."""
    return qualification.timer(key, document) if sub_key == REFERRAL else None


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    match command:
        case OfScheme():
            return schemes.decide(state, command)
        case AttributeReferral():
            return attribution.attribute(state, command, case)
        case _ if isinstance(command, CodeCommand):
            return codes.decide(state, command, case)
        case _ if isinstance(command, SchemeCommand):
            return rewards.decide(state, command, case)
        case QualifyReferral() | OfReferral():
            return qualification.decide(state, command, case)
    return ambassadors.decide(state, command, case)


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    match event:
        case OfScheme():
            return schemes.evolve(state, event)
        case NewcomerNoted() | ReferralAttributed():
            return attribution.evolve(state, event)
        case _ if isinstance(event, CodeEvent):
            return codes.evolve(state, event)
        case _ if isinstance(event, SchemeEvent):
            return rewards.evolve(state, event)
        case ReferralSignalSeen() | ReferralActKept() | ReferralActDropped() | OfReferral():
            return qualification.evolve(state, event)
        case AmbassadorApplied() | AmbassadorApproved() | AmbassadorTierChanged() | AmbassadorRevoked():
            return ambassadors.evolve(state, event)
    return {}
