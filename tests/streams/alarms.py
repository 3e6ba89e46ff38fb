"""Alarms on the tally's topic: a domain whose documents have times of their own. `how` asks its rules to misbehave."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from streams.agent import Decider
from streams.contract import Command, Event, Name
from streams.decision import ROOT, Case, Decision, Refuse, State, Timer
from streams.sink import Fact, rows
from streams.table import Table
from tests.streams.tally import TALLY

How = Literal["well", "raise", "stand", "nul", "foreign", "untold"]


class SetAlarm(Command, topic=TALLY, roles=("User",)):
    """Have `name` ring at a time and, with `every` (seconds), so many times more; without a time never."""

    account: Name
    name: Name
    at: datetime | None
    every: int = 0
    more: int = 0
    how: How = "well"


class Ring(Command, topic=TALLY, services=("tally",)):
    """The time of `name` has come."""

    account: Name
    name: Name


class Shout(Command, topic=TALLY, roles=("User",)):
    """What no timer may issue."""

    account: Name


class AlarmSet(Event, topic=TALLY):
    """It will ring."""

    account: Name
    name: Name
    at: datetime | None
    every: int
    more: int
    how: How


class AlarmRang(Event, topic=TALLY):
    """It rang; `due` is the time that was set."""

    account: Name
    name: Name
    due: datetime
    note: str = ""


class Bell(State, frozen=True):
    """How often an account's alarms rang."""

    rings: int = 0


class Alarm(State, frozen=True):
    """An alarm that is set while it has a time."""

    at: datetime | None = None
    every: int = 0
    more: int = 0
    how: How = "well"


@rows("entries")
class RingRow(NamedTuple):
    account: str
    seq: int
    amount: int
    note: str


def reads(message: Any) -> Iterable[str]:
    return (f"alarm/{message.name}",) if hasattr(message, "name") else ()


def decide(state: Mapping[str, Any], command: Any, case: Case) -> Decision:
    if isinstance(command, SetAlarm):
        return [AlarmSet(**command.model_dump())]
    if isinstance(command, Shout):
        return []
    alarm = state[f"alarm/{command.name}"]
    if alarm.how == "raise":
        raise RuntimeError("The rule does not like this time.")
    if alarm.how == "stand":
        return Refuse("not_now")
    assert alarm.at is not None
    assert case.now >= alarm.at
    note = "a\0b" if alarm.how == "nul" else ""
    return [AlarmRang(account=command.account, name=command.name, due=alarm.at, note=note)]


def evolve(state: Mapping[str, Any], event: Any) -> Mapping[str, State]:
    name = f"alarm/{event.name}"
    if isinstance(event, AlarmSet):
        return {name: Alarm(event.at, event.every, event.more, event.how)}
    alarm, bell = state[name], state[ROOT]
    following = event.due + timedelta(seconds=alarm.every) if alarm.more else None
    return {name: replace(alarm, at=following, more=max(0, alarm.more - 1)), ROOT: Bell(bell.rings + 1)}


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    if not isinstance(document, Alarm) or document.at is None:
        return None
    name = sub_key.removeprefix("alarm/")
    match document.how:
        case "foreign":
            return Timer(document.at, Shout(account=key))
        case "untold":
            return Timer(document.at, Ring(account=f"not-{key}", name=name))
    return Timer(document.at, Ring(account=key, name=name))


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    if isinstance(fact.event, AlarmRang):
        yield RingRow(fact.key, fact.seq, state[ROOT].rings, fact.event.note)


def decider() -> Decider:
    """A decider with a table of its own, as each process has."""
    table = Table("alarms", {ROOT: Bell, "alarm": Alarm})
    return Decider(TALLY, table, decide, evolve, reads, project, timer)
