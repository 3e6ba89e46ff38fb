"""The records that a command leaves on its domain's event topic."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from streams.envelope import EventEnvelope, Outcome, Source, body_hash, encode
from streams.ids import derived
from streams.log import MAX_GROUP
from streams.producer import TRACE
from streams.records import CommandRecord
from streams.results import ACCEPTED
from streams.sink import Fact
from streams.store import Outgoing

RECORD = 512  # bytes of a record besides its value, at most


class TooLarge(ValueError):
    """The events of one command do not fit into one record batch."""


def outgoing(
    command: CommandRecord,
    partition: int,
    facts: Sequence[Fact],
    outcome: Outcome,
    seq: int,
    now: datetime,
    number: int,
) -> list[Outgoing]:
    """Its events, or else one that tells its outcome. Raises TooLarge."""
    envelope, record = command.envelope, command.record
    told: list[tuple[str, int, str, int, bytes]] = [
        (f.event.wire_name, f.event.version, f.event_id, f.seq, f.event.to_json()) for f in facts
    ]
    if not told:
        name = "command_rejected" if outcome.status == "rejected" else "command_accepted"
        told = [(name, 1, str(derived(envelope.command_id, "", name, envelope.aggregate_id, 0)), seq, b"{}")]
    source = Source(partition, record.offset, body_hash(envelope.payload))
    traceparent = next((value.decode("ascii", "replace") for name, value in record.headers if name == TRACE), None)
    command_id, correlation_id = str(envelope.command_id), str(envelope.correlation_id)
    rows = []
    for n, (name, version, event_id, sequence, payload) in enumerate(told, 1):
        last = n == len(told)
        event = EventEnvelope(
            event_id=event_id,
            type=name,
            schema_version=version,
            occurred_at=now,
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
            outcome=outcome if last and outcome != ACCEPTED else None,
            payload=msgspec.Raw(payload),
        )
        rows.append(Outgoing(partition, number + n, envelope.aggregate_id, encode(event), not last, traceparent))
    if sum(len(row.value) + RECORD for row in rows) > MAX_GROUP:
        raise TooLarge(f"The events of {envelope.type} are above {MAX_GROUP} bytes.")
    return rows
