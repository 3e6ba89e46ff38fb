"""How a command becomes a record: its envelope, signed. Shared by the edge and by policies."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from streams.contract import Command
from streams.envelope import Actor, CommandEnvelope, Signer, encode

TRACE = "traceparent"


def command_record(command: Command, **around: Any) -> tuple[bytes, bytes]:
    """Key and value of the record to publish on `topic.commands_topic`; `around` as for `enveloped`."""
    return command.key.encode(), encode(enveloped(command, **around))


def enveloped(
    command: Command,
    *,
    command_id: UUID,
    issued_at: datetime,
    actor: Actor,
    correlation_id: UUID | None = None,
    causation_id: UUID | None = None,
    hops: int = 0,
) -> CommandEnvelope:
    """A command in its envelope; its personal fields are sealed already."""
    contract = type(command)
    return CommandEnvelope(
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


def signed(
    topic: str, key: bytes, value: bytes, signer: Signer, traceparent: str | None = None
) -> list[tuple[str, bytes]]:
    """The headers that go with a record: its signature and, when it is traced, its trace."""
    headers = [signer.sign(topic, key, value)]
    if traceparent is not None:
        headers.append((TRACE, traceparent.encode()))
    return headers
