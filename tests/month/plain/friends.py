"""Referrals: codes, who brought whom, what they get for it when the friend has paid an order, and ambassadors who are paid money."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from .wallet import OK, Award, Line, Outcome, Points, no

SCHEME = "friends"
LEAST = 2000  # that a friend has to pay, in euro cents
HOLD = timedelta(days=2)
FRIEND, LEVELS = 50, (80, 20)
THRESHOLD = 400


class Referrals:
    """The one scheme of the town, and all about it."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.is_open = False
        self.uplines: dict[str, tuple[str, ...]] = {}
        self.codes: dict[str, tuple[str, datetime]] = {}
        self.referrals: dict[str, Line] = {}
        self.ignored: dict[str, tuple[str | None, str]] = {}
        self.rewards: dict[tuple[str, int], Line] = {}
        self.given = self.commission = 0
        self.ambassadors: dict[str, str] = {}
        self.gold: set[str] = set()
        self.earned: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # earned, requested, paid
        self.payouts: dict[tuple[str, str], Line] = {}

    # -- schemes and codes

    def create_referral_scheme(self, data: Line, now: datetime) -> Outcome:
        return OK

    def activate_referral_scheme(self, data: Line, now: datetime) -> Outcome:
        self.is_open = True
        return OK

    def create_referral_code(self, data: Line, now: datetime) -> Outcome:
        user, code = data["user_id"], data["code"].upper()
        if user not in self.uplines:
            return no("user_not_found")
        if code in self.codes:
            return no("code_exists" if self.codes[code][0] == user else "code_taken")
        self.codes[code] = user, now
        return OK

    # -- friends

    def registered(self, data: Line, now: datetime) -> None:
        """A new user, brought by somebody or not."""
        user, typed = data["user_id"], data.get("referral_code")
        self.uplines[user] = ()
        if typed is None:
            return
        code = typed.strip().upper()
        if code not in self.codes:
            self.ignored[user] = code, "unknown"
            return
        referrer = self.codes[code][0]
        self.uplines[user] = (referrer, *self.uplines[referrer])[:5]
        self.referrals[user] = {"referrer": referrer, "code": code, "status": "attributed", "since": now, "began": now}

    def paid(self, order: Line, at: datetime, now: datetime) -> None:
        """An order may be what makes somebody a friend."""
        referral = self.referrals.get(order["user_id"])
        if not referral or referral["status"] != "attributed":
            return
        if order["currency"] == "EUR" and order["total"] >= LEAST:
            source, commission = f"order:{order['order_id']}", order["total"] // 10
            told = {"status": "pending", "source": source, "qualified": at, "approve": at + HOLD, "since": now}
            referral |= {**told, "commission": commission}

    def tick(self, now: datetime) -> None:
        """Who has waited long enough is approved."""
        for friend, referral in self.referrals.items():
            if referral["status"] == "pending" and referral["approve"] <= now:
                referral |= {"status": "approved", "since": now}
                self._grant(friend, referral, now)

    def _grant(self, friend: str, referral: Line, now: datetime) -> None:
        users = (friend, *self.uplines[friend][: len(LEVELS)])
        for level, (user, points) in enumerate(zip(users, (FRIEND, *LEVELS), strict=False)):
            commission = 0
            if level == 1 and self.ambassadors.get(user) == "active":
                commission = referral["commission"] * (150 if user in self.gold else 100) // 100
            self.rewards[friend, level] = {
                "user": user,
                "points": points,
                "commission": commission,
                "status": "granted",
            }
            self.rewards[friend, level]["since"] = now
            self._count(user, points, commission)
            self.points.earn(user, f"referral:{SCHEME}", f"{friend} {level}", Award(points), now, "*")

    def _count(self, user: str, points: int, commission: int) -> None:
        self.given += points
        self.commission += commission
        if commission:
            self.earned[user][0] += commission

    def refunded(self, order: Line, now: datetime) -> None:
        """What an order had made is undone."""
        friend = order["user_id"]
        referral = self.referrals.get(friend)
        if not referral or referral.get("source") != f"order:{order['order_id']}" or referral["status"] == "voided":
            return
        was = referral["status"]
        referral |= {"status": "voided", "reason": "returned", "since": now}
        for level in range(len(LEVELS) + 1) if was == "approved" else ():
            if reward := self.rewards.get((friend, level)):
                reward |= {"status": "clawed_back", "since": now}
                self._count(reward["user"], -reward["points"], -reward["commission"])
                about = f"award/referral:{SCHEME}/*"
                source = f"{friend} {level}"
                self.points.take_back(reward["user"], f"referral:{SCHEME}", source, reward["points"], now, about)

    # -- ambassadors

    def apply_as_ambassador(self, data: Line, now: datetime) -> Outcome:
        if status := self.ambassadors.get(data["user_id"]):
            return no(f"ambassador_{status}")
        self.ambassadors[data["user_id"]] = "applied"
        return OK

    def approve_ambassador(self, data: Line, now: datetime) -> Outcome:
        self.ambassadors[data["user_id"]] = "active"
        return OK

    def set_ambassador_tier(self, data: Line, now: datetime) -> Outcome:
        self.gold.add(data["user_id"])
        return OK

    def request_payout(self, data: Line, now: datetime) -> Outcome:
        place, sums = (data["user_id"], data["payout_id"]), self.earned[data["user_id"]]
        payable = sums[0] - sums[1] - sums[2]
        if place in self.payouts:
            return no("payout_exists")
        if payable < THRESHOLD:
            return no("below_threshold")
        sums[1] += payable
        self.payouts[place] = {"amount": payable, "status": "requested"}
        return OK

    def complete_payout(self, data: Line, now: datetime) -> Outcome:
        payout = self.payouts.get((data["user_id"], data["payout_id"]))
        if payout is None:
            return no("payout_not_found")
        if payout["status"] != "requested":
            return no(f"payout_{payout['status']}")
        sums = self.earned[data["user_id"]]
        sums[1], sums[2] = sums[1] - payout["amount"], sums[2] + payout["amount"]
        payout["status"] = "completed"
        return OK

    # -- what there is to see

    def tables(self) -> dict[str, list[Any]]:
        about = ("referrer", "code", "status", "reason", "source", "began", "qualified", "approve", "since")
        rewards = self.rewards.items()
        return {
            "referrals.code": [[code, *told] for code, told in self.codes.items()],
            "referrals.ignored": [[user, *told] for user, told in self.ignored.items()],
            "referrals.referral": [[user, *map(one.get, about)] for user, one in self.referrals.items()],
            "referrals.reward": [[friend, level, *one.values()] for (friend, level), one in rewards],
            "referrals.bank": [[SCHEME, self.given, self.commission, 0]] if self.rewards else [],
            "referrals.earnings": [
                [user, *sums] for user, sums in self.earned.items() if any(sums) or user in self._paid()
            ],
            "referrals.payout": [[*place, *one.values()] for place, one in self.payouts.items()],
            "referrals.ambassador": [
                [user, status, "gold" if user in self.gold else "standard"] for user, status in self.ambassadors.items()
            ],
        }

    def _paid(self) -> set[str]:
        return {one["user"] for one in self.rewards.values() if one["commission"]}
