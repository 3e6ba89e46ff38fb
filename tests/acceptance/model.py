"""Points once more, in the plainest way there is: one thing after the other, imports of the standard library only.

`Model.play` takes the commands that were decided, those of transfers' later steps and of timers included, in the order of their keys;
afterwards it knows every result, statement and balance.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LIMIT = 2**53 - 1
SIGN_UP = 100  # points, by the one rule that there is from the beginning
NOTHING = "nothing"  # is what happened
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    """A command as it stands on the topic."""

    id: str
    type: str
    at: datetime
    """When it was issued."""
    data: dict[str, Any]
    cause: str | None = None
    """The event that made a policy give it."""


Parts = list[tuple[datetime, int]]
"""What of an amount expires, and when."""


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
    holds: dict[str, tuple[int, Parts, bool]] = field(default_factory=dict)
    """Amount, what of it expires, and whether it is still open."""
    transfers: dict[str, tuple[Step, Parts]] = field(default_factory=dict)
    """Transfer id -> the command that began it, and what of it expires."""
    expiring: dict[datetime, int] = field(default_factory=dict)
    """When -> how much of what is available expires then."""
    statement: list[tuple[Any, ...]] = field(default_factory=list)
    """(seq, at, kind, debit, credit, amount, reference, note), oldest first."""

    def full(self, amount: int) -> bool:
        """Whether so much more is too much."""
        return self.available + self.held + self.on_the_way + amount > LIMIT

    def has(self, amount: int, now: datetime) -> bool:
        """Whether so much is available that has not expired."""
        return amount <= self.available - sum(left for at, left in self.expiring.items() if at <= now)

    def take(self, amount: int, now: datetime) -> Parts:
        """Take available points, first those that expire first; what of them does."""
        self.available -= amount
        parts = []
        for at in sorted(at for at, left in self.expiring.items() if left and at > now):
            part = min(amount, self.expiring[at])
            self.expiring[at] -= part
            amount -= part
            if part:
                parts.append((at, part))
        return parts

    def give(self, amount: int, parts: Parts) -> None:
        """Make points available."""
        self.available += amount
        for at, part in parts:
            self.expiring[at] = self.expiring.get(at, 0) + part


@dataclass
class Passage:
    """A transfer as it shows in the steps of two users."""

    begun: list[tuple[dict[str, Any], Parts]] = field(default_factory=list)
    credited: list[tuple[dict[str, Any], bool]] = field(default_factory=list)
    """What was credited, and whether it was taken."""
    ended: list[str] = field(default_factory=list)

    def is_right(self) -> bool:
        """Begun, credited with just that and ended accordingly, each once."""
        if not len(self.begun) == len(self.credited) == len(self.ended) == 1:
            return False
        (sent, parts), (credit, taken) = self.begun[0], self.credited[0]
        expected = {"user_id": sent["to"], "sender": sent["user_id"], "transfer_id": sent["transfer_id"]}
        expected |= {"amount": sent["amount"], "note": sent.get("note"), "lots": parts}
        return {"note": None, **credit, "lots": _parts(credit)} == expected and self.ended[0] == (
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
        now = max(user.at, step.at)
        refused = getattr(self, f"_{step.type}")(user, step, now)
        if refused == NOTHING:
            self.results[step.id] = ("accepted", None)
            return
        if refused in {None, "insufficient"}:  # every other refusal leaves no event of the user's
            user.events += 1
            user.at = now
        if refused:
            self.results[step.id] = ("rejected", refused)
        elif step.type != "transfer_points":
            self.results[step.id] = ("accepted", None)

    def wrong_transfers(self) -> list[str]:
        """The transfers that did not go on as they had to."""
        return [f"transfer {name}: {passage}" for name, passage in self.passages.items() if not passage.is_right()]

    def _award_points(self, user: User, step: Step, now: datetime) -> str | None:
        data = step.data
        reward = (data["rule"], data["source"]) if data.get("rule") else None
        end = _time(data["expires_at"]) if data.get("expires_at") else None
        if reward in user.rewards:
            return "already_awarded"
        if user.full(data["amount"]):
            return "balance_limit"
        if end and end <= now:
            return "already_expired"
        if reward:
            user.rewards.add(reward)
        user.give(data["amount"], [(end, data["amount"])] if end else [])
        _write(user, step, "awarded", "system:issued", "available", data["amount"], data.get("source"))
        return None

    def _observe_event(self, user: User, step: Step, now: datetime) -> str | None:
        data = step.data
        reward = ("sign_up", data["source"])
        if data["event"] != "identity.user_registered" or reward in user.rewards:
            return NOTHING
        if not user.full(SIGN_UP):
            user.events += 1  # that the rule was applied, before the award
            user.rewards.add(reward)
            user.give(SIGN_UP, [])
            _write(user, step, "awarded", "system:issued", "available", SIGN_UP, data["source"])
        return None

    def _spend_points(self, user: User, step: Step, now: datetime) -> str | None:
        amount = step.data["amount"]
        if not user.has(amount, now):
            return "insufficient"
        user.take(amount, now)
        _write(user, step, "spent", "available", "system:spent", amount, step.data.get("reference"))
        return None

    def _hold_points(self, user: User, step: Step, now: datetime) -> str | None:
        name, amount = step.data["hold_id"], step.data["amount"]
        if name in user.holds:
            return "hold_exists"
        if not user.has(amount, now):
            return "insufficient"
        user.holds[name] = (amount, user.take(amount, now), True)
        user.held += amount
        _write(user, step, "held", "available", "held", amount, name)
        return None

    def _capture_hold(self, user: User, step: Step, _: datetime) -> str | None:
        if code := _cannot_end(user, step):
            return code
        amount = _end(user, step)[0]
        _write(user, step, "captured", "held", "system:spent", amount, step.data["hold_id"])
        return None

    def _release_hold(self, user: User, step: Step, _: datetime) -> str | None:
        if code := _cannot_end(user, step):
            return code
        amount, parts = _end(user, step)
        user.give(amount, parts)
        _write(user, step, "released", "held", "available", amount, step.data["hold_id"])
        return None

    def _expire_points(self, user: User, step: Step, now: datetime) -> str | None:
        due = [at for at, left in user.expiring.items() if at <= now and left]
        amount = sum(user.expiring.pop(at) for at in due)
        user.available -= amount
        _write(user, step, "expired", "available", "system:expired", amount, None)
        return None

    def _transfer_points(self, user: User, step: Step, now: datetime) -> str | None:
        name, amount = step.data["transfer_id"], step.data["amount"]
        if name in user.transfers:
            return "transfer_exists"
        if not user.has(amount, now):
            return "insufficient"
        parts = user.take(amount, now)
        user.transfers[name] = step, parts
        user.on_the_way += amount
        self.passages[step.data["user_id"], name].begun.append((step.data, parts))
        _write(user, step, "sent", "available", "system:transit", amount, name, step.data.get("note"))
        return None

    def _credit_transfer(self, user: User, step: Step, _: datetime) -> str | None:
        data = step.data
        taken = not user.full(data["amount"])
        self.passages[data["sender"], data["transfer_id"]].credited.append((data, taken))
        if taken:
            user.give(data["amount"], _parts(data))
            name = data["transfer_id"]
            _write(user, step, "received", "system:transit", "available", data["amount"], name, data.get("note"))
        return None

    def _complete_transfer(self, user: User, step: Step, _: datetime) -> str | None:
        if (begun := self._ended(user, step)) is None:
            return "transfer_ended"
        user.on_the_way -= begun[0].data["amount"]
        self.results[begun[0].id] = ("accepted", None)
        return None

    def _return_transfer(self, user: User, step: Step, _: datetime) -> str | None:
        if (begun := self._ended(user, step)) is None:
            return "transfer_ended"
        amount, name = begun[0].data["amount"], step.data["transfer_id"]
        user.on_the_way -= amount
        user.give(amount, begun[1])
        self.results[begun[0].id] = ("rejected", step.data["code"])
        _write(user, step, "returned", "system:transit", "available", amount, name)
        return None

    def _ended(self, user: User, step: Step) -> tuple[Step, Parts] | None:
        name = step.data["transfer_id"]
        passage = self.passages[step.data["user_id"], name]
        passage.ended.append(step.type)
        return user.transfers.get(name) if len(passage.ended) == 1 else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _parts(credit: dict[str, Any]) -> Parts:
    return [(_time(lot["expires_at"]), lot["amount"]) for lot in credit.get("lots", ())]


def _cannot_end(user: User, step: Step) -> str | None:
    name = step.data["hold_id"]
    if name not in user.holds:
        return "hold_not_found"
    return None if user.holds[name][2] else "hold_ended"


def _end(user: User, step: Step) -> tuple[int, Parts]:
    amount, parts, _ = user.holds[step.data["hold_id"]]
    user.holds[step.data["hold_id"]] = (amount, parts, False)
    user.held -= amount
    return amount, parts


def _write(
    user: User, step: Step, kind: str, debit: str, credit: str, amount: int, about: str | None, note: str | None = None
) -> None:
    debit, credit = (
        account if account.startswith("system:") else f"user:{step.data['user_id']}:{account}"
        for account in (debit, credit)
    )
    user.statement.append((user.events + 1, max(user.at, step.at), kind, debit, credit, amount, about, note))
