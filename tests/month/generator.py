"""The input of a month, from a seed: JSON lines as `plain.town` explains them.

Several times a day the clock moves on and a wave of lines follows. In one wave nobody takes part in two things that could meet in either order: so what comes
out of it does not depend on which of two workers was faster, and every line of the plain model can be held against a row.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.month.plain.town import Town
from tests.month.plain.wallet import MOST

START = datetime(2030, 1, 1, tzinfo=UTC)
HOURS = (1, 8, 13, 18)  # when the clock is moved
STEP = 7  # minutes later each day, so that nothing becomes due while a wave runs
MOST_DAYS = 31
TIRED = 20  # the day on which nothing is given for meetings any more
SHARE = 0.09  # of the users do something in a wave
BROUGHT = 0.5  # of those who register have a code
ILLEGAL, DOUBLE, LATE = 0.015, 0.015, 0.012  # of the lines
ROOT = {"user": "root", "role": "Admin"}
PLAYING = "everybody who plays"
PARTNERS = ("p1", "p2", "p3")
ENOUGH = 200  # points for whatever a refund takes back
Line = dict[str, Any]
CAMPAIGNS: dict[str, Line] = {
    "coffee": {"price": 0, "value": 300, "quantity": 40, "budget": 60_000, "valid_days": 2},
    "museum": {"price": 30, "value": 900, "quantity": 10**6, "budget": 10**12, "per_user": 3, "valid_days": 9},
    "ferry": {"price": 45, "value": 700, "quantity": 10**6, "budget": 10**12, "per_user": 2, "valid_days": 1},
    "opera": {"price": 90, "value": 4000, "quantity": 10**6, "budget": 10**12, "valid_days": 30},
    "market": {"price": 0, "value": 500, "quantity": 10**6, "budget": 20_000, "per_user": 2, "valid_days": 5},
}
"""Kinds of campaigns. What costs points is never sold out: who cannot pay gives back a place, and when is a matter of chance."""


RULES: dict[str, Line] = {
    "orders": {
        "event": "commerce.order_paid",
        "condition": "event.currency == 'EUR' && event.total >= 1000",
        "amount": "event.total / 100",
        "cap_per_day": 80,
        "validity": 9,
        "pending": 2,
    },
    "training": {
        "event": "fitness.workout_recorded",
        "condition": "event.minutes >= 20",
        "amount": "event.minutes / 10",
        "cap_per_day": 8,
        "cap_per_user": 40,
    },
    "meetings": {"event": "meetups.participant_checked_in", "amount": 12, "validity": 5},
    "redeemed": {"event": "promotions.voucher_redeemed", "amount": 5},
}
SCHEME: Line = {
    "scheme_id": "friends",
    "name": "Bring a friend",
    "event": "order_paid",
    "condition": "event.currency == 'EUR' && event.total >= 2000",
    "friend_points": 50,
    "levels": [{"points": 80, "commission": "event.total / 10"}, {"points": 20}],
    "budget": 10**9,
    "currency": "EUR",
    "commission_budget": 10**9,
    "payout_threshold": 400,
    "tiers": {"gold": 150},
    "hold_days": 2,
}
QUEST: Line = {
    "quest_id": "round",
    "author_id": "p1",
    "name": "Round the town",
    "tasks": [
        {"task_id": "meet", "name": "Meet somebody", "event": "participant_checked_in", "xp": 10},
        {"task_id": "shop", "name": "Buy something", "event": "order_paid", "condition": "event.total >= 500"},
        {"task_id": "train", "name": "Train", "event": "workout_recorded", "count": 2, "optional": True, "xp": 15},
    ],
    "limit": 3,
    "days": 6,
    "xp": 100,
    "points": 30,
    "badge_id": "explorer",
}
BOARDS: list[Line] = [
    {"leaderboard_id": "weekly", "name": "Of the week", "every": "week", "winners": 3, "badge_id": "champion"},
    {"leaderboard_id": "monthly", "name": "Of the month", "every": "month"},
]
TIERS = [("bronze", 150), ("silver", 250), ("gold", 400)]


class Generator:
    """Plays every line at once in a town of its own, so that people do what they can do, most of the time."""

    def __init__(self, users: int, days: int, seed: int, share: float = SHARE) -> None:
        """Equal arguments give equal lines."""
        assert days <= MOST_DAYS
        self._dice = random.Random(f"{seed} {users} {days}")
        self._days, self._share = days, share
        self._newcomers = [f"u{n}" for n in range(users)]
        self._dice.shuffle(self._newcomers)
        self._users: list[str] = []
        self._campaigns: list[str] = []
        self._vouchers: list[tuple[str, str]] = []
        self._holds: list[tuple[str, str]] = []
        self._orders: list[Line] = []
        self._town = Town()
        self._wave = self._at = START
        self._busy: set[str] = set()
        self._codes: list[str] = []
        self._sent: list[Line] = []
        self._names = 0
        self._acts: list[tuple[int, Callable[[str], Line | None]]] = [
            (24, self._award),
            (14, self._spend),
            (6, self._hold),
            (8, self._end_hold),
            (8, self._transfer),
            (20, self._purchase),
            (14, self._redeem),
            (4, self._profile),
            (14, self._order),
            (10, self._quest),
            (14, self._go_on),
            (5, self._refund),
            (10, self._train),
            (8, self._meet),
            (10, self._invite),
            (3, self._ambassador),
            (6, self._payout),
        ]

    def lines(self) -> Iterator[Line]:
        """All of them; a line may come again."""
        for day in range(self._days):
            for hour in HOURS:
                self._wave = self._at = START + timedelta(days=day, hours=hour, minutes=STEP * day)
                self._busy = set()
                self._codes = [*self._town.referrals.codes]
                clock = {"clock": self._wave.isoformat()}
                self._town.play(clock)
                yield clock
                yield from self._opening(day) if hour == 1 else self._bustle(day)

    # -- waves

    def _opening(self, day: int) -> Iterator[Line]:
        """What the town offers anew."""
        yield from self._administered(day)
        if day % 5:
            return
        for number, (kind, terms) in enumerate(CAMPAIGNS.items()):
            campaign, partner = f"{kind}-{day}", PARTNERS[number % len(PARTNERS)]
            who, about = {"user": partner, "role": "Partner"}, {"campaign_id": campaign, "partner_id": partner}
            ends = (self._wave + timedelta(days=11)).isoformat()
            yield self._say(
                "promotions.create_campaign", who, {**about, **terms, "name": kind, "currency": "EUR", "sale_to": ends}
            )
            yield self._say("promotions.activate_campaign", who, about)
            self._campaigns.append(campaign)

    def _administered(self, day: int) -> Iterator[Line]:
        """What admins do before anybody is awake."""
        if day == 0:
            tiers = [{"tier_id": name, "name": name.capitalize(), "points": points} for name, points in TIERS]
            yield self._say("points.define_tiers", ROOT, {"tiers": tiers})
            for badge in ("explorer", "champion"):
                yield self._say("quests.create_badge", ROOT, {"badge_id": badge, "name": badge.capitalize()})
            yield self._say("referrals.create_referral_scheme", ROOT, SCHEME)
            yield self._say("referrals.activate_referral_scheme", ROOT, {"scheme_id": "friends"})
            for rule, told in RULES.items():
                yield self._say("points.define_points_rule", ROOT, {"rule_id": rule, **told})
                yield self._say("points.activate_points_rule", ROOT, {"rule_id": rule})
        yield from self._honoured()
        if day == TIRED:
            yield self._say("points.deactivate_points_rule", ROOT, {"rule_id": "meetings"})

    def _founded(self) -> Iterator[Line]:
        """What there is to play; the badges were there before the wave, and nobody plays before it is over."""
        author = {"user": "p1", "role": "Partner"}
        yield self._say("quests.create_quest", author, QUEST)
        yield self._say("quests.publish_quest", author, {"quest_id": "round", "author_id": "p1"})
        for board in BOARDS:
            yield self._say("quests.create_leaderboard", ROOT, board)

    def _honoured(self) -> Iterator[Line]:
        """Ambassadors and their money."""
        for user, status in [*self._town.referrals.ambassadors.items()]:
            if status == "applied":
                yield self._say("referrals.approve_ambassador", ROOT, {"user_id": user})
                if self._dice.random() < 0.3:
                    yield self._say("referrals.set_ambassador_tier", ROOT, {"user_id": user, "tier": "gold"})
        for (user, payout), told in [*self._town.referrals.payouts.items()]:
            if told["status"] == "requested" and self._dice.random() < 0.7:
                about = {"scheme_id": "friends", "user_id": user, "payout_id": payout}
                yield self._say("referrals.complete_payout", ROOT, about)

    def _bustle(self, day: int) -> Iterator[Line]:
        if not self._town.quests.boards:
            self._busy.add(PLAYING)
            yield from self._founded()
        left = (self._days - day) * (len(HOURS) - 1)
        coming = len(self._newcomers) if left <= 1 else max(1, len(self._newcomers) * 2 // (left + 1))
        for _ in range(min(coming, len(self._newcomers))):
            yield from self._twisted(self._register(self._newcomers.pop()))
        settled = [user for user in self._users if user not in self._busy]
        weights = [weight for weight, _ in self._acts]
        for user in self._dice.sample(settled, int(len(settled) * self._share)):
            (_, act), *_ = self._dice.choices(self._acts, weights)
            if user not in self._busy and (line := act(user)):
                yield from self._twisted(line)

    def _twisted(self, line: Line) -> Iterator[Line]:
        """The line, and now and then one that is wrong, and one that has come before."""
        if self._dice.random() < ILLEGAL:
            yield self._wrong()
        yield line
        if self._dice.random() < DOUBLE:
            yield self._dice.choice([line, self._dice.choice(self._sent[-300:]), self._dice.choice(self._sent)])

    # -- lines

    def _say(self, command: str, who: Line | None, data: Line) -> Line:
        line = {**self._around(), "command": command, "as": who, "data": data}
        self._town.play(line)
        self._sent.append(line)
        return line

    def _tell(self, event: str, data: Line) -> Line:
        around = self._around()
        line = {**around, "event": event, "data": {**data, "at": around["at"]} if "at" in data else data}
        self._town.play(line)
        self._sent.append(line)
        return line

    def _around(self) -> Line:
        self._at += timedelta(milliseconds=7)
        at = self._at
        if self._dice.random() < LATE:
            at -= timedelta(seconds=self._dice.randrange(4000))
        random_bits = self._dice.getrandbits(62)
        identifier = UUID(int=int(self._at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | random_bits)
        return {"at": at.isoformat(), "id": str(identifier)}

    def _by(self, user: str, command: str, **data: Any) -> Line:
        self._busy.add(user)
        return self._say(command, {"user": user, "role": "User"}, {"user_id": user, **data})

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def _balance(self, user: str) -> int:
        return self._town.points.wallets[user].available

    def _some(self, user: str) -> int:
        """A part of what the user has, now and then all of it, or more."""
        have, way = self._balance(user), self._dice.random()
        if way < 0.8:
            return self._dice.randint(1, max(1, have // 2))
        return max(1, have) if way < 0.9 else have + self._dice.randint(1, 50)

    def _register(self, user: str) -> Line:
        """Sometimes with an address that somebody has."""
        name = self._dice.choice(self._users) if self._users and self._dice.random() < 0.02 else user
        taken = name != user and name not in self._busy  # whose address it is was clear before this wave
        name = name if taken else user
        self._busy |= {user, name}
        if not taken:
            self._users.append(user)
        data = {"user_id": user, "email": f"{name}@example.com"}
        if self._dice.random() < BROUGHT and self._codes:
            codes = self._codes
            code = self._dice.choice([*self._dice.choices(codes, k=8), "NOBODY-1"])
            data["referral_code"] = self._dice.choice([code, code.lower()])
        return self._say("identity.register_user", None, data)

    def _invite(self, user: str) -> Line:
        """Sometimes by a code that somebody has had since before."""
        code = f"INVITED-BY-{user.upper()}"
        if self._dice.random() < 0.1 and self._codes:
            code = self._dice.choice(self._codes)
        return self._by(user, "referrals.create_referral_code", code=code, scheme_id="friends")

    def _ambassador(self, user: str) -> Line:
        return self._by(user, "referrals.apply_as_ambassador")

    def _payout(self, _: str) -> Line | None:
        """By somebody who has earned something, if not always enough."""
        found = [user for user in self._town.referrals.earned if user not in self._busy]
        if not found:
            return None
        return self._by(
            self._dice.choice(found), "referrals.request_payout", scheme_id="friends", payout_id=self._name("x")
        )

    def _profile(self, user: str) -> Line:
        return self._by(user, "identity.update_profile", language=self._dice.choice(["de", "en", "fr", "lv"]))

    def _award(self, user: str) -> Line:
        self._busy.add(user)
        data: Line = {"user_id": user, "amount": self._dice.randint(5, 80)}
        if self._dice.random() < 0.5:  # ends at midnight, when nothing else happens
            midnight = self._wave.replace(hour=0) + timedelta(days=self._dice.randint(1, 12))
            data["expires_at"] = midnight.isoformat()
        if self._dice.random() < 0.3:
            data |= {"rule": "survey", "source": f"survey-{self._dice.randint(1, 6)}"}
        return self._say("points.award_points", ROOT, data)

    def _spend(self, user: str) -> Line:
        return self._by(user, "points.spend_points", amount=self._some(user), reference=self._name("order-"))

    def _hold(self, user: str) -> Line:
        name = self._name("h")
        self._holds.append((user, name))
        return self._by(user, "points.hold_points", hold_id=name, amount=self._some(user))

    def _end_hold(self, _: str) -> Line | None:
        if not self._holds:
            return None
        user, name = self._dice.choice(self._holds)
        if user in self._busy:
            return None
        if self._dice.random() < 0.8:
            self._holds.remove((user, name))
        return self._by(user, self._dice.choice(["points.capture_hold", "points.release_hold"]), hold_id=name)

    def _transfer(self, user: str) -> Line | None:
        to = self._dice.choice(self._users)
        if to == user or to in self._busy:
            return None
        self._busy.add(to)
        return self._by(user, "points.transfer_points", transfer_id=self._name("t"), to=to, amount=self._some(user))

    def _purchase(self, user: str) -> Line:
        late = self._dice.random() < 0.1
        campaign, voucher = self._dice.choice(self._campaigns[0 if late else -12 :]), self._name("v")
        self._vouchers.append((campaign, voucher))
        return self._by(user, "promotions.purchase_voucher", campaign_id=campaign, voucher_id=voucher)

    def _redeem(self, _: str) -> Line | None:
        if not self._vouchers:
            return None
        campaign, voucher = self._dice.choice(self._vouchers[-3000:])
        owner = self._town.promotions.campaigns[campaign].vouchers.get(voucher, {}).get("user")
        if owner is None or owner in self._busy:
            return None
        self._busy.add(owner)
        partner = self._town.promotions.campaigns[campaign].partner
        if self._dice.random() < 0.05:
            partner = self._dice.choice(PARTNERS)
        code: Any = {"voucher": voucher} if self._dice.random() < 0.95 else f"{voucher}-MFRGGZDFMZTWQ2LK"
        about = {"campaign_id": campaign, "partner_id": partner, "code": code}
        return self._say("promotions.redeem_voucher", {"user": partner, "role": "Partner"}, about)

    def _order(self, user: str) -> Line:
        self._busy.add(user)
        total, currency = self._dice.randint(300, 9000), self._dice.choice(["EUR", "EUR", "EUR", "CHF"])
        order = {"order_id": self._name("o"), "user_id": user, "total": total, "currency": currency}
        self._orders.append(order)
        return self._tell("commerce.order_paid", order)

    def _refund(self, _: str) -> Line | None:
        if not self._orders:
            return None
        order = self._dice.choice(self._orders[-1000:])
        concerned = {order["user_id"], *self._clawed_back(order)}
        if concerned & self._busy:
            return None
        self._busy |= concerned
        amount = order["total"] if self._dice.random() < 0.5 else self._dice.randint(1, order["total"])
        about = {"order_id": order["order_id"], "user_id": order["user_id"], "currency": order["currency"]}
        return self._tell("commerce.order_refunded", {**about, "amount": amount})

    def _quest(self, user: str) -> Line | None:
        """Set out, or now and then give up."""
        if PLAYING in self._busy:
            return None
        if user in self._town.quests.active and self._dice.random() < 0.3:
            return self._by(user, "quests.abandon_quest", quest_id="round")
        return self._by(user, "quests.start_quest", quest_id="round")

    def _go_on(self, _: str) -> Line | None:
        """Somebody on the quest does what comes next, more or less."""
        found = [user for user in self._town.quests.active if user not in self._busy]
        if not found:
            return None
        user = self._dice.choice(found)
        turn = self._town.quests.active[user].next()
        acts = {"meet": self._meet, "shop": self._order}
        return self._dice.choice([self._train, acts[turn or "meet"], acts[turn or "meet"]])(user)

    def _clawed_back(self, order: Line) -> tuple[str, ...]:
        """Who else loses points by a refund; nobody owes for two things at once, so a friend has to have enough."""
        referral = self._town.referrals.referrals.get(order["user_id"], {})
        if referral.get("source") != f"order:{order['order_id']}" or referral["status"] != "approved":
            return ()
        if self._balance(order["user_id"]) < ENOUGH:
            return tuple(self._busy)[:1]
        return self._town.referrals.uplines[order["user_id"]][:2]

    def _train(self, user: str) -> Line:
        self._busy.add(user)
        kind, minutes = self._dice.choice(["run", "ride", "swim"]), self._dice.randint(10, 90)
        about = {"user_id": user, "workout_id": self._name("w"), "kind": kind, "minutes": minutes}
        return self._tell("fitness.workout_recorded", {**about, "at": self._at.isoformat()})

    def _meet(self, user: str) -> Line:
        self._busy.add(user)
        about = {"meetup_id": self._name("m"), "user_id": user, "author_id": "p1", "city": "Riga"}
        return self._tell("meetups.participant_checked_in", {**about, "at": self._at.isoformat()})

    def _wrong(self) -> Line:
        """What the door does not let in."""
        user = self._dice.choice(self._users or ["u0"])
        amount: Any = self._dice.choice([0, -5, 1.5, MOST + 1, "10", None])
        other = {"user": "mallory", "role": "User"}
        spend = {"user_id": user, "amount": 5}
        command, who, data = self._dice.choice(
            [
                ("points.award_points", ROOT, {**spend, "amount": amount}),
                ("points.award_points", {"user": user, "role": "User"}, spend),
                ("points.spend_points", {"user": user, "role": "User"}, {**spend, "amount": amount}),
                ("points.spend_points", other, spend),
                ("points.transfer_points", {"user": user, "role": "User"}, {**spend, "transfer_id": "t0", "to": user}),
            ]
        )
        return self._say(command, who, data)
