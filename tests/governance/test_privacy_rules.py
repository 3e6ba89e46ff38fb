"""The laws of consent, export and erasure, over random lives of two users, one of whom may have something open elsewhere."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.privacy import asking
from streams.contract import Command, Event, Topic
from streams.erasure import ErasureAnswer
from tests.governance import shop
from tests.governance.shop import SHOP, Deliver, Order
from tests.stepping import Outcome, Stepping, rebuilt
from topics.fitness import FITNESS
from topics.governance import (
    GOVERNANCE,
    AskErasureAgain,
    CompleteDataExport,
    CompleteErasure,
    ConsentRecorded,
    ConsentWithdrawn,
    DataExportCompleted,
    DataExportExpired,
    DataExportFailed,
    ErasureAcknowledged,
    ErasureAsked,
    ErasureOverdue,
    ErasureRequested,
    ErasureStepCompleted,
    ErasureStepDeferred,
    ExpireDataExport,
    FailDataExport,
    NoteErasureStep,
    PlanErasure,
    RecordConsent,
    RequestDataExport,
    RequestErasure,
    UserErased,
    WithdrawConsent,
)

QUICK = settings(max_examples=80)
TILL = Topic("till", key="user_id")


class TillAnswered(ErasureAnswer, Event, topic=TILL):
    """A domain that is far away answers when the test says so."""


DOMAINS = (GOVERNANCE, FITNESS, SHOP, TILL)  # the last two are asked
AGENTS = (GOVERNANCE_DECIDER, *asking(DOMAINS), *shop.AGENTS)
USERS = ("ann", "bob")
DAY = timedelta(days=1)


@dataclass
class User:
    """What a user may expect, in plain words."""

    agrees: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    export: str = "none"
    export_asked: datetime | None = None
    erasure: str = "none"
    erased: bool = False

    def answer(self, command: Command, now: datetime) -> str | None:
        """The code with which a command is refused now."""
        match command:
            case RecordConsent() if self.erased:
                return "user_erased"
            case WithdrawConsent() if command.purpose not in self.agrees:
                return "not_given"
            case RequestDataExport() if self.erased:
                return "user_erased"
            case RequestDataExport() if self.export == "running":
                return "export_in_progress"
            case RequestDataExport() if self.export == "there" and self.export_asked and now - self.export_asked < DAY:
                return "export_ready"
            case RequestErasure() if self.erasure == "running":
                return "erasure_in_progress"
        return None

    def learn(self, outcome: Outcome) -> None:
        """Take what became of a command."""
        for event in outcome.events:
            match event:
                case ConsentRecorded():
                    since = self.agrees.get(event.purpose, ("", outcome.at))[1]
                    assert (event.since, event.at) == (since, outcome.at)
                    self.agrees[event.purpose] = (event.text_version, since)
                case ConsentWithdrawn():
                    assert (event.text_version, event.since) == self.agrees.pop(event.purpose)
                case DataExportCompleted() | DataExportFailed() | DataExportExpired():
                    ends = {DataExportCompleted: "there", DataExportFailed: "none", DataExportExpired: "none"}
                    self.export = ends[type(event)]
                case ErasureRequested():
                    self.erasure = "running"
                case UserErased():
                    self.erasure, self.erased = "none", True
                    assert self.agrees == {}
        if isinstance(outcome.command, RequestDataExport) and outcome.code is None:
            self.export, self.export_asked = "running", outcome.at


users = st.sampled_from(USERS)
purposes = st.sampled_from(("analytics", "news"))
acts = st.one_of(
    st.builds(
        RecordConsent, user_id=users, purpose=purposes, text_version=st.sampled_from(("1", "2")), channel=st.just("web")
    ),
    st.builds(WithdrawConsent, user_id=users, purpose=purposes, channel=st.just("app")),
    st.builds(RequestDataExport, user_id=users),
    st.builds(RequestErasure, user_id=users),
    st.builds(Order, user_id=users),
    st.builds(Deliver, user_id=users),
)
ends = st.sampled_from(("export made", "export failed", "key destroyed", "till answers"))
times = st.sampled_from((DAY, 4 * DAY, 31 * DAY))
weighted = (acts, acts, ends, st.integers(0, 3), st.just("all steps"), times)
histories = st.lists(st.sampled_from(weighted).flatmap(lambda chosen: chosen), max_size=60)
"""What users do; what the outside has done; a number takes a waiting step; time passes, and what is due is done."""


class Life:
    """The platform and what users expect of it, side by side."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.platform = Stepping(*AGENTS)
        self.users = {name: User() for name in USERS}
        self._seen = 0
        self._asked: Counter[tuple[str, str]] = Counter()

    def do(self, entry: Any) -> None:
        """Play an entry of a history, and compare."""
        platform = self.platform
        if isinstance(entry, timedelta):
            platform.advance(entry)
            while platform.fire():
                self.look()
        elif isinstance(entry, int):
            platform.step(entry)
        elif entry == "all steps":
            while platform.step():
                self.look()
        elif isinstance(entry, str):
            self._outside(entry)
        else:
            user = self.users[entry.user_id]
            expected = user.answer(entry, platform.now + timedelta(seconds=1))
            outcome = platform.send(entry)
            if entry.topic is GOVERNANCE:
                assert outcome.code == expected
        self.look()

    def _outside(self, what: str) -> None:
        for name in USERS:
            export, erasure = (self.platform.state("governance", name, word) for word in ("export", "erasure"))
            if what == "till answers":
                self.platform.send(NoteErasureStep(user_id=name, erasure_id=erasure.erasure_id or "e0", domain="till"))
            elif what == "key destroyed":
                if erasure.status == "acknowledged":  # the effect's event is there
                    self.platform.send(CompleteErasure(user_id=name, erasure_id=erasure.erasure_id))
            elif export.status == "in_progress":
                about = {"user_id": name, "export_id": export.export_id}
                end = CompleteDataExport(**about, size=1) if what == "export made" else FailDataExport(**about)
                self.platform.send(end)

    def look(self) -> None:
        """What holds at every moment."""
        outcomes = [*self.platform.outcomes.values()]
        for outcome in outcomes[self._seen :]:
            self.users[outcome.command.user_id].learn(outcome)
            self._asked.update((e.user_id, e.erasure_id) for e in outcome.events if isinstance(e, ErasureAsked))
        self._seen = len(outcomes)
        for name, user in self.users.items():
            given = self.platform.state("governance", name, "consents").given
            assert {purpose: (one.text_version, one.since) for purpose, one in given.items()} == user.agrees
            erasure = self.platform.state("governance", name, "erasure")
            assert set(erasure.deferred) <= set(erasure.asked)
            if erasure.status == "asked":
                assert self.platform.timers["governance", name, "erasure"].at == erasure.again_at
                late = erasure.again_at - DAY >= erasure.due_by
                assert erasure.overdue == (late and self._asked[name, erasure.erasure_id] > 1)  # it was told by a day


def lived(history: list[Any]) -> Life:
    """A history, played to its end."""
    life = Life()
    for entry in history:
        life.do(entry)
    while life.platform.step():
        life.look()
    return life


def events(life: Life, user: str, *kinds: type[Any]) -> list[Any]:
    """What happened to a user, of these kinds."""
    return [fact.event for fact in life.platform.facts if fact.key == user and isinstance(fact.event, kinds)]


ORDERED_AND_ERASED = [Order(user_id="ann"), RequestErasure(user_id="ann"), "all steps", "till answers", DAY]
ERASED = [RequestErasure(user_id="ann"), "all steps", "till answers", "key destroyed"]
CONSENT = RecordConsent(user_id="ann", purpose="news", text_version="1", channel="web")


@pytest.mark.req("SR140")
@QUICK
@given(histories)
@example([*ORDERED_AND_ERASED, Deliver(user_id="ann"), DAY, "all steps", "key destroyed"])
@example([CONSENT, *ERASED, CONSENT, RequestDataExport(user_id="ann"), *ERASED])
def test_every_domain_has_done_its_part_before_the_key_goes_and_the_user_is_erased(history: list[Any]) -> None:
    life = lived(history)

    for user in USERS:
        done: Counter[tuple[str, str]] = Counter()
        ready, erased = set[str](), set[str]()
        for event in events(life, user, ErasureStepCompleted, ErasureAcknowledged, UserErased):
            match event:
                case ErasureStepCompleted():
                    done[event.erasure_id, event.domain] += 1
                case ErasureAcknowledged():
                    assert {domain for about, domain in done if about == event.erasure_id} == {
                        topic.domain for topic in DOMAINS
                    }
                    assert event.erasure_id not in ready
                    ready.add(event.erasure_id)
                case UserErased():
                    assert event.erasure_id in ready - erased
                    erased.add(event.erasure_id)
        assert set(done.values()) <= {1}


@QUICK
@given(histories)
@example([*ORDERED_AND_ERASED, *4 * [31 * DAY]])
@example([RequestErasure(user_id="ann"), 31 * DAY, "all steps", DAY])
def test_who_waits_is_asked_every_day_and_what_is_late_is_told_once(history: list[Any]) -> None:
    life = lived(history)

    facts = [
        fact for fact in life.platform.facts if isinstance(fact.event, ErasureRequested | ErasureAsked | ErasureOverdue)
    ]
    due = {fact.event.erasure_id: fact.event.due_by for fact in facts if isinstance(fact.event, ErasureRequested)}
    late = [fact for fact in facts if isinstance(fact.event, ErasureOverdue)]
    assert max(Counter(fact.event.erasure_id for fact in late).values(), default=1) == 1
    assert all(fact.at >= due[fact.event.erasure_id] for fact in late)
    assert {fact.event.domains for fact in facts if isinstance(fact.event, ErasureAsked)} <= {
        ("shop", "till"),
        ("shop",),
        ("till",),
    }


@QUICK
@given(histories)
@example(
    [
        RequestDataExport(user_id="ann"),
        "export made",
        4 * DAY,
        RequestDataExport(user_id="ann"),
        "export made",
        DAY,
        31 * DAY,
    ]
)
def test_a_file_is_there_for_seven_days(history: list[Any]) -> None:
    life = lived(history)

    for name in USERS:
        told = events(life, name, DataExportCompleted, DataExportExpired)
        gone = {event.export_id for event in told if isinstance(event, DataExportExpired)}
        made = {event.export_id: event for event in told if isinstance(event, DataExportCompleted)}
        assert gone <= made.keys()
        assert all(event.expires_at - event.completed_at == 7 * DAY for event in made.values())
        export = life.platform.state("governance", name, "export")
        assert (export.status == "ready") == (("governance", name, "export") in life.platform.timers)


@QUICK
@given(histories)
def test_the_events_alone_give_the_same_documents_rows_and_timers(history: list[Any]) -> None:
    live = lived(history).platform
    again = rebuilt(live, *AGENTS)

    assert again.documents == live.documents
    assert again.rows == live.rows
    assert again.timers == live.timers


@QUICK
@given(histories)
def test_rows_show_what_the_rules_know(history: list[Any]) -> None:
    life = lived(history)
    rows = life.platform.rows

    agreed = {(row[0], row[1]) for row in rows["consent"].values() if row[-1]}
    assert agreed == {(name, purpose) for name, user in life.users.items() for purpose in user.agrees}
    for row in rows["erasure"].values():
        steps = {step[2]: step[3] for step in rows["erasure_step"].values() if step[:2] == row[:2]}
        erasure = life.platform.state("governance", row[0], "erasure")
        waiting = {domain: "deferred" if domain in erasure.deferred else "asked" for domain in erasure.asked}
        assert {domain: status for domain, status in steps.items() if status != "completed"} == waiting


ABOUT = {"user_id": "ann", "erasure_id": "e0"}
EXPORT = {"user_id": "ann", "export_id": "x0"}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (PlanErasure(**ABOUT, domains=("shop",), asked=()), "erasure_ended"),
        (NoteErasureStep(**ABOUT, domain="shop"), "not_asked"),
        (AskErasureAgain(**ABOUT), "erasure_ended"),
        (CompleteErasure(**ABOUT), "not_acknowledged"),
        (CompleteDataExport(**EXPORT, size=1), "export_ended"),
        (FailDataExport(**EXPORT), "export_ended"),
        (ExpireDataExport(**EXPORT), "export_ended"),
    ],
)
def test_a_step_of_another_saga_is_refused(command: Command, code: str) -> None:
    platform = Stepping(*AGENTS)
    platform.send(Order(user_id="ann"))
    platform.send(RequestErasure(user_id="ann"))
    platform.send(RequestDataExport(user_id="ann"))
    platform.settle()

    assert platform.send(command).code == code


def test_a_step_before_its_time_is_refused() -> None:
    life = lived([RequestErasure(user_id="ann"), RequestDataExport(user_id="ann"), "export made"])
    states = (life.platform.state("governance", "ann", word) for word in ("erasure", "export"))
    erasure_id, export_id = (
        getattr(state, f"{word}_id") for word, state in zip(("erasure", "export"), states, strict=True)
    )

    assert life.platform.send(AskErasureAgain(user_id="ann", erasure_id=erasure_id)).code == "not_due"
    assert life.platform.send(ExpireDataExport(user_id="ann", export_id=export_id)).code == "not_due"
    assert (
        life.platform.send(PlanErasure(user_id="ann", erasure_id=erasure_id, domains=(), asked=())).code
        == "erasure_ended"
    )
    assert life.platform.send(CompleteErasure(user_id="ann", erasure_id=erasure_id)).code == "not_acknowledged"


def test_the_same_reason_is_told_once() -> None:
    life = lived([*ORDERED_AND_ERASED, "all steps", DAY, "all steps"])

    assert [event.domains for event in events(life, "ann", ErasureAsked)] == [("shop", "till"), ("shop",), ("shop",)]
    assert len(events(life, "ann", ErasureStepDeferred)) == 1
    (deferred,) = [row for row in life.platform.rows["erasure_step"].values() if row[3] == "deferred"]
    assert (deferred[0], deferred[2], deferred[4]) == ("ann", "shop", "an order is open")
