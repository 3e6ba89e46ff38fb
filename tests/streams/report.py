"""A domain without commands: what was added on which day, from the events of the tally. A note is the day on which it happened."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from streams.agent import Projection
from streams.contract import Topic
from streams.decision import ROOT, State
from streams.sink import Fact, rows
from streams.table import Table
from tests.streams.tally import TALLY, Added

REPORT = Topic("report", key="account", partitions=3)


class Adder(State, frozen=True):
    """An account."""

    days: int = 0


class Day(State, frozen=True):
    """One of its days."""

    count: int = 0
    amount: int = 0


@rows("days", key=("account", "day"))
class DayRow(NamedTuple):
    account: str
    day: str
    entries: int
    amount: int


@rows("seen")
class SeenRow(NamedTuple):
    account: str
    event_id: str
    seq: int


def reads(event: Any) -> Iterable[str]:
    return [f"day/{event.note}"]


def evolve(state: Mapping[str, State], event: Added) -> Mapping[str, State]:
    root, day = state[ROOT], state[f"day/{event.note}"]
    assert isinstance(root, Adder)
    assert isinstance(day, Day)
    if event.how == "deny":
        return {}  # of no interest here
    changed: dict[str, State] = {f"day/{event.note}": Day(day.count + 1, day.amount + event.amount)}
    if day.count == 0:
        changed[ROOT] = Adder(root.days + 1)
    return changed


def project(fact: Fact[Any], state: Mapping[str, State]) -> Iterable[tuple[Any, ...]]:
    if fact.event.how == "raise":
        raise RuntimeError("The projection does not like this.")
    day = state[f"day/{fact.event.note}"]
    assert isinstance(day, Day)
    if day.count:
        yield DayRow(fact.key, fact.event.note, day.count, day.amount)


def see(fact: Fact[Any], state: Mapping[str, State]) -> Iterable[tuple[Any, ...]]:
    """Of events alone."""
    assert not state
    yield SeenRow(fact.key, fact.event_id, fact.seq)


def report(**more: Any) -> Projection:
    """With a table of its own, as each process has."""
    table = Table("days", {ROOT: Adder, "day": Day})
    return Projection("by_day", TALLY, REPORT, **({"project": project} | more), table=table, evolve=evolve, reads=reads)


def seen(**more: Any) -> Projection:
    """Without a table."""
    return Projection("seen", TALLY, REPORT, see, **more)
