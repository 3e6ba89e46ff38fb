"""What must come out, by brute force over all that was told; it imports nothing of the rules."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

DAY = timedelta(days=1)


class Told(NamedTuple):
    """Something that happened at `at`, as it was decided `now`."""

    user_id: str
    at: datetime
    now: datetime
    amount: int = 1


def midnight(day: date) -> datetime:
    """When a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def level(xp: int) -> int:
    """Each level costs 100 more than the one before it."""
    reached, cost = 1, 100
    while xp >= cost:
        xp, cost, reached = xp - cost, cost + 100, reached + 1
    return reached


def days_that_count(told: Iterable[Told]) -> dict[str, set[date]]:
    """The days on which something happened to each user that was told no later than a day after the day's end."""
    found: dict[str, set[date]] = defaultdict(set)
    for one in told:
        if one.now < midnight(one.at.date()) + 2 * DAY:
            found[one.user_id].add(one.at.date())
    return found


def in_a_row(days: set[date]) -> list[tuple[date, date]]:
    """The longest stretches of days without a gap."""
    firsts = sorted(day for day in days if day - DAY not in days)
    lasts = sorted(day for day in days if day + DAY not in days)
    return list(zip(firsts, lasts, strict=True))


def running(stretch: tuple[date, date], now: datetime) -> bool:
    """Whether the day after a stretch can still be told."""
    return now < midnight(stretch[1]) + 3 * DAY


def ranking(told: Iterable[Told]) -> list[tuple[str, int, datetime]]:
    """Users by their sum, then by when it was reached, then by name."""
    sums: dict[str, int] = defaultdict(int)
    reached: dict[str, datetime] = {}
    for one in told:
        sums[one.user_id] += one.amount
        reached[one.user_id] = max(reached.get(one.user_id, one.at), one.at)
    return sorted(((user, sums[user], reached[user]) for user in sums), key=lambda row: (-row[1], row[2], row[0]))


def period(every: str, at: datetime) -> tuple[str, datetime | None]:
    """The name of the period at a time, and when it ends."""
    day = at.date()
    match every:
        case "day":
            return day.isoformat(), midnight(day) + DAY
        case "week":
            year, week, weekday = day.isocalendar()
            return f"{year}-W{week:02}", midnight(day) + (8 - weekday) * DAY
        case "month":
            following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            return f"{day.year}-{day.month:02}", midnight(following)
    return "season", None


class Gathering:
    """A party as its owner's commands and what follows from answers are decided one by one: who was asked, who is in it, and how it stands."""

    def __init__(self, owner: str, least: int, most: int, needed: int | None) -> None:
        self.owner, self.least, self.most, self.wanted = owner, least, most, needed
        self.asked: dict[str, datetime] = {}
        self.there, self.done, self.needed = {owner}, set[str](), 0
        self.status = "gathering"

    def _late(self) -> str | None:
        late = {"gathering": None, "disbanded": "party_disbanded"}
        return late.get(self.status, "party_started")

    def _on(self, *, start: bool = True) -> None:
        """It goes on by itself where it can."""
        if self.status == "gathering" and start and not self.asked and len(self.there) >= self.least:
            self._set_out()
        if self.status == "started" and len(self.done) >= self.needed:
            self.status = "completed"
        if self.status == "started" and len(self.there) < self.needed:
            self.status = "failed"

    def _set_out(self) -> None:
        self.status, self.asked, self.needed = "started", {}, self.wanted or len(self.there)

    def invite(self, users: tuple[str, ...], now: datetime) -> str | None:
        """The owner asks."""
        checks = {
            "own_invitation": self.owner in users,
            "already_member": bool(self.there & {*users}),
            "already_invited": bool({*self.asked} & {*users}),
            "party_full": len(self.there) + len(self.asked) + len(users) > self.most,
        }
        code = self._late() or next((code for code, wrong in checks.items() if wrong), None)
        self.asked |= {} if code else dict.fromkeys(users, now + 7 * DAY)
        return code

    def answer(self, user: str, now: datetime, *, joins: bool) -> str | None:
        """A user answers."""
        code = self._late() or ("not_invited" if user not in self.asked else None)
        code = code or ("invitation_expired" if now >= self.asked[user] else None)
        if code is None:
            del self.asked[user]
            self.there |= {user} if joins else set()
            self._on()
        return code

    def expire(self, now: datetime) -> str | None:
        """Time passes for those who were asked."""
        left = {user: until for user, until in self.asked.items() if now < until}
        code = None if left != self.asked else "not_due"
        self.asked = left
        self._on(start=code is None)
        return code

    def start(self) -> str | None:
        """The owner waits no longer."""
        if code := self._late():
            return code
        if len(self.there) < self.least:
            return "too_few_members"
        self._set_out()
        return None

    def end(self, user: str, *, completed: bool) -> str | None:
        """A member is done, or is off."""
        if user not in self.there - self.done or self.status in ("failed", "disbanded"):
            return "not_in_party"
        if completed:
            self.done.add(user)
        else:
            self.there.discard(user)
        if self.status == "gathering" and user == self.owner:
            self.status, self.asked, self.there = "disbanded", {}, set()
        self._on()
        return None
