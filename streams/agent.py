"""The kinds of agents, as declarations that `agents/<domain>/agent.py` binds to rules.

A decider turns commands into events, state and rows; a policy turns events into commands of its own domain. Each takes its position
from the store and holds it by claim and fence (`streams.loop`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from streams.contract import Command, Event, Topic
from streams.decision import Case, Decision, State
from streams.errors import ContractError
from streams.sink import Fact, Project
from streams.table import Table

Decide = Callable[[Mapping[str, State], Any, Case], Decision]
Evolve = Callable[[Mapping[str, State], Any], Mapping[str, State]]
Reads = Callable[[Any], Iterable[str]]


def no_reads(message: Command | Event) -> Iterable[str]:
    """A domain whose rules need only the state of the record's own key."""
    return ()


def no_rows(fact: Fact, state: Mapping[str, State]) -> Iterable[tuple[Any, ...]]:
    """A domain without views."""
    return ()


@dataclass(frozen=True, eq=False)
class Decider:
    """Binds a topic's commands to rules: `decide(state, command, case)` and `evolve(state, event)`, both pure.

    Both get the state as a mapping from sub-key to State: `ROOT` is always there, and so is each sub-key that `reads(message)`
    names for the command or event at hand. `evolve` returns the documents that changed.
    """

    topic: Topic
    table: Table
    decide: Decide
    evolve: Evolve
    reads: Reads = no_reads
    project: Project = no_rows

    @property
    def name(self) -> str:
        """Its name in the store: that of its domain."""
        return self.topic.domain


@dataclass(frozen=True, eq=False)
class Policy:
    """Turns events of `source` into commands of one domain, without state.

    `on` maps an event class to a pure function of the fact. The commands get ids derived from the event, so a re-run
    repeats nothing. `start` says whether a new policy begins with the first event there is or with the next one.
    """

    name: str
    source: Topic
    target: Topic
    on: Mapping[type[Event], Callable[[Fact[Any]], Command | Iterable[Command]]]
    start: Literal["earliest", "now"] = "earliest"

    def __post_init__(self) -> None:
        """Check that it listens to its source; raises ContractError."""
        for event in self.on:
            if event.topic is not self.source:
                raise ContractError(f"Policy {self.name}: {event.__name__} is not an event of {self.source.domain}.")


Agent = Decider | Policy
