"""Points once more, in the plainest way there is: one thing after the other, imports of the standard library only.

`answer` says what the edge must answer to a line of a command file. `Model.play` takes the commands of the topic, those of the
transfers' later steps included, in the order of their keys; afterwards it knows every result, statement and balance.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LIMIT = 2**53 - 1
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
MEMBERS = {"User", "VIP", "PRO"}
FIELDS = {  # command -> required and optional fields
    "award_points": ({"user_id", "amount"}, {"rule", "source"}),  # of `expires_at` nothing is known here
    "spend_points": ({"user_id", "amount"}, {"reference"}),
    "hold_points": ({"user_id", "hold_id", "amount"}, set()),
    "capture_hold": ({"user_id", "hold_id"}, set()),
    "release_hold": ({"user_id", "hold_id"}, set()),
    "transfer_points": ({"user_id", "transfer_id", "to", "amount"}, {"note"}),
}


def answer(line: dict[str, Any]) -> int:
    """The HTTP status of a line without waiting: 202, or why it is turned away; 401 goes before 403 before 422."""
    command, who, data = line["command"].removeprefix("points."), line["as"], line["data"]
    if who is None:
        return 401
    if who["role"] != "Admin":
        if command == "award_points" or who["role"] not in MEMBERS:
            return 403
        if data.get("user_id") != who["user"]:
            return 403
    return 202 if well_formed(command, data) else 422


def well_formed(command: str, data: dict[str, Any]) -> bool:
    """Whether the body is one of this command."""
    required, optional = FIELDS[command]
    if not required <= data.keys() <= required | optional:
        return False
    if not all(_field_is_right(name, value, name in optional) for name, value in data.items()):
        return False
    if (data.get("rule") is None) != (data.get("source") is None):
        return False
    return command != "transfer_points" or data["to"] != data["user_id"]


def _field_is_right(name: str, value: Any, optional: bool) -> bool:
    if value is None:
        return optional
    if name == "amount":
        return type(value) is int and 1 <= value <= LIMIT
    if name == "note":
        return isinstance(value, str) and len(value) <= 1000 and "\0" not in value
    return isinstance(value, str) and NAME.fullmatch(value) is not None


@dataclass(frozen=True)
class Step:
    """A command as it stands on the topic."""

    id: str
    type: str
    at: datetime
    """When it was issued."""
    data: dict[str, Any]


@dataclass
class User:
    """All that is known of a user."""

    events: int = 0
    at: datetime = LONG_AGO
    """The time of the last event; it never goes back."""
    available: int = 0
    held: int = 0
    on_the_way: int = 0
    rewards: set[tuple[str, str]] = field(default_factory=set)
    holds: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """Amount, and whether it is still open."""
    transfers: dict[str, Step] = field(default_factory=dict)
    """Transfer id -> the command that began it."""
    statement: list[tuple[Any, ...]] = field(default_factory=list)
    """(seq, at, kind, debit, credit, amount, reference, note), oldest first."""

    def full(self, amount: int) -> bool:
        """Whether so much more is too much."""
        return self.available + self.held + self.on_the_way + amount > LIMIT


@dataclass
class Passage:
    """A transfer as it shows in the steps of two users."""

    begun: list[dict[str, Any]] = field(default_factory=list)
    credited: list[tuple[dict[str, Any], bool]] = field(default_factory=list)
    """What was credited, and whether it was taken."""
    ended: list[str] = field(default_factory=list)

    def is_right(self) -> bool:
        """Begun, credited with just that and ended accordingly, each once."""
        if not len(self.begun) == len(self.credited) == len(self.ended) == 1:
            return False
        sent, (credit, taken) = self.begun[0], self.credited[0]
        expected = {"user_id": sent["to"], "sender": sent["user_id"], "transfer_id": sent["transfer_id"]}
        expected |= {"amount": sent["amount"], "note": sent.get("note"), "lots": []}
        return {"note": None, **credit} == expected and self.ended[0] == (
            "complete_transfer" if taken else "return_transfer"
        )


class Model:
    """Play all steps, those of one user in their order; then `finish` and look."""

    def __init__(self) -> None:
        """Nobody has anything."""
        self.users: dict[str, User] = defaultdict(User)
        self.results: dict[str, tuple[str, str | None]] = {}
        self.passages: dict[tuple[str, str], Passage] = defaultdict(Passage)

    def play(self, step: Step) -> None:
        """Do it; a step that was there before does nothing."""
        if step.id in self.results:
            return
        self.results[step.id] = ("pending", None)
        user = self.users[step.data["user_id"]]
        refused = getattr(self, f"_{step.type}")(user, step)
        if refused in {None, "insufficient"}:  # every other refusal leaves no event of the user's
            user.events += 1
            user.at = max(user.at, step.at)
        if refused:
            self.results[step.id] = ("rejected", refused)
        elif step.type != "transfer_points":
            self.results[step.id] = ("accepted", None)

    def wrong_transfers(self) -> list[str]:
        """The transfers that did not go on as they had to."""
        return [f"transfer {name}: {passage}" for name, passage in self.passages.items() if not passage.is_right()]

    def _award_points(self, user: User, step: Step) -> str | None:
        data = step.data
        reward = (data["rule"], data["source"]) if data.get("rule") else None
        if reward in user.rewards:
            return "already_awarded"
        if user.full(data["amount"]):
            return "balance_limit"
        if reward:
            user.rewards.add(reward)
        user.available += data["amount"]
        _write(user, step, "awarded", "system:issued", "available", data["amount"], data.get("source"))
        return None

    def _spend_points(self, user: User, step: Step) -> str | None:
        amount = step.data["amount"]
        if user.available < amount:
            return "insufficient"
        user.available -= amount
        _write(user, step, "spent", "available", "system:spent", amount, step.data.get("reference"))
        return None

    def _hold_points(self, user: User, step: Step) -> str | None:
        name, amount = step.data["hold_id"], step.data["amount"]
        if name in user.holds:
            return "hold_exists"
        if user.available < amount:
            return "insufficient"
        user.holds[name] = (amount, True)
        user.available -= amount
        user.held += amount
        _write(user, step, "held", "available", "held", amount, name)
        return None

    def _capture_hold(self, user: User, step: Step) -> str | None:
        if code := _cannot_end(user, step):
            return code
        amount = _end(user, step)
        user.held -= amount
        _write(user, step, "captured", "held", "system:spent", amount, step.data["hold_id"])
        return None

    def _release_hold(self, user: User, step: Step) -> str | None:
        if code := _cannot_end(user, step):
            return code
        amount = _end(user, step)
        user.held -= amount
        user.available += amount
        _write(user, step, "released", "held", "available", amount, step.data["hold_id"])
        return None

    def _transfer_points(self, user: User, step: Step) -> str | None:
        name, amount = step.data["transfer_id"], step.data["amount"]
        if name in user.transfers:
            return "transfer_exists"
        if user.available < amount:
            return "insufficient"
        user.transfers[name] = step
        user.available -= amount
        user.on_the_way += amount
        self.passages[step.data["user_id"], name].begun.append(step.data)
        _write(user, step, "sent", "available", "system:transit", amount, name, step.data.get("note"))
        return None

    def _credit_transfer(self, user: User, step: Step) -> str | None:
        data = step.data
        taken = not user.full(data["amount"])
        self.passages[data["sender"], data["transfer_id"]].credited.append((data, taken))
        if taken:
            user.available += data["amount"]
            name = data["transfer_id"]
            _write(user, step, "received", "system:transit", "available", data["amount"], name, data.get("note"))
        return None

    def _complete_transfer(self, user: User, step: Step) -> str | None:
        if (begun := self._ended(user, step)) is None:
            return "transfer_ended"
        user.on_the_way -= begun.data["amount"]
        self.results[begun.id] = ("accepted", None)
        return None

    def _return_transfer(self, user: User, step: Step) -> str | None:
        if (begun := self._ended(user, step)) is None:
            return "transfer_ended"
        amount, name = begun.data["amount"], step.data["transfer_id"]
        user.on_the_way -= amount
        user.available += amount
        self.results[begun.id] = ("rejected", step.data["code"])
        _write(user, step, "returned", "system:transit", "available", amount, name)
        return None

    def _ended(self, user: User, step: Step) -> Step | None:
        name = step.data["transfer_id"]
        passage = self.passages[step.data["user_id"], name]
        passage.ended.append(step.type)
        return user.transfers.get(name) if len(passage.ended) == 1 else None


def _cannot_end(user: User, step: Step) -> str | None:
    name = step.data["hold_id"]
    if name not in user.holds:
        return "hold_not_found"
    return None if user.holds[name][1] else "hold_ended"


def _end(user: User, step: Step) -> int:
    amount, _ = user.holds[step.data["hold_id"]]
    user.holds[step.data["hold_id"]] = (amount, False)
    return amount


def _write(
    user: User, step: Step, kind: str, debit: str, credit: str, amount: int, about: str | None, note: str | None = None
) -> None:
    debit, credit = (
        account if account.startswith("system:") else f"user:{step.data['user_id']}:{account}"
        for account in (debit, credit)
    )
    user.statement.append((user.events + 1, max(user.at, step.at), kind, debit, credit, amount, about, note))
