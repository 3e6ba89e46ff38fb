"""What the rules of a decider say to one command, in one shape, and the facts that follow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from streams.agent import Decider
from streams.contract import Event
from streams.decision import Case, Pending, Refuse, Settle, State
from streams.envelope import Outcome
from streams.ids import derived_text
from streams.records import CommandRecord
from streams.results import ACCEPTED
from streams.sink import Fact

_new: Callable[..., Any] = tuple.__new__  # a NamedTuple made so costs a third of a call of its class
_FORBIDDEN = Refuse("forbidden", 403)


def judged(
    decider: Decider, command: CommandRecord, states: Mapping[str, State], case: Case
) -> tuple[Sequence[Event], Outcome]:
    """The events that a command leads to, and its outcome; raises what the rules raise."""
    message = command.message
    if not message.may_be_issued_by(command.envelope.actor):
        return (), refused(_FORBIDDEN)
    decision = decider.decide(states, message, case)
    if isinstance(decision, Refuse):
        return decision.events, refused(decision)
    if isinstance(decision, Pending):
        return decision.events, Outcome("pending")
    if isinstance(decision, Settle):
        outcome = ACCEPTED if decision.refuse is None else refused(decision.refuse)
        return decision.events, msgspec.structs.replace(outcome, settles=UUID(decision.command_id))
    return decision, ACCEPTED


def refused(refuse: Refuse) -> Outcome:
    """A refusal as an outcome."""
    return Outcome("rejected", refuse.code, refuse.status, dict(refuse.details) or None)


def facts_of(command: CommandRecord, case: Case, events: Sequence[Event], seq: int) -> list[Fact]:
    """The events of a command where they stand: `seq` is that of the event before. Raises ValueError for one of another key."""
    envelope, key = command.envelope, command.message.key
    facts: list[Fact] = []
    nth: dict[str, int] = {}
    for event in events:
        if event.key != key:
            raise ValueError(
                f"{event.wire_name} is keyed {event.key!r}, its command {key!r}: a rule speaks of its own key."
            )
        name, seq = event.wire_name, seq + 1
        n = nth[name] = nth.get(name, -1) + 1
        event_id = derived_text(envelope.command_id, case.command_id, "", name, key, n)
        facts.append(_new(Fact, (event, event_id, key, seq, case.now, envelope.actor, case.command_id)))
    return facts
