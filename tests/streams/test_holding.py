"""Content that is held back: nothing of it is told before it is approved, and its author's command has one result."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agent import Decider
from streams.contract import Command, Name, Topic
from streams.errors import ContractError
from streams.holding import LONGEST_SUBJECT, MOST_HELD, WORD, Held, HoldingBack, shown_revision
from streams.ids import uuid7
from streams.personal import FROM_TOPIC, is_sealed, seal
from streams.table import Table
from streams.testing import Kit, user
from tests.stepping import Outcome, Stepping, rebuilt
from tests.streams.desk import (
    NOTES,
    Approve,
    Approved,
    Hidden,
    Lock,
    Note,
    Order,
    Publish,
    Published,
    Reject,
    Rejected,
    agents,
)

ANN = user("ann")


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit(*agents()) as kit:
        yield kit


def publish(kit: Kit, text: str, note_id: str = "n") -> UUID:
    """Ann writes something; the id of her command."""
    name = uuid7(int(kit.clock.now().timestamp() * 1000))
    kit.send(Publish(note_id=note_id, author_id="ann", text=text), actor=ANN, command_id=name)
    return name


def approve(kit: Kit, revision: int, note_id: str = "n") -> list[str]:
    """The desk approves; what is told beside."""
    told = kit.send(Approve(subject=f"notes:{note_id}", revision=revision))
    return [event.wire_name for event in told.events[1:]]


def reject(kit: Kit, revision: int, note_id: str = "n") -> list[str]:
    """The desk rejects; what is told beside."""
    told = kit.send(Reject(subject=f"notes:{note_id}", revision=revision))
    return [event.wire_name for event in told.events[1:]]


def result(kit: Kit, command_id: UUID) -> tuple[str, str | None]:
    """What Ann is told of a command."""
    found = kit.result(command_id)
    assert found
    return found.status, found.code


def shown(kit: Kit) -> Any:
    """What everybody reads."""
    note = kit.state("n")
    assert isinstance(note, Note)
    return note.text


def test_what_waits_is_told_to_nobody_and_what_is_approved_is_published(kit: Kit) -> None:
    name = publish(kit, "Hello")
    assert (result(kit, name), shown(kit)) == (("pending", None), None)
    assert [event.wire_name for event in kit.events()] == ["content_held"]

    assert approve(kit, 1) == ["content_released", "published"]
    assert (result(kit, name), shown(kit)) == (("accepted", None), "Hello")
    assert kit.parked() == []


def test_what_is_rejected_is_never_published_and_its_command_is_refused_with_the_reason(kit: Kit) -> None:
    name = publish(kit, "Hello")

    assert reject(kit, 1) == ["content_discarded"]
    assert (result(kit, name), shown(kit)) == (("rejected", "content_rejected"), None)
    found = kit.result(name)
    assert found
    assert "Too loud" in (found.details or "")


def test_what_the_rules_refuse_is_refused_at_once(kit: Kit) -> None:
    kit.send(Lock(note_id="n"))
    name = publish(kit, "Hello")

    assert result(kit, name) == ("rejected", "locked")
    assert [event.wire_name for event in kit.events()] == ["locked"]


def test_what_is_approved_is_decided_by_what_is_true_by_then(kit: Kit) -> None:
    name = publish(kit, "Hello")
    kit.send(Lock(note_id="n"))

    assert approve(kit, 1) == ["content_released", "content_discarded"]
    assert (result(kit, name), shown(kit)) == (("rejected", "locked"), None)


def test_an_appeal_approves_what_was_rejected_and_the_result_stays(kit: Kit) -> None:
    name = publish(kit, "Hello")
    reject(kit, 1)

    assert approve(kit, 1) == ["content_released", "published"]
    assert (result(kit, name), shown(kit)) == (("rejected", "content_rejected"), "Hello")


def test_of_two_revisions_the_later_one_is_shown_in_whatever_order_they_are_approved(kit: Kit) -> None:
    names = [publish(kit, text) for text in ("One", "Two")]
    approve(kit, 2)

    assert approve(kit, 1) == ["content_discarded"]
    assert [result(kit, name) for name in names] == [("rejected", "superseded"), ("accepted", None)]
    assert shown(kit) == "Two"

    three, four = publish(kit, "Three"), publish(kit, "Four")
    assert (approve(kit, 3), shown(kit)) == (["content_released", "published"], "Three")
    reject(kit, 4)
    assert [result(kit, name)[0] for name in (three, four)] == ["accepted", "rejected"]
    assert shown(kit) == "Three"


def test_what_is_rejected_after_it_was_published_is_taken_down_unless_it_is_another_by_now(kit: Kit) -> None:
    publish(kit, "One")
    approve(kit, 1)
    assert (reject(kit, 1), shown(kit)) == (["content_discarded", "hidden"], None)
    assert (approve(kit, 1), shown(kit)) == (["content_released", "published"], "One")

    publish(kit, "Two")
    approve(kit, 2)
    assert (reject(kit, 1), shown(kit)) == ([], "Two")


def test_what_was_there_before_anything_was_held_is_taken_down_too(kit: Kit) -> None:
    assert reject(kit, 1) == ["content_discarded", "hidden"]


def test_the_desk_speaks_of_others_and_of_what_was_never_held_in_vain(kit: Kit) -> None:
    publish(kit, "One")
    kit.send(Approve(subject="other:n", revision=1))

    assert approve(kit, 9) == reject(kit, 9) == []
    assert shown(kit) is None
    assert kit.parked() == []


def test_a_saga_begins_when_it_was_approved_and_settles_the_command_that_was_held(kit: Kit) -> None:
    name = uuid7(int(kit.clock.now().timestamp() * 1000))
    kit.send(Order(note_id="n", author_id="ann"), actor=ANN, command_id=name)

    assert approve(kit, 1) == ["content_released", "ordered", "printed"]
    assert result(kit, name) == ("accepted", None)


def test_an_aggregate_has_so_many_revisions_waiting_and_no_more(kit: Kit) -> None:
    names = [publish(kit, f"{n}") for n in range(MOST_HELD + 1)]

    assert [result(kit, name)[1] for name in names] == [None] * MOST_HELD + ["too_many_held"]
    approve(kit, MOST_HELD)
    for n in range(1, MOST_HELD):
        approve(kit, n)
    assert [result(kit, name) for name in names[:MOST_HELD]] == [
        *[("rejected", "superseded")] * (MOST_HELD - 1),
        ("accepted", None),
    ]
    assert result(kit, publish(kit, "again"))[0] == "pending"


def test_an_id_that_the_desk_could_not_name_is_refused(kit: Kit) -> None:
    longest = LONGEST_SUBJECT - len("notes:")

    assert result(kit, publish(kit, "Hello", "n" * longest))[0] == "pending"
    assert result(kit, publish(kit, "Hello", "n" * (longest + 1))) == ("rejected", "id_too_long")


def test_what_is_personal_stays_sealed_all_the_way(kit: Kit) -> None:
    text = seal("Hello", "ann", bytes(32))
    command = Publish.model_validate({"note_id": "n", "author_id": "ann", "text": text}, context=FROM_TOPIC)
    kit.send(command, actor=ANN)
    approve(kit, 1)

    assert is_sealed(shown(kit))
    (published,) = (event for event in kit.events() if isinstance(event, Published))
    assert published.text == text


def test_the_events_alone_rebuild_what_is_held(kit: Kit) -> None:
    for text in ("One", "Two", "Three"):
        publish(kit, text)
    approve(kit, 2)
    reject(kit, 3)
    live, again = kit.store.schemas["notes"], kit.rebuilt().schemas["notes"]

    assert {key: one.data for key, one in again.states.items()} == {key: one.data for key, one in live.states.items()}
    assert f"n/{WORD}" in live.states


@pytest.mark.parametrize("wrong", [{"owner": None}, {"held": Held(Approved, Rejected, text="body")}])
def test_a_declaration_that_could_not_be_kept_is_refused(wrong: dict[str, Any]) -> None:
    topic = Topic("letters", key="letter_id")
    usual: dict[str, Any] = {"topic": topic, "roles": ("User",), "owner": "author_id", "held": Held(Approved, Rejected)}

    with pytest.raises(ContractError):

        class Post(Command, **usual | wrong):
            letter_id: Name
            author_id: Name


def test_the_word_of_its_document_is_taken() -> None:
    decider = next(agent for agent in agents() if isinstance(agent, Decider))

    with pytest.raises(ContractError):
        HoldingBack(Decider(NOTES, Table("notes", {"": Note, WORD: Note}), decider.decide, decider.evolve)).changed()


acts = st.lists(st.tuples(st.sampled_from(["publish", "approve", "reject", "step"]), st.integers(0, 5)), max_size=40)


@settings(max_examples=60)
@given(acts)
def test_whatever_happens_in_between_what_is_shown_was_approved_and_every_verdict_gives_a_result(acts: Any) -> None:
    """Verdicts come in any order and as often as one likes, and what follows from them at any time, in its order."""
    platform = Stepping(*agents(), ordered=True)
    published: list[Outcome] = []
    said: dict[int, list[str]] = {}
    for act, n in acts:
        if act == "publish":
            published.append(platform.send(Publish(note_id="n", author_id="ann", text=str(len(published) + 1)), by=ANN))
        elif act == "step":
            platform.step(n)
        elif published:
            revision = n % len(published) + 1
            platform.send((Approve if act == "approve" else Reject)(subject="notes:n", revision=revision))
            said.setdefault(revision, []).append(act)
        check_shown(platform)
    platform.settle()
    check_shown(platform)

    for revision, outcome in enumerate(published, 1):
        first = said.get(revision, ["nothing"])[0]
        assert outcome.status in {"nothing": ["pending"], "reject": ["rejected"], "approve": ["accepted", "rejected"]}[first]  # fmt: skip
        assert outcome.code in (None, "content_rejected" if first == "reject" else "superseded")
    assert rebuilt(platform, *agents()).documents == platform.documents


def check_shown(platform: Stepping) -> None:
    """What is read is the latest of what was approved, unless that was taken down."""
    events = [fact.event for fact in platform.facts if fact.event.topic is NOTES]
    texts = [int(event.text) for event in events if isinstance(event, Published)]
    approved = {f.event.revision for f in platform.facts if isinstance(f.event, Approved)}
    note = platform.state("notes", "n")

    assert texts == sorted(texts), "never back to an earlier one"
    assert {*texts} <= approved
    last = next((event for event in reversed(events) if isinstance(event, Published | Hidden)), None)
    assert note.text == (last.text if isinstance(last, Published) else None)


def test_readers_know_which_revision_they_read(kit: Kit) -> None:
    assert shown_revision({}) == 1
    for text in ("One", "Two", "Three"):
        publish(kit, text)
    approve(kit, 2)

    assert shown_revision({WORD: kit.state("n", WORD)}) == 2
