"""The rules of points, run one by one: a saga waits until the test carries it on by a step, which the kit does at once."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from agents.points.agent import POINTS_DECIDER, TRANSFERS
from streams.agent import Decider
from streams.contract import Command, Event
from streams.decision import ROOT, Case, Pending, Refuse, Settle, State
from streams.envelope import Actor
from streams.sink import Fact

START = datetime(2026, 1, 1, tzinfo=UTC)
SOMEONE = Actor("user", "root", "Admin")


@dataclass
class Outcome:
    """What became of a command."""

    status: str
    code: str | None = None
    events: list[Event] = field(default_factory=list)


class Platform:
    """`send` decides one command; `step` carries on one waiting saga, `settle` all of them."""

    def __init__(self, decider: Decider = POINTS_DECIDER) -> None:
        """Nobody has anything."""
        self.decider = decider
        self.commands: list[tuple[Case, Command]] = []
        self.documents: dict[str, dict[str, State]] = defaultdict(dict)
        self.outcomes: dict[str, Outcome] = {}
        self.facts: list[Fact[Any]] = []
        self.rows: dict[str, list[tuple[Any, ...]]] = {"ledger": [], "balance": []}
        self.waiting: deque[Command] = deque()
        self._seq: dict[str, int] = defaultdict(int)

    def send(self, command: Command) -> Outcome:
        """Decide it and remember what it leads to."""
        number = len(self.outcomes) + 1
        case = Case(START + timedelta(seconds=number), str(UUID(int=number)))
        self.commands.append((case, command))
        decision = self.decider.decide(self._state(command), command, case)
        match decision:
            case Refuse(code=code, events=events):
                outcome = Outcome("rejected", code)
            case Pending(events=events):
                outcome = Outcome("pending")
            case Settle(command_id=pending, events=events, refuse=refuse):
                outcome = Outcome("accepted")
                self.outcomes[pending].status = "rejected" if refuse else "accepted"
                self.outcomes[pending].code = refuse.code if refuse else None
            case events:
                outcome = Outcome("accepted")
        outcome.events = [self._record(event, case) for event in events]
        self.outcomes[case.command_id] = outcome
        return outcome

    def step(self) -> bool:
        """Decide the oldest command of a policy; False when there is none."""
        if not self.waiting:
            return False
        self.send(self.waiting.popleft())
        return True

    def settle(self) -> None:
        """Carry every saga to its end."""
        while self.step():
            pass

    def balances(self) -> dict[str, tuple[Any, ...]]:
        """The balance view: the last row of each user."""
        return {row[0]: row[1:] for row in self.rows["balance"]}

    def account(self, user: str) -> Any:
        """The document of a user's account."""
        return self.documents.get(user, {}).get(ROOT, self.decider.table.initial(ROOT))

    def _state(self, message: Command | Event) -> Mapping[str, State]:
        names = (ROOT, *self.decider.reads(message))
        kept = self.documents.get(message.key, {})
        return {name: kept.get(name) or self.decider.table.initial(name) for name in names}

    def _record(self, event: Event, case: Case) -> Event:
        self._seq[event.key] += 1
        fact = Fact(
            event,
            str(UUID(int=len(self.facts))),
            event.key,
            self._seq[event.key],
            case.now,
            SOMEONE,
            case.command_id,
        )
        self.replay(fact)
        if handler := TRANSFERS.on.get(type(event)):
            made = handler(fact)
            self.waiting.extend([made] if isinstance(made, Command) else made)
        return event

    def replay(self, fact: Fact[Any]) -> None:
        """What an event does to documents and rows, live or again."""
        self.facts.append(fact)
        self.documents[fact.key] |= self.decider.evolve(self._state(fact.event), fact.event)
        for row in self.decider.project(fact, self._state(fact.event)):
            self.rows[type(row).__rows__.name].append(row)


def movements(platform: Platform) -> Iterator[tuple[str, str, int]]:
    """(debit, credit, amount) of the ledger in the order of writing."""
    for row in platform.rows["ledger"]:
        yield row[4], row[5], row[6]
