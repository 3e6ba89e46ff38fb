"""What may be asked about users: a profile, by the user and by admins; and whose a login is, by admins."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel

from streams.personal import Blind, Personal
from streams.view import Db, view
from topics.identity import LOGIN, Login, LoginKind


class Profile(BaseModel):
    """Who a user is, with the logins by which they are known."""

    user_id: str
    email: Personal[str] | None
    phone: Personal[str] | None
    display_name: Personal[str] | None
    bio: Personal[str] | None
    time_zone: str | None
    language: str | None
    registered_at: datetime
    updated_at: datetime


class Holder(BaseModel):
    """Whose a login is, and since when."""

    user_id: str
    kind: LoginKind
    since: datetime


@view(roles=("User",), owner="user_id")
async def user_profile(db: Db, user_id: str) -> Profile | None:
    """The user as registered, and as changed since."""
    row = await db.fetchrow(
        "SELECT user_id, email, phone, display_name, bio, time_zone, language, registered_at, updated_at"
        " FROM profile WHERE user_id = $1",
        user_id,
    )
    return Profile(**row) if row else None


@view(roles=("Admin",))
async def users_by_login(db: Db, login: Annotated[Login, Blind(kind=LOGIN)]) -> Holder | None:
    """The user who is known by an e-mail address or telephone number, once the registration is complete."""
    row = await db.fetchrow(
        "SELECT login.user_id, login.kind, login.since FROM login JOIN profile USING (user_id) WHERE login.login = $1",
        login,
    )
    return Holder(**row) if row else None
