"""Points: lots that expire, holds, transfers, and a line of a ledger for each movement."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
MOST = 2**53 - 1
Line = dict[str, Any]
Outcome = tuple[str, str | None]
OK: Outcome = ("accepted", None)


def no(code: str) -> Outcome:
    """Rejected."""
    return "rejected", code


class Wallet:
    """What one user has, as lots by the time at which they expire."""

    def __init__(self) -> None:
        self.lots: defaultdict[datetime, int] = defaultdict(int)
        self.held = 0
        self.seen: set[datetime] = set()

    @property
    def available(self) -> int:
        return sum(self.lots.values())

    def put(self, lots: dict[datetime, int]) -> None:
        for at, amount in lots.items():
            self.lots[at] += amount
            self.seen.add(at)

    def take(self, amount: int) -> dict[datetime, int]:
        """Those that expire first."""
        taken = {}
        for at in sorted(self.lots):
            if part := min(amount, self.lots[at]):
                taken[at] = part
                self.lots[at] -= part
                amount -= part
        return taken

    def due(self, now: datetime) -> int:
        """Take away what has expired."""
        return sum(self.lots.pop(at) for at in [at for at in self.lots if at <= now])


class Points:
    """Every wallet, and the ledger."""

    def __init__(self) -> None:
        self.wallets: defaultdict[str, Wallet] = defaultdict(Wallet)
        self.ledger: list[tuple[Any, ...]] = []
        self.given: set[tuple[str, str, str]] = set()
        self.holds: dict[tuple[str, str], Any] = {}
        self.transfers: set[tuple[str, str]] = set()
        self.issued = self.spent = self.expired = 0

    def note(self, user: str, now: datetime, kind: str, debit: str, credit: str, amount: int, about: Any) -> None:
        sides = (side.format(f"user:{user}") for side in (debit, credit))
        self.ledger.append((user, now, kind, *sides, amount, about))

    def sweep(self, user: str, now: datetime) -> None:
        """What has expired goes."""
        if amount := self.wallets[user].due(now):
            self.expired += amount
            self.note(user, now, "expired", "{}:available", "system:expired", amount, None)

    def give(self, user: str, amount: int, now: datetime, expires: datetime | None = None, about: Any = None) -> None:
        self.wallets[user].put({expires or NEVER: amount})
        self.issued += amount
        self.note(user, now, "awarded", "system:issued", "{}:available", amount, about)

    def hold(self, user: str, name: str, amount: int, now: datetime) -> bool:
        """Whether there was enough."""
        wallet = self.wallets[user]
        if amount > wallet.available:
            return False
        self.holds[user, name] = wallet.take(amount)
        wallet.held += amount
        self.note(user, now, "held", "{}:available", "{}:held", amount, name)
        return True

    def end_hold(self, user: str, name: str, now: datetime, *, spent: bool) -> None:
        lots, wallet = self.holds[user, name], self.wallets[user]
        self.holds[user, name] = None
        amount = sum(lots.values())
        wallet.held -= amount
        if spent:
            self.spent += amount
            self.note(user, now, "captured", "{}:held", "system:spent", amount, name)
        else:
            wallet.put(lots)
            self.note(user, now, "released", "{}:held", "{}:available", amount, name)
            self.sweep(user, now)

    # -- commands

    def award_points(self, data: Line, now: datetime) -> Outcome:
        user, rule, source = data["user_id"], data.get("rule"), data.get("source")
        if rule and (user, rule, source) in self.given:
            return no("already_awarded")
        expires = when(data.get("expires_at"))
        if expires and expires <= now:
            return no("already_expired")
        if rule:
            self.given.add((user, rule, source or ""))
        self.give(user, data["amount"], now, expires, source)
        return OK

    def spend_points(self, data: Line, now: datetime) -> Outcome:
        user, amount = data["user_id"], data["amount"]
        if amount > self.wallets[user].available:
            return no("insufficient")
        self.wallets[user].take(amount)
        self.spent += amount
        self.note(user, now, "spent", "{}:available", "system:spent", amount, data.get("reference"))
        return OK

    def hold_points(self, data: Line, now: datetime) -> Outcome:
        user, name = data["user_id"], data["hold_id"]
        if (user, name) in self.holds:
            return no("hold_exists")
        return OK if self.hold(user, name, data["amount"], now) else no("insufficient")

    def capture_hold(self, data: Line, now: datetime) -> Outcome:
        return self._end(data, now, spent=True)

    def release_hold(self, data: Line, now: datetime) -> Outcome:
        return self._end(data, now, spent=False)

    def _end(self, data: Line, now: datetime, *, spent: bool) -> Outcome:
        place = data["user_id"], data["hold_id"]
        if place not in self.holds:
            return no("hold_not_found")
        if self.holds[place] is None:
            return no("hold_ended")
        self.end_hold(*place, now, spent=spent)
        return OK

    def transfer_points(self, data: Line, now: datetime) -> Outcome:
        user, to, amount, name = data["user_id"], data["to"], data["amount"], data["transfer_id"]
        if (user, name) in self.transfers:
            return no("transfer_exists")
        if amount > self.wallets[user].available:
            return no("insufficient")
        self.transfers.add((user, name))
        self.wallets[to].put(self.wallets[user].take(amount))
        self.note(user, now, "sent", "{}:available", "system:transit", amount, name)
        self.note(to, now, "received", "system:transit", "{}:available", amount, name)
        return OK

    def expire_points(self, data: Line, now: datetime) -> Outcome:
        self.sweep(data["user_id"], now)
        return OK

    # -- what there is to see

    def tables(self) -> dict[str, list[Any]]:
        touched = {row[0] for row in self.ledger}
        return {
            "points.balance": [[user, self.wallets[user].available, self.wallets[user].held] for user in touched],
            "points.expiring": [
                [user, at, self.wallets[user].lots.get(at, 0)]
                for user in touched
                for at in self.wallets[user].seen
                if at != NEVER
            ],
            "points.ledger": [list(row) for row in self.ledger],
        }


def when(text: str | None) -> datetime | None:
    """A time as the input has it."""
    return datetime.fromisoformat(text) if text else None
