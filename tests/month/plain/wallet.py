"""Points: lots that expire, holds, transfers, and a line of a ledger for each movement."""

from collections import Counter, defaultdict
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
        self.lots: Counter[datetime] = Counter()
        self.held = self.owed = self.ever = 0
        self.seen: set[datetime] = set()
        self.pending: dict[datetime, Counter[datetime]] = {}
        self.tally: Counter[str] = Counter()
        self.tier: str | None = None
        self.earns = False

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


class Award:
    """What a rule gave for a source, and the money behind it."""

    def __init__(
        self, amount: int, expires: datetime | None = None, unlocks: datetime | None = None, base: int = 0
    ) -> None:
        self.amount, self.expires, self.unlocks, self.base = amount, expires, unlocks, base
        self.reversed = self.refunded = 0


COUNTED = {
    "spent": ("spent", 1),
    "captured": ("spent", 1),
    "expired": ("expired", 1),
    "reversed": ("reversed", 1),
    "collected": ("reversed", 1),
    "sent": ("transit", 1),
    "received": ("transit", -1),
}
"""What a user's movements are counted as."""


class Points:
    """Every wallet, and the ledger."""

    def __init__(self) -> None:
        self.wallets: defaultdict[str, Wallet] = defaultdict(Wallet)
        self.ledger: list[tuple[Any, ...]] = []
        self.holds: dict[tuple[str, str], Any] = {}
        self.transfers: set[tuple[str, str]] = set()
        self.awards: dict[tuple[str, str, str], Award] = {}
        self.tiers: list[tuple[int, str]] = []

    def note(self, user: str, now: datetime, kind: str, debit: str, credit: str, amount: int, about: Any) -> None:
        sides = (side.format(f"user:{user}") for side in (debit, credit))
        self.ledger.append((user, now, kind, *sides, amount, about))
        if counted := COUNTED.get(kind):
            name, sign = counted
            self.wallets[user].tally[name] += sign * amount

    def sweep(self, user: str, now: datetime) -> None:
        """What was pending long enough is there, what is owed goes, and so does what has expired."""
        wallet = self.wallets[user]
        for at in sorted(at for at in wallet.pending if at <= now):
            lots = +wallet.pending[at]
            wallet.pending[at] = Counter()
            wallet.put(lots)
            if lots:
                self.note(user, now, "unlocked", "{}:pending", "{}:available", lots.total(), None)
        expired = wallet.due(now)
        self.collect(user, now)
        if expired:
            self.note(user, now, "expired", "{}:available", "system:expired", expired, None)

    def collect(self, user: str, now: datetime) -> None:
        wallet = self.wallets[user]
        if amount := min(wallet.owed, wallet.available):
            wallet.take(amount)
            wallet.owed -= amount
            self.note(user, now, "collected", "{}:available", "system:reversed", amount, None)

    def give(self, user: str, amount: int, now: datetime, expires: datetime | None = None, about: Any = None) -> None:
        self.wallets[user].put({expires or NEVER: amount})
        self.note(user, now, "awarded", "system:issued", "{}:available", amount, about)

    def earn(self, user: str, rule: str, source: str, award: "Award", now: datetime, about: Any = None) -> None:
        """An award under a rule, which counts for tiers; it may be pending first."""
        if (user, rule, source) in self.awards:
            return
        self.awards[user, rule, source] = award
        wallet, about = self.wallets[user], about or source
        self.give(user, award.amount, now, award.expires, about)
        if award.unlocks and award.unlocks > now:
            lots = {award.expires or NEVER: award.amount}
            wallet.lots.subtract(lots)
            wallet.pending.setdefault(award.unlocks, Counter()).update(lots)
            self.note(user, now, "locked", "{}:available", "{}:pending", award.amount, about)
        self.collect(user, now)
        wallet.earns = True
        self._count(wallet, award.amount)

    def take_back(self, user: str, rule: str, source: str, amount: int, now: datetime, about: str) -> None:
        """Part of an award, or all of it; what is not there is owed."""
        wallet, award = self.wallets[user], self.awards[user, rule, source]
        award.reversed += amount
        wallet.tally["reversed"] += 0  # known from now on
        if award.unlocks and award.unlocks > now:
            wallet.pending[award.unlocks].subtract({award.expires or NEVER: amount})
            self.note(user, now, "reversed", "{}:pending", "system:reversed", amount, about)
        else:
            there = min(amount, wallet.available)
            wallet.take(there)
            wallet.owed += amount - there
            if there:
                self.note(user, now, "reversed", "{}:available", "system:reversed", there, about)
        self._count(wallet, -amount)

    def _count(self, wallet: Wallet, amount: int) -> None:
        wallet.ever += amount
        wallet.tier = next((tier for least, tier in reversed(self.tiers) if least <= wallet.ever), None)

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
            self.note(user, now, "captured", "{}:held", "system:spent", amount, name)
        else:
            wallet.put(lots)
            self.note(user, now, "released", "{}:held", "{}:available", amount, name)
            self.collect(user, now)
            self.sweep(user, now)

    # -- commands

    def award_points(self, data: Line, now: datetime) -> Outcome:
        user, rule, source = data["user_id"], data.get("rule"), data.get("source")
        if rule and (user, rule, source) in self.awards:
            return no("already_awarded")
        expires = when(data.get("expires_at"))
        if expires and expires <= now:
            return no("already_expired")
        if rule:
            self.earn(user, rule, str(source), Award(data["amount"], expires), now)
        else:
            self.give(user, data["amount"], now, expires)
            self.collect(user, now)
        return OK

    def define_tiers(self, data: Line, now: datetime) -> Outcome:
        self.tiers = [(tier["points"], tier["tier_id"]) for tier in data["tiers"]]
        return OK

    def spend_points(self, data: Line, now: datetime) -> Outcome:
        user, amount = data["user_id"], data["amount"]
        if amount > self.wallets[user].available:
            return no("insufficient")
        self.wallets[user].take(amount)
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
        self.collect(to, now)
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
            "points.pending": [
                [user, at, lots.total()] for user in touched for at, lots in self.wallets[user].pending.items()
            ],
            "points.tally": [
                [user, *(wallet.tally[name] for name in ("spent", "expired", "reversed", "transit")), wallet.owed]
                for user, wallet in self.wallets.items()
                if wallet.tally or wallet.owed
            ],
            "points.tier": [[user, w.tier, w.ever] for user, w in self.wallets.items() if w.earns],
        }


def when(text: str | None) -> datetime | None:
    """A time as the input has it."""
    return datetime.fromisoformat(text) if text else None
