"""The kinds of agents, as declarations that `agents/<domain>/agent.py` binds to rules.

A decider turns commands into events, state and rows; a policy turns events into commands of its own domain; a projection turns any domain's events
into rows of its own; an effect (`streams.effect`) asks the outside because of events; a changelog keeps last states on a topic. Each takes its position
from the store and holds it by claim and fence (`streams.loop`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from streams import discover
from streams.contract import Command, Event, Topic
from streams.decision import Case, Decision, State, Timer
from streams.effect import Effect
from streams.errors import ContractError
from streams.holding import CONTENT_HELD, HoldingBack
from streams.sink import Fact, Project
from streams.table import Table

Decide = Callable[[Mapping[str, State], Any, Case], Decision]
Evolve = Callable[[Mapping[str, State], Any], Mapping[str, State]]
Reads = Callable[[Any], Iterable[str]]
TimerOf = Callable[[str, str, Any], Timer | None]


def no_reads(message: Command | Event) -> Iterable[str]:
    """A domain whose rules need only the state of the record's own key."""
    return ()


def no_change(state: Mapping[str, State], event: Any) -> Mapping[str, State]:
    """A projection that keeps no state."""
    return {}


def no_rows(fact: Fact, state: Mapping[str, State]) -> Iterable[Any]:
    """A domain without views."""
    return ()


def no_timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """A domain in which nothing happens by itself."""
    return None


@dataclass(frozen=True, eq=False)
class Decider:
    """Binds a topic's commands to rules: `decide(state, command, case)` and `evolve(state, event)`, both pure.

    Both get the state as a mapping from sub-key to State: `ROOT` is always there, and so is each sub-key that `reads(message)`
    names for the command or event at hand. `evolve` returns the documents that changed. `timer(key, sub_key, document)` says when
    a document's own time comes; whatever changes the document thereby sets, moves or ends its timer.

    `consults(command)` names documents of other keys of this domain, as `key/sub_key`, that `decide` finds in `case.consulted`: definitions which many keys
    share, such as rules, schemes and catalogues. They are as they were committed when the batch began, and another partition may be changing them, so no balance
    is kept by them; what a decision takes from them stands in its events, since a replay folds events and consults nothing.
    """

    topic: Topic
    table: Table
    decide: Decide
    evolve: Evolve
    reads: Reads = no_reads
    project: Project = no_rows
    timer: TimerOf = no_timer
    consults: Reads = no_reads

    @property
    def name(self) -> str:
        """Its name in the store: that of its domain."""
        return self.topic.domain

    @property
    def source(self) -> Topic:
        """The topic whose events its documents and rows follow from."""
        return self.topic

    @property
    def target(self) -> Topic:
        """The domain that it belongs to."""
        return self.topic


@dataclass(frozen=True, eq=False)
class Policy:
    """Turns events of `source` into commands of one domain, without state.

    `on` maps an event class to a pure function of the fact. The commands get ids derived from the event, so a re-run
    repeats nothing. A new policy begins with the first event there is, or with `start="now"` with the next one.
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


@dataclass(frozen=True, eq=False)
class Projection:
    """Turns events of `source`, which may be any domain's, into rows of `target`'s own schema; nobody sends it commands.

    `project(fact, state)` is pure and gives the rows of an event. With a `table` it keeps state of its own, by the keys of the events: `evolve(state, event)`
    says what changes, and `project` gets the state after the event, as in a decider. A row belongs to one key of the source: two partitions never write one row,
    so what counts over many keys is counted by key and summed by the view. A new projection begins with the first event there is, or with `start="now"` with the
    next one; a rebuild begins with the first. A position token tells of the decider alone: these rows follow a moment later.

    With `per="partition"` it follows whole partitions: `evolve`, `reads` and `project` are given a Line for each record, the core's own too, in the order of their
    numbers, and ROOT is the document that they share. As nothing may be missing in such a sequence, a partition stands still where another projection would park.
    It lets records come for `linger` seconds before it writes them, which costs the store less than many small batches.
    """

    name: str
    source: Topic
    target: Topic
    project: Project
    table: Table | None = None
    evolve: Evolve = no_change
    reads: Reads = no_reads
    start: Literal["earliest", "now"] = "earliest"
    per: Literal["key", "partition"] = "key"
    linger: float = 0.0

    def __post_init__(self) -> None:
        """Check the declaration; raises ContractError."""
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.name) or self.name == self.target.domain:
            raise ContractError(
                f"Projection {self.name!r}: a name of letters, digits and . _ - that is not its domain's, which is the decider's."
            )
        if (self.table is None) != (self.evolve is no_change):
            raise ContractError(f"Projection {self.name}: give both table and evolve, or neither.")

    @property
    def timer(self) -> TimerOf:
        """Nothing happens in it by itself."""
        return no_timer


@dataclass(frozen=True, eq=False)
class Changelog:
    """Keeps the last state of every document of a decider on the domain's changelog topic (`streams.changelog`)."""

    decider: Decider
    start: Literal["earliest", "now"] = "earliest"

    def __post_init__(self) -> None:
        """Check that the topic is declared; raises ContractError."""
        if not self.source.changelog:
            domain = self.source.domain
            raise ContractError(
                f"Changelog of {domain}: say Topic({domain!r}, ..., changelog=True) in topics/{domain}.py."
            )

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self.source.changelog_topic

    @property
    def source(self) -> Topic:
        """The topic whose events it reads."""
        return self.decider.topic

    @property
    def target(self) -> Topic:
        """The domain that it belongs to."""
        return self.decider.topic


Agent = Decider | Policy | Projection | Effect | Changelog
Folds = Decider | Projection
"""The agents whose documents and rows follow from events alone."""


def takes_lines(agent: Agent) -> bool:
    """Whether its functions are given lines of whole partitions, not events and facts."""
    return isinstance(agent, Projection) and agent.per == "partition"


def start_of(agent: Agent, *, from_nothing: bool) -> Literal["earliest", "now", "kept"]:
    """Where an agent begins that has no position. `from_nothing`: it was lost with Postgres, so what came since it had begun is read again.

    Then old commands may be deleted, which their events have outlived. An effect begins as it says also then: what it did is told by its domain (`streams.recalling`).
    """
    if isinstance(agent, Decider):
        return "kept" if from_nothing else "earliest"
    if from_nothing and isinstance(agent, Policy | Projection):
        return "earliest"
    return agent.start


def agents_of(domain: str) -> list[Agent]:
    """The agents that `agents/<domain>/agent.py` declares, each by itself or in a list of several, in order.

    Raises ContractError when two share a name (each needs its own position), when two write one table or read one command topic, or when one
    speaks for another domain.
    """
    declared = (value for module in discover.modules(domain, "agent") for value in vars(module).values())
    each = (one for value in declared for one in (value if isinstance(value, tuple | list) else (value,)))
    listed = dict.fromkeys(one for one in each if isinstance(one, Agent))
    found: list[Agent] = [one for agent in listed for one in holding(agent)]
    deciders = [agent for agent in found if isinstance(agent, Decider)]
    tables = [id(agent.table) for agent in found if isinstance(agent, Folds) and agent.table is not None]
    place = f"agents/{domain}/agent.py"
    if len({agent.name for agent in found}) != len(found):
        raise ContractError(f"{place}: two agents share a name; each needs its own position.")
    if len({*tables}) != len(tables):
        raise ContractError(f"{place}: a table has one agent that writes it; give each a Table of its own.")
    if len({d.topic.domain for d in deciders}) != len(deciders):
        raise ContractError(f"{place}: a command topic has one decider.")
    for agent in found:
        if not isinstance(agent, Decider) and agent.target.domain != domain:
            kind = type(agent).__name__.lower()
            raise ContractError(f"{place}: {kind} {agent.name} must be of {domain}, as its target.")
    return found


def holding(agent: Agent) -> list[Agent]:
    """A decider that holds content back (`streams.holding`) with what it needs for that; any other agent as it is."""
    if not isinstance(agent, Decider) or CONTENT_HELD not in agent.topic.events:
        return [agent]
    rules, topic = HoldingBack(agent), agent.topic
    idle = {name for name, nothing in (("consults", no_reads), ("timer", no_timer)) if getattr(agent, name) is nothing}
    changed = {name: rule for name, rule in rules.changed().items() if name not in idle}
    verdicts = rules.verdicts()
    (source,) = {event.topic for event in verdicts}
    return [
        replace(agent, **changed),
        Policy("content-verdicts", source, topic, on=verdicts),
        Policy("content-released", topic, topic, on=rules.followed()),
    ]
