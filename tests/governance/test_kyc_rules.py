"""The laws of KYC and AML, over random lives of two users and two officers, one of whom is a user too."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.governance.agent import GOVERNANCE_DECIDER as DECIDER
from streams.envelope import Actor
from tests.stepping import Outcome, Stepping, rebuilt
from topics.governance import (
    IDENTITY_DOCUMENTS,
    MOST_DOCUMENTS,
    AmlAlertCleared,
    AmlAlertRaised,
    ClearAmlAlert,
    DecideKyc,
    KycApproved,
    KycExpired,
    KycPutOnHold,
    KycRejected,
    KycSubmitted,
    ScreenAml,
    StartKyc,
    SubmitKycDocument,
)

QUICK = settings(max_examples=40)
USERS, OFFICERS = ("ann", "olga"), ("olga", "piet")  # olga is both
WORDS: dict[str, dict[str, Any]] = {
    "approved": {},
    "rejected": {"reason": "Not to be read", "retry": False},
    "retry": {"reason": "Not to be read", "retry": True},
    "on_hold": {"reason": "The back is missing"},
}


def decision(user_id: str, attempt: int, how: str) -> DecideKyc:
    """What an officer says of an attempt."""
    outcome = "rejected" if how == "retry" else how
    return DecideKyc.model_validate(
        {"user_id": user_id, "attempt": attempt, "outcome": outcome, "valid_days": 2, **WORDS[how]}
    )


steps = st.one_of(
    st.builds(StartKyc, user_id=st.sampled_from(USERS)),
    st.builds(
        SubmitKycDocument,
        user_id=st.sampled_from(USERS),
        kind=st.sampled_from(["passport", "selfie", "proof_of_address"]),
        media_id=st.sampled_from([f"m{n}" for n in range(9)]),
    ),
    st.builds(decision, st.sampled_from(USERS), st.integers(1, 4), st.sampled_from([*WORDS])),
    st.builds(
        ScreenAml,
        user_id=st.sampled_from(USERS),
        screening_id=st.sampled_from(["s1", "s2", "s3"]),
        about=st.just("user"),
        source=st.just("lists"),
        hits=st.sampled_from([(), ("eu",), ("eu", "un")]),
    ),
    st.builds(
        ClearAmlAlert,
        user_id=st.sampled_from(USERS),
        alert_id=st.sampled_from(["s1", "s2", "s3"]),
        reason=st.just("Another person"),
    ),
    st.sampled_from([timedelta(hours=1), timedelta(days=3)]),
)


def handed_in(user_id: str, media: str) -> list[Any]:
    """All that an attempt needs."""
    papers = [("passport", f"{media}p"), ("selfie", f"{media}s")]
    return [StartKyc(user_id=user_id), *(SubmitKycDocument.model_validate({"user_id": user_id, "kind": kind, "media_id": name}) for kind, name in papers)]  # fmt: skip


def looked_into(user_id: str, name: str) -> list[Any]:
    """An alert is raised and cleared, twice."""
    screen = ScreenAml(user_id=user_id, screening_id=name, about="user", source="lists", hits=("eu",))
    return [screen, *[ClearAmlAlert(user_id=user_id, alert_id=name, reason="Another person")] * 2]


chapters = st.one_of(
    st.builds(looked_into, st.sampled_from(USERS), st.sampled_from(["s1", "s2"])),
    st.lists(steps, max_size=3),
    st.builds(handed_in, st.sampled_from(USERS), st.sampled_from(["a", "b"])),
    st.builds(lambda *said: [decision(*said)], st.just("ann"), st.integers(1, 2), st.sampled_from([*WORDS])),
)
histories = st.lists(st.tuples(chapters, st.sampled_from(OFFICERS)), max_size=20).map(
    lambda told: [(step, officer) for chapter, officer in told for step in chapter]
)


@dataclass
class User:
    """What the contract says of one user, in other words than the rules."""

    tries: int = 0
    papers: dict[str, str] = field(default_factory=dict)  # of this attempt: medium to kind
    verdict: str = "over"  # of this attempt: none, hold, yes, retry, no; over where none is under way
    until: datetime | None = None
    alerts: dict[str, bool] = field(default_factory=dict)  # by screening: whether it stands

    def is_full(self) -> bool:
        """Whether all is there that is asked for."""
        return "selfie" in self.papers.values() and bool({*self.papers.values()} & {*IDENTITY_DOCUMENTS})

    def answer(self, command: Any, officer: str) -> str | None:
        """The code of a refusal, or None."""
        match command:
            case StartKyc():
                busy = {"yes": "already_approved", "no": "rejected_for_good", "over": None}
                return busy.get(self.verdict, "kyc_started")
            case SubmitKycDocument():
                shut = {"over": "kyc_not_started", "yes": "already_approved", "no": "rejected_for_good"}
                again = command.media_id in self.papers and self.verdict != "retry"
                return shut.get(self.verdict, "already_submitted" if again else None)
            case DecideKyc():
                return "own_kyc" if officer == command.user_id else self.judged(command)
            case ScreenAml():
                return "already_screened" if command.screening_id in self.alerts else None
        if officer == command.user_id:
            return "own_alert"
        stands = self.alerts.get(command.alert_id)
        return {None: "alert_not_found", True: None, False: "already_cleared"}[stands]

    def judged(self, command: DecideKyc) -> str | None:
        """Why an attempt cannot be decided so."""
        under_way = self.verdict in ("none", "hold")
        if command.attempt < self.tries or (self.tries and not under_way):
            return "already_decided"
        if command.attempt > self.tries or not self.is_full():
            return "not_pending"
        if command.outcome == "approved":
            return "aml_alert_open" if any(self.alerts.values()) else None
        return "already_on_hold" if (command.outcome, self.verdict) == ("on_hold", "hold") else None

    def take(self, command: Any, now: datetime) -> None:
        """What is accepted changes this."""
        match command:
            case StartKyc():
                self.tries, self.papers, self.verdict = self.tries + 1, {}, "none"
            case SubmitKycDocument():
                if self.verdict == "retry":
                    self.tries, self.papers = self.tries + 1, {}
                self.papers[command.media_id], self.verdict = command.kind, "none"
            case DecideKyc():
                said = {"approved": "yes", "on_hold": "hold", "rejected": "retry" if command.retry else "no"}
                self.verdict = said[command.outcome]
                self.until = now + timedelta(days=command.valid_days)
            case ScreenAml() if command.hits:
                self.alerts[command.screening_id] = True
            case ClearAmlAlert():
                self.alerts[command.alert_id] = False


def play(history: list[tuple[Any, str]]) -> tuple[Stepping, list[tuple[Outcome, str]]]:
    """A life by the rules."""
    platform, outcomes = Stepping(DECIDER), []
    for step, officer in history:
        if isinstance(step, timedelta):
            platform.advance(step)
            platform.settle()
        else:
            actor = officer if isinstance(step, DecideKyc | ClearAmlAlert | ScreenAml) else step.user_id
            outcomes.append((platform.send(step, by=Actor("user", actor, "Admin")), actor))
            platform.settle()
    return platform, outcomes


def facts(platform: Stepping, *kinds: type[Any]) -> list[Any]:
    """What happened, of these kinds."""
    return [fact.event for fact in platform.facts if isinstance(fact.event, kinds)]


@pytest.mark.req("SR142")
@QUICK
@given(histories)
def test_every_answer_is_the_one_that_the_contract_gives(history: list[tuple[Any, str]]) -> None:
    users: dict[str, User] = {name: User() for name in USERS}
    clear: set[tuple[str, str]] = set()  # screenings that found nothing: known, and no alert
    _, outcomes = play(history)
    for outcome, actor in outcomes:
        command, user = outcome.command, users[outcome.command.user_id]
        if user.verdict == "yes" and user.until and outcome.at >= user.until:
            user.verdict = "over"
        expected = user.answer(command, actor)
        if isinstance(command, ScreenAml) and (command.user_id, command.screening_id) in clear:
            expected = "already_screened"
        assert outcome.code == expected, command
        if expected is None:
            user.take(command, outcome.at)
            if isinstance(command, ScreenAml) and not command.hits:
                clear.add((command.user_id, command.screening_id))


@pytest.mark.req("SR142")
@QUICK
@given(histories)
def test_an_attempt_is_decided_once_by_somebody_else_and_on_full_papers(history: list[tuple[Any, str]]) -> None:
    platform, _ = play(history)
    verdicts = facts(platform, KycApproved, KycRejected)
    papers: dict[tuple[str, int], set[str]] = {}
    for event in facts(platform, KycSubmitted, KycApproved, KycRejected, KycPutOnHold):
        there = papers.setdefault((event.user_id, event.attempt), set())
        if isinstance(event, KycSubmitted):
            there.add(event.kind)
            assert event.complete == ({"selfie", "passport"} <= there)
        else:
            assert {"selfie", "passport"} <= there
            assert event.decided_by != event.user_id

    assert set(Counter((event.user_id, event.attempt) for event in verdicts).values()) <= {1}
    final = {event.user_id for event in verdicts if isinstance(event, KycRejected) and not event.retry}
    for user_id in final:
        assert [e for e in verdicts if e.user_id == user_id][-1].retry is False


@pytest.mark.req("SR142")
@QUICK
@given(histories)
def test_an_approval_ends_once_and_not_before_its_time(history: list[tuple[Any, str]]) -> None:
    platform, _ = play(history)
    approved = {(event.user_id, event.attempt): event for event in facts(platform, KycApproved)}
    expired = facts(platform, KycExpired)

    assert set(Counter((event.user_id, event.attempt) for event in expired).values()) <= {1}
    for event in expired:
        assert event.expired_at >= approved[event.user_id, event.attempt].expires_at
    ended = {(event.user_id, event.attempt) for event in expired}
    for key, event in approved.items():
        assert key in ended or event.expires_at > platform.now - timedelta(days=3), "or else nobody has looked yet"
    for row in platform.rows["kyc"].values():
        assert (row[1] == "approved") == ((row[0], row[2]) in approved.keys() - ended)


@pytest.mark.req("SR142")
@QUICK
@given(histories)
def test_so_many_alerts_are_open_as_were_raised_and_not_cleared(history: list[tuple[Any, str]]) -> None:
    platform, _ = play(history)
    still: Counter[str] = Counter()
    for event in facts(platform, AmlAlertRaised, AmlAlertCleared):
        still[event.user_id] += 1 if isinstance(event, AmlAlertRaised) else -1
        assert event.open == still[event.user_id] >= 0
    rows = Counter(row[0] for row in platform.rows["aml_screening"].values() if row[5] == "open")

    assert rows == +still


@QUICK
@given(histories)
def test_the_events_alone_give_documents_and_rows_again(history: list[tuple[Any, str]]) -> None:
    platform, _ = play(history)
    again = rebuilt(platform, DECIDER)

    assert again.documents == platform.documents
    assert again.rows == platform.rows


def test_an_attempt_takes_so_many_documents() -> None:
    platform = Stepping(DECIDER)
    platform.send(StartKyc(user_id="ann"))
    told = [
        platform.send(SubmitKycDocument(user_id="ann", kind="proof_of_address", media_id=f"m{n}"))
        for n in range(MOST_DOCUMENTS + 1)
    ]

    assert [one.code for one in told] == [None] * MOST_DOCUMENTS + ["too_many_documents"]


def test_who_begins_anew_before_the_timer_has_fired_is_told_that_it_has_expired() -> None:
    platform = Stepping(DECIDER)
    for command in [*handed_in("ann", "a"), decision("ann", 1, "approved")]:
        assert platform.send(command, by=Actor("user", "piet", "Admin")).code is None
    platform.advance(timedelta(days=2))

    told = platform.send(StartKyc(user_id="ann"))
    assert [event.wire_name for event in told.events] == ["kyc_expired", "kyc_started"]
    platform.settle()
    assert platform.timers == {}
