"""The records that a command leaves on its domain's event topic."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from streams.decision import Case
from streams.envelope import Closing, EventEnvelope, Outcome, Source, encode
from streams.ids import derived_text
from streams.log import MAX_GROUP
from streams.producer import TRACE
from streams.records import CommandRecord
from streams.results import ACCEPTED
from streams.sink import Fact
from streams.store import Outgoing

RECORD = 512  # bytes of a record besides its value, at most
_new: Callable[..., Any] = tuple.__new__  # a NamedTuple made so costs a third of a call of its class


class TooLarge(ValueError):
    """The events of one command do not fit into one record batch."""


def outgoing(
    command: CommandRecord,
    case: Case,
    source: Source,
    facts: Sequence[Fact],
    outcome: Outcome,
    seq: int,
    number: int,
) -> list[Outgoing]:
    """Its events, or else one that tells its outcome. Raises TooLarge."""
    envelope, command_id = command.envelope, case.command_id
    told = [_speak(fact) for fact in facts] or [_cores_own(command, case, outcome, seq)]
    traceparent = _trace(command.record)
    began_here = envelope.correlation_id.int == envelope.command_id.int
    correlation_id = command_id if began_here else str(envelope.correlation_id)
    rows: list[Outgoing] = []
    size = 0
    for n, (name, version, event_id, sequence, payload) in enumerate(told, 1):
        last = n == len(told)
        event = EventEnvelope(
            event_id=event_id,
            type=name,
            schema_version=version,
            occurred_at=case.now,
            domain=envelope.domain,
            aggregate_id=envelope.aggregate_id,
            aggregate_seq=sequence,
            actor=envelope.actor,
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=command_id,
            number=number + n,
            source=source,
            hops=envelope.hops,
            outcome=outcome if last and outcome is not ACCEPTED and outcome != ACCEPTED else None,
            closes=_closing(envelope.type, n) if last else None,
            payload=msgspec.Raw(payload),
        )
        value = encode(event)
        size += len(value) + RECORD
        rows.append(_new(Outgoing, (source.partition, number + n, envelope.aggregate_id, value, not last, traceparent)))
    if size > MAX_GROUP:
        raise TooLarge(f"The events of {envelope.type} are above {MAX_GROUP} bytes.")
    return rows


_Told = tuple[str, int, str, int, bytes]
"""Type, version, id, sequence and payload of an event."""


_closing = lru_cache(maxsize=1024)(Closing)  # commands of few types leave few events


def _speak(fact: Fact) -> _Told:
    event = fact.event
    return event.wire_name, event.version, fact.event_id, fact.seq, event.to_json()


def _cores_own(command: CommandRecord, case: Case, outcome: Outcome, seq: int) -> _Told:
    """What is told of a command that left no event of its domain."""
    envelope = command.envelope
    name = "command_rejected" if outcome.status == "rejected" else "command_accepted"
    event_id = derived_text(envelope.command_id, case.command_id, "", name, envelope.aggregate_id, 0)
    return name, 1, event_id, seq, b"{}"


def _trace(record: Any) -> str | None:
    """The trace that a command came with."""
    for name, value in record.headers:
        if name == TRACE:
            return bytes(value).decode("ascii", "replace")
    return None
