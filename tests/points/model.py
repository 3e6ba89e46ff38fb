"""Points once more, for users who send each other nothing: purses with coins by the time at which they expire, one thing after the other.

It imports nothing of the platform. Time passes in order: `pass_time` does what happens by itself at each moment on the way.
"""

from calendar import monthrange
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

FAR = datetime(9999, 1, 1, tzinfo=UTC)  # of what does not expire
Coins = Counter[datetime]
"""How much of what is there expires when."""
Facts = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A rule as data, and the same in Python."""

    condition: str
    amount: int | str
    gives: Callable[[Facts], int]
    """0 where the condition does not hold."""
    cap_per_day: int | None = None
    cap_per_user: int | None = None
    validity: int | None = None
    pending: int | None = None


@dataclass
class Entry:
    """What can be taken back."""

    amount: int
    coins: Coins
    reversed: int = 0
    status: str = "done"
    period: int = 0
    unlocks: datetime | None = None
    base: int | None = None


@dataclass
class Purse:
    """All of one user."""

    free: Coins = field(default_factory=Counter)
    locked: dict[datetime, Coins] = field(default_factory=lambda: defaultdict(Counter))
    entries: dict[str, Entry] = field(default_factory=dict)
    owed: int = 0
    given: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By rule, and the day or `ever`."""
    refunded: Counter[str] = field(default_factory=Counter)
    ever: int = 0
    earned: Counter[int] = field(default_factory=Counter)
    """By the number of the period."""
    period: int = 0
    until: datetime | None = None
    tier: str | None = None
    gone: Counter[str] = field(default_factory=Counter)

    def usable(self, now: datetime) -> int:
        return sum(amount for end, amount in self.free.items() if end > now)

    def take(self, amount: int, now: datetime) -> Coins:
        """What expires first."""
        taken: Coins = Counter()
        for end in sorted(end for end in self.free if end > now):
            part = min(amount, self.free[end])
            taken[end] += part
            self.free[end] -= part
            amount -= part
        return +taken


class Points:
    """All users, by one program."""

    def __init__(self, sign_up: int) -> None:
        self.purses: dict[str, Purse] = defaultdict(Purse)
        self.defined: dict[str, Written] = {}
        self.counting: dict[str, Written] = {}
        self.tiers: list[tuple[int, str]] = []
        self.days: int | None = None
        self.sign_up = sign_up

    # -- time

    def pass_time(self, user: str, to: datetime) -> None:
        """What happens by itself until then, in order."""
        purse = self.purses[user]
        while times := [at for at in self._times(purse) if at <= to]:
            now = min(times)
            for at in [at for at in purse.locked if at <= now]:
                purse.free.update(purse.locked.pop(at))
            self._collect(purse, now)
            for end in [end for end in purse.free if end <= now]:
                purse.gone["expired"] += purse.free.pop(end)
            if purse.until is not None and purse.until <= now:
                self._end_period(purse, now)
                self._settle(purse)

    def _times(self, purse: Purse) -> list[datetime]:
        ends = [end for end, amount in purse.free.items() if amount]
        return [*ends, *purse.locked, *([purse.until] if purse.until else [])]

    def _end_period(self, purse: Purse, now: datetime) -> None:
        while purse.until is not None and (self.days is None or purse.until <= now):
            goes_on = self.days is not None and purse.earned[purse.period] > 0
            purse.until = purse.until + timedelta(days=self.days or 0) if goes_on else None
            purse.period += 1

    def _settle(self, purse: Purse) -> None:
        points = self.counted(purse)
        purse.tier = max(((at_least, name) for at_least, name in self.tiers if at_least <= points), default=(0, None))[
            1
        ]

    def counted(self, purse: Purse) -> int:
        """What counts for a tier."""
        if self.days is None:
            return purse.ever
        return max(purse.earned[purse.period], purse.earned[purse.period - 1])

    def _collect(self, purse: Purse, now: datetime) -> None:
        amount = min(purse.owed, purse.usable(now))
        purse.take(amount, now)
        purse.owed -= amount
        purse.gone["reversed"] += amount

    # -- commands: the code of the refusal, or None

    def play(self, command: str, now: datetime, user: str, /, **data: Any) -> str | None:
        """Do it at that time."""
        self.pass_time(user, now)
        code: str | None = getattr(self, command)(self.purses[user], now, **data)
        if code is None:
            self._collect(self.purses[user], now)
        self.pass_time(user, now)
        return code

    def award(self, purse: Purse, now: datetime, amount: int, end: datetime | None, name: str | None) -> str | None:
        if name in purse.entries:
            return "already_awarded"
        if end is not None and end <= now:
            return "already_expired"
        if name is None:
            purse.free[end or FAR] += amount
        else:
            self._earn(purse, now, name, Entry(amount, Counter({end or FAR: amount})))
            self._settle(purse)
        return None

    def _earn(self, purse: Purse, now: datetime, name: str, entry: Entry) -> None:
        self._end_period(purse, now)
        if self.days and purse.until is None:
            purse.until, purse.period = now + timedelta(days=self.days), purse.period + 1
        entry.period = purse.period
        purse.entries[name] = entry
        purse.ever += entry.amount
        purse.earned[purse.period] += entry.amount
        (purse.locked[entry.unlocks] if entry.unlocks else purse.free).update(entry.coins)

    def spend(self, purse: Purse, now: datetime, amount: int, name: str | None) -> str | None:
        if name in purse.entries:
            return "spend_exists"
        if amount > purse.usable(now):
            return "insufficient"
        entry = Entry(amount, purse.take(amount, now))
        purse.gone["spent"] += amount
        if name:
            purse.entries[name] = entry
        return None

    def hold(self, purse: Purse, now: datetime, amount: int, name: str) -> str | None:
        if name in purse.entries:
            return "hold_exists"
        if amount > purse.usable(now):
            return "insufficient"
        purse.entries[name] = Entry(amount, purse.take(amount, now), status="open")
        return None

    def end_hold(self, purse: Purse, now: datetime, name: str, *, captured: bool) -> str | None:
        if (hold := purse.entries.get(name)) is None:
            return "hold_not_found"
        if hold.status != "open":
            return "hold_ended"
        hold.status = "done" if captured else "released"
        if captured:
            purse.gone["spent"] += hold.amount
        else:
            purse.free.update(hold.coins)
        return None

    def adjust(self, purse: Purse, now: datetime, amount: int) -> str | None:
        if -amount > purse.usable(now):
            return "insufficient"
        if amount > 0:
            purse.free[FAR] += amount
        else:
            purse.take(-amount, now)
        purse.gone["adjusted"] += amount
        return None

    def reverse(self, purse: Purse, now: datetime, name: str, amount: int | None) -> str | None:
        entry = purse.entries.get(name)
        if entry is None or entry.status != "done":
            return "entry_not_found"
        if entry.reversed:
            return "already_reversed"
        if amount is not None and amount > entry.amount:
            return "more_than_entry"
        amount = amount or entry.amount
        if name.startswith("award/"):
            self._end_period(purse, now)
            self._take_back(purse, now, entry, amount)
            self._settle(purse)
            return None
        entry.reversed = amount
        purse.gone["spent"] -= amount
        for end in sorted(entry.coins, reverse=True):
            part = min(amount, entry.coins[end])
            purse.free[end] += part
            amount -= part
        return None

    def _take_back(self, purse: Purse, now: datetime, entry: Entry, amount: int) -> None:
        entry.reversed += amount
        purse.ever -= amount
        purse.earned[entry.period] -= amount
        if entry.unlocks and entry.unlocks > now:
            (end,) = entry.coins
            coins = purse.locked[entry.unlocks]
            coins[end] -= amount
            if not +coins:
                del purse.locked[entry.unlocks]
            purse.gone["reversed"] += amount
            return
        there = min(amount, purse.usable(now))
        purse.take(there, now)
        purse.gone["reversed"] += there
        purse.owed += amount - there

    def observe(self, purse: Purse, now: datetime, source: str, at: datetime, total: int) -> None:
        rewarded = False
        for rule, written in sorted(self.counting.items()):
            name = f"award/{rule}/{source}"
            if name in purse.entries:
                continue
            day = f"{at:%Y-%m-%d}"
            amount = written.gives({"total": total, "tier": purse.tier or "", "available": sum(purse.free.values())})
            for cap, place in ((written.cap_per_day, day), (written.cap_per_user, "ever")):
                amount = amount if cap is None else min(amount, cap - purse.given[rule, place])
            if amount < 1:
                continue
            purse.given[rule, day] += amount
            purse.given[rule, "ever"] += amount
            entry = Entry(amount, Counter({_end(at, written.validity) or FAR: amount}), base=total or None)
            unlocks = _end(at, written.pending)
            entry.unlocks = unlocks if unlocks and unlocks > now else None
            self._earn(purse, now, name, entry)
            rewarded = True
        if rewarded:
            self._settle(purse)

    def refund(self, purse: Purse, now: datetime, source: str, amount: int) -> None:
        found = [(name, entry) for name, entry in purse.entries.items() if name.endswith(f"/{source}") and entry.base]
        if not found:
            return
        self._end_period(purse, now)
        purse.refunded[source] += amount
        for _, entry in sorted(found):
            assert entry.base is not None
            due = entry.amount * min(purse.refunded[source], entry.base) // entry.base - entry.reversed
            if due > 0:
                self._take_back(purse, now, entry, due)
        self._settle(purse)

    def review(self, purse: Purse, now: datetime) -> None:
        self._end_period(purse, now)
        self._settle(purse)


def _end(at: datetime, days: int | None) -> datetime | None:
    """The end of that day, or of its month."""
    if days is None:
        return None
    then = at + timedelta(days=days)
    last = then.day if days <= 31 else monthrange(then.year, then.month)[1]
    return datetime(then.year, then.month, last, tzinfo=UTC) + timedelta(days=1)
