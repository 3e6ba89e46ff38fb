"""The rules of sanctions: users are warned, restricted and banned, appeal, and are free again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from agents.governance.rules.concern import Change, Concern, Documents, Rule
from streams.decision import Case, Decision, Refuse, State, Timer
from topics.governance import (
    MOST_RESTRICTIONS,
    AppealSanction,
    BanExpired,
    BanUser,
    DecideSanctionAppeal,
    ExpireSanction,
    LiftRestriction,
    OfSanction,
    RestrictionLifted,
    RestrictUser,
    SanctionAppealDecided,
    SanctionAppealFiled,
    SanctionEnd,
    UnbanUser,
    UserBanned,
    UserRestricted,
    UserUnbanned,
    UserWarned,
    WarnUser,
)

STANDING = "standing"
SANCTION = "sanction"

Imposing = WarnUser | BanUser | RestrictUser
Imposed = UserWarned | UserBanned | UserRestricted
Ended = UserUnbanned | BanExpired | RestrictionLifted


class Restriction(msgspec.Struct, frozen=True):
    """The domains that a restriction is about, and until when."""

    scopes: tuple[str, ...]
    until: datetime | None = None

    def is_on(self, now: datetime) -> bool:
        """Whether its time is not over."""
        return self.until is None or now < self.until


class Standing(State, frozen=True, omit_defaults=True):
    """Where a user stands: what is kept from them by which sanction, and since when their sessions are good.

    An admin, who is on the list of admins or about to be, has no ban and no restriction.
    """

    admin: bool = False
    ban: str | None = None
    banned_until: datetime | None = None
    restrictions: dict[str, Restriction] = msgspec.field(default_factory=dict)
    not_before: datetime | None = None

    def is_banned(self, now: datetime) -> bool:
        """Whether a ban is on whose time is not over; its end may be told a little later."""
        return self.ban is not None and (self.banned_until is None or now < self.banned_until)

    def is_restricted(self, now: datetime) -> bool:
        """Whether a restriction is on whose time is not over."""
        return any(restriction.is_on(now) for restriction in self.restrictions.values())


class Sanction(State, frozen=True, omit_defaults=True):
    """A sanction: what it is, who imposed it when and why, whether it is on, and what became of the appeal of it, whose text is sealed."""

    kind: Literal["none", "warning", "ban", "restriction"] = "none"
    status: Literal["active", "expired", "lifted", "overturned"] = "active"
    reason: str = ""
    by: str = ""
    at: datetime | None = None
    until: datetime | None = None
    scopes: tuple[str, ...] = ()
    ended_at: datetime | None = None
    appeal: Literal["none", "filed", "upheld", "overturned"] = "none"
    text: str | None = None
    filed_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    decision: str | None = None


ENDS: Mapping[SanctionEnd, Literal["expired", "lifted", "overturned"]] = {
    "expired": "expired",
    "lifted": "lifted",
    "appeal": "overturned",
}


def name_of(message: OfSanction) -> str:
    """The document of the sanction that a message is about."""
    return f"{SANCTION}/{message.sanction_id}"


def alone(message: OfSanction) -> tuple[str, ...]:
    """What does not change where the user stands is about the sanction alone."""
    return (name_of(message),)


def both(message: OfSanction) -> tuple[str, ...]:
    """The sanction, and where the user stands."""
    return name_of(message), STANDING


def warn(state: Documents, command: WarnUser, case: Case) -> Decision:
    """A warning keeps nothing from a user."""
    return _barred(state, command, case) or [UserWarned(**_imposed(command, case))]


def ban(state: Documents, command: BanUser, case: Case) -> Decision:
    """One ban at a time, and none of an admin."""
    standing: Standing = state[STANDING]
    if refuse := _barred(state, command, case):
        return refuse
    if standing.admin:
        return Refuse("is_admin")
    if standing.is_banned(case.now):
        return Refuse("already_banned", details={"sanction_id": standing.ban, "until": _told(standing.banned_until)})
    return _too_late(command.until, case) or [UserBanned(**_imposed(command, case), until=command.until)]


def restrict(state: Documents, command: RestrictUser, case: Case) -> Decision:
    """A user may have several restrictions, and an admin none."""
    standing: Standing = state[STANDING]
    if refuse := _barred(state, command, case):
        return refuse
    if standing.admin:
        return Refuse("is_admin")
    if len(standing.restrictions) >= MOST_RESTRICTIONS:
        return Refuse("too_many_restrictions", details={"most": MOST_RESTRICTIONS})
    about = _imposed(command, case)
    return _too_late(command.until, case) or [UserRestricted(**about, scopes=command.scopes, until=command.until)]


def lift(state: Documents, command: UnbanUser | LiftRestriction, case: Case) -> Decision:
    """Somebody else ends what is on."""
    sanction: Sanction = state[name_of(command)]
    if case.actor.id == command.user_id:
        return Refuse("own_sanction", 403)
    if sanction.kind != ("ban" if isinstance(command, UnbanUser) else "restriction"):
        return Refuse("sanction_not_found", 404)
    if sanction.status != "active":
        return Refuse("sanction_over", details={"status": sanction.status})
    return [_end(command, sanction, "lifted", case)]


def expire(state: Documents, command: ExpireSanction, case: Case) -> Decision:
    """The time has come."""
    sanction: Sanction = state[name_of(command)]
    if sanction.status != "active" or sanction.until is None or case.now < sanction.until:
        return Refuse("not_due")
    about: dict[str, Any] = {"user_id": command.user_id, "sanction_id": command.sanction_id, "at": case.now}
    return [BanExpired(**about) if sanction.kind == "ban" else RestrictionLifted(**about, cause="expired")]


def appeal(state: Documents, command: AppealSanction, case: Case) -> Decision:
    """The user asks, once, as long as the sanction is on."""
    sanction: Sanction = state[name_of(command)]
    if case.actor.id != command.user_id:
        return Refuse("not_yours", 403)
    if sanction.kind == "none":
        return Refuse("sanction_not_found", 404)
    if sanction.appeal != "none":
        return Refuse("already_appealed")
    if sanction.status != "active":
        return Refuse("sanction_over", details={"status": sanction.status})
    about = {"user_id": command.user_id, "sanction_id": command.sanction_id, "kind": sanction.kind}
    return [SanctionAppealFiled(**about, text=command.text, filed_at=case.now)]


def decide_appeal(state: Documents, command: DecideSanctionAppeal, case: Case) -> Decision:
    """Once, by somebody who is neither the user nor who imposed the sanction; what is overturned ends if it is still on."""
    sanction: Sanction = state[name_of(command)]
    if case.actor.id == command.user_id:
        return Refuse("own_sanction", 403)
    if sanction.kind == "none":
        return Refuse("sanction_not_found", 404)
    if sanction.appeal != "filed":
        return Refuse("not_appealed" if sanction.appeal == "none" else "already_decided")
    if case.actor.id == sanction.by:
        return Refuse("own_decision", 403)
    decided = SanctionAppealDecided(
        user_id=command.user_id,
        sanction_id=command.sanction_id,
        outcome=command.outcome,
        reason=command.reason,
        by=case.actor.id,
        decided_at=case.now,
    )
    over = command.outcome == "overturned" and sanction.status == "active" and sanction.kind != "warning"
    return [decided, _end(command, sanction, "appeal", case)] if over else [decided]


def evolve_imposed(state: Documents, event: Imposed) -> Mapping[str, State]:
    """A sanction is on."""
    sanction = Sanction(reason=event.reason, by=event.by, at=event.at)
    match event:
        case UserWarned():
            return {name_of(event): replace(sanction, kind="warning")}
        case UserBanned():
            sanction = replace(sanction, kind="ban", until=event.until)
            standing = replace(state[STANDING], ban=event.sanction_id, banned_until=event.until, not_before=event.at)
        case UserRestricted():
            sanction = replace(sanction, kind="restriction", until=event.until, scopes=event.scopes)
            restriction = Restriction(event.scopes, event.until)
            restrictions = {**state[STANDING].restrictions, event.sanction_id: restriction}
            standing = replace(state[STANDING], restrictions=restrictions)
    return {name_of(event): sanction, STANDING: standing}


def evolve_ended(state: Documents, event: Ended) -> Mapping[str, State]:
    """A sanction is over; a ban whose end is told late may have been followed by another one."""
    standing: Standing = state[STANDING]
    status = "expired" if isinstance(event, BanExpired) else ENDS[event.cause]
    over = {name_of(event): replace(state[name_of(event)], status=status, ended_at=event.at)}
    if event.sanction_id in standing.restrictions:
        left = {name: one for name, one in standing.restrictions.items() if name != event.sanction_id}
        return {**over, STANDING: replace(standing, restrictions=left)}
    if standing.ban == event.sanction_id:
        return {**over, STANDING: replace(standing, ban=None, banned_until=None)}
    return over


def evolve_appeal(state: Documents, event: SanctionAppealFiled | SanctionAppealDecided) -> Mapping[str, State]:
    """An appeal waits or is decided; a warning that is overturned is over by that."""
    sanction: Sanction = state[name_of(event)]
    if isinstance(event, SanctionAppealFiled):
        return {name_of(event): replace(sanction, appeal="filed", text=str(event.text), filed_at=event.filed_at)}
    if sanction.kind == "warning" and event.outcome == "overturned":
        sanction = replace(sanction, status="overturned", ended_at=event.decided_at)
    decided = {"decided_at": event.decided_at, "decided_by": event.by, "decision": event.reason}
    return {name_of(event): replace(sanction, appeal=event.outcome, **decided)}


def timer(key: str, sub_key: str, document: Sanction) -> Timer | None:
    """A ban and a restriction end by themselves."""
    if document.status != "active" or document.until is None:
        return None
    return Timer(document.until, ExpireSanction(user_id=key, sanction_id=sub_key.removeprefix(f"{SANCTION}/")))


def _barred(state: Documents, command: Imposing, case: Case) -> Refuse | None:
    """What stands against a new sanction, whatever it is."""
    if case.actor.id == command.user_id:
        return Refuse("own_sanction", 403)
    return Refuse("sanction_exists") if state[name_of(command)].kind != "none" else None


def _too_late(until: datetime | None, case: Case) -> Refuse | None:
    return Refuse("until_is_past", 422) if until is not None and until <= case.now else None


def _imposed(command: Imposing, case: Case) -> dict[str, Any]:
    return {
        "user_id": command.user_id,
        "sanction_id": command.sanction_id,
        "reason": command.reason,
        "by": case.actor.id,
        "at": case.now,
    }


def _end(
    command: UnbanUser | LiftRestriction | DecideSanctionAppeal, sanction: Sanction, cause: SanctionEnd, case: Case
) -> UserUnbanned | RestrictionLifted:
    about: dict[str, Any] = {"user_id": command.user_id, "sanction_id": command.sanction_id, "cause": cause}
    about |= {"reason": command.reason, "by": case.actor.id, "at": case.now}
    return UserUnbanned(**about) if sanction.kind == "ban" else RestrictionLifted(**about)


def _told(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


SANCTIONS = Concern(
    documents={STANDING: Standing, SANCTION: Sanction},
    rules={
        WarnUser: Rule(warn, alone),
        BanUser: Rule(ban, both),
        RestrictUser: Rule(restrict, both),
        UnbanUser: Rule(lift, both),
        LiftRestriction: Rule(lift, both),
        ExpireSanction: Rule(expire, both),
        AppealSanction: Rule(appeal, alone),
        DecideSanctionAppeal: Rule(decide_appeal, both),
    },
    changes={
        **dict.fromkeys((UserBanned, UserRestricted), Change(evolve_imposed, both)),
        UserWarned: Change(evolve_imposed, alone),
        **dict.fromkeys((UserUnbanned, BanExpired, RestrictionLifted), Change(evolve_ended, both)),
        **dict.fromkeys((SanctionAppealFiled, SanctionAppealDecided), Change(evolve_appeal, alone)),
    },
    timers={Sanction: timer},
)
