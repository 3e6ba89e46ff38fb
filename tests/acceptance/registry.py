"""Identity once more, in the plainest way there is: who became a user, and whose each login is."""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.acceptance.model import Step

FREE = ("", "")


@dataclass
class User:
    """Somebody who wants to be, or is, a user."""

    status: str = "unknown"
    registration: str = ""
    wanted: list[str] = field(default_factory=list)
    """Logins that are still to be claimed."""
    time_zone: str | None = None
    language: str | None = None


class Registry:
    """Play all steps, those of one user or login in their order, and look."""

    def __init__(self) -> None:
        """Nobody is known."""
        self.users: dict[str, User] = defaultdict(User)
        self.logins: dict[str, tuple[str, str]] = defaultdict(lambda: FREE)
        """Login -> user and registration."""
        self.results: dict[str, tuple[str, str | None]] = {}

    def play(self, step: Step) -> None:
        """Do it."""
        code = getattr(self, f"_{step.type}")(step)
        if code != "pending":
            self.results[step.id] = ("rejected", code) if code else ("accepted", None)

    def _register_user(self, step: Step) -> str | None:
        user = self.users[step.data["user_id"]]
        if user.status in {"registered", "pending"}:
            return "user_exists" if user.status == "registered" else "registration_in_progress"
        wanted = [login for kind in ("email", "phone") if (login := step.data.get(f"{kind}_login"))]
        self.users[step.data["user_id"]] = User("pending", step.id, wanted)
        self.results[step.id] = ("pending", None)
        return "pending"

    def _update_profile(self, step: Step) -> str | None:
        user = self.users[step.data["user_id"]]
        if user.status != "registered":
            return "registration_in_progress" if user.status == "pending" else "user_not_found"
        user.time_zone = step.data.get("time_zone") or user.time_zone
        user.language = step.data.get("language") or user.language
        return None

    def _claim_login(self, step: Step) -> str | None:
        owner, _ = self.logins[step.data["login"]]
        if owner not in {"", step.data["user_id"]}:
            return "login_taken"
        self.logins[step.data["login"]] = step.data["user_id"], step.data["registration"]
        return None

    def _release_login(self, step: Step) -> str | None:
        if self.logins[step.data["login"]] != (step.data["user_id"], step.data["registration"]):
            return "not_claimed"
        self.logins[step.data["login"]] = FREE
        return None

    def _advance_registration(self, step: Step) -> str | None:
        if not (user := self._waiting(step)):
            return "registration_ended"
        user.wanted.pop(0)
        if not user.wanted:
            user.status = "registered"
            self.results[user.registration] = ("accepted", None)
        return None

    def _fail_registration(self, step: Step) -> str | None:
        if not (user := self._waiting(step)):
            return "registration_ended"
        user.status = "failed"
        self.results[user.registration] = ("rejected", step.data["code"])
        return None

    def _waiting(self, step: Step) -> User | None:
        user = self.users[step.data["user_id"]]
        at_it = user.status == "pending" and user.registration == step.data["registration"]
        return user if at_it and user.wanted[:1] == [step.data["login"]] else None
