"""Rules by which points are given for what happens elsewhere; here they are functions, there they are data."""

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from .wallet import OK, Award, Line, Outcome, Points

AMOUNTS: dict[str, Callable[[Line], int]] = {
    "sign_up": lambda event: 100,
    "orders": lambda event: event["total"] // 100 if event["currency"] == "EUR" and event["total"] >= 1000 else 0,
    "training": lambda event: event["minutes"] // 10 if event["minutes"] >= 20 else 0,
    "meetings": lambda event: 12,
    "redeemed": lambda event: 5,
}
"""What a rule gives, before its caps."""


def end_of(at: datetime, days: int | None) -> datetime | None:
    """The end of the day that so many days later is."""
    return datetime.combine(at.date() + timedelta(days=days + 1), time(), at.tzinfo) if days else None


class Rules:
    """The rules of the program, and what each gave for a day and in all."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.terms: dict[str, Line] = {"sign_up": {"rule_id": "sign_up", "event": "identity.user_registered"}}
        self.active = {"sign_up"}
        self.given: Counter[tuple[str, str, date | None]] = Counter()

    def define_points_rule(self, data: Line, now: datetime) -> Outcome:
        self.terms[data["rule_id"]] = data
        return OK

    def activate_points_rule(self, data: Line, now: datetime) -> Outcome:
        self.active.add(data["rule_id"])
        return OK

    def deactivate_points_rule(self, data: Line, now: datetime) -> Outcome:
        self.active.discard(data["rule_id"])
        return OK

    def happened(self, name: str, event: Line, at: datetime, now: datetime, source: str, about: str = "*") -> None:
        """Whoever it happened to gets what the rules say for it."""
        user = event["user_id"]
        for rule in sorted(self.active):
            terms = self.terms[rule]
            if terms["event"] != name or (user, rule, source) in self.points.awards:
                continue
            amount = AMOUNTS[rule](event)
            for cap, day in (("cap_per_day", at.date()), ("cap_per_user", None)):
                if terms.get(cap) is not None:
                    amount = min(amount, terms[cap] - self.given[user, rule, day])
            if amount < 1:
                continue
            self.given[user, rule, at.date()] += amount
            self.given[user, rule, None] += amount
            award = Award(
                amount, end_of(at, terms.get("validity")), end_of(at, terms.get("pending")), event.get("total", 0)
            )
            self.points.earn(user, rule, source, award, now, about)

    def refunded(self, event: Line, now: datetime) -> None:
        """Of what was given for an order, as large a part goes back as of its money."""
        user, source = event["user_id"], event["order_id"]
        for rule in sorted(self.terms):
            award = self.points.awards.get((user, rule, source))
            if award is None or not award.base:
                continue
            award.refunded += event["amount"]
            due = award.amount * min(award.refunded, award.base) // award.base - award.reversed
            if due > 0:
                self.points.take_back(user, rule, source, due, now, f"award/{rule}/{source}")
