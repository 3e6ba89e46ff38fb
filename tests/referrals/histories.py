"""Random histories of a town with referrals, played on the rules, and on the model beside them."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import strategies as st

from streams.contract import Command
from tests.referrals.model import Model, Terms
from tests.referrals.platform import DAY, Town
from topics.referrals import (
    ApplyAsAmbassador,
    ApproveAmbassador,
    ApproveReferral,
    CloseReferralScheme,
    CompletePayout,
    FailPayout,
    FlagReferral,
    RequestPayout,
    RevokeAmbassador,
    SetAmbassadorTier,
    VoidReferral,
)

USERS = ("ann", "bob", "cy", "dee", "eve", "fay", "gus")
CODES = ("AAAA", "BBBB", "CCCC", "DDDD", "EEEE", "FFFF")
VISITORS = ("v1", "v2")
SCHEMES = ("quick", "paid", "hand")
TERMS: dict[str, dict[str, Any]] = {
    "quick": {
        "friend_points": 5,
        "levels": [{"points": 10}, {"points": "event.total / 20"}],
        "budget": 30,
        "window_days": 2,
    },
    "paid": {
        "condition": "event.total >= 50",
        "levels": [{"points": 7, "commission": "event.total / 10"}, {"points": 0, "commission": 4}],
        "budget": 500,
        "currency": "EUR",
        "commission_budget": 40,
        "payout_threshold": 6,
        "tiers": {"gold": 150},
        "touch": "first",
        "window_days": 3,
        "qualify_days": 4,
        "hold_days": 1,
    },
    "hand": {"condition": "true", "levels": [{"points": 3}] * 4, "budget": 100, "approval": "manual"},
}

Entry = tuple[Any, ...] | timedelta | int | None


class Chronicle:
    """Writes what happens in a town: mostly what can happen, now and then what cannot."""

    def __init__(self, random: Random) -> None:
        """Nothing has."""
        self._random = random
        self._users: list[str] = []
        self._codes: list[str] = []
        self._orders: list[tuple[str, str]] = []

    def write(self, size: int, *, loose: bool = False) -> list[Any]:
        """So many things in their order; `loose`, a number carries on one of the sagas by a step, and None runs a timer that is due."""
        found: list[Any] = [("register", "ann", None, None, "d1"), ("invite", "ann", "AAAA", self._pick(SCHEMES), None)]
        found += self._career("ann")
        self._users, self._codes = ["ann"], ["AAAA"]
        for _ in range(size):
            found += [
                self._random.choice((0, 0, 0, 1, 3, None)) for _ in range(self._random.randrange(5) if loose else 0)
            ]
            found += self._career(self._user()) if self._random.random() < 0.1 else [self._entry()]
        return found

    def _pick(self, choices: Sequence[Any]) -> Any:
        return self._random.choice(choices)

    def _user(self) -> str:
        return str(self._pick(self._users if self._random.random() < 0.9 else USERS))

    def _entry(self) -> Entry:
        kinds = {
            "register": 5, "invite": 4, "click": 5, "order": 8, "refund": 1, "approve": 2, "flag": 0.5, "void": 0.5, "payout": 4,
            "completed": 1, "failed": 1, "time": 3, "close": 0.1,
        }  # fmt: skip
        (kind,) = self._random.choices([*kinds], [*kinds.values()])
        match kind:
            case "register":
                return self._register()
            case "invite":
                code, days = self._pick(CODES), self._pick((None, None, None, 1, 3))
                self._codes.append(code)
                return "invite", self._user(), code, self._pick(SCHEMES), days
            case "click":
                return (
                    "click",
                    self._pick(VISITORS),
                    self._pick(self._codes),
                    self._pick((None, None, None, self._user())),
                )
            case "order":
                self._orders.append((self._user(), self._pick("123")))
                return (
                    "order",
                    *self._orders[-1],
                    self._pick((100, 160, 260, 40)),
                    self._pick((None,) * 9 + ("card",)),
                )
            case "refund":
                return "refund", *self._pick(self._orders or [("ann", "1")])
            case "time":
                return timedelta(hours=7) if self._random.random() < 0.5 else DAY
            case "close":
                return "close", self._pick(SCHEMES)
            case "approve" | "flag" | "void":
                return kind, self._user()
        return kind, self._pick(self._users[:2]), self._pick("12")

    def _career(self, user: str) -> list[Entry]:
        """Steps of somebody who may become an ambassador."""
        begun = ["apply", "approve"] if self._random.random() < 0.7 else []
        return [
            ("ambassador", user, step)
            for step in (*begun, self._pick(("gold", "gold", "standard", "revoke", "apply", "approve")))
        ]

    def _register(self) -> Entry:
        user = self._pick([one for one in USERS if one not in self._users] or USERS)
        self._users.append(user)
        code = self._pick(
            (
                None,
                self._codes[-1],
                self._pick(self._codes),
                self._pick(self._codes),
                self._pick(CODES).lower(),
                "no such code",
            )
        )
        return "register", user, code, self._pick((None, None, *VISITORS)), self._pick((None,) * 6 + ("d1", "d2"))


def histories(size: int, *, loose: bool = False) -> st.SearchStrategy[list[Any]]:
    """What happens in a town, one thing after the other."""
    return st.integers(0, 2**32).map(lambda seed: Chronicle(Random(seed)).write(size, loose=loose))


COMMANDS: dict[str, Callable[..., Command]] = {
    "approve": lambda user: ApproveReferral(referral_id=user),
    "flag": lambda user: FlagReferral(referral_id=user, reason="A doubt."),
    "void": lambda user: VoidReferral(referral_id=user, reason="A fraud."),
    "payout": lambda user, name: RequestPayout(scheme_id="paid", user_id=user, payout_id=name),
    "completed": lambda user, name: CompletePayout(scheme_id="paid", user_id=user, payout_id=name),
    "failed": lambda user, name: FailPayout(scheme_id="paid", user_id=user, payout_id=name, reason="No account."),
    "close": lambda scheme: CloseReferralScheme(scheme_id=scheme),
}
STEPS: dict[str, Callable[[str], Command]] = {
    "apply": lambda user: ApplyAsAmbassador(user_id=user),
    "approve": lambda user: ApproveAmbassador(user_id=user),
    "revoke": lambda user: RevokeAmbassador(user_id=user, reason="Spam."),
    "gold": lambda user: SetAmbassadorTier(user_id=user, tier="gold"),
    "standard": lambda user: SetAmbassadorTier(user_id=user, tier="standard"),
}


def opened() -> Town:
    """A town with all schemes."""
    town = Town()
    for scheme_id in SCHEMES:
        town.open(scheme_id=scheme_id, **TERMS[scheme_id])
    return town


def play(town: Town, entry: Entry) -> None:
    """Let it happen; what follows waits."""
    match entry:
        case timedelta():
            town.advance(entry)
        case "register", user, code, visitor, device:
            town.register(user, code, visitor_id=visitor, device=device)
        case "invite", user, code, scheme, days:
            town.invite(user, code, scheme, town.now + timedelta(seconds=1) + days * DAY if days else None)
        case "click", visitor, code, user:
            town.click(visitor, code, user)
        case "order", user, name, total, payment:
            town.order(user, f"{user}-{name}", total, payment)
        case "refund", user, name:
            town.refund(user, f"{user}-{name}", 1)
        case "ambassador", user, step:
            town.send(STEPS[step](user))
        case what, *given:
            town.send(COMMANDS[what](*given))


def model() -> Model:
    """The same schemes, said again."""
    return Model(
        {
            "quick": Terms(
                [lambda total: 10, lambda total: total // 20],
                [lambda total: 0] * 2,
                friend=5,
                least=100,
                budget=30,
                window=2,
            ),
            "paid": Terms(
                [lambda total: 7, lambda total: 0],
                [lambda total: total // 10, lambda total: 4],
                least=50,
                budget=300,
                purse=40,
                threshold=6,
                tiers={"gold": 150},
                first=True,
                window=3,
                qualify=4,
                hold=1,
            ),
            "hand": Terms([lambda total: 3] * 4, [lambda total: 0] * 4, budget=100, manual=True),
        }
    )


def follow(model: Model, town: Town, entry: Entry) -> None:
    """The same on the model, which is told the town's time."""
    now = town.now
    match entry:
        case timedelta():
            model.wait(now)
        case "register", user, code, visitor, device:
            model.register(now, user, code.strip().upper() if code else None, visitor, device)
        case "close", scheme:
            model.close(scheme)
        case "payout", user, name:
            model.payout(user, "paid", name)
        case ("completed" | "failed") as status, user, name:
            model.end(user, "paid", name, status)
        case "order", user, name, total, payment:
            model.order(now, user, f"order:{user}-{name}", total, payment)
        case "refund", user, name:
            model.refund(user, f"order:{user}-{name}")
        case ("invite" | "click") as what, *given:
            getattr(model, what)(now, *given)
        case what, *given:
            getattr(model, str(what))(*given)
