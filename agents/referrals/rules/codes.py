"""Codes: how a user gets one, and who follows its links."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from agents.referrals.rules.documents import (
    CODE,
    DEFINITIONS,
    VISITOR,
    Code,
    Documents,
    Member,
    Request,
    Scheme,
    Schemes,
    Touch,
    Visitor,
)
from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, State
from topics.referrals import (
    MAX_DEPTH,
    ClaimReferralCode,
    ConfirmReferralCode,
    CreateReferralCode,
    FailReferralCode,
    OfCode,
    ReferralClicked,
    ReferralCodeConfirmed,
    ReferralCodeCreated,
    ReferralCodeFailed,
    ReferralCodeRefused,
    ReferralCodeRequested,
    TrackReferralClick,
)

MAX_CODES = 20  # of one user
MAX_TOUCHES = 16  # codes that are remembered of one visitor


def request_of(code: str) -> str:
    """The sub-key of a user's wish for a code."""
    return f"request/{code}"


def place_of(code: str) -> str:
    """Where others find a code."""
    return f"{code}/{CODE}"


def reads(message: Any) -> tuple[str, ...]:
    """The user's wish for a code, the code, or the visitor."""
    match message:
        case ClaimReferralCode() | ReferralCodeCreated() | ReferralCodeRefused():
            return (CODE,)
        case TrackReferralClick() | ReferralClicked():
            return (VISITOR,)
    return (request_of(message.code),)


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command about a code leads to."""
    match command:
        case CreateReferralCode():
            return _create(state, command, case)
        case ClaimReferralCode():
            return _claim(state[CODE], command)
        case ConfirmReferralCode() | FailReferralCode():
            return _end(state[request_of(command.code)], command)
        case TrackReferralClick():
            return _click(state[VISITOR], command, case)
    raise NotImplementedError(command.wire_name)


def _create(state: Documents, command: CreateReferralCode, case: Case) -> Decision:
    """A user wants a code; it is asked for at the code."""
    member: Member = state[ROOT]
    request: Request = state[request_of(command.code)]
    schemes: Schemes = case.consulted[DEFINITIONS]
    if member.registered_at is None:
        return Refuse("user_not_found", status=404)
    if command.scheme_id not in schemes.by_id:
        return Refuse("scheme_not_found", status=404)
    if schemes.active(command.scheme_id) is None:
        return Refuse("scheme_not_active")
    if command.expires_at is not None and command.expires_at <= case.now:
        return Refuse("already_expired", status=422)
    if request.status in ("pending", "confirmed"):
        return Refuse("code_requested" if request.status == "pending" else "code_exists")
    if member.codes >= MAX_CODES:
        return Refuse("too_many_codes", details={"most": MAX_CODES})
    requested = ReferralCodeRequested(
        code=command.code,
        user_id=command.user_id,
        scheme_id=command.scheme_id,
        upline=(command.user_id, *member.upline)[:MAX_DEPTH],
        expires_at=command.expires_at,
        command_id=case.command_id,
    )
    return Pending([requested])


def _claim(code: Code, command: ClaimReferralCode) -> Decision:
    """The first who asks gets it."""
    if code.user_id:
        reason = "code_taken"
        told = ReferralCodeRefused(code=command.code, user_id=command.user_id, reason=reason)
        return Refuse(reason, events=[told])
    return [ReferralCodeCreated(**{name: getattr(command, name) for name in OfCode.model_fields})]


def _end(request: Request, command: ConfirmReferralCode | FailReferralCode) -> Decision:
    """The user has it, or has not."""
    if request.status != "pending":
        return Refuse("not_requested")
    if isinstance(command, ConfirmReferralCode):
        return Settle(request.command_id, [ReferralCodeConfirmed(user_id=command.user_id, code=command.code)])
    failed = ReferralCodeFailed(user_id=command.user_id, code=command.code, reason=command.reason)
    return Settle(request.command_id, [failed], Refuse(command.reason))


def _click(visitor: Visitor, command: TrackReferralClick, case: Case) -> Decision:
    """Somebody followed a link that counts."""
    code: Code = case.consulted[place_of(command.code)]
    schemes: Schemes = case.consulted[DEFINITIONS]
    if reason := unusable(code, schemes, case.now):
        return Refuse(
            f"code_{reason}" if reason != "scheme_not_active" else reason, 404 if reason == "unknown" else 409
        )
    before = visitor.touch(command.code)
    return [
        ReferralClicked(
            visitor_id=command.visitor_id,
            code=command.code,
            user_id=code.user_id,
            scheme_id=code.scheme_id,
            upline=code.upline,
            expires_at=code.expires_at,
            own=command.user_id == code.user_id or code.user_id in visitor.users,
            first_at=touched_first(before, schemes.by_id[code.scheme_id], case.now),
            clicked_at=case.now,
        )
    ]


def touched_first(before: Touch | None, scheme: Scheme, now: datetime) -> datetime:
    """When the touches began of which one is now: those before count unless the last is further away than the window."""
    return before.first_at if before and now - before.last_at <= scheme.window else now


def unusable(code: Code | Touch, schemes: Schemes, now: datetime) -> str | None:
    """Why a code brings nobody now, if so."""
    if not code.user_id:
        return "unknown"
    if code.expires_at is not None and now >= code.expires_at:
        return "expired"
    return None if schemes.active(code.scheme_id) else "scheme_not_active"


def chosen(touches: list[Touch], schemes: Schemes, at: datetime) -> Touch | None:
    """Which of them brought the user who registered then: the last touch decides on the scheme, and the scheme on its first or last touch."""
    alive = [
        touch
        for touch in touches
        if unusable(touch, schemes, at) is None
        and touch.first_at <= at <= touch.last_at + schemes.by_id[touch.scheme_id].window
    ]
    if not alive:
        return None
    last = max(alive, key=lambda touch: (min(touch.last_at, at), touch.code))
    if schemes.by_id[last.scheme_id].touch == "last":
        return last
    rivals = (touch for touch in alive if touch.scheme_id == last.scheme_id)
    return min(rivals, key=lambda touch: (touch.first_at, touch.code))


def evolve(
    state: Documents, event: OfCode | ReferralCodeRefused | ReferralCodeConfirmed | ReferralCodeFailed
) -> Mapping[str, State]:
    """The documents after an event of a code or a visitor."""
    match event:
        case ReferralCodeRequested():
            member: Member = state[ROOT]
            wish = Request("pending", event.command_id)
            return {ROOT: replace(member, codes=member.codes + 1), request_of(event.code): wish}
        case ReferralCodeConfirmed():
            return {request_of(event.code): replace(state[request_of(event.code)], status="confirmed")}
        case ReferralCodeFailed():
            member = state[ROOT]
            wish = replace(state[request_of(event.code)], status="failed")
            return {ROOT: replace(member, codes=member.codes - 1), request_of(event.code): wish}
        case ReferralCodeCreated():
            return {CODE: Code(event.user_id, event.scheme_id, event.upline, event.expires_at)}
        case ReferralClicked():
            return {VISITOR: _clicked(state[VISITOR], event)}
    return {}


def _clicked(visitor: Visitor, event: ReferralClicked) -> Visitor:
    before = visitor.touch(event.code)
    touch = Touch(
        event.code,
        event.user_id,
        event.scheme_id,
        event.upline,
        event.expires_at,
        event.first_at,
        event.clicked_at,
        before.clicks + 1 if before else 1,
        event.own,
    )
    others = [one for one in visitor.touches if one.code != event.code]
    return Visitor((*others, touch)[-MAX_TOUCHES:])
