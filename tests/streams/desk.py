"""A domain whose content is held back, and a desk that approves it: what `streams.holding` asks of both, and nothing else."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from streams.agent import Agent, Decider, Policy, holding
from streams.contract import Command, Event, Name, Reason, Text, Topic
from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, State, Timer
from streams.holding import Held
from streams.personal import Personal
from streams.sink import Fact
from streams.table import Table

DESK = Topic("desk", key="subject")
NOTES = Topic("notes", key="note_id")


class OfDesk(Command, topic=DESK, roles=("Admin",)):
    """What somebody at the desk says of a revision."""

    subject: Text
    revision: int


class Approve(OfDesk, topic=DESK, roles=("Admin",)):
    """It may be published."""


class Reject(OfDesk, topic=DESK, roles=("Admin",)):
    """It may not."""

    reason: Reason = "Too loud"


class Approved(Event, topic=DESK):
    """It may be published."""

    subject: Text
    revision: int


class Rejected(Event, topic=DESK):
    """It may not."""

    subject: Text
    revision: int
    reason: Reason


class Publish(
    Command, topic=NOTES, roles=("User",), owner="author_id", held=Held(Approved, Rejected, text="text", down="hide")
):
    """Let everybody read it."""

    note_id: Name
    author_id: Name
    text: Personal[Text]


class Order(Command, topic=NOTES, roles=("User",), owner="author_id", held=Held(Approved, Rejected)):
    """Have it printed, which takes a second step."""

    note_id: Name
    author_id: Name


class Print(Command, topic=NOTES, services=("notes",)):
    """The second step."""

    note_id: Name
    command_id: Name


class Hide(Command, topic=NOTES, services=("notes",)):
    """Nobody reads it any more."""

    note_id: Name


class Lock(Command, topic=NOTES, roles=("Admin",)):
    """Nothing more is published of it."""

    note_id: Name


class Published(Event, topic=NOTES):
    """There it is."""

    note_id: Name
    author_id: Name
    text: Personal[Text]


class Ordered(Event, topic=NOTES):
    """It is to be printed."""

    note_id: Name
    command_id: Name


class Printed(Event, topic=NOTES):
    """It is printed."""

    note_id: Name


class Hidden(Event, topic=NOTES):
    """There it is not."""

    note_id: Name


class Locked(Event, topic=NOTES):
    """It stays as it is."""

    note_id: Name


class Note(State, frozen=True):
    """What everybody reads."""

    text: str | None = None
    locked: bool = False


def decide(state: Mapping[str, Any], command: Any, case: Case) -> Decision:
    """Whatever is not locked may be published."""
    match command:
        case Publish():
            return Refuse("locked") if state[ROOT].locked else [Published(**dict(command))]
        case Order():
            return Pending([Ordered(note_id=command.note_id, command_id=case.command_id)])
        case Print():
            return Settle(command.command_id, [Printed(note_id=command.note_id)])
        case Hide():
            return [Hidden(note_id=command.note_id)]
        case Approve():
            return [Approved(**dict(command))]
        case Reject():
            return [Rejected(**dict(command))]
    return [Locked(note_id=command.note_id)]


def evolve(state: Mapping[str, Any], event: Any) -> Mapping[str, State]:
    """The note after an event."""
    match event:
        case Published():
            return {ROOT: replace(state[ROOT], text=str(event.text))}
        case Hidden():
            return {ROOT: replace(state[ROOT], text=None)}
        case Locked():
            return {ROOT: replace(state[ROOT], locked=True)}
    return {}


def timer(_key: str, _sub_key: str, document: Note) -> Timer | None:
    """Of no other document than those that are declared here."""
    assert isinstance(document, Note)
    return None


def printing(fact: Fact[Ordered]) -> Print:
    """The printer is quick."""
    return Print(note_id=fact.key, command_id=fact.event.command_id)


def agents() -> list[Agent]:
    """Both domains, as `agents_of` would give them."""
    notes = Decider(NOTES, Table("notes", {ROOT: Note}), decide, evolve, timer=timer)
    desk = Decider(DESK, Table("desk", {ROOT: Note}), decide, evolve)
    return [*holding(notes), Policy("printing", NOTES, NOTES, on={Ordered: printing}), desk]
