"""Referrals through the loop in memory: commands in, results, events, documents and rows out, with identity and points beside them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.referrals.agent import REFERRALS_DECIDER
from streams.agent import Agent
from streams.contract import Command, Event
from streams.testing import ADMIN, Kit, user
from tests.standins import StandIns, tell
from topics.commerce import OrderPaid, OrderRefunded
from topics.identity import IDENTITY, RegisterUser
from topics.referrals import (
    REFERRALS,
    ActivateReferralScheme,
    ApplyAsAmbassador,
    ApproveAmbassador,
    AttributeReferral,
    CloseReferralScheme,
    CompletePayout,
    CreateReferralCode,
    CreateReferralScheme,
    FailPayout,
    FlagReferral,
    GrantReferralRewards,
    RequestPayout,
    RevokeAmbassador,
    SetAmbassadorTier,
    TrackReferralClick,
    VoidReferral,
)

UNFORESEEN = {  # nobody is referred, and nothing is earned, by commands alone
    "approve_referral": "referral_not_found",
    "flag_referral": "referral_not_found",
    "void_referral": "referral_not_found",
    "request_payout": "scheme_not_found",
    "complete_payout": "payout_not_found",
    "fail_payout": "payout_not_found",
}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCHEME = CreateReferralScheme.model_validate(
    {
        "scheme_id": "s",
        "name": "Bring a friend",
        "event": "order_paid",
        "condition": "event.total >= 1000 && user.registered_at < at",
        "friend_points": 5,
        "levels": [{"points": "event.total / 100", "commission": 30}],
        "budget": 100,
        "currency": "EUR",
        "commission_budget": 100,
        "payout_threshold": 30,
        "hold_days": 1,
    }
)


class Town(Kit):
    """The domains, and what others that are not built yet tell."""

    def __init__(self, *agents: Agent, **given: Any) -> None:
        """Nothing is told."""
        super().__init__(*agents, **given)
        self._stand_ins = StandIns()

    def hear(self, event: Event) -> list[str]:
        """Something happened elsewhere; the events of referrals that it led to, by name."""
        ends = self.ends()
        tell(self, self._stand_ins.record(event, self.clock.now()))
        return [one.wire_name for one in self.events(ends) if one.topic is REFERRALS]


@pytest.fixture
def kit() -> Iterator[Town]:
    with Town.of("referrals", "identity", "points") as kit:
        yield kit


def registration(user_id: str, **known: Any) -> RegisterUser:
    """Somebody registers, through an edge that made these hashes."""
    return RegisterUser(user_id=user_id, email=f"{user_id}@example.com", email_login=user_id, **known)


def open_scheme(kit: Town) -> None:
    """A scheme that counts, and Ann with a code."""
    commands = [
        SCHEME,
        ActivateReferralScheme(scheme_id="s"),
        registration("ann"),
        CreateReferralCode(user_id="ann", code="ann-1", scheme_id="s"),
    ]
    assert {kit.send(command).status for command in commands} == {"accepted"}


def orders(kit: Town, user_id: str, order_id: str = "o1", total: int = 2000, payment: str | None = None) -> list[str]:
    """Somebody pays an order; what it led to by name."""
    return kit.hear(OrderPaid(order_id=order_id, user_id=user_id, total=total, currency="EUR", payment=payment))


def balances(kit: Town) -> dict[str, int]:
    """What everybody has got for referrals, on top of what all get who register."""
    return {row[0]: row[1] - 100 for row in kit.rows("balance", "points")}


def examples(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in examples(REFERRALS.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


@pytest.mark.parametrize("name", [name for name, contract in REFERRALS.commands.items() if contract.roles])
def test_examples_are_accepted_after_those_they_name(name: str) -> None:
    with Kit.of("referrals", "identity") as kit:
        kit.send(registration(IDENTITY.commands["register_user"].examples[0]["user_id"]))
        told = [kit.send(command) for command in examples(REFERRALS.commands[name])]
    if name in UNFORESEEN:
        assert told.pop().code == UNFORESEEN[name]

    assert {one.status for one in told} <= {"accepted"}


@pytest.mark.req("SR045")
@pytest.mark.req("SR046")
@pytest.mark.req("SR056")
def test_a_friend_registers_orders_and_both_are_rewarded_in_time_until_the_order_comes_back(kit: Town) -> None:
    open_scheme(kit)
    kit.send(TrackReferralClick(visitor_id="v1", code="ANN-1"), actor=user("guest", "Guest"))
    kit.send(registration("bob", visitor_id="v1"))
    assert orders(kit, "bob", "o0", 999) == []
    assert orders(kit, "bob") == ["referral_qualified", "referral_screened"]
    assert balances(kit) == {"ann": 0, "bob": 0}

    told = kit.advance(timedelta(days=1))
    assert sorted(event.wire_name for event in told) == [
        *["points_awarded"] * 2,
        "referral_approved",
        *["referral_reward_granted"] * 2,
    ]
    assert balances(kit) == {"ann": 20, "bob": 5}
    kit.hear(OrderRefunded(order_id="o1", user_id="bob", amount=2000, currency="EUR"))

    assert balances(kit) == {"ann": 0, "bob": 0}
    assert [row[7] for row in kit.rows("reward")] == ["clawed_back"] * 2
    assert [row[5:8:2] for row in kit.rows("referral")] == [("voided", "returned")]
    assert kit.parked() == []


@pytest.mark.req("SR045")
def test_an_invalid_code_never_blocks_a_registration(kit: Town) -> None:
    open_scheme(kit)
    for n, code in enumerate(["no such", "", "a/b", "\n", "ANN-1 ", "🎁"]):
        assert kit.send(registration(f"u{n}", referral_code=code)).status == "accepted"

    assert [row[:2] for row in kit.rows("referral")] == [("u4", "ann")]
    assert {row[0]: row[2] for row in kit.rows("ignored")} == dict.fromkeys(("u0", "u2", "u3", "u5"), "unknown")
    assert kit.parked() == []


@pytest.mark.req("SR045")
def test_a_friend_on_the_same_device_waits_in_the_queue(kit: Town) -> None:
    kit.send(SCHEME)
    kit.send(ActivateReferralScheme(scheme_id="s"))
    kit.send(registration("ann", device="d1"))
    kit.send(CreateReferralCode(user_id="ann", code="ann-1", scheme_id="s"), actor=user("ann"))
    kit.send(registration("bob", device="d1", referral_code="ANN-1"))

    assert orders(kit, "bob") == ["referral_qualified", "referral_flagged"]
    kit.advance(timedelta(days=9))
    assert [(row[5], row[7]) for row in kit.rows("referral")] == [("flagged", "device")]
    assert balances(kit) == {"ann": 0, "bob": 0}


@pytest.mark.parametrize(
    ("command", "who"),
    [
        (SCHEME, user("ann")),
        (CreateReferralCode(user_id="bob", code="code", scheme_id="s"), user("ann")),
        (CreateReferralCode(user_id="ann", code="code", scheme_id="s"), user("ann", "Guest")),
        (VoidReferral(referral_id="ann", reason="x"), user("ann")),
        (RequestPayout(scheme_id="s", user_id="bob", payout_id="p"), user("ann")),
        (CompletePayout(scheme_id="s", user_id="ann", payout_id="p"), user("ann")),
        (AttributeReferral(user_id="ann", registered_at=NOON), user("root", "Admin")),
        (GrantReferralRewards(scheme_id="s", referral_id="ann", shares=()), user("root", "Admin")),
    ],
)
def test_what_somebody_may_not_issue_is_refused_by_the_agent_too(command: Command, who: Any) -> None:
    with Kit(REFERRALS_DECIDER) as kit:
        told = kit.send(command, actor=who)

    assert (told.status, told.code) == ("rejected", "forbidden")


def test_a_code_that_is_taken_is_told_to_who_waits_for_it(kit: Town) -> None:
    open_scheme(kit)
    kit.send(registration("bob"))
    told = kit.send(CreateReferralCode(user_id="bob", code="Ann-1", scheme_id="s"), actor=user("bob"))

    assert (told.status, told.code) == ("rejected", "code_taken")
    assert [event.wire_name for event in told.events] == [
        "referral_code_requested",
        "referral_code_refused",
        "referral_code_failed",
    ]
    assert [row[:2] for row in kit.rows("code")] == [("ANN-1", "ann")]


def everything(kit: Town) -> None:
    """Something of everything."""
    open_scheme(kit)
    ann, root = user("ann"), ADMIN
    steps = {"scheme_id": "s", "user_id": "ann"}
    kit.send(ApplyAsAmbassador(user_id="ann"), actor=ann)
    kit.send(ApproveAmbassador(user_id="ann"), actor=root)
    kit.send(SCHEME.model_copy(update={"tiers": {"gold": 110}}))
    kit.send(SetAmbassadorTier(user_id="ann", tier="gold"), actor=root)
    kit.send(TrackReferralClick(visitor_id="v1", code="ANN-1", user_id="ann"))
    kit.send(registration("bob", referral_code="ANN-1", device="d1", visitor_id="v1"))
    for name in ("cy", "dan", "eve", "fay"):
        kit.send(registration(name, referral_code="ANN-1"))
    kit.send(CreateReferralCode(user_id="cy", code="ann-1", scheme_id="s"))
    orders(kit, "gus", "o0")
    kit.hear(OrderRefunded(order_id="o0", user_id="gus", amount=1, currency="EUR"))
    orders(kit, "cy", "o1", payment="card")
    orders(kit, "dan", "o2")
    orders(kit, "eve", "o3", 9000)
    kit.send(FlagReferral(referral_id="dan", reason="A doubt."))
    kit.advance(timedelta(days=1))
    kit.send(RequestPayout(**steps, payout_id="p1"), actor=ann)
    kit.send(FailPayout(**steps, payout_id="p1", reason="No account."))
    kit.send(RequestPayout(**steps, payout_id="p2"), actor=ann)
    kit.send(CompletePayout(**steps, payout_id="p2"))
    kit.hear(OrderRefunded(order_id="o1", user_id="cy", amount=1, currency="EUR"))
    kit.send(RevokeAmbassador(user_id="ann", reason="Spam."))
    kit.send(CloseReferralScheme(scheme_id="s"))


def test_the_events_alone_rebuild_documents_and_rows(kit: Town) -> None:
    everything(kit)
    live, rebuilt = kit.store.schemas[REFERRALS.domain], kit.rebuilt().schemas[REFERRALS.domain]

    assert {type(event) for event in kit.events()} >= {*REFERRALS.events.values()}
    assert rebuilt.rows == live.rows
    assert {key: stored.data for key, stored in rebuilt.states.items()} == {
        key: stored.data for key, stored in live.states.items()
    }
    assert kit.parked() == []
