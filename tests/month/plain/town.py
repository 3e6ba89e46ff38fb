"""The whole town: lines in, tables out. `python town.py < lines.jsonl > tables.json` does it alone.

A line is a command (`command`, `as`, `data`), an event of a domain that is not built yet (`event`, `data`), or the time (`clock`), to which everything
has moved on when the next line comes. Each has an `id`; one that comes again is the same one.
"""

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from .friends import Referrals
from .market import Promotions
from .people import People
from .play import Quests
from .rules import Rules
from .wallet import MOST, OK, Line, Outcome, Points, when

LATE = timedelta(minutes=5)
REFUSED: Outcome = ("refused", None)
AMOUNTS = {"amount", "price", "value", "quantity", "budget"}
ADMINS = {
    "award_points",
    "expire_points",
    "define_points_rule",
    "activate_points_rule",
    "deactivate_points_rule",
    "define_tiers",
    "create_referral_scheme",
    "activate_referral_scheme",
    "approve_ambassador",
    "set_ambassador_tier",
    "complete_payout",
    "create_badge",
    "create_leaderboard",
}
RULES = {"define_points_rule", "activate_points_rule", "deactivate_points_rule"}
PARTNERS = {"create_campaign", "activate_campaign", "redeem_voucher"}
AUTHORS = {"create_quest", "publish_quest"}


def legal(name: str, who: Line | None, data: Line) -> bool:
    """Whether the door lets a command in: amounts that are amounts, nobody in another's name, no gifts to oneself."""
    for field in set() if name in RULES else AMOUNTS & data.keys():
        least = 0 if field == "price" else 1
        if type(data[field]) is not int or not least <= data[field] <= MOST:
            return False
    if name == "register_user":
        return True
    if who is None:
        return False
    if who["role"] == "Admin":
        return True
    if name in ADMINS:
        return False
    if name in AUTHORS:
        return bool(who["role"] == "Partner" and who["user"] == data["author_id"])
    if name in PARTNERS:
        return bool(who["role"] == "Partner" and who["user"] == data["partner_id"])
    return bool(who["role"] == "User" and who["user"] == data["user_id"] and data.get("to") != data["user_id"])


class Town:
    """Everything at once."""

    def __init__(self) -> None:
        self.now = datetime(1, 1, 1, tzinfo=UTC)
        self.points = Points()
        self.rules = Rules(self.points)
        self.people = People()
        self.promotions = Promotions(self.points)
        self.referrals = Referrals(self.points)
        self.quests = Quests(self.points)
        self.domains: dict[str, Any] = {
            "points": self.points,
            "identity": self.people,
            "promotions": self.promotions,
            "referrals": self.referrals,
            "quests": self.quests,
        }
        self.outcomes: dict[str, Outcome] = {}

    def play(self, line: Line) -> Outcome:
        """What becomes of a line."""
        if "clock" in line:
            self.now = when(line["clock"]) or self.now
            self._tick()
            return OK
        if line["id"] in self.outcomes:
            return self.outcomes[line["id"]]
        now = max(when(line["at"]) or self.now, self.now - LATE)
        outcome = self.outcomes[line["id"]] = self._command(line, now) if "command" in line else OK
        if "event" in line:
            self._event(line["event"], line["data"], when(line["at"]) or now, line["id"])
        return outcome

    def _command(self, line: Line, now: datetime) -> Outcome:
        domain, name = line["command"].split(".")
        if not legal(name, line["as"], line["data"]):
            return REFUSED
        about: Any = self.rules if name in RULES else self.domains[domain]
        outcome: Outcome = getattr(about, name)(line["data"], now)
        if outcome == OK:
            self._followed(name, line["data"], now, line["id"])
        return outcome

    def _followed(self, name: str, data: Line, now: datetime, source: str) -> None:
        """What other domains make of it."""
        if name == "register_user":
            self.rules.happened("identity.user_registered", data, now, now, source)
            self.referrals.registered(data, now)
        if name == "redeem_voucher":
            owner = self.promotions.campaigns[data["campaign_id"]].vouchers[data["code"]["voucher"]]["user"]
            self.rules.happened("promotions.voucher_redeemed", {"user_id": owner}, now, now, source)

    def _event(self, name: str, data: Line, at: datetime, source: str) -> None:
        now = max(at, self.now - LATE)
        self.quests.happened(name, data, at, now)
        if name == "commerce.order_paid":
            self.rules.happened(name, data, at, now, data["order_id"], data["order_id"])
            self.referrals.paid(data, at, now)
        elif name == "commerce.order_refunded":
            self.rules.refunded(data, now)
            self.referrals.refunded(data, now)
        else:
            self.rules.happened(name, data, at, now, source)

    def _tick(self) -> None:
        """What time brings."""
        for user in self.points.wallets:
            self.points.sweep(user, self.now)
        self.promotions.tick(self.now)
        self.referrals.tick(self.now)
        self.quests.tick(self.now)

    def tables(self) -> dict[str, list[Any]]:
        """Rows by table."""
        return {name: rows for domain in self.domains.values() for name, rows in domain.tables().items()}


def tables(lines: Iterable[Line]) -> dict[str, Any]:
    """What these lines lead to, as JSON has it."""
    town = Town()
    for line in lines:
        town.play(line)
    found: dict[str, Any] = {**town.tables(), "outcomes": [[name, *told] for name, told in town.outcomes.items()]}
    told: dict[str, Any] = json.loads(json.dumps(found, default=datetime.isoformat))
    return told


if __name__ == "__main__":
    json.dump(tables(map(json.loads, sys.stdin)), sys.stdout)
