"""Rows of identity: a profile per user, and per login whose it is. Personal texts are sealed, logins hashed."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from streams.decision import ROOT
from streams.sink import Fact, rows
from topics.identity import LoginClaimed, LoginReleased, ProfileUpdated, UserForgotten, UserRegistered


@rows("profile", key=("user_id",))
class ProfileRow(NamedTuple):
    user_id: str
    email: str | None
    phone: str | None
    display_name: str | None
    bio: str | None
    time_zone: str | None
    language: str | None
    registered_at: datetime
    updated_at: datetime


@rows("login", key=("login",))
class LoginRow(NamedTuple):
    login: str
    kind: str | None
    user_id: str | None
    since: datetime


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The row that an event changes; a profile begins when the registration is complete."""
    match fact.event:
        case UserRegistered() | ProfileUpdated():
            user = state[ROOT]
            shown = {name: getattr(user, name) for name in ProfileRow._fields if name in user.__struct_fields__}
            return (ProfileRow(user_id=fact.key, updated_at=fact.at, **shown),)
        case UserForgotten() if (user := state[ROOT]).registered_at is not None:
            nothing = dict.fromkeys(("email", "phone", "display_name", "bio", "time_zone", "language"))
            return (ProfileRow(fact.key, **nothing, registered_at=user.registered_at, updated_at=fact.at),)
        case LoginClaimed() as claimed:
            return (LoginRow(fact.key, claimed.kind, claimed.user_id, fact.at),)
        case LoginReleased():
            return (LoginRow(fact.key, None, None, fact.at),)
    return ()
