"""Referrals from the qualifying act on: what a friend has to do, whether friend and referrer are one, and who approves or voids."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from agents.referrals.rules.documents import (
    DEFINITIONS,
    EARLY,
    REFERRAL,
    Act,
    Documents,
    Early,
    Member,
    Portion,
    Referral,
    Scheme,
    Schemes,
)
from agents.referrals.rules.schemes import facts_of
from streams.condition import ConditionError, holds, number
from streams.decision import ROOT, Case, Decision, Refuse, State, Timer
from topics.referrals import (
    ApproveReferral,
    FlagReferral,
    QualifyReferral,
    ReferralActDropped,
    ReferralActKept,
    ReferralApproved,
    ReferralAttributed,
    ReferralFlagged,
    ReferralQualified,
    ReferralScreened,
    ReferralSignalSeen,
    ReferralVoided,
    ScreenReferral,
    Share,
    VoidReferral,
)

MAX_EARLY = 8  # acts that are kept until the registration is known
MAX_SIGNALS = 20  # of one user, the latest


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command about a referral leads to."""
    match command:
        case QualifyReferral():
            return _qualify(state, command, case)
        case ScreenReferral():
            return _screen(state, command, case)
        case ApproveReferral():
            return _approve(state[REFERRAL], command)
        case FlagReferral():
            return _flag(state[REFERRAL], command)
        case VoidReferral():
            return _void(state[REFERRAL], state[EARLY], command)
    raise NotImplementedError(command.wire_name)


def _qualify(state: Documents, command: QualifyReferral, case: Case) -> Decision:
    """A user did something: it may tell who they are, and qualify them as a friend."""
    member: Member = state[ROOT]
    schemes: Schemes = case.consulted[DEFINITIONS]
    return [*_signals(member, command), *_acted(state, member, command, schemes)]


def _signals(member: Member, command: QualifyReferral) -> Iterator[ReferralSignalSeen]:
    payment = command.facts.get("payment")
    if payment and ("payment", payment) not in member.signals:
        yield ReferralSignalSeen(user_id=command.user_id, kind="payment", value=payment)


def _acted(state: Documents, member: Member, command: QualifyReferral, schemes: Schemes) -> Iterator[Any]:
    referral: Referral = state[REFERRAL]
    if member.registered_at is None:
        wanted = any(scheme.status == "active" and scheme.event == command.event for scheme in schemes.by_id.values())
        if wanted and len(state[EARLY].acts) < MAX_EARLY:
            yield ReferralActKept(**{name: getattr(command, name) for name in type(command).model_fields})
    elif referral.status == "attributed":
        act = Act(command.event, command.source, command.occurred_at, dict(command.facts))
        yield from first_qualified(command.user_id, member.registered_at, referral, member.upline, schemes, [act])


def first_qualified(
    user_id: str,
    registered_at: datetime,
    referral: Referral,
    upline: tuple[str, ...],
    schemes: Schemes,
    acts: Iterable[Act],
) -> Iterator[ReferralQualified]:
    """The friend qualifies by the first of these acts that the scheme asks for, if there is one."""
    scheme = schemes.active(referral.scheme_id)
    for act in acts if scheme else ():
        if scheme and _in_time(scheme, act, registered_at):
            facts = facts_of(act.facts, user_id, registered_at, act.occurred_at)
            shares = _shares(scheme, facts, (user_id, *upline[: referral.depth]))
            if shares is not None:
                yield ReferralQualified(
                    referral_id=user_id,
                    referrer_id=referral.referrer_id,
                    scheme_id=referral.scheme_id,
                    revision=scheme.revision,
                    event=act.event,
                    source=act.source,
                    qualified_at=act.occurred_at,
                    shares=shares,
                )
                return


def _in_time(scheme: Scheme, act: Act, registered_at: datetime) -> bool:
    since = registered_at.replace(microsecond=registered_at.microsecond // 1000 * 1000)  # events tell milliseconds
    if scheme.event != act.event or act.occurred_at < since:
        return False
    return scheme.qualify_days is None or act.occurred_at < registered_at + timedelta(days=scheme.qualify_days)


def _shares(scheme: Scheme, facts: Mapping[str, Any], users: tuple[str, ...]) -> tuple[Share, ...] | None:
    """What the friend and those above get; None where the condition does not hold, or an expression cannot be evaluated on this event."""
    try:
        if not holds(scheme.condition, facts):
            return None
        worths = ((scheme.friend_points, 0), *scheme.levels)
        found = [
            Share(level=level, user_id=user, points=_worth(points, facts), commission=_worth(commission, facts))
            for level, (user, (points, commission)) in enumerate(zip(users, worths, strict=False))
        ]
    except ConditionError:
        return None
    return tuple(share for share in found if share.points or share.commission)


def _worth(worth: int | str, facts: Mapping[str, Any]) -> int:
    return worth if isinstance(worth, int) else max(0, number(worth, facts))


def _screen(state: Documents, command: ScreenReferral, case: Case) -> Decision:
    """A friend who is like the referrer is looked at by hand; another waits to be approved, or is at once."""
    referral: Referral = state[REFERRAL]
    if referral.status != "qualified":
        return Refuse("not_qualified", details={"status": referral.status})
    friend: Member = state[ROOT]
    referrer: Member = case.consulted[command.referrer_id]
    if same := {kind for kind, _ in {*friend.signals} & {*referrer.signals}}:
        return [ReferralFlagged(referral_id=command.referral_id, reasons=tuple(sorted(same)))]
    scheme: Scheme = case.consulted[DEFINITIONS].by_id[referral.scheme_id]
    if scheme.approval == "manual":
        return [ReferralScreened(referral_id=command.referral_id)]
    qualified_at = referral.qualified_at or case.now
    screened = ReferralScreened(
        referral_id=command.referral_id, approve_at=qualified_at + timedelta(days=scheme.hold_days)
    )
    return [screened] if scheme.hold_days else [screened, _approved(command.referral_id, referral)]


def _approve(referral: Referral, command: ApproveReferral) -> Decision:
    """The rewards are to be granted."""
    if referral.status == "none":
        return Refuse("referral_not_found", status=404)
    if referral.status not in ("pending", "flagged"):
        return Refuse(f"referral_{referral.status}")
    return [_approved(command.referral_id, referral)]


def _approved(referral_id: str, referral: Referral) -> ReferralApproved:
    return ReferralApproved(
        referral_id=referral_id,
        referrer_id=referral.referrer_id,
        scheme_id=referral.scheme_id,
        shares=shares_of(referral.shares),
    )


def shares_of(portions: Iterable[Portion]) -> tuple[Share, ...]:
    """As messages tell them."""
    return tuple(Share(level=p.level, user_id=p.user_id, points=p.points, commission=p.commission) for p in portions)


def portions_of(shares: Iterable[Share]) -> tuple[Portion, ...]:
    """As documents keep them."""
    return tuple(Portion(share.level, share.user_id, share.points, share.commission) for share in shares)


def _flag(referral: Referral, command: FlagReferral) -> Decision:
    """Somebody has a doubt."""
    if referral.status == "none":
        return Refuse("referral_not_found", status=404)
    if referral.status not in ("qualified", "pending"):
        return Refuse(f"referral_{referral.status}")
    return [ReferralFlagged(referral_id=command.referral_id, reasons=(command.reason,))]


def _void(referral: Referral, early: Early, command: VoidReferral) -> Decision:
    """It is over, whatever it was."""
    if command.source is not None and any(act.source == command.source for act in early.acts):
        return [ReferralActDropped(user_id=command.referral_id, source=command.source)]
    if referral.status == "none" or (command.source is not None and command.source != referral.source):
        return Refuse("referral_not_found", status=404)
    if referral.status == "voided":
        return Refuse("referral_voided")
    return [
        ReferralVoided(
            referral_id=command.referral_id,
            referrer_id=referral.referrer_id,
            scheme_id=referral.scheme_id,
            reason=command.reason,
            shares=shares_of(referral.shares) if referral.status == "approved" else (),
        )
    ]


def timer(key: str, referral: Referral) -> Timer | None:
    """A referral that is pending is approved when its time comes."""
    if referral.status != "pending" or referral.approve_at is None:
        return None
    return Timer(referral.approve_at, ApproveReferral(referral_id=key))


def attributed(event: ReferralAttributed) -> Referral:
    """A referral as it begins."""
    return Referral(
        "attributed",
        event.referrer_id,
        event.scheme_id,
        event.depth,
        event.code,
        event.touch,
        event.attributed_at,
    )


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents after an event."""
    if isinstance(event, ReferralSignalSeen):
        member: Member = state[ROOT]
        signals = (*member.signals, (event.kind, event.value))[-MAX_SIGNALS:]
        return {ROOT: replace(member, signals=signals)}
    if isinstance(event, ReferralActDropped):
        return {EARLY: Early(tuple(act for act in state[EARLY].acts if act.source != event.source))}
    if isinstance(event, ReferralActKept):
        act = Act(event.event, event.source, event.occurred_at, dict(event.facts))
        return {EARLY: Early((*state[EARLY].acts, act))}
    return {REFERRAL: _referral(state[REFERRAL], event)}


def _referral(referral: Referral, event: Any) -> Referral:
    match event:
        case ReferralQualified():
            return replace(
                referral,
                status="qualified",
                source=event.source,
                qualified_at=event.qualified_at,
                shares=portions_of(event.shares),
            )
        case ReferralScreened():
            return replace(referral, status="pending", approve_at=event.approve_at)
        case ReferralFlagged():
            return replace(referral, status="flagged", reason=", ".join(event.reasons))
        case ReferralApproved():
            return replace(referral, status="approved")
        case ReferralVoided():
            return replace(referral, status="voided", reason=event.reason)
    raise NotImplementedError(event.wire_name)
