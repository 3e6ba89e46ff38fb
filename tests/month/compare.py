"""Rows of the platform held against rows of the plain model: the same ones, each as often.

The time of a row is compared by the wave in which it was written: how many milliseconds later a worker came to it is its own affair.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.month.generator import HOURS, MOST_DAYS, STEP
from tests.month.plain.town import LATE

QUERIES: dict[str, str] = {
    "identity.profile": "SELECT user_id, language, registered_at FROM profile",
    "points.balance": "SELECT user_id, available, held FROM balance",
    "points.expiring": "SELECT user_id, expires_at, amount FROM expiring",
    "points.ledger": "SELECT user_id, at, kind, debit, credit, amount, reference FROM ledger",
    "points.pending": "SELECT user_id, unlocks_at, amount FROM pending",
    "points.tally": "SELECT user_id, spent, expired, reversed, transit, owed FROM tally",
    "points.tier": "SELECT user_id, tier, ever FROM tier",
    "promotions.campaign": "SELECT campaign_id, status, issued, failed, redeemed, expired FROM campaign",
    "quests.badge_held": "SELECT user_id, badge_id, at, source FROM badge_held",
    "quests.earning": "SELECT user_id, at, amount, source, source_id FROM earning",
    "quests.ending": "SELECT user_id, run, status, at FROM ending",
    "quests.period": "SELECT leaderboard_id, period, status, participants, closed_at FROM period",
    "quests.player": "SELECT user_id, xp, level FROM player",
    "quests.run": "SELECT user_id, run, started_at, deadline FROM run",
    "quests.score": "SELECT leaderboard_id, period, user_id, score, reached_at FROM score",
    "quests.task": "SELECT user_id, run, task_id, done_at FROM task",
    "referrals.ambassador": "SELECT user_id, status, tier FROM ambassador",
    "referrals.bank": "SELECT scheme_id, points, commission, exhausted FROM bank",
    "referrals.code": "SELECT code, user_id, created_at FROM code",
    "referrals.earnings": "SELECT user_id, earned, requested, paid FROM earnings",
    "referrals.ignored": "SELECT user_id, code, reason FROM ignored",
    "referrals.payout": "SELECT user_id, payout_id, amount, status FROM payout",
    "referrals.referral": "SELECT referral_id, referrer_id, code, status, reason, source, attributed_at, qualified_at, approve_at, since FROM referral",
    "referrals.reward": "SELECT referral_id, level, user_id, points, commission, status, since FROM reward",
    "promotions.voucher": "SELECT campaign_id, voucher_id, user_id, status, reason, started_at, valid_from, valid_to, redeemed_at FROM voucher",
}
"""What is asked of a domain's tables; the plain model has a table of the same name and columns."""

MADE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")
"""An id that the platform made of others; the model has a star for it."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")
SHOWN = 5
Row = tuple[Any, ...]


def differences(expected: Mapping[str, Sequence[Sequence[Any]]], found: Mapping[str, Iterable[Row]]) -> list[str]:
    """What one has and the other has not, in words."""
    wrong = []
    for table, rows in found.items():
        wanted = Counter(tuple(_cell(one) for one in row) for row in expected[table])
        there = Counter(tuple(_cell(one) for one in row) for row in rows)
        for word, more in (("only in the model", wanted - there), ("only on the platform", there - wanted)):
            if more:
                shown = "; ".join(str(row) for row in sorted(more, key=str)[:SHOWN])
                wrong.append(f"{table}: {more.total()} rows {word}: {shown}")
    return wrong


def _wave(at: datetime) -> str:
    """The wave in which something happened at this time, or so many days before; any other time as it is.

    A line may be late by five minutes and a worker by two, and each day's waves are so much later than those of the day before.
    """
    at = at.astimezone(UTC)
    shown = at + LATE
    minute = shown.hour * 60 + shown.minute
    for hour in HOURS:
        if 0 <= (after := minute - 60 * hour) < STEP * MOST_DAYS:
            return f"{shown:%Y-%m-%d} {hour}:00 as on day {after // STEP}"
    return at.isoformat()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _wave(value)
    if isinstance(value, str):
        value = MADE.sub("*", value)
        if TIME.fullmatch(value):
            return _wave(datetime.fromisoformat(value))
    return value
