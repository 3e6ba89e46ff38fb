"""Identity: who registered, and whose logins are."""

from datetime import datetime
from typing import Any

from .wallet import OK, Line, Outcome, no


class People:
    """Every user by id, and every login by address."""

    def __init__(self) -> None:
        self.users: dict[str, datetime] = {}
        self.logins: dict[str, str] = {}
        self.languages: dict[str, str] = {}

    def register_user(self, data: Line, now: datetime) -> Outcome:
        user, email = data["user_id"], data["email"]
        if user in self.users:
            return no("user_exists")
        if self.logins.get(email.lower(), user) != user:
            return no("login_taken")
        self.users[user] = now
        self.logins[email.lower()] = user
        return OK

    def update_profile(self, data: Line, now: datetime) -> Outcome:
        if data["user_id"] not in self.users:
            return no("user_not_found")
        self.languages[data["user_id"]] = data["language"]
        return OK

    def tables(self) -> dict[str, list[Any]]:
        return {"identity.profile": [[user, self.languages.get(user), at] for user, at in self.users.items()]}
