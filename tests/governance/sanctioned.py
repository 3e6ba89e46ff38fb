"""Random lives under sanctions, and a model of them: what stands against a command, by brute force over all that was told. It imports nothing of the rules."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.sanctions import ADMINS
from streams.contract import Command
from streams.envelope import Actor
from tests.stepping import Outcome, Stepping
from topics.governance import (
    AddAdmin,
    AdminAdded,
    AdminAppointed,
    AdminDismissed,
    AdminRemoved,
    AppealSanction,
    BanExpired,
    BanUser,
    DecideSanctionAppeal,
    LiftRestriction,
    RemoveAdmin,
    RestrictionLifted,
    RestrictUser,
    SanctionAppealDecided,
    SanctionAppealFiled,
    UnbanUser,
    UserBanned,
    UserRestricted,
    UserUnbanned,
    UserWarned,
    WarnUser,
)

AGENTS = (GOVERNANCE_DECIDER, ADMINS)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
IMPOSED: dict[Any, str] = {UserWarned: "warning", UserBanned: "ban", UserRestricted: "restriction"}
ENDED = (UserUnbanned, BanExpired, RestrictionLifted)


class Act(NamedTuple):
    """Somebody issues a command; `hours` from now it is to end, None never."""

    kind: type[Command]
    by: str
    user_id: str
    sanction_id: str
    hours: int | None
    outcome: Any

    def command(self, now: datetime) -> Command:
        """As it is issued."""
        until = None if self.hours is None else now + self.hours * HOUR
        given = {"reason": "so", "until": until, "scopes": ("points", "quests")[: 1 + (self.hours or 0) % 2]}
        given |= {"user_id": self.user_id, "sanction_id": self.sanction_id, "text": "no", "outcome": self.outcome}
        return self.kind(**{name: value for name, value in given.items() if name in self.kind.model_fields})


people = st.sampled_from(("ann", "bob"))
actors = st.sampled_from(("root", "deputy", "ann"))
sanctions = st.sampled_from(("s1", "s2", "s3"))
hours = st.sampled_from((None, -1, 0, 1, 3, 30))
outcomes = st.sampled_from(("upheld", "overturned"))
KINDS = (
    *(BanUser, BanUser, RestrictUser, WarnUser, UnbanUser, LiftRestriction),
    *(AppealSanction, DecideSanctionAppeal, AddAdmin, RemoveAdmin),
)
acts = st.builds(Act, st.sampled_from(KINDS), actors, people, sanctions, hours, outcomes)
appeals = st.builds(Act, st.just(AppealSanction), st.just("ann"), st.just("ann"), sanctions, st.none(), outcomes)
decisions = st.builds(Act, st.just(DecideSanctionAppeal), actors, st.just("ann"), sanctions, st.none(), outcomes)
times = st.sampled_from((HOUR, 2 * HOUR, DAY))
Entry = Act | int | timedelta | None
weighted = (*9 * [acts], *2 * [appeals], *2 * [decisions], *4 * [st.integers(0, 3)], times, st.none())
histories = st.lists(st.sampled_from(weighted).flatmap(lambda chosen: chosen), min_size=30, max_size=60)
"""Who does what; a number carries on what follows from an event by a step, time passes, None runs a timer that is due."""


class Told(NamedTuple):
    """What became of an act, and the events before it."""

    act: Act
    outcome: Outcome
    before: list[Any]


def play(history: list[Entry]) -> Iterator[tuple[Stepping, Told | None]]:
    """Play a history to its end; the platform at every moment, and what was just done."""
    platform = Stepping(*AGENTS)
    for entry in history:
        told = None
        match entry:
            case None:
                platform.fire()
            case int():
                platform.step(entry)
            case timedelta():
                platform.advance(entry)
            case Act():
                before = [fact.event for fact in platform.facts]
                command = entry.command(platform.now + timedelta(seconds=1))
                told = Told(entry, platform.send(command, Actor("user", entry.by, "Admin")), before)
        yield platform, told
    while platform.step() or platform.fire():
        yield platform, None


def run(history: list[Entry]) -> Stepping:
    """The platform at the end of a history."""
    *_, (platform, _) = [(Stepping(*AGENTS), None), *play(history)]
    return platform


class Known(NamedTuple):
    """A sanction as its events tell it."""

    kind: str
    by: str
    until: datetime | None
    scopes: tuple[str, ...]
    ended: bool
    appealed: bool
    decided: bool

    def is_on(self, now: datetime) -> bool:
        """Neither ended nor out of time."""
        return not self.ended and (self.until is None or now < self.until)


def sanctions_of(user_id: str, events: Iterable[Any]) -> dict[str, Known]:
    """All that were imposed on a user."""
    found: dict[str, Known] = {}
    for event in events:
        if getattr(event, "user_id", None) != user_id or not hasattr(event, "sanction_id"):
            continue
        name = event.sanction_id
        match event:
            case UserWarned() | UserBanned() | UserRestricted():
                about = (IMPOSED[type(event)], event.by, getattr(event, "until", None), getattr(event, "scopes", ()))
                found[name] = Known(*about, ended=False, appealed=False, decided=False)
            case SanctionAppealFiled():
                found[name] = found[name]._replace(appealed=True)
            case SanctionAppealDecided():
                over = event.outcome == "overturned"
                found[name] = found[name]._replace(decided=True, ended=found[name].ended or over)
            case _:
                found[name] = found[name]._replace(ended=True)
    return found


def admins_of(events: Iterable[Any], begin: type[Any] = AdminAdded, end: type[Any] = AdminRemoved) -> set[str]:
    """Who is on the list; or who is marked as an admin."""
    found = set[str]()
    for event in events:
        if isinstance(event, begin):
            found.add(event.user_id)
        elif isinstance(event, end):
            found.remove(event.user_id)
    return found


def against(told: Told) -> set[str]:
    """All that stands against what somebody wanted to do, in no order; nothing: it is done."""
    act, now, command = told.act, told.outcome.at, told.outcome.command
    mine = sanctions_of(act.user_id, told.before)
    known = mine.get(act.sanction_id)
    marked = act.user_id in admins_of(told.before, AdminAppointed, AdminDismissed)
    on = {one.kind for one in mine.values() if one.is_on(now)}
    reasons = {
        "own_sanction": act.by == act.user_id and act.kind not in (AppealSanction, AddAdmin, RemoveAdmin),
        "until_is_past": getattr(command, "until", None) is not None and command.until <= now,
    }
    match command:
        case WarnUser() | BanUser() | RestrictUser():
            reasons["sanction_exists"] = known is not None
            reasons["is_admin"] = marked and act.kind is not WarnUser
            reasons["already_banned"] = act.kind is BanUser and "ban" in on
        case UnbanUser() | LiftRestriction():
            kind = "ban" if act.kind is UnbanUser else "restriction"
            reasons["sanction_not_found"] = known is None or known.kind != kind
            reasons["sanction_over"] = known is not None and known.ended
        case AppealSanction():
            reasons["not_yours"] = act.by != act.user_id
            reasons["sanction_not_found"] = known is None
            reasons["already_appealed"] = known is not None and known.appealed
            reasons["sanction_over"] = known is not None and known.ended
        case DecideSanctionAppeal():
            reasons["sanction_not_found"] = known is None
            reasons["not_appealed"] = known is not None and not known.appealed
            reasons["already_decided"] = known is not None and known.decided
            reasons["own_decision"] = known is not None and known.by == act.by
        case AddAdmin():
            reasons |= {"already_admin": marked, "banned": "ban" in on, "restricted": "restriction" in on}
        case RemoveAdmin():
            listed = admins_of(told.before)
            reasons["not_an_admin"] = act.user_id not in listed
            reasons["last_admin"] = listed == {act.user_id}
    return {reason for reason, stands in reasons.items() if stands}


def kept_from(user_id: str, platform: Stepping) -> tuple[bool, dict[str, datetime | None], datetime | None]:
    """Whether a user is banned, until when they are restricted where, and since when their tokens are good, by events alone."""
    events = [fact.event for fact in platform.facts]
    mine = [one for one in sanctions_of(user_id, events).values() if not one.ended]
    ends: dict[str, list[datetime | None]] = {}
    for one in mine:
        for scope in one.scopes:
            ends.setdefault(scope, []).append(one.until)
    until = {scope: None if None in found else max(filter(None, found)) for scope, found in ends.items()}
    cut = [e.at for e in events if isinstance(e, UserBanned | AdminDismissed) and e.user_id == user_id]
    return any(one.kind == "ban" for one in mine), until, max(cut, default=None)
