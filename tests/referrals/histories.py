"""Random histories of a town with referrals, played on the rules, and on the model beside them."""

from collections.abc import Callable
from datetime import timedelta
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

USERS = ("ann", "bob", "cy", "dee", "eve")
CODES = ("AAAA", "BBBB", "CCCC", "DDDD")
SCHEMES = ("quick", "paid", "hand")
TERMS: dict[str, dict[str, Any]] = {
    "quick": {
        "friend_points": 5,
        "levels": [{"points": 10}, {"points": "event.total / 20"}],
        "budget": 60,
        "window_days": 2,
    },
    "paid": {
        "condition": "event.total >= 50",
        "levels": [{"points": 7, "commission": "event.total / 10"}, {"points": 0, "commission": 4}],
        "budget": 500,
        "currency": "EUR",
        "commission_budget": 90,
        "payout_threshold": 10,
        "tiers": {"gold": 150},
        "touch": "first",
        "window_days": 3,
        "qualify_days": 4,
        "hold_days": 1,
    },
    "hand": {"condition": "true", "levels": [{"points": 3}] * 4, "budget": 100, "approval": "manual"},
}

users, codes, schemes = st.sampled_from(USERS), st.sampled_from(CODES), st.sampled_from(SCHEMES)
visitors = st.sampled_from(("v1", "v2"))
names = st.sampled_from(("1", "2"))
typed = st.none() | codes | codes.map(str.lower) | st.just("no such code")
Entry = tuple[Any, ...] | timedelta
orders = st.tuples(
    st.just("order"), users, names, st.sampled_from((100, 160, 40)), st.sampled_from((None, None, None, "card"))
)
acts: st.SearchStrategy[Entry] = st.one_of(
    orders,
    orders,
    orders,
    st.tuples(st.just("register"), users, typed, st.none() | visitors, st.sampled_from((None, None, "d1", "d2"))),
    st.tuples(st.just("register"), users, codes, st.none() | visitors, st.none()),
    st.tuples(st.just("invite"), users, codes, schemes, st.sampled_from((None, None, 1, 3))),
    st.tuples(st.just("click"), visitors, codes, st.none() | users),
    st.tuples(st.just("refund"), users, names),
    st.tuples(st.sampled_from(("approve", "flag", "void")), users),
    st.tuples(st.just("ambassador"), users, st.sampled_from(("apply", "approve", "gold", "standard", "revoke"))),
    st.tuples(st.just("ambassador"), users, st.sampled_from(("apply", "approve"))),
    st.tuples(st.just("payout"), users, names),
    st.tuples(st.sampled_from(("completed", "failed")), users, names),
    st.sampled_from((timedelta(hours=7), DAY)),
)
closing: st.SearchStrategy[Entry] = st.tuples(st.just("close"), schemes)
crowd: list[Entry] = [
    ("register", "ann", None, None, "d1"),
    ("ambassador", "ann", "apply"),
    ("ambassador", "ann", "approve"),
    ("invite", "ann", "AAAA", "paid", None),
    ("register", "bob", "aaaa", None, None),
    ("invite", "bob", "BBBB", "quick", None),
    ("invite", "bob", "CCCC", "hand", None),
]
bustle: list[Entry] = [*crowd, ("register", "cy", "BBBB", "v2", "d2"), ("order", "bob", "1", 160, None)]
beginnings = st.sampled_from(
    (
        [],
        [*crowd, ("click", "v1", "AAAA", None), ("click", "v1", "BBBB", None)],
        [*bustle, ("order", "cy", "1", 160, None), ("register", "dee", "CCCC", None, None)],
        [
            *bustle,
            ("order", "cy", "1", 100, None),
            DAY,
            ("register", "dee", "AAAA", None, None),
            ("order", "dee", "1", 160, None),
        ],
    )
)
"""So that more happens than in a town where nobody is."""


def histories(size: int, *more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """What happens, one after the other."""
    return st.builds(
        lambda first, rest: [*first, *rest],
        beginnings,
        st.lists(st.one_of(acts, acts, acts, closing, *more), max_size=size),
    )


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
                budget=60,
                window=2,
            ),
            "paid": Terms(
                [lambda total: 7, lambda total: 0],
                [lambda total: total // 10, lambda total: 4],
                least=50,
                budget=500,
                purse=90,
                threshold=10,
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
