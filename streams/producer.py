"""How a command becomes a record: its envelope, signed. Shared by the edge and by policies."""

from datetime import datetime
from uuid import UUID

import msgspec

from streams.contract import Command
from streams.envelope import Actor, CommandEnvelope, Signer, encode
from streams.log import Entry

TRACE = "traceparent"


def command_entry(
    command: Command,
    *,
    command_id: UUID,
    issued_at: datetime,
    actor: Actor,
    signer: Signer,
    correlation_id: UUID | None = None,
    causation_id: UUID | None = None,
    hops: int = 0,
    traceparent: str | None = None,
) -> Entry:
    """The record to publish on the command topic of the command's domain; personal fields are sealed already."""
    contract = type(command)
    envelope = CommandEnvelope(
        command_id=command_id,
        type=contract.wire_name,
        schema_version=contract.version,
        issued_at=issued_at,
        domain=contract.topic.domain,
        aggregate_id=command.key,
        actor=actor,
        correlation_id=correlation_id or command_id,
        causation_id=causation_id,
        hops=hops,
        payload=msgspec.Raw(command.to_json()),
    )
    key, value = command.key.encode(), encode(envelope)
    return Entry(key, value, command_headers(contract.topic.commands_topic, key, value, signer, traceparent))


def command_headers(
    topic: str, key: bytes, value: bytes, signer: Signer, traceparent: str | None = None
) -> list[tuple[str, bytes]]:
    """The headers that go with a record: its signature and, when traced, its trace."""
    headers = [signer.sign(topic, key, value)]
    if traceparent is not None:
        headers.append((TRACE, traceparent.encode()))
    return headers
