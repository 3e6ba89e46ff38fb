"""The rules and policies of domains run one command at a time: a saga waits until the test carries it on, in whatever order it likes.

The kit carries everything on at once, in the order of the topics; here a law can look at every moment between. Time passes by a second
with each command that is sent, and by what the test says.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from streams.agent import Agent, Decider, Policy
from streams.contract import Command, Event
from streams.decision import ROOT, Case, Pending, Refuse, Settle, State, Timer
from streams.envelope import Actor
from streams.sink import Fact

START = datetime(2026, 1, 1, tzinfo=UTC)
SOMEONE = Actor("user", "root", "Admin")
Place = tuple[str, str]  # a domain and a key


@dataclass
class Outcome:
    """What became of a command."""

    command: Any
    status: str
    at: datetime
    """When the rule was run, by the rule's own clock."""
    code: str | None = None
    events: list[Event] = field(default_factory=list)


@dataclass
class Waiting:
    """A command that a policy gave. Those of one lane come in their order, as from one partition to another."""

    lane: tuple[str, ...]
    command: Command
    issued_at: datetime


class Stepping:
    """`send` decides one command; `step` decides one that a policy gave, `fire` one whose time has come, `settle` all of them."""

    def __init__(self, *agents: Agent, ordered: bool = False) -> None:
        """Nothing has happened. With `ordered`, what one policy gives from one key to another cannot overtake itself."""
        self.agents = agents
        self._deciders = {agent.topic.domain: agent for agent in agents if isinstance(agent, Decider)}
        self._policies = [agent for agent in agents if isinstance(agent, Policy)]
        self._ordered = ordered
        self._seq: dict[Place, int] = defaultdict(int)
        self._last: dict[Place, datetime] = {}
        self.now = START
        self.timers: dict[tuple[str, str, str], Timer] = {}
        self.documents: dict[Place, dict[str, State]] = defaultdict(dict)
        self.outcomes: dict[str, Outcome] = {}
        self.facts: list[Fact[Any]] = []
        self.rows: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = defaultdict(dict)
        self.waiting: list[Waiting] = []

    def send(self, command: Command, by: Actor = SOMEONE) -> Outcome:
        """Decide it and remember what it leads to."""
        self.now += timedelta(seconds=1)
        return self._decide(command, self.now, by)

    def step(self, nth: int = 0) -> bool:
        """Decide one of the commands that policies gave, the oldest or another; False when there is none."""
        if not self.waiting:
            return False
        chosen = self.waiting[nth % len(self.waiting)]
        if self._ordered:
            chosen = next(one for one in self.waiting if one.lane == chosen.lane)
        self.waiting.remove(chosen)
        self._issue(chosen.command, chosen.issued_at)
        return True

    def fire(self, nth: int = 0) -> bool:
        """Run one of the timers that are due, the first or another; False when there is none."""
        due = sorted((timer.at, document) for document, timer in self.timers.items() if timer.at <= self.now)
        if not due:
            return False
        at, document = due[nth % len(due)]
        self._issue(self.timers[document].command, self.now)
        assert document not in self.timers or self.timers[document].at > at, "it would be due for ever"
        return True

    def advance(self, by: timedelta) -> None:
        """Let time pass; what becomes due waits for `fire`."""
        self.now += by

    def settle(self) -> None:
        """Carry every saga to its end, and run what is due."""
        while self.step() or self.fire():
            pass

    def state(self, domain: str, key: str, sub_key: str = ROOT) -> Any:
        """A document as it is."""
        kept = self.documents.get((domain, key), {})
        return kept.get(sub_key) or self._deciders[domain].table.initial(sub_key)

    def replay(self, fact: Fact[Any]) -> None:
        """What an event does to documents and rows, live or again."""
        decider = self._deciders[fact.event.topic.domain]
        self.facts.append(fact)
        changed = decider.evolve(self._states(fact.event), fact.event)
        self.documents[fact.event.topic.domain, fact.key] |= changed
        self._set_timers(decider, fact.key, changed)
        for row in decider.project(fact, self._states(fact.event)):
            kind = type(row).__rows__
            self.rows[kind.name][row[: len(kind.key)] or (len(self.rows[kind.name]),)] = tuple(row)

    def _states(self, message: Command | Event) -> Mapping[str, State]:
        domain = message.topic.domain
        return {name: self.state(domain, message.key, name) for name in (ROOT, *self._deciders[domain].reads(message))}

    def _consulted(self, command: Command) -> Mapping[str, State]:
        domain = command.topic.domain
        found = {}
        for name in self._deciders[domain].consults(command):
            key, _, sub_key = name.partition("/")
            found[name] = self.state(domain, key, sub_key)
        return found

    def _decide(self, command: Command, issued_at: datetime, by: Actor) -> Outcome:
        place = command.topic.domain, command.key
        now = max(issued_at, self._last.get(place, START))
        case = Case(now, str(UUID(int=len(self.outcomes) + 1)), self._consulted(command), by)
        decision = self._deciders[command.topic.domain].decide(self._states(command), command, case)
        outcome = self.outcomes[case.command_id] = Outcome(command, "accepted", now)
        match decision:
            case Refuse(code=code, events=events):
                outcome.status, outcome.code = "rejected", code
            case Pending(events=events):
                outcome.status = "pending"
            case Settle(command_id=pending, events=events, refuse=refuse):
                self._settle(self.outcomes[pending], refuse)
            case events:
                pass
        outcome.events = [self._record(event, case) for event in events]
        return outcome

    def _issue(self, command: Command, at: datetime) -> None:
        service = Actor("service", command.topic.domain)
        assert command.may_be_issued_by(service), f"{command.wire_name}: list its domain in `services`"
        self._decide(command, at, service)

    def _set_timers(self, decider: Decider, key: str, changed: Mapping[str, State]) -> None:
        for sub_key, document in changed.items():
            place = decider.topic.domain, key, sub_key
            self.timers.pop(place, None)
            if timer := decider.timer(key, sub_key, document):
                self.timers[place] = timer

    def _settle(self, pending: Outcome, refuse: Refuse | None) -> None:
        assert pending.status == "pending", "a command is settled once"
        pending.status, pending.code = ("rejected", refuse.code) if refuse else ("accepted", None)

    def _record(self, event: Event, case: Case) -> Event:
        place = event.topic.domain, event.key
        self._seq[place] += 1
        self._last[place] = case.now
        event_id = str(UUID(int=len(self.facts)))
        fact = Fact(event, event_id, event.key, self._seq[place], case.now, case.actor, case.command_id)
        self.replay(fact)
        for policy in self._policies:
            if policy.target.domain in self._deciders and (handler := policy.on.get(type(event))):
                made = handler(fact)
                for command in [made] if isinstance(made, Command) else made:
                    lane = (policy.name, *place, command.topic.domain, command.key)
                    self.waiting.append(Waiting(lane, command, fact.at))
        return event


def rebuilt(live: Stepping, *agents: Agent) -> Stepping:
    """What the events alone give, each read as from its topic."""
    again = Stepping(*agents)
    for fact in live.facts:
        again.replay(fact._replace(event=type(fact.event).from_topic(fact.event.to_json())))
    return again
