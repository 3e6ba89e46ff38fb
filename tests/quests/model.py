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
