"""From a record to a message: signature, envelope, contract, key. What fails is parked with its cause."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from pydantic import ValidationError

from streams.clock import Clock
from streams.codec import Parse
from streams.contract import Command, Event, Message, Topic, UnknownVersion, UpcastFailed
from streams.envelope import CommandEnvelope, EventEnvelope, Signer, decode_command, decode_event
from streams.errors import CaravanError
from streams.ids import milliseconds
from streams.partitioner import partition_of
from streams.sink import Line

MAX_AGE = timedelta(hours=24)  # between the making of a command's id and the broker's time of its record
HERE = 1 << 14  # keys that a reader remembers
MAX_KEY = 1024  # bytes; Postgres indexes no more than 2.7 kB
CORE_EVENTS = frozenset({"command_accepted", "command_rejected"})
"""What the core itself tells of a command that left no event of its domain."""


class Unfit(CaravanError):
    """A record that was never validly accepted; it is parked and holds nothing back."""

    def __init__(self, cause: str, error: str) -> None:
        """`cause` is a stable code, `error` says it in words."""
        super().__init__(error)
        self.cause = cause


class CommandRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of a command topic that speaks."""

    record: Any
    envelope: CommandEnvelope
    message: Command


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of an event topic that speaks; `message` is None for the core's own `command_*` records, and a Line for who reads lines."""

    record: Any
    envelope: EventEnvelope
    message: Event | None


class CommandReader:
    """Reads the records of one partition of a command topic."""

    def __init__(self, topic: Topic, partition: int, signer: Signer, clock: Clock) -> None:
        """Nothing is read yet."""
        self._signed = signer.checker(topic.commands_topic)
        self._message = _MessageReader(topic, topic.commands, partition)
        self._clock = clock

    def read(self, record: Any) -> CommandRecord:
        """Read one record; raises Unfit."""
        envelope: CommandEnvelope = _envelope(record, self._signed, decode_command)
        command = self._message.read(record, envelope)
        if envelope.command_id.version == 7:  # an id that the edge made
            early = timedelta(milliseconds=milliseconds(envelope.command_id) - record.timestamp)
            # A virtual clock was moved to where it is now, before or after the broker took the record.
            least, most = sorted((timedelta(), self._clock.offset))
            if not least - MAX_AGE <= early <= most + MAX_AGE:
                raise Unfit("stale_id", "The command's id was made more than 24 h off the time of its record.")
        return CommandRecord(record, envelope, command)


class EventReader:
    """Reads the records of one partition of an event topic."""

    def __init__(self, topic: Topic, partition: int, signer: Signer) -> None:
        """Nothing is read yet."""
        self._signed = signer.checker(topic.events_topic)
        self._message = _MessageReader(topic, topic.events, partition)

    def read(self, record: Any) -> EventRecord:
        """Read one record; raises Unfit."""
        envelope: EventEnvelope = _envelope(record, self._signed, decode_event)
        if envelope.type in CORE_EVENTS:
            return EventRecord(record, envelope, None)
        return EventRecord(record, envelope, self._message.read(record, envelope))

    def envelope(self, record: Any) -> EventEnvelope:
        """Read only what stands around the event; raises Unfit."""
        envelope: EventEnvelope = _envelope(record, self._signed, decode_event)
        return envelope


class LineReader(EventReader):
    """Reads the records of one partition of an event topic as lines: no contract is asked, so no event is unknown to it."""

    def __init__(self, topic: Topic, partition: int, signer: Signer) -> None:
        """Nothing is read yet."""
        super().__init__(topic, partition, signer)
        self._place, self._signer = (topic.domain, partition), signer

    def read(self, record: Any) -> EventRecord:
        """Read one record; raises Unfit."""
        envelope = self.envelope(record)
        if (envelope.domain, envelope.source.partition) != self._place:
            raise Unfit("wrong_key", "The record belongs to another domain or partition.")
        line: Any = Line(envelope, partial(self._signer.witness, record))
        return EventRecord(record, envelope, line)


class _MessageReader:
    """From an envelope to its message: the contract of its type, and a key that belongs where it stands."""

    def __init__(self, topic: Topic, kinds: Mapping[str, type[Message]], partition: int) -> None:
        self._domain, self._kinds = topic.domain, kinds
        self._partition, self._partitions = partition, topic.partitions
        self._known: dict[str, tuple[type[Message], int, Parse, str]] = {}
        self._here: dict[bytes, str] = {}  # keys of records that stand where they belong

    def read(self, record: Any, envelope: Any) -> Any:
        kind, version, parse, key_field = self._known.get(envelope.type) or self._meet(envelope)
        if envelope.domain != self._domain:
            raise _unknown(envelope)
        try:
            if envelope.schema_version == version:
                message = parse(envelope.payload)
            else:
                message = kind.read(envelope.schema_version, envelope.payload)
        except UnknownVersion as error:
            raise Unfit("unknown_version", str(error)) from error
        except UpcastFailed as error:
            raise Unfit("upcast_failed", str(error)) from error
        except ValidationError as error:
            words = f"{envelope.type}: {error.errors(include_url=False, include_input=False)}"
            raise Unfit("undecodable", words) from error
        key = getattr(message, key_field)
        if key != self._here.get(record.key) or key != envelope.aggregate_id:
            self._demand(record.key, message, envelope)
        return message

    def _meet(self, envelope: Any) -> tuple[type[Message], int, Parse, str]:
        kind = self._kinds.get(envelope.type)
        if kind is None:
            raise _unknown(envelope)
        self._known[envelope.type] = met = kind, *kind.reader()
        return met

    def _demand(self, told: bytes, message: Message, envelope: Any) -> None:
        """The key of the payload is that of envelope and record, and of this partition."""
        key = message.key
        if (
            key != envelope.aggregate_id
            or key.encode() != told
            or "/" in key
            or len(told) > MAX_KEY
            or partition_of(told, self._partitions) != self._partition
        ):
            words = f"The record's key or partition is not that of its payload, {message.key_field}={key!r}."
            raise Unfit("wrong_key", words)
        if len(self._here) == HERE:
            self._here.clear()
        self._here[told] = key


def _unknown(envelope: Any) -> Unfit:
    return Unfit("unknown_type", f"{envelope.domain} has no {envelope.type} here.")


def _envelope(record: Any, signed: Callable[[Any], bool], decode: Callable[[bytes], Any]) -> Any:
    if not signed(record):
        raise Unfit("unsigned", "No signature by one of the platform's keys.")
    try:
        return decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:  # TypeError: a record without a value
        raise Unfit("undecodable", f"Not an envelope: {error}") from error
