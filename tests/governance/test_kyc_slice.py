"""KYC and AML through the loop in memory, and a domain that lets nobody withdraw who is not cleared."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from agents.governance.agent import GOVERNANCE_DECIDER
from streams.agent import Decider, Policy
from streams.contract import Command, Event, Name, Topic
from streams.decision import ROOT, Case, Decision, Refuse, State
from streams.sink import Fact
from streams.table import Table
from streams.testing import Kit, Told, user
from topics.governance import (
    GOVERNANCE,
    AmlAlertCleared,
    AmlAlertRaised,
    ClearAmlAlert,
    DecideKyc,
    KycApproved,
    KycExpired,
    ScreenAml,
    StartKyc,
    SubmitKycDocument,
)

OFFICER = user("piet", "Admin")
ANN = user("ann")

# -- a domain that money leaves by

VAULT = Topic("vault", key="user_id")


class NoteClearance(Command, topic=VAULT, services=("vault",)):
    """What governance says of a user."""

    user_id: Name
    known: bool | None = None
    alerts: int | None = None


class RequestWithdrawal(Command, topic=VAULT, roles=("User",), owner="user_id"):
    """Send money out."""

    user_id: Name
    withdrawal_id: Name


class ClearanceNoted(Event, topic=VAULT):
    """It is known now."""

    user_id: Name
    known: bool | None = None
    alerts: int | None = None


class WithdrawalRequested(Event, topic=VAULT):
    """Money is on its way."""

    user_id: Name
    withdrawal_id: Name


class Clearance(State, frozen=True):
    """Whether it is known who the user is, and how many alerts stand."""

    known: bool = False
    alerts: int = 0


def decide(state: Mapping[str, Any], command: Any, _case: Case) -> Decision:
    """Money leaves only for whom governance has cleared."""
    if isinstance(command, NoteClearance):
        return [ClearanceNoted(**dict(command))]
    cleared = state[ROOT].known and not state[ROOT].alerts
    return [WithdrawalRequested(**dict(command))] if cleared else Refuse("not_cleared", 403)


def evolve(state: Mapping[str, Any], event: Any) -> Mapping[str, State]:
    """Remember what was said."""
    if isinstance(event, WithdrawalRequested):
        return {}
    told = {name: value for name in ("known", "alerts") if (value := getattr(event, name)) is not None}
    return {ROOT: replace(state[ROOT], **told)}


def known(fact: Fact[KycApproved | KycExpired]) -> NoteClearance:
    """It is known who the user is, or no longer."""
    return NoteClearance(user_id=fact.event.user_id, known=isinstance(fact.event, KycApproved))


def alerted(fact: Fact[AmlAlertRaised | AmlAlertCleared]) -> NoteClearance:
    """So many alerts stand."""
    return NoteClearance(user_id=fact.event.user_id, alerts=fact.event.open)


VAULT_DECIDER = Decider(VAULT, Table("vault", {ROOT: Clearance}), decide, evolve)
CLEARANCE = Policy(
    "clearance",
    GOVERNANCE,
    VAULT,
    on={KycApproved: known, KycExpired: known, AmlAlertRaised: alerted, AmlAlertCleared: alerted},
)


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit(GOVERNANCE_DECIDER, VAULT_DECIDER, CLEARANCE) as kit:
        yield kit


def hand_in(kit: Kit, user_id: str = "ann") -> list[Told]:
    """All papers."""
    papers: list[Command] = [StartKyc(user_id=user_id)]
    papers += [SubmitKycDocument(user_id=user_id, kind="passport", media_id="m1")]
    papers += [SubmitKycDocument(user_id=user_id, kind="selfie", media_id="m2")]
    return [kit.send(one, actor=user(user_id)) for one in papers]


def say(kit: Kit, outcome: str, attempt: int = 1, **more: Any) -> Told:
    """The officer decides."""
    told = {"user_id": "ann", "attempt": attempt, "outcome": outcome, **more}
    return kit.send(DecideKyc.model_validate(told), actor=OFFICER)


def withdraw(kit: Kit, name: str = "w1") -> tuple[str, str | None]:
    """Ann wants her money."""
    told = kit.send(RequestWithdrawal(user_id="ann", withdrawal_id=name), actor=ANN)
    return told.status, told.code


def status(kit: Kit) -> Any:
    """How far Ann has come."""
    return next(row[1] for row in kit.rows("kyc") if row[0] == "ann")


REFUSED = ("rejected", "not_cleared")


@pytest.mark.req("SR142")
def test_no_withdrawal_without_kyc_and_approval_unlocks_it_until_it_expires(kit: Kit) -> None:
    assert withdraw(kit) == REFUSED
    assert {told.status for told in hand_in(kit)} == {"accepted"}
    assert (status(kit), withdraw(kit)) == ("pending", REFUSED)
    assert say(kit, "approved", valid_days=30).status == "accepted"
    assert (status(kit), withdraw(kit)) == ("approved", ("accepted", None))

    assert kit.advance(timedelta(days=30) - timedelta(seconds=1)) == []
    told = kit.advance(timedelta(seconds=1))
    assert [event.wire_name for event in told] == ["kyc_expired", "clearance_noted"]
    assert (status(kit), withdraw(kit, "w2")) == ("expired", REFUSED)
    assert kit.advance(timedelta(days=400)) == []
    assert kit.send(StartKyc(user_id="ann"), actor=ANN).status == "accepted"


@pytest.mark.req("SR142")
def test_an_open_alert_stops_withdrawals_until_every_one_is_cleared(kit: Kit) -> None:
    hand_in(kit)
    say(kit, "approved")
    for name in ("s1", "s2"):
        screen = ScreenAml(user_id="ann", screening_id=name, about="withdrawal:w1", source="lists", hits=("eu", "un"))
        assert kit.send(screen, actor=OFFICER).status == "accepted"
        assert kit.send(screen, actor=OFFICER).code == "already_screened"
    clean = ScreenAml(user_id="ann", screening_id="s3", about="user", source="lists")
    assert [event.wire_name for event in kit.send(clean, actor=OFFICER).events] == ["aml_screened"]

    left = []
    for name in ("s1", "s2"):
        left.append(withdraw(kit))
        clear = ClearAmlAlert(user_id="ann", alert_id=name, reason="Another person of that name")
        assert [kit.send(clear, actor=OFFICER).code for _ in range(2)] == [None, "already_cleared"]
    assert left == [REFUSED, REFUSED]
    assert withdraw(kit) == ("accepted", None)
    assert kit.send(clear.model_copy(update={"alert_id": "s3"})).code == "alert_not_found"


@pytest.mark.req("SR142")
def test_an_open_alert_stops_the_approval_too(kit: Kit) -> None:
    hand_in(kit)
    kit.send(ScreenAml(user_id="ann", screening_id="s1", about="user", source="lists", hits=("eu",)), actor=OFFICER)

    assert say(kit, "approved").code == "aml_alert_open"
    assert status(kit) == "pending"


@pytest.mark.req("SR142")
def test_papers_are_put_on_hold_completed_rejected_and_handed_in_again(kit: Kit) -> None:
    hand_in(kit)
    assert say(kit, "on_hold", reason="The back is missing").status == "accepted"
    assert say(kit, "on_hold", reason="The back is missing").code == "already_on_hold"
    kit.send(SubmitKycDocument(user_id="ann", kind="passport", media_id="m3"), actor=ANN)
    assert status(kit) == "pending"
    assert say(kit, "rejected", reason="Not to be read", retry=True).status == "accepted"

    assert say(kit, "approved").code == "already_decided"
    kit.send(SubmitKycDocument(user_id="ann", kind="selfie", media_id="m2"), actor=ANN)
    assert status(kit) == "init"
    assert say(kit, "approved", 2).code == "not_pending"
    kit.send(SubmitKycDocument(user_id="ann", kind="id_card", media_id="m4"), actor=ANN)
    told = say(kit, "rejected", 2, reason="A forgery", retry=False)
    assert told.status == "accepted"

    late = [kit.send(one, actor=ANN).code for one in (StartKyc(user_id="ann"), SubmitKycDocument(user_id="ann", kind="selfie", media_id="m9"))]  # fmt: skip
    assert late == ["rejected_for_good"] * 2
    assert len(kit.rows("kyc_document")) == 5


@pytest.mark.req("SR142")
def test_two_officers_decide_and_the_first_one_counts(kit: Kit) -> None:
    hand_in(kit)
    first = say(kit, "rejected", reason="A forgery", retry=False)
    second = kit.send(DecideKyc(user_id="ann", attempt=1, outcome="approved"), actor=user("olga", "Admin"))

    assert (first.status, second.code, second.details["status"]) == ("accepted", "already_decided", "rejected")


def test_nobody_decides_their_own_or_for_others_without_the_right(kit: Kit) -> None:
    hand_in(kit, "piet")
    decision = DecideKyc(user_id="piet", attempt=1, outcome="approved")
    screen = ScreenAml(user_id="piet", screening_id="s1", about="user", source="lists", hits=("eu",))
    kit.send(screen, actor=user("olga", "Admin"))
    clear = ClearAmlAlert(user_id="piet", alert_id="s1", reason="That is not me")

    told = [kit.send(one, actor=OFFICER).code for one in (decision, clear)]
    assert told == ["own_kyc", "own_alert"]
    others: list[Command] = [decision, clear, screen, StartKyc(user_id="piet")]
    assert {kit.send(one, actor=ANN).code for one in others} == {"forbidden"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"outcome": "rejected", "retry": True},  # without a reason
        {"outcome": "rejected", "reason": "", "retry": True},
        {"outcome": "rejected", "reason": "Not to be read"},  # without saying whether it may be retried
        {"outcome": "on_hold"},
        {"outcome": "approved", "reason": "Fine"},
        {"outcome": "approved", "retry": True},
        {"outcome": "approved", "valid_days": 0},
        {"outcome": "expired"},
        {"outcome": "approved", "attempt": 0},
    ],
)
def test_a_decision_that_says_too_little_or_too_much_is_no_command(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DecideKyc.model_validate({"user_id": "ann", "attempt": 1, **wrong})


@pytest.mark.parametrize("name", [n for n, kind in GOVERNANCE.commands.items() if kind.__module__.endswith(".kyc") and kind.examples])  # fmt: skip
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    told = [kit.send(command) for command in examples(GOVERNANCE.commands[name])]

    assert {one.status for one in told} == {"accepted"}


def examples(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in examples(GOVERNANCE.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


def test_the_events_alone_rebuild_documents_and_rows(kit: Kit) -> None:
    hand_in(kit)
    say(kit, "approved", valid_days=1)
    kit.send(ScreenAml(user_id="ann", screening_id="s1", about="user", source="lists", hits=("eu",)), actor=OFFICER)
    kit.send(ClearAmlAlert(user_id="ann", alert_id="s1", reason="Another person"), actor=OFFICER)
    kit.advance(timedelta(days=1))
    live, again = kit.store.schemas["governance"], kit.rebuilt().schemas["governance"]

    assert again.rows == live.rows
    assert {key: one.data for key, one in again.states.items()} == {key: one.data for key, one in live.states.items()}
    assert kit.parked() == []
