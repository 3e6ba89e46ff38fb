"""The rules and policies of domains run one command at a time: a saga waits until the test carries it on, in whatever order it likes.

The kit carries everything on at once, in the order of the topics; here a law can look at every moment between.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from streams.agent import Agent, Decider, Policy
from streams.contract import Command, Event
from streams.decision import ROOT, Case, Pending, Refuse, Settle, State
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
    code: str | None = None
    events: list[Event] = field(default_factory=list)


class Stepping:
    """`send` decides one command; `step` decides one that a policy gave, `settle` all of them."""

    def __init__(self, *agents: Agent) -> None:
        """Nothing has happened."""
        self._deciders = {agent.topic.domain: agent for agent in agents if isinstance(agent, Decider)}
        self._policies = [agent for agent in agents if isinstance(agent, Policy)]
        self._seq: dict[Place, int] = defaultdict(int)
        self.documents: dict[Place, dict[str, State]] = defaultdict(dict)
        self.outcomes: dict[str, Outcome] = {}
        self.facts: list[Fact[Any]] = []
        self.rows: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = defaultdict(dict)
        self.waiting: list[Command] = []

    def send(self, command: Command) -> Outcome:
        """Decide it and remember what it leads to."""
        number = len(self.outcomes) + 1
        case = Case(START + timedelta(seconds=number), str(UUID(int=number)))
        decision = self._deciders[command.topic.domain].decide(self._states(command), command, case)
        outcome = self.outcomes[case.command_id] = Outcome(command, "accepted")
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

    def step(self, nth: int = 0) -> bool:
        """Decide one of the commands that policies gave, the oldest or another; False when there is none."""
        if not self.waiting:
            return False
        self.send(self.waiting.pop(nth % len(self.waiting)))
        return True

    def settle(self) -> None:
        """Carry every saga to its end."""
        while self.step():
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
        for row in decider.project(fact, self._states(fact.event)):
            kind = type(row).__rows__
            self.rows[kind.name][row[: len(kind.key)] or (len(self.rows[kind.name]),)] = tuple(row)

    def _states(self, message: Command | Event) -> Mapping[str, State]:
        domain = message.topic.domain
        return {name: self.state(domain, message.key, name) for name in (ROOT, *self._deciders[domain].reads(message))}

    def _settle(self, pending: Outcome, refuse: Refuse | None) -> None:
        assert pending.status == "pending", "a command is settled once"
        pending.status, pending.code = ("rejected", refuse.code) if refuse else ("accepted", None)

    def _record(self, event: Event, case: Case) -> Event:
        place = event.topic.domain, event.key
        self._seq[place] += 1
        event_id = str(UUID(int=len(self.facts)))
        fact = Fact(event, event_id, event.key, self._seq[place], case.now, SOMEONE, case.command_id)
        self.replay(fact)
        for policy in self._policies:
            if handler := policy.on.get(type(event)):
                made = handler(fact)
                self.waiting.extend([made] if isinstance(made, Command) else made)
        return event


def rebuilt(live: Stepping, *agents: Agent) -> Stepping:
    """What the events alone give, each read as from its topic."""
    again = Stepping(*agents)
    for fact in live.facts:
        again.replay(fact._replace(event=type(fact.event).from_topic(fact.event.to_json())))
    return again
