"""Attribution: who brought a new user. It is found out when they register, once and for ever.

A code belongs to somebody who had registered before it was made, so whoever is brought by it registers later: nobody is above themselves.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from agents.referrals.rules.codes import chosen, place_of, touched_first, unusable
from agents.referrals.rules.documents import (
    DEFINITIONS,
    EARLY,
    REFERRAL,
    VISITOR,
    Code,
    Documents,
    Early,
    Member,
    Schemes,
    Touch,
    Visitor,
)
from agents.referrals.rules.qualification import attributed, first_qualified
from streams.decision import ROOT, Case, Decision, State
from topics.referrals import (
    MAX_DEPTH,
    AttributeReferral,
    NewcomerNoted,
    ReferralAttributed,
    ReferralIgnored,
    normal_code,
)


def visitor_of(visitor_id: str) -> str:
    """Where others find a visitor."""
    return f"{visitor_id}/{VISITOR}"


def consults(command: AttributeReferral) -> tuple[str, ...]:
    """The schemes, the code that was typed, and the visitor."""
    code = normal_code(command.referral_code)
    names = (place_of(code) if code else None, visitor_of(command.visitor_id) if command.visitor_id else None)
    return DEFINITIONS, *(name for name in names if name)


def attribute(state: Documents, command: AttributeReferral, case: Case) -> Decision:
    """There is a new user: whoever brought them is known, and what they did early is looked at."""
    member: Member = state[ROOT]
    if member.registered_at is not None:
        return []
    noted = NewcomerNoted(
        user_id=command.user_id,
        registered_at=command.registered_at,
        device=command.device,
        network=command.network,
    )
    return [noted, *_brought(state, command, case)]


def _brought(state: Documents, command: AttributeReferral, case: Case) -> Iterator[Any]:
    schemes: Schemes = case.consulted[DEFINITIONS]
    visitor: Visitor = case.consulted[visitor_of(command.visitor_id)] if command.visitor_id else Visitor()
    own = visitor.users | {command.user_id}
    touches = {touch.code: touch for touch in visitor.touches}
    typed = normal_code(command.referral_code)
    if command.referral_code:
        code: Code = case.consulted[place_of(typed)] if typed else Code()
        reason = "own" if code.user_id in own else unusable(code, schemes, command.registered_at)
        if reason:
            yield ReferralIgnored(user_id=command.user_id, code=typed, reason=reason)
        elif typed:
            first_at = touched_first(touches.get(typed), schemes.by_id[code.scheme_id], command.registered_at)
            touches[typed] = _typed(typed, code, first_at, command.registered_at)
    strangers = [touch for touch in touches.values() if touch.user_id not in own]
    if touch := chosen(strangers, schemes, command.registered_at):
        referral = _attributed(command, touch, len(schemes.by_id[touch.scheme_id].levels), typed)
        yield referral
        acts = state[EARLY].acts
        yield from first_qualified(
            command.user_id, command.registered_at, attributed(referral), referral.upline, schemes, acts
        )


def _typed(code: str, found: Code, first_at: datetime, at: datetime) -> Touch:
    """To type a code is to be touched by it."""
    return Touch(code, found.user_id, found.scheme_id, found.upline, found.expires_at, first_at, at)


def _attributed(command: AttributeReferral, touch: Touch, depth: int, typed: str | None) -> ReferralAttributed:
    return ReferralAttributed(
        referral_id=command.user_id,
        referrer_id=touch.user_id,
        code=touch.code,
        scheme_id=touch.scheme_id,
        touch="code" if touch.code == typed else "click",
        touched_at=touch.last_at,
        attributed_at=command.registered_at,
        upline=touch.upline[:MAX_DEPTH],
        depth=depth,
    )


def evolve(state: Documents, event: NewcomerNoted | ReferralAttributed) -> Mapping[str, State]:
    """The user after the registration; what was kept until then is looked at by now."""
    member: Member = state[ROOT]
    if isinstance(event, ReferralAttributed):
        return {ROOT: replace(member, upline=event.upline), REFERRAL: attributed(event)}
    seen = (("device", event.device), ("network", event.network))
    told = tuple((kind, value) for kind, value in seen if value)
    return {ROOT: replace(member, registered_at=event.registered_at, signals=(*member.signals, *told)), EARLY: Early()}
