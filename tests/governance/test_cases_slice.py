"""Moderation through the loop in memory: commands in, results, events, documents and rows out, and what checks that are asked outside say."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.cases import (
    CLASSIFICATION,
    SUBMISSIONS,
    TEXT_CHECK,
    TextCheck,
    classified,
    submitted,
    text_checked,
)
from agents.governance.rules.case import Moderation
from agents.governance.rules.checking import Kind, Kinds, Lists, set_kind
from agents.governance.view.cases import ModerationList
from streams.contract import Command
from streams.decision import Case, Intent, Refuse
from streams.effect import Passing, Refused, Reply
from streams.envelope import Actor
from streams.outside import Outside
from streams.personal import seal
from streams.sink import Fact
from streams.testing import ADMIN, Kit, Told, user
from topics.governance import (
    GOVERNANCE,
    MOST_KINDS,
    MOST_LISTS,
    AppealDecided,
    ApproveContent,
    ClaimCase,
    ConcludeCheck,
    ContentApproved,
    ContentRejected,
    DecideAppeal,
    DismissReport,
    EscalateCase,
    FileAppeal,
    ModerationRequested,
    RejectContent,
    ReportContent,
    SetModerationKind,
    SetModerationList,
    SubmitForModeration,
)

ANN, BOB, CY = user("ann"), user("bob"), user("cy")
MOD, OTHER = user("mod", "Admin"), user("other", "Admin")
AT: dict[str, Any] = {"subject": "notes:n1", "revision": 1}
SERVICE = Actor("service", "governance")
KEYS = {"ann": bytes(32)}


class InMemory(Outside):
    """The text check as it is, with keys and lists in memory."""

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        """Note it, and check."""
        await super().perform(intent, key)
        return await TextCheck(_keys, _lists).perform(intent, key)


async def _keys(subjects: Collection[str]) -> Mapping[str, bytes | None]:
    return {subject: KEYS.get(subject) for subject in subjects}


async def _lists() -> list[ModerationList]:
    return [ModerationList(list_id="gambling", of="words", entries=["casino"])]


@pytest.fixture
def kit() -> Iterator[Kit]:
    agents = GOVERNANCE_DECIDER, SUBMISSIONS, TEXT_CHECK, CLASSIFICATION
    with Kit(*agents, outside={"text_check": InMemory()}) as kit:
        yield kit


def submit(kit: Kit, name: str = "n1", revision: int = 1, **fields: Any) -> Told:
    body = {"subject": f"notes:{name}", "revision": revision, "kind": "note", "author_id": "ann", **fields}
    return kit.send(SubmitForModeration.model_validate(body), actor=SERVICE)


def names(told: Told) -> list[str]:
    """The events that a command and what followed from it left."""
    return [event.wire_name for event in told.events]


def status(kit: Kit, case: int = 1) -> str:
    """How the case of the first revision of n1 stands."""
    (row,) = (row for row in kit.rows("moderation_case") if row[:3] == ("notes:n1", 1, case))
    found: str = row[6]
    return found


def with_predecessors(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in with_predecessors(GOVERNANCE.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


def issuer(command: Command) -> Actor:
    """Whoever may: users act for themselves, and who decides an appeal is not who rejected it."""
    if isinstance(command, FileAppeal):
        return user(command.author_id)
    return OTHER if isinstance(command, DecideAppeal) else ADMIN


@pytest.mark.parametrize(
    "name", [name for name, one in GOVERNANCE.commands.items() if one.__module__.endswith("cases")]
)
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    contract = GOVERNANCE.commands[name]
    assert bool(contract.examples) == bool(contract.roles)

    told = [kit.send(command, actor=issuer(command)) for command in with_predecessors(contract)]
    assert {one.status + (one.code or "") for one in told} <= {"accepted"}


@pytest.mark.req("SR097")
def test_a_case_goes_from_its_submission_to_its_decision(kit: Kit) -> None:
    told = Counter(names(submit(kit, text="Good morning")))
    assert told == {"moderation_requested": 1, "content_checked": 3, "submission_counted": 1}
    assert status(kit) == "open"
    assert names(kit.send(ClaimCase(**AT), actor=MOD)) == ["moderation_case_claimed"]
    assert kit.send(ClaimCase(**AT), actor=MOD).events == [], "it is theirs already"
    assert kit.send(ApproveContent(**AT), actor=OTHER).code == "claimed_by_other"
    assert kit.send(EscalateCase(**AT, reason="A hard one."), actor=MOD).status == "accepted"
    assert kit.send(EscalateCase(**AT, reason="A hard one."), actor=MOD).code == "already_escalated"
    rejected = kit.send(RejectContent(**AT, reason="It is an advertisement."), actor=OTHER)
    about = {**AT, "case": 1, "kind": "note", "author_id": "ann", "at": rejected.events[0].at}  # type: ignore[attr-defined]
    assert rejected.events == [ContentRejected(**about, moderator_id="other", reason="It is an advertisement.")]
    assert status(kit) == "rejected"
    again = kit.send(ApproveContent(**AT), actor=MOD)
    assert (again.code, again.details) == ("case_decided", {"status": "rejected", "decided_by": "other"})
    assert [row[5] for row in sorted(kit.rows("case_event"), key=lambda row: row[1])] == [
        "moderation_requested",
        "moderation_case_claimed",
        "moderation_case_escalated",
        "content_rejected",
    ]


@pytest.mark.req("SR097")
def test_of_two_moderators_who_decide_one_does(kit: Kit) -> None:
    submit(kit)

    told = [kit.send(ApproveContent(**AT), actor=MOD), kit.send(RejectContent(**AT, reason="No."), actor=OTHER)]
    assert [(one.status, one.code) for one in told] == [("accepted", None), ("rejected", "case_decided")]
    assert [type(event) for event in kit.events() if isinstance(event, ContentApproved | ContentRejected)] == [
        ContentApproved
    ]


@pytest.mark.req("SR097")
@pytest.mark.parametrize(
    "command",
    [
        ClaimCase(**AT),
        ApproveContent(**AT),
        RejectContent(**AT, reason="No."),
        EscalateCase(**AT, reason="Hm."),
        DismissReport(**AT, reporter_id="bob"),
    ],
    ids=lambda command: command.wire_name,
)
def test_an_author_decides_nothing_about_their_own(kit: Kit, command: Command) -> None:
    submit(kit, author_id="mod")
    kit.send(ReportContent(**AT, reporter_id="bob", category="spam"), actor=BOB)

    assert kit.send(command, actor=MOD).code == "own_content"
    assert status(kit) == "open"


def test_nobody_decides_about_what_is_kept_under_their_own_id(kit: Kit) -> None:
    profile: dict[str, Any] = {"subject": "identity:mod", "revision": 1}
    kit.send(ReportContent(**profile, reporter_id="bob", category="abuse"), actor=BOB)

    assert kit.send(ApproveContent(**profile), actor=MOD).code == "own_content"
    assert kit.send(ApproveContent(**profile), actor=OTHER).status == "accepted"


@pytest.mark.parametrize(
    "body",
    [
        {**AT},
        {**AT, "reason": ""},
        {**AT, "reason": "x" * 1001},
        {**AT, "subject": "n1", "reason": "No."},
        {**AT, "subject": "Notes:n1", "reason": "No."},
        {**AT, "subject": "notes:a/b", "reason": "No."},
        {**AT, "revision": 0, "reason": "No."},
        {**AT, "case": 0, "reason": "No."},
        {**AT, "case": "1", "reason": "No."},
        {**AT, "moderator_id": "mod", "reason": "No."},
    ],
)
def test_a_rejection_without_a_reason_or_about_nothing_is_none(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RejectContent.model_validate(body)


@pytest.mark.parametrize(
    "command",
    [
        RejectContent(**AT, reason=" \n"),
        EscalateCase(**AT, reason=" "),
        DecideAppeal(**AT, outcome="upheld", reason="\t"),
    ],
    ids=lambda command: command.wire_name,
)
def test_a_reason_of_blanks_is_none(kit: Kit, command: Command) -> None:
    submit(kit)

    assert kit.send(command, actor=MOD).code == "reason_missing"


@pytest.mark.parametrize(
    "command",
    [
        ClaimCase(**AT),
        ApproveContent(**AT),
        ApproveContent(**AT, case=2),
        RejectContent(**AT, reason="No."),
        EscalateCase(**AT, reason="Hm."),
        DecideAppeal(**AT, outcome="upheld", reason="Yes."),
        FileAppeal(**AT, author_id="mod", text="No."),
    ],
    ids=lambda command: command.wire_name,
)
def test_what_there_is_not_cannot_be_decided_on(kit: Kit, command: Command) -> None:
    assert kit.send(command, actor=MOD).code == "case_not_found"
    assert kit.send(DismissReport(**AT, reporter_id="bob"), actor=MOD).code == "report_not_found"


@pytest.mark.req("SR097")
def test_each_revision_has_a_case_of_its_own(kit: Kit) -> None:
    assert submit(kit).status == "accepted"
    again = submit(kit)
    assert (again.code, again.details) == ("case_open", {"case": 1})
    assert submit(kit, revision=2).status == "accepted"
    kit.send(ApproveContent(**AT), actor=MOD)

    assert [row[:3] for row in kit.rows("moderation_case") if row[6] == "open"] == [("notes:n1", 2, 1)]
    again = submit(kit)
    assert (again.code, again.details) == ("already_submitted", {"status": "approved"})


@pytest.mark.req("SR097")
def test_what_nobody_has_to_look_at_is_approved_with_the_last_check(kit: Kit) -> None:
    kit.send(SetModerationKind(kind="note", automatic=True))

    told = submit(kit, text="Good morning")
    assert names(told)[-1] == "content_approved"
    (approved,) = (event for event in told.events if isinstance(event, ContentApproved))
    assert (approved.by, approved.moderator_id) == ("checks", None)
    assert submit(kit, "n2", text="To the casino!").events[-1].wire_name != "content_approved"
    (row,) = (row for row in kit.rows("moderation_case") if row[0] == "notes:n2")
    assert (row[6], row[9], row[10]) == ("open", "", "list:gambling")


def test_of_kinds_nobody_told_of_nothing_is_approved_without_a_person(kit: Kit) -> None:
    assert "content_approved" not in names(submit(kit))
    assert kit.state("main", "moderation_kinds") == Kinds()


@pytest.mark.req("SR097")
def test_an_author_who_submits_too_much_is_flagged_for_an_hour(kit: Kit) -> None:
    kit.send(SetModerationKind(kind="note", automatic=True, most_per_hour=2))

    assert [names(submit(kit, f"a{n}"))[-1] for n in range(2)] == ["content_approved"] * 2
    assert names(submit(kit, "a2"))[-1] == "content_auto_flagged"
    assert names(submit(kit, "b1", author_id="bob"))[-1] == "content_approved", "others have an hour of their own"
    kit.clock.advance(timedelta(hours=1))
    assert names(submit(kit, "a3"))[-1] == "content_approved"


@pytest.mark.req("SR097")
def test_what_an_author_has_submitted_before_is_flagged_as_a_copy(kit: Kit) -> None:
    text = "All of it must go, today only!"
    submit(kit, "n1", text=text)
    assert "content_auto_flagged" not in names(submit(kit, "n1", 2, text=text)), "a revision is no copy"
    assert "content_auto_flagged" not in names(submit(kit, "n2", text=text, author_id="bob"))
    submit(kit, "n3", text="ALL of it must go - today only")
    submit(kit, "n4", text="Thanks!")
    submit(kit, "n5", text="Thanks!")

    flags = {row[0]: row[10] for row in kit.rows("moderation_case")}
    assert {name for name, found in flags.items() if found == "duplicate"} == {"notes:n3"}
    assert text not in str(kit.state("ann", "submissions"))


@pytest.mark.req("SR097")
def test_what_a_classifier_says_needs_a_person(kit: Kit) -> None:
    kit.send(SetModerationKind(kind="note", automatic=True))
    kit.outside["classifier"].answers.append({"flags": ["toxicity", "spam", "spam"]})
    submit(kit, text="You fool", media_ids=("m1",))

    (row,) = kit.rows("moderation_case")
    assert (row[6], row[10]) == ("open", "classifier:toxicity classifier:spam")
    (asked,) = kit.outside["classifier"].asked
    shown = {**AT, "kind": "note", "author_id": "ann", "title": None, "text": "You fool", "media_ids": ["m1"]}
    assert asked.intent.data == shown


@pytest.mark.parametrize(
    "answer",
    [Refused("It answered 400."), {"flags": "spam"}, {"flags": ["not a label!"]}, {"flags": [1]}, {"flags": None}],
    ids=str,
)
def test_a_check_that_cannot_be_made_needs_a_person(kit: Kit, answer: Any) -> None:
    kit.send(SetModerationKind(kind="note", automatic=True))
    kit.outside["classifier"].answers.append(answer)
    submit(kit)

    (row,) = kit.rows("moderation_case")
    assert (row[6], row[10]) == ("open", "classifier:failed")
    assert kit.parked() == []


def test_a_classifier_that_is_away_is_asked_again_and_a_person_need_not_wait(kit: Kit) -> None:
    kit.send(SetModerationKind(kind="note", automatic=True))
    kit.outside["classifier"].answers += [Passing("Nobody is there.")] * 5
    submit(kit)
    assert status(kit) == "open"
    kit.send(ApproveContent(**AT), actor=MOD)
    for _ in range(5):
        kit.advance(timedelta(minutes=1))

    assert len(kit.outside["classifier"].asked) == 5
    assert (status(kit), kit.rows("moderation_case")[0][10]) == ("approved", ""), "nothing is flagged that is decided"
    assert kit.parked() == []


def test_nobody_can_say_what_a_check_found_but_the_platform(kit: Kit) -> None:
    submit(kit)
    check = ConcludeCheck(**AT, check="text")

    assert not check.may_be_issued_by(ADMIN)
    assert kit.send(check, actor=SERVICE).code == "already_checked"


@pytest.mark.req("SR097")
def test_reports_open_a_case_and_are_over_with_it(kit: Kit) -> None:
    submit(kit)
    kit.send(ApproveContent(**AT), actor=MOD)

    told = kit.send(ReportContent(**AT, reporter_id="bob", category="spam"), actor=BOB)
    assert names(told) == ["moderation_requested", "content_reported"]
    (opened,) = (event for event in told.events if isinstance(event, ModerationRequested))
    assert (opened.case, opened.origin, opened.author_id) == (2, "reports", "ann")
    assert kit.outside["classifier"].asked[1:] == [], "what was reported is for people"
    assert names(kit.send(ReportContent(**AT, reporter_id="cy", category="abuse"), actor=CY)) == ["content_reported"]
    assert kit.send(ReportContent(**AT, reporter_id="bob", category="spam"), actor=BOB).code == "already_reported"
    assert kit.send(ApproveContent(**AT), actor=MOD).code == "case_decided", "that was the first case"
    assert names(kit.send(DismissReport(**AT, reporter_id="bob"), actor=MOD)) == ["report_dismissed"]
    assert kit.send(DismissReport(**AT, reporter_id="bob"), actor=MOD).code == "report_closed"
    assert kit.send(RejectContent(**AT, case=2, reason="It is abuse."), actor=MOD).status == "accepted"
    assert kit.send(DismissReport(**AT, reporter_id="cy"), actor=MOD).code == "report_closed"
    assert kit.send(ReportContent(**AT, reporter_id="dan", category="other"), actor=user("dan")).code == (
        "already_rejected"
    )


def test_content_stays_when_the_last_report_is_dismissed(kit: Kit) -> None:
    kit.send(ReportContent(**AT, reporter_id="bob", category="spam"), actor=BOB)

    told = kit.send(DismissReport(**AT, reporter_id="bob", note="It is none."), actor=MOD)
    assert names(told) == ["report_dismissed", "content_approved"]
    assert kit.rows("moderation_case")[0][6:15:6] == ("approved", "reports_dismissed")
    assert submit(kit).status == "accepted", "it was never submitted"
    assert status(kit, 2) == "open"


def test_reports_of_what_waits_join_its_case(kit: Kit) -> None:
    submit(kit)
    assert names(kit.send(ReportContent(**AT, reporter_id="bob", category="spam"), actor=BOB)) == ["content_reported"]

    assert names(kit.send(DismissReport(**AT, reporter_id="bob"), actor=MOD)) == ["report_dismissed"]
    assert status(kit) == "open", "it was submitted, and waits for that"


@pytest.mark.req("SR097")
def test_an_author_appeals_once_and_somebody_else_decides(kit: Kit) -> None:
    submit(kit)
    appeal = FileAppeal(**AT, author_id="ann", text="It is none.")
    assert kit.send(appeal, actor=ANN).code == "not_rejected"
    kit.send(RejectContent(**AT, reason="It is an advertisement."), actor=MOD)
    judge = DecideAppeal(**AT, outcome="overturned", reason="It is none.")
    assert kit.send(judge, actor=OTHER).code == "not_appealed"

    assert kit.send(appeal, actor=ADMIN).code == "case_not_found", "not even an Admin appeals for others"
    assert names(kit.send(appeal, actor=ANN)) == ["appeal_filed"]
    assert kit.send(appeal, actor=ANN).code == "already_appealed"
    assert kit.send(judge, actor=MOD).code == "own_decision"
    told = kit.send(judge, actor=OTHER)
    assert [type(event) for event in told.events] == [AppealDecided, ContentApproved]
    assert status(kit) == "approved"
    assert kit.send(judge, actor=OTHER).code == "already_decided"
    assert kit.send(appeal, actor=ANN).code == "already_appealed"


def test_an_appeal_that_is_upheld_changes_nothing(kit: Kit) -> None:
    submit(kit, author_id="mod")
    kit.send(RejectContent(**AT, reason="It is an advertisement."), actor=OTHER)
    kit.send(FileAppeal(**AT, author_id="mod", text="It is none."), actor=MOD)
    judge = DecideAppeal(**AT, outcome="upheld", reason="It is one.")

    assert kit.send(judge, actor=MOD).code == "own_content"
    assert [type(event) for event in kit.send(judge, actor=ADMIN).events] == [AppealDecided]
    assert status(kit) == "rejected"


def test_lists_and_kinds_have_a_number(kit: Kit) -> None:
    entries = ("casino",)
    told = [kit.send(SetModerationList(list_id=f"l{n}", of="words", entries=entries)) for n in range(MOST_LISTS + 1)]
    assert [one.code for one in told] == [None] * MOST_LISTS + ["too_many_lists"]
    assert kit.send(SetModerationList(list_id="l0", of="links", entries=("a.example",))).status == "accepted"
    assert kit.send(SetModerationList(list_id="l1", of="words")).status == "accepted"
    assert kit.state("main", "moderation_lists") == Lists((*(f"l{n}" for n in range(2, MOST_LISTS)), "l0"))
    bad = kit.send(SetModerationList(list_id="l2", of="words", entries=("ok", "!?*")))
    assert (bad.code, bad.details) == ("bad_entry", {"entry": "!?*"})
    all_kinds = Kinds({f"k{n}": Kind() for n in range(MOST_KINDS)})
    case = Case(kit.clock.now(), "c1")
    full = set_kind({"moderation_kinds": all_kinds}, SetModerationKind(kind="one-more"), case)
    assert full == Refuse("too_many_kinds", details={"most": MOST_KINDS})
    assert not isinstance(set_kind({"moderation_kinds": all_kinds}, SetModerationKind(kind="k1"), case), Refuse)


def test_sealed_words_pass_unread(kit: Kit) -> None:
    text, note, plea = (seal(words, who, bytes(32)) for words, who in (("Hi", "ann"), ("Look", "bob"), ("No", "ann")))
    body = f'{{"subject": "notes:n1", "revision": 1, "kind": "note", "author_id": "ann", "text": "{text}"}}'
    kit.outside["text_check"] = Outside()
    kit.send(SubmitForModeration.from_topic(body.encode()), actor=SERVICE)
    report = ReportContent.from_topic(
        f'{{"subject": "notes:n1", "revision": 1, "reporter_id": "bob", "category": "spam", "note": "{note}"}}'.encode()
    )
    kit.send(report, actor=BOB)
    kit.send(RejectContent(**AT, reason="No."), actor=MOD)
    appeal = f'{{"subject": "notes:n1", "revision": 1, "author_id": "ann", "text": "{plea}"}}'
    kit.send(FileAppeal.from_topic(appeal.encode()), actor=ANN)

    assert kit.rows("moderated_content") == [("notes:n1", 1, None, text, "")]
    assert [row[5] for row in kit.rows("report")] == [note]
    assert [row[4] for row in kit.rows("appeal")] == [plea]
    assert [asked.intent.data["text"] for asked in kit.outside["classifier"].asked] == [text]


def test_the_same_follows_from_the_events_alone(kit: Kit) -> None:
    submit(kit, text="To the casino, all of you, today!")
    kit.send(ReportContent(**AT, reporter_id="bob", category="spam"), actor=BOB)
    kit.send(RejectContent(**AT, reason="No."), actor=MOD)

    live, again = kit.store.schemas["governance"], kit.rebuilt().schemas["governance"]
    assert {name: document.data for name, document in again.states.items()} == {
        name: document.data for name, document in live.states.items()
    }
    for table in ("moderation_case", "moderated_content", "case_event", "report"):
        assert again.rows[table] == live.rows[table]


def test_a_failed_text_check_is_told_as_one(kit: Kit) -> None:
    submit(kit)
    (asked,) = kit.outside["text_check"].asked
    event = next(event for event in kit.events() if isinstance(event, ModerationRequested))
    fact = Fact(event, "e1", event.key, 1, kit.clock.now(), SERVICE, "c1")

    assert submitted(fact) == Intent("check", dict(asked.intent.data) | {"media_ids": ()})
    for judged, check in ((text_checked, "text"), (classified, "classifier")):
        command = judged(fact, Reply("failed", kit.clock.now(), error="Away."))
        assert (command.check, command.flags) == (check, (f"{check}:failed",))
    assert kit.state("notes:n1", "case/1") == Moderation(
        number=1,
        status="open",
        submitted=True,
        kind="note",
        author_id="ann",
        opened_at=event.at,
    )
