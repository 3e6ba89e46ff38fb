"""What is known of points: a user's account and what stands beside it, and the rules and tiers of a program."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from streams.decision import State
from topics.points import MAX_POINTS, Lot, Lots

MAX_LOTS = 64  # times at which points of one account expire

Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""

Parts = tuple[tuple[datetime, int], ...]
"""Lots as documents keep them."""


class Shelf(msgspec.Struct, frozen=True, array_like=True):
    """What expires at one time: `free` of what is available, `away` of what is held, pending or on its way and may come back."""

    expires_at: datetime
    free: int
    away: int = 0


class Locked(msgspec.Struct, frozen=True, array_like=True):
    """What is pending until one time; `lots` tell what of it expires."""

    unlocks_at: datetime
    amount: int
    lots: Parts = ()


class Tally(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has become of points that the user had: each is what went less what came back. `transit` is what was sent less what was received."""

    spent: int = 0
    expired: int = 0
    reversed: int = 0
    adjusted: int = 0
    transit: int = 0


NOTHING = Tally()


class Account(State, frozen=True, omit_defaults=True):
    """A user's points: free to use, held, and on their way to others, from where they may come back; and `pending`, by time.

    `shelves` tell of them what expires, earliest first; what stands on none does not expire. A time stays there until nothing of it
    can come back, so that there is always room for what does. `owed` was taken back and had been used; while it is owed, nothing is free to use.
    """

    available: int = 0
    held: int = 0
    outgoing: int = 0
    shelves: tuple[Shelf, ...] = ()
    pending: tuple[Locked, ...] = ()
    owed: int = 0
    tally: Tally = NOTHING

    def has_room(self, amount: int) -> bool:
        """Whether so much more can come in and the largest balance is never passed, whatever comes back."""
        locked = sum(lock.amount for lock in self.pending) if self.pending else 0
        return self.available + self.held + self.outgoing + locked + amount <= MAX_POINTS

    def has_shelves(self, times: Iterable[datetime]) -> bool:
        """Whether points that expire at these times can come in."""
        return len({shelf.expires_at for shelf in self.shelves}.union(times)) <= MAX_LOTS

    def shelf_for(self, end: datetime) -> datetime | None:
        """When points expire that are to expire then: where there is no room for one more time at the next one there is, or never."""
        if self.has_shelves([end]):
            return end
        return next((shelf.expires_at for shelf in self.shelves if shelf.expires_at > end), None)

    def usable(self, now: datetime) -> int:
        """What is available and has not expired."""
        return self.available - sum(shelf.free for shelf in self.shelves if shelf.expires_at <= now)

    def first(self, amount: int, now: datetime) -> Lots:
        """What of this amount, taken now, is taken of points that expire: of those that expire first."""
        lots = []
        for shelf in self.shelves:
            if taken := min(amount, shelf.free) if shelf.expires_at > now else 0:
                lots.append(Lot(expires_at=shelf.expires_at, amount=taken))
                amount -= taken
        return tuple(lots)

    def due(self, now: datetime) -> Lots:
        """What has expired by now."""
        return tuple(
            Lot(expires_at=shelf.expires_at, amount=shelf.free)
            for shelf in self.shelves
            if shelf.expires_at <= now and shelf.free
        )

    def move(self, available: int, held: int, outgoing: int, lots: Lots) -> "Account":
        """The account after a movement; `lots` tell what of it expires."""
        shelves = self.shelves
        if lots:
            shelves = _moved(shelves, lots, _sign(available), _sign(held + outgoing))
        return Account(
            self.available + available,
            self.held + held,
            self.outgoing + outgoing,
            shelves,
            self.pending,
            self.owed,
            self.tally,
        )

    def lock(self, available: int, pending: int, unlocks_at: datetime, lots: Lots) -> "Account":
        """The account after a movement to or from what is pending until then."""
        locks = {lock.unlocks_at: lock for lock in self.pending}
        before = locks.pop(unlocks_at, Locked(unlocks_at, 0))
        parts = dict(before.lots)
        for lot in lots:
            parts[lot.expires_at] = parts.get(lot.expires_at, 0) + _sign(pending) * lot.amount
        if before.amount + pending:
            kept = tuple((at, amount) for at, amount in sorted(parts.items()) if amount)
            locks[unlocks_at] = Locked(unlocks_at, before.amount + pending, kept)
        shelves = _moved(self.shelves, lots, _sign(available), _sign(pending)) if lots else self.shelves
        locked = tuple(lock for _, lock in sorted(locks.items()))
        return replace(self, available=self.available + available, shelves=shelves, pending=locked)

    def count(self, **changes: int) -> "Account":
        """The account with so much more or less in its tally."""
        return replace(
            self, tally=replace(self.tally, **{name: getattr(self.tally, name) + by for name, by in changes.items()})
        )


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _moved(shelves: Iterable[Shelf], lots: Lots, free: int, away: int) -> tuple[Shelf, ...]:
    """The shelves after the lots were put there or taken away: `free` and `away` are 1, 0 or -1."""
    by_time = {shelf.expires_at: shelf for shelf in shelves}
    for at, amount in parts_of(lots):
        shelf = by_time.get(at) or Shelf(at, 0)
        by_time[at] = Shelf(at, shelf.free + free * amount, shelf.away + away * amount)
    return tuple(shelf for _, shelf in sorted(by_time.items()) if shelf.free or shelf.away)


def parts_of(lots: Lots) -> Parts:
    """As documents keep them."""
    return tuple((lot.expires_at, lot.amount) for lot in lots)


def lots_of(parts: Parts) -> Lots:
    """As events tell them."""
    return tuple(Lot(expires_at=at, amount=amount) for at, amount in parts)


class Award(State, frozen=True):
    """Whether a rule has rewarded a source, as it was kept before there were sources."""

    given: bool = False


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rule has given for a source, in which period of the user's tier, and how much of it was taken back.

    `event` and `base` are what it was for and the money behind it.
    """

    amount: int = 0
    reversed: int = 0
    period: int = 0
    expires_at: datetime | None = None
    unlocks_at: datetime | None = None
    event: str = ""
    base: int = 0


class Source(State, frozen=True, omit_defaults=True):
    """What a user was rewarded for: by which rules, and how much of the money behind it went back."""

    awards: Mapping[str, Given] = {}
    refunded: int = 0


class Day(State, frozen=True, omit_defaults=True):
    """What each rule has given for what happened on one day; or, under its own word, for all that ever happened."""

    given: Mapping[str, int] = {}


class Hold(State, frozen=True, omit_defaults=True):
    """Points set aside under one id; `reversed` were given back after they were captured."""

    amount: int = 0
    status: Literal["unknown", "open", "captured", "released"] = "unknown"
    lots: Parts = ()
    reversed: int = 0


class Spend(State, frozen=True, omit_defaults=True):
    """Points spent under one id; `reversed` were given back."""

    amount: int = 0
    lots: Parts = ()
    reversed: int = 0


class Transfer(State, frozen=True, omit_defaults=True):
    """A transfer at its sender, and the command that waits for its end."""

    to: str = ""
    amount: int = 0
    command_id: str = ""
    status: Literal["unknown", "open", "arrived", "returned"] = "unknown"
    lots: Parts = ()


class Progress(State, frozen=True, omit_defaults=True):
    """A user's tier, and the points that count for it: `ever` earned, and in this period and the one `before`, of which this has a number and an end."""

    tier: str | None = None
    ever: int = 0
    earned: int = 0
    before: int = 0
    period: int = 0
    until: datetime | None = None


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a revision of a rule says."""

    revision: int
    amount: int | str
    condition: str = "true"
    cap_per_day: int | None = None
    cap_per_user: int | None = None
    validity: int | None = None
    pending: int | None = None


class Rule(State, frozen=True, omit_defaults=True):
    """A rule by its id: what it listens to, the terms that were defined last, and the revision that counts, 0 for none."""

    event: str = ""
    terms: Terms | None = None
    active: int = 0


class Listening(State, frozen=True, omit_defaults=True):
    """The rules that count, by event and id; None while they are those that were there from the beginning."""

    rules: Mapping[str, Mapping[str, Terms]] | None = None


class Catalogue(State, frozen=True):
    """How many rules a program has."""

    rules: int = 0


class Step(msgspec.Struct, frozen=True, array_like=True):
    """A tier, and the points that it needs."""

    tier_id: str
    points: int


class Tiers(State, frozen=True, omit_defaults=True):
    """The tiers of a program, lowest first, and the days of a period."""

    revision: int = 0
    steps: tuple[Step, ...] = ()
    period: int | None = None
