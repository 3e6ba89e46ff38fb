"""From a record to a message: signature, envelope, contract, key. What fails is parked with its cause."""

from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError

from streams.clock import Clock
from streams.contract import Command, Event, Topic
from streams.envelope import CommandEnvelope, EventEnvelope, Signer, decode_command, decode_event
from streams.errors import CaravanError
from streams.ids import milliseconds
from streams.partitioner import partition_of

MAX_AGE = timedelta(hours=24)  # between the making of a command's id and the broker's time of its record


class Unfit(CaravanError):
    """A record that was never validly accepted; it is parked and holds nothing back."""

    def __init__(self, cause: str, error: str) -> None:
        """`cause` is a stable code, `error` says it in words."""
        super().__init__(error)
        self.cause = cause


class CommandRecord(NamedTuple):
    """A record of a command topic that speaks."""

    record: Any
    envelope: CommandEnvelope
    message: Command


class EventRecord(NamedTuple):
    """A record of an event topic that speaks; `message` is None for the core's own `command_*` records."""

    record: Any
    envelope: EventEnvelope
    message: Event | None


def read_command(topic: Topic, partition: int, record: Any, signer: Signer, clock: Clock) -> CommandRecord:
    """Read a record of a command topic; raises Unfit."""
    _check_signature(topic.commands_topic, record, signer)
    try:
        envelope = decode_command(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unfit("undecodable", f"Not a command envelope: {error}") from error
    kind = topic.commands.get(envelope.type)
    command = _message(topic, kind, envelope)
    _check_key(topic, partition, record, command)
    if envelope.command_id.version == 7:
        made = timedelta(milliseconds=milliseconds(envelope.command_id)) - clock.offset
        if abs(made - timedelta(milliseconds=record.timestamp)) > MAX_AGE:
            raise Unfit("stale_id", "The command's id was made more than 24 h off the time of its record.")
    return CommandRecord(record, envelope, command)


def read_event(topic: Topic, partition: int, record: Any, signer: Signer) -> EventRecord:
    """Read a record of an event topic; raises Unfit."""
    _check_signature(topic.events_topic, record, signer)
    try:
        envelope = decode_event(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unfit("undecodable", f"Not an event envelope: {error}") from error
    if envelope.type in CORE_EVENTS:
        return EventRecord(record, envelope, None)
    event = _message(topic, topic.events.get(envelope.type), envelope)
    _check_key(topic, partition, record, event)
    return EventRecord(record, envelope, event)


CORE_EVENTS = frozenset({"command_accepted", "command_rejected"})
"""What the core itself tells of a command that left no event of its domain."""


def _check_signature(topic: str, record: Any, signer: Signer) -> None:
    if not signer.valid(topic, record.key, record.value, record.headers):
        raise Unfit("unsigned", "No signature by one of the platform's keys.")


def _message(topic: Topic, kind: Any, envelope: Any) -> Any:
    if kind is None or envelope.domain != topic.domain:
        raise Unfit("unknown_type", f"{envelope.domain} has no {envelope.type} here.")
    if envelope.schema_version != kind.version:
        raise Unfit(
            "unknown_version", f"{envelope.type} version {envelope.schema_version}; this code reads {kind.version}."
        )
    try:
        return kind.from_topic(bytes(envelope.payload))
    except ValidationError as error:
        raise Unfit(
            "undecodable", f"{envelope.type}: {error.errors(include_url=False, include_input=False)}"
        ) from error


def _check_key(topic: Topic, partition: int, record: Any, message: Any) -> None:
    key = message.key
    if "/" in key or record.key != key.encode() or partition_of(record.key, topic.partitions) != partition:
        raise Unfit(
            "wrong_key", f"The record's key or partition is not that of its payload, {message.key_field}={key!r}."
        )
