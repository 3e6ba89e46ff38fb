"""Referrals once more, as simply as they can be said, for histories in which every saga ends before the next thing happens.

It keeps every click there ever was, looks at all of them at each registration, and imports nothing of what it is compared with.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

DAY = timedelta(days=1)


@dataclass
class Terms:
    """A scheme; worths are functions of an order's total."""

    levels: list[Any]
    commission: list[Any]
    friend: int = 0
    least: int = 0
    budget: int = 0
    purse: int = 0
    threshold: int | None = None
    tiers: dict[str, int] = field(default_factory=dict)
    first: bool = False
    window: int = 30
    qualify: int | None = None
    hold: int = 0
    manual: bool = False
    closed: bool = False


@dataclass
class Friend:
    """A registered user, and how they were brought."""

    at: datetime
    referrer: str | None = None
    scheme: str = ""
    status: str = "none"
    source: str = ""
    approve_at: datetime | None = None
    shares: list[tuple[int, str, int, int]] = field(default_factory=list)
    granted: list[tuple[int, str, int, int]] = field(default_factory=list)


class Model:
    """What there is, and what each thing that happens changes."""

    def __init__(self, schemes: dict[str, Terms]) -> None:
        """Schemes that count, and nobody there."""
        self.schemes = schemes
        self.friends: dict[str, Friend] = {}
        self.codes: dict[str, tuple[str, str, datetime | None]] = {}
        self.clicks: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        self.signed_in: dict[str, set[str]] = defaultdict(set)
        self.marks: dict[str, set[str]] = defaultdict(set)
        self.ambassadors: dict[str, tuple[str, str]] = {}
        self.payouts: dict[tuple[str, str, str], tuple[int, str]] = {}
        self.ignored: dict[str, str] = {}

    # -- what happens

    def register(self, now: datetime, user: str, typed: str | None, visitor: str | None, device: str | None) -> None:
        if user in self.friends:
            return
        friend = self.friends[user] = Friend(now)
        if device:
            self.marks[user].add(f"device {device}")
        touched = {code: times for (who, code), times in self.clicks.items() if who == visitor}
        if typed and (reason := self._unusable(typed, visitor, now)):
            self.ignored[user] = reason
        elif typed:
            touched = touched | {typed: [*touched.get(typed, []), now]}
        best = self._best({c: t for c, t in touched.items() if self._unusable(c, visitor, now) is None}, now)
        if best:
            friend.referrer, friend.scheme, _ = self.codes[best]
            friend.status = "attributed"

    def invite(self, now: datetime, user: str, code: str, scheme: str, days: int | None) -> None:
        if user in self.friends and code not in self.codes and not self.schemes[scheme].closed:
            self.codes[code] = (user, scheme, now + days * DAY if days else None)

    def click(self, now: datetime, visitor: str, code: str, user: str | None) -> None:
        if code not in self.codes or self._over(code, now):
            return
        if user == self.codes[code][0]:
            self.signed_in[visitor].add(user)
        self.clicks[visitor, code].append(now)

    def order(self, now: datetime, user: str, order: str, total: int, payment: str | None) -> None:
        if payment:
            self.marks[user].add(f"payment {payment}")
        friend = self.friends.get(user)
        if friend is None or friend.status != "attributed" or friend.referrer is None:
            return
        terms = self.schemes[friend.scheme]
        late = terms.qualify is not None and now >= friend.at + terms.qualify * DAY
        if terms.closed or late or total < terms.least:
            return
        friend.source = order
        friend.shares = [(0, user, terms.friend, 0)]
        above: str | None = friend.referrer
        for level, (points, commission) in enumerate(zip(terms.levels, terms.commission, strict=True), start=1):
            if above is None:
                break
            friend.shares.append((level, above, points(total), commission(total)))
            above = self.friends[above].referrer
        if self.marks[user] & self.marks[friend.referrer]:
            friend.status = "flagged"
            return
        friend.status = "pending"
        friend.approve_at = None if terms.manual else now + terms.hold * DAY
        self.wait(now)

    def refund(self, user: str, order: str) -> None:
        friend = self.friends.get(user)
        if friend and friend.source == order:
            self.void(user)

    def wait(self, now: datetime) -> None:
        due = [f for f in self.friends.values() if f.status == "pending" and f.approve_at and f.approve_at <= now]
        for friend in sorted(due, key=lambda one: (one.approve_at, one.at)):
            self._grant(friend)

    def approve(self, user: str) -> None:
        friend = self.friends.get(user)
        if friend and friend.status in ("pending", "flagged"):
            self._grant(friend)

    def flag(self, user: str) -> None:
        friend = self.friends.get(user)
        if friend and friend.status == "pending":
            friend.status = "flagged"

    def void(self, user: str) -> None:
        friend = self.friends.get(user)
        if friend and friend.referrer:
            friend.status, friend.granted = "voided", []

    def close(self, scheme: str) -> None:
        self.schemes[scheme].closed = True

    def ambassador(self, user: str, step: str) -> None:
        match self.ambassadors.get(user), step:
            case None, "apply":
                self.ambassadors[user] = ("applied", "standard")
            case ("applied", _), "approve":
                self.ambassadors[user] = ("active", "standard")
            case ("active", _), "gold" | "standard":
                self.ambassadors[user] = ("active", step)
            case ("active", _), "revoke":
                self.ambassadors[user] = ("revoked", "standard")

    def payout(self, user: str, scheme: str, name: str) -> None:
        threshold, payable = self.schemes[scheme].threshold, self.payable(user, scheme)
        if (scheme, user, name) not in self.payouts and threshold and payable >= threshold:
            self.payouts[scheme, user, name] = (payable, "requested")

    def end(self, user: str, scheme: str, name: str, status: str) -> None:
        amount, before = self.payouts.get((scheme, user, name), (0, ""))
        if before == "requested":
            self.payouts[scheme, user, name] = (amount, status)

    # -- what stands

    def points(self) -> dict[str, int]:
        """What each user has got, less what was taken back."""
        found: dict[str, int] = defaultdict(int)
        for friend in self.friends.values():
            for _, user, points, _ in friend.granted:
                found[user] += points
        return {user: points for user, points in found.items() if points}

    def payable(self, user: str, scheme: str) -> int:
        """What an ambassador may ask for."""
        told = [
            amount
            for (s, u, _), (amount, status) in self.payouts.items()
            if (s, u) == (scheme, user) and status != "failed"
        ]
        return self._earned(user, scheme) - sum(told)

    def _earned(self, user: str, scheme: str) -> int:
        friends = [friend for friend in self.friends.values() if friend.scheme == scheme]
        return sum(commission for friend in friends for _, who, _, commission in friend.granted if who == user)

    def _grant(self, friend: Friend) -> None:
        terms = self.schemes[friend.scheme]
        friend.status = "approved"
        shares = [
            (n, user, points, self._commission(user, commission, terms))
            for n, user, points, commission in friend.shares
        ]
        given = [one for other in self.friends.values() if other.scheme == friend.scheme for one in other.granted]
        spent = sum(points for *_, points, _ in given + shares)
        paid = sum(commission for *_, commission in given + shares)
        if spent <= terms.budget and paid <= terms.purse:
            friend.granted = shares

    def _commission(self, user: str, commission: int, terms: Terms) -> int:
        status, tier = self.ambassadors.get(user, ("", ""))
        return commission * terms.tiers.get(tier, 100) // 100 if status == "active" else 0

    def _over(self, code: str, now: datetime) -> bool:
        _, scheme, end = self.codes[code]
        return self.schemes[scheme].closed or (end is not None and now >= end)

    def _unusable(self, code: str, visitor: str | None, now: datetime) -> str | None:
        if code not in self.codes:
            return "unknown"
        owner, scheme, end = self.codes[code]
        if visitor and owner in self.signed_in[visitor]:
            return "own"
        if end is not None and now >= end:
            return "expired"
        return "scheme_not_active" if self.schemes[scheme].closed else None

    def _best(self, touched: dict[str, list[datetime]], now: datetime) -> str | None:
        near = {}
        for code, times in touched.items():
            window = self.schemes[self.codes[code][1]].window * DAY
            first = last = times[-1]
            for time in reversed(times):
                if first - time > window:
                    break
                first = time
            if now - last <= window:
                near[code] = (first, last)
        if not near:
            return None
        latest = max(near, key=lambda code: (near[code][1], code))
        scheme = self.codes[latest][1]
        if not self.schemes[scheme].first:
            return latest
        return min((c for c in near if self.codes[c][1] == scheme), key=lambda code: (near[code][0], code))
