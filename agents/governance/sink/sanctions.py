"""Rows of sanctions: each with its appeal, where each user stands, and who the admins are."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from agents.governance.rules.sanctions import STANDING, Sanction, Standing, name_of
from agents.governance.sink.row import Row
from streams.sink import Fact, rows
from topics.governance import (
    AdminAdded,
    AdminDismissed,
    AdminRemoved,
    BanExpired,
    OfSanction,
    RestrictionLifted,
    SanctionAppealDecided,
    SanctionAppealFiled,
    UserBanned,
    UserRestricted,
    UserUnbanned,
    UserWarned,
)


@rows("sanction", key=("user_id", "sanction_id"))
class SanctionRow(NamedTuple):
    user_id: str
    sanction_id: str
    kind: str
    status: str
    reason: str
    imposed_by: str
    imposed_at: datetime | None
    until: datetime | None
    scopes: str
    ended_at: datetime | None
    appeal: str
    text: str | None
    filed_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    decision: str | None


@rows("standing", key=("user_id",))
class StandingRow(NamedTuple):
    user_id: str
    banned: bool
    until: datetime | None
    restricted: str
    not_before: datetime | None


@rows("admin", key=("user_id",))
class AdminRow(NamedTuple):
    user_id: str
    since: datetime | None
    by: str


def sanctioned(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The sanction as it is after an event."""
    event: OfSanction = fact.event
    one: Sanction = state[name_of(event)]
    yield SanctionRow(
        *(event.user_id, event.sanction_id, one.kind, one.status, one.reason, one.by, one.at, one.until),
        *(",".join(one.scopes), one.ended_at, one.appeal, one.text, one.filed_at),
        *(one.decided_at, one.decided_by, one.decision),
    )


def changed(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The sanction, and where the user stands by it."""
    return [*sanctioned(fact, state), *standing(fact, state)]


def standing(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """Where a user stands after an event."""
    one: Standing = state[STANDING]
    yield StandingRow(fact.key, one.ban is not None, one.banned_until, _until_when(one), one.not_before)


def _until_when(standing: Standing) -> str:
    """JSON: until when each restricted domain is, the longest that any restriction says; null is for ever."""
    found: dict[str, datetime | None] = {}
    for restriction in standing.restrictions.values():
        for scope in restriction.scopes:
            ends = (restriction.until, found.get(scope, restriction.until))
            found[scope] = None if None in ends else max(end for end in ends if end is not None)
    return msgspec.json.encode(found, order="sorted").decode()


def listed(fact: Fact[AdminAdded], _state: Mapping[str, Any]) -> Iterable[Any]:
    """A user is on the list."""
    yield AdminRow(fact.event.user_id, fact.event.at, fact.event.by)


def removed(fact: Fact[AdminRemoved], _state: Mapping[str, Any]) -> Iterable[Any]:
    """A user is on it no longer."""
    yield AdminRow(fact.event.user_id, None, fact.event.by)


SANCTIONS: Mapping[type[Any], Row] = {
    **dict.fromkeys((UserWarned, SanctionAppealFiled, SanctionAppealDecided), sanctioned),
    **dict.fromkeys((UserBanned, UserRestricted, UserUnbanned, BanExpired, RestrictionLifted), changed),
    AdminDismissed: standing,
    AdminAdded: listed,
    AdminRemoved: removed,
}
