"""What becomes of commands, as the inbox keeps it: told by the decider, and again by the events that a command left."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from streams.envelope import Actor, Outcome, Source, encode
from streams.store import Result, Settled

ACCEPTED = Outcome()
_new: Callable[..., Any] = tuple.__new__  # a NamedTuple made so costs a third of a call of its class


def result_of(
    command_id: UUID, outcome: Outcome, events: Iterable[tuple[str, str]], actor: Actor, source: Source
) -> Result:
    """The result of a command; `events` are the ids and names of those that it left. One that settles another was itself accepted."""
    own = ACCEPTED if outcome.settles is not None else outcome
    told = ",".join([f'["{event_id}","{name}"]' for event_id, name in events])
    result: Result = _new(
        Result,
        (
            command_id,
            own.status,
            own.code,
            _details(own),
            f"[{told}]",
            source.hash,
            actor_name(actor),
            source.partition,
            source.offset,
        ),
    )
    return result


def settled_of(outcome: Outcome) -> Settled:
    """The late result of the pending command that this outcome settles."""
    assert outcome.settles is not None
    return Settled(outcome.settles, outcome.status, outcome.code, _details(outcome))


def actor_name(actor: Actor) -> str:
    """How an actor is written in a result: `user:u1`."""
    return f"{actor.type}:{actor.id}"


def _details(outcome: Outcome) -> str | None:
    """What a result keeps of a refusal: the HTTP status and the details for the caller."""
    if outcome.http is None:
        return None
    return encode({"status": outcome.http, "details": outcome.details or {}}).decode()
