"""Ambassadors: who applies, becomes one, moves between tiers, and is one no more."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from agents.referrals.rules.documents import DEFINITIONS, Documents, Member, Schemes
from streams.decision import ROOT, Case, Decision, Refuse, State
from topics.referrals import (
    STANDARD,
    AmbassadorApplied,
    AmbassadorApproved,
    AmbassadorRevoked,
    AmbassadorTierChanged,
    ApplyAsAmbassador,
    ApproveAmbassador,
    RevokeAmbassador,
    SetAmbassadorTier,
)


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command about an ambassador leads to."""
    member: Member = state[ROOT]
    match command:
        case ApplyAsAmbassador():
            return _apply(member, command)
        case ApproveAmbassador():
            return _unless(member, "applied") or [AmbassadorApproved(user_id=command.user_id, tier=STANDARD)]
        case SetAmbassadorTier():
            return _unless(member, "active") or _move(member, command, case)
        case RevokeAmbassador():
            return _unless(member, "active") or [AmbassadorRevoked(user_id=command.user_id, reason=command.reason)]
    raise NotImplementedError(command.wire_name)


def _apply(member: Member, command: ApplyAsAmbassador) -> Decision:
    """Once."""
    if member.ambassador != "none":
        return Refuse(f"ambassador_{member.ambassador}")
    return [AmbassadorApplied(user_id=command.user_id)]


def _move(member: Member, command: SetAmbassadorTier, case: Case) -> Decision:
    """To a tier that there is."""
    schemes: Schemes = case.consulted[DEFINITIONS]
    if command.tier != STANDARD and not any(command.tier in scheme.tiers for scheme in schemes.by_id.values()):
        return Refuse("tier_not_found", status=404)
    if command.tier == member.tier:
        return []
    return [AmbassadorTierChanged(user_id=command.user_id, tier=command.tier, was=member.tier)]


def _unless(member: Member, status: str) -> Refuse | None:
    """Why it cannot be done to an ambassador who is not in this state."""
    if member.ambassador == "none":
        return Refuse("ambassador_not_found", status=404)
    return None if member.ambassador == status else Refuse(f"ambassador_{member.ambassador}")


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The user after an event."""
    member: Member = state[ROOT]
    match event:
        case AmbassadorApplied():
            return {ROOT: replace(member, ambassador="applied")}
        case AmbassadorApproved():
            return {ROOT: replace(member, ambassador="active", tier=STANDARD)}
        case AmbassadorTierChanged():
            return {ROOT: replace(member, tier=event.tier)}
        case AmbassadorRevoked():
            return {ROOT: replace(member, ambassador="revoked", tier=STANDARD)}
    raise NotImplementedError(event.wire_name)
