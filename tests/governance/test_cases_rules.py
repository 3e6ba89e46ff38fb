"""The laws of moderation, over random histories against a model of it in plain words."""

from collections import Counter, defaultdict
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.cases import SUBMISSIONS
from agents.governance.rules.checking import WordList, flags, plain
from streams.contract import Command
from streams.envelope import Actor
from tests.governance.moderation_model import AUTHORS, KINDS, Model
from tests.stepping import Outcome, Stepping, rebuilt
from topics.governance import (
    AppealDecided,
    AppealFiled,
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
    SubmitForModeration,
)

AGENTS = (GOVERNANCE_DECIDER, SUBMISSIONS)
QUICK = settings(max_examples=40)
MINE = "identity:root"  # what a domain keeps of root, under root's id
MARKS = tuple(f"{n:032x}" for n in range(2))

Entry = tuple[str, str, dict[str, Any]]
PEOPLE = ("ann", "mod", "root")
REASONS = ("It is an advertisement.", "It is an advertisement.", " ")


class Chance:
    """Draws what happens, each thing as likely as it is said here; much of it to the same content, else little would happen to any."""

    def __init__(self, seed: int) -> None:
        """The same seed gives the same."""
        self._random = Random(seed)
        self.pick = self._random.choice

    def history(self) -> list[Entry]:
        """Some fifty commands, and time that passes."""
        parts = [self._scene() if self.pick((True, False)) else [self._single()] for _ in range(24)]
        return [entry for part in parts for entry in part]

    def _place(self, *others: str) -> dict[str, Any]:
        return {"subject": self.pick((*AUTHORS, "notes:n1", *others)), "revision": self.pick((1, 1, 1, 2))}

    def _submission(self) -> Entry:
        return "submit", "governance", {**self._place(), "kind": self.pick((*KINDS,))}

    def _single(self) -> Entry:
        """Whatever comes to somebody's mind."""
        word = self.pick((*COMMANDS, "wait"))
        if word == "wait":
            return word, "", {"minutes": self.pick((20, 70))}
        if word == "submit":
            return self._submission()
        at = self._place(MINE)
        if word == "report":
            return word, "", {**at, "reporter_id": self.pick(("bob", "cy")), "category": "spam"}
        if word == "dismiss":
            return word, self.pick(PEOPLE), {**at, "reporter_id": self.pick(("bob", "cy"))}
        at["case"] = self.pick((1, 1, 1, 2))
        if word == "check":
            found = {"check": self.pick(("text", "classifier")), "flags": self.pick(((), ("list:spam",)))}
            return word, "governance", {**at, **found}
        return self._said(word, self.pick(PEOPLE), at)

    def _said(self, word: str, by: str, at: dict[str, Any]) -> Entry:
        """What moderators and authors say, in words that may be none."""
        given: dict[str, dict[str, Any]] = {
            "claim": {"take_over": self.pick((True, False))},
            "reject": {"reason": self.pick(REASONS)},
            "escalate": {"reason": self.pick(REASONS)},
            "appeal": {"text": "It is none."},
            "judge": {"reason": self.pick(REASONS), "outcome": self.pick(("upheld", "overturned"))},
        }
        return word, by, {**at, **given.get(word, {})}

    def _scene(self) -> list[Entry]:
        """What seldom comes together by itself: all checks of what was just submitted, claims, reports or an appeal, and who decides then."""
        begun = self._submission()
        at = {name: begun[2][name] for name in ("subject", "revision")}
        match self.pick(("checks", "claims", "reports", "appeal")):
            case "checks":
                flags_ = self.pick(((), (), (), ("list:spam",)))
                read = {**at, "check": "text", "flags": flags_, "fingerprint": self.pick((None, *MARKS))}
                seen = {**at, "check": "classifier", "flags": ()}
                reported = ("report", "", {**at, "reporter_id": "bob", "category": "spam"})
                between = self.pick(([], [], [reported]))
                return [begun, ("check", "governance", read), *between, ("check", "governance", seen)]
            case "claims":
                words = ["claim", "claim", *(self.pick(("approve", "escalate", "reject")) for _ in range(2))]
                return [begun, *(self._said(word, self.pick(PEOPLE), at) for word in words)]
            case "reports":
                at = self._place(MINE, MINE)
                told = [("report", "", {**at, "reporter_id": who, "category": "spam"}) for who in ("bob", "cy")]
                gone = [("dismiss", self.pick(PEOPLE), {**at, "reporter_id": who}) for who in ("bob", "cy")]
                return [*told, *gone, self._said(self.pick(("approve", "reject")), self.pick(PEOPLE), at)]
        rejected = ("reject", self.pick(PEOPLE), {**at, "reason": "It is an advertisement."})
        judged = [self._said("judge", self.pick(PEOPLE), at) for _ in range(2)]
        return [begun, rejected, ("appeal", self.pick(("ann", "ann", "root")), {**at, "text": "It is none."}), *judged]


histories = st.integers(0, 2**32).map(lambda seed: Chance(seed).history())
COMMANDS: dict[str, type[Command]] = {
    "submit": SubmitForModeration,
    "check": ConcludeCheck,
    "claim": ClaimCase,
    "approve": ApproveContent,
    "reject": RejectContent,
    "escalate": EscalateCase,
    "report": ReportContent,
    "dismiss": DismissReport,
    "appeal": FileAppeal,
    "judge": DecideAppeal,
}


def command_of(entry: Entry) -> Command:
    word, _, body = entry
    if word == "submit":
        body = {**body, "author_id": AUTHORS[body["subject"]]}
    if word == "appeal":
        body = {**body, "author_id": "ann"}
    return COMMANDS[word].model_validate(body)


def play(history: list[Entry]) -> tuple[Stepping, Model, list[tuple[str, Outcome, str | None]]]:
    """What became of each entry, and what the model says of it; the author's check follows at once."""
    platform, model = Stepping(*AGENTS), Model()
    for kind, (automatic, most) in KINDS.items():
        platform.send(SetModerationKind(kind=kind, automatic=automatic, most_per_hour=most))
    became = []
    for word, by, body in history:
        if word == "wait":
            platform.advance(timedelta(minutes=body["minutes"]))
            continue
        command: Any = command_of((word, by, body))
        who = by or command.reporter_id
        service = word in ("submit", "check")
        outcome = platform.send(command, Actor("service", by) if service else Actor("user", who, "Admin"))
        platform.settle()
        became.append((word, outcome, model.do(word, who, outcome.at, command)))
    return platform, model, became


def told(platform: Stepping, *kinds: type[Any]) -> list[Any]:
    """The events of these kinds."""
    return [fact.event for fact in platform.facts if isinstance(fact.event, kinds)]


def case_of(event: Any) -> tuple[str, int, int]:
    return event.subject, event.revision, event.case


@pytest.mark.req("SR097")
@QUICK
@given(histories)
def test_everything_becomes_what_is_meant(history: list[Entry]) -> None:
    platform, model, became = play(history)

    assert [(word, outcome.code) for word, outcome, _ in became] == [(word, code) for word, _, code in became]
    rows = platform.rows["moderation_case"]
    looks = {
        (*place, number): look for place, found in model.looks.items() for number, look in enumerate(found, start=1)
    }
    assert set(rows) == set(looks)
    for key, look in looks.items():
        status, holder, flags_, reports, decider, appeal = (rows[key][n] for n in (6, 8, 10, 11, 13, 16))
        expected = look.status, look.holder or None, sorted(look.flags), len(look.reports), look.appeal
        assert (status, holder, sorted(flags_.split()), reports, appeal) == expected
        assert decider == (look.decider or None)


@pytest.mark.req("SR097")
@QUICK
@given(histories)
def test_of_a_revision_one_case_is_open_and_each_has_one_decision(history: list[Entry]) -> None:
    platform, _, _ = play(history)
    open_now: dict[tuple[str, int], int] = {}
    decisions: Counter[tuple[str, int, int]] = Counter()
    overturned = {case_of(event) for event in told(platform, AppealDecided) if event.outcome == "overturned"}
    for event in told(platform, ModerationRequested, ContentApproved, ContentRejected):
        place = event.subject, event.revision
        if isinstance(event, ModerationRequested):
            assert place not in open_now
            open_now[place] = event.case
        elif isinstance(event, ContentApproved) and event.by == "appeal":
            assert case_of(event) in overturned
        else:
            assert open_now.pop(place) == event.case
            decisions[case_of(event)] += 1

    assert set(decisions.values()) <= {1}


@pytest.mark.req("SR097")
@QUICK
@given(histories)
def test_nobody_decides_on_what_is_their_own(history: list[Entry]) -> None:
    platform, _, _ = play(history)
    rejected: dict[tuple[str, int, int], str] = {}
    for event in told(platform, ContentApproved, ContentRejected, AppealDecided, AppealFiled):
        if isinstance(event, AppealFiled):
            assert event.author_id == AUTHORS[event.subject]
            continue
        assert event.moderator_id is None or event.moderator_id not in (event.author_id, event.subject.split(":")[1])
        if isinstance(event, ContentRejected):
            rejected[case_of(event)] = event.moderator_id
        if isinstance(event, AppealDecided):
            assert event.moderator_id != rejected[case_of(event)]


@pytest.mark.req("SR097")
@QUICK
@given(histories)
def test_without_a_person_only_what_no_check_flagged_of_an_automatic_kind_is_approved(history: list[Entry]) -> None:
    platform, _, _ = play(history)
    made: defaultdict[tuple[str, int, int], set[str]] = defaultdict(set)
    for fact in platform.facts:
        event: Any = fact.event
        match event.wire_name:
            case "content_checked":
                made[case_of(event)].add(event.check)
            case "content_auto_flagged" | "content_reported":
                made[case_of(event)].add("a person is needed")
            case "content_approved" if event.by == "checks":
                assert KINDS[event.kind][0]
                assert made[case_of(event)] == {"text", "author", "classifier"}


@QUICK
@given(histories)
def test_the_events_alone_give_the_same(history: list[Entry]) -> None:
    live, _, _ = play(history)
    again = rebuilt(live, *AGENTS)

    assert again.documents == live.documents
    assert again.rows == live.rows


WORDS = WordList("gambling", "words", ("casino*", "place your bets", "рулетка", "ёлка"))
LINKS = WordList("phishing", "links", ("phish.example", "Müller.example"))


@pytest.mark.req("SR097")
@pytest.mark.parametrize(
    "text",
    [
        "Casino",
        "the CASINOS of old",
        "ca\u00adsi\u200bno",  # with what nobody sees
        "ＣＡＳＩＮＯ",  # noqa: RUF001 - wide letters are what is tried
        "Now place,  your\nBETS!",
        "Рулетка, господа",
        "елка",
    ],
)
def test_listed_words_are_found_however_they_are_written(text: str) -> None:
    assert flags(text, [WORDS, LINKS]) == ["list:gambling"]


@pytest.mark.parametrize("text", ["", "occasional", "place your better bets", "рулетками", "bets your place"])
def test_other_words_are_left_alone(text: str) -> None:
    assert flags(text, [WORDS, LINKS]) == []


@pytest.mark.req("SR097")
@pytest.mark.parametrize(
    "text",
    [
        "see https://phish.example/now",
        "WWW.Phish.Example.",
        "ann@mail.phish.example",
        "http://x:1@a.b.phish.example:80/?q",
        "at MÜLLER.example",
    ],
)
def test_listed_hosts_are_found_with_their_subdomains(text: str) -> None:
    assert flags(text, [WORDS, LINKS]) == ["list:phishing"]


@pytest.mark.parametrize("text", ["phish example", "notphish.example", "phish.example.org", "phishexample.com"])
def test_other_hosts_are_left_alone(text: str) -> None:
    assert flags(text, [WORDS, LINKS]) == []


@settings(max_examples=100)
@given(st.text(max_size=200))
def test_a_text_is_read_whatever_it_has(text: str) -> None:
    words = plain(text)

    assert plain(words) == words
    assert flags(text, [WORDS, LINKS]) == flags(text.upper().lower(), [WORDS, LINKS]) or not text.isascii()
