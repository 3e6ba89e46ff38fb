"""Parked records as people look at them and mend them: decoded as far as possible, personal fields masked.

Nothing here decides whether a record can be worked: its owner reads it again, as any other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from pydantic import ValidationError

from streams import discover
from streams.contract import Message, UnknownVersion, UpcastFailed
from streams.envelope import Actor, CommandEnvelope, EventEnvelope, decode_command, decode_event
from streams.errors import CaravanError
from streams.personal import blind_fields, is_sealed, masked, personal_fields
from streams.records import CORE_EVENTS

KEPT = ("id", "command_id", "domain", "aggregate_id", "actor")  # what an edit leaves as it was
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Malformed(CaravanError):
    """A value that would only be parked again."""

    def __init__(self, field: str, code: str, words: str) -> None:
        """`field` is the path of what is wrong, `code` stable, `words` the mend."""
        super().__init__(words)
        self.field, self.code, self.words = field, code, words


@dataclass(frozen=True)
class Decoded:
    """What a record says; `payload` is masked."""

    id: str
    command_id: str
    type: str
    schema_version: int
    at: datetime
    domain: str
    aggregate_id: str
    actor: Actor
    correlation_id: str
    payload: Any


def contracts_of(topic: str) -> Mapping[str, type[Message]]:
    """The messages that may stand on a topic, by their names; none where no contract declares it."""
    domain, _, kind = topic.partition(".")
    if domain not in discover.domains():
        return {}
    contract = discover.topic(domain)
    return contract.commands if kind == "commands" else contract.events


def decoded(topic: str, value: bytes | None) -> Decoded | None:
    """What the record says, whether or not its contract takes it; None where it is no envelope."""
    try:
        envelope = _envelope(topic, value)
        payload = json.loads(bytes(envelope.payload))
    except (ValueError, TypeError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    contract = contracts_of(topic).get(envelope.type)
    return Decoded(
        id=str(envelope.command_id if isinstance(envelope, CommandEnvelope) else envelope.event_id),
        command_id=str(envelope.command_id),
        type=envelope.type,
        schema_version=envelope.schema_version,
        at=envelope.issued_at if isinstance(envelope, CommandEnvelope) else envelope.occurred_at,
        domain=envelope.domain,
        aggregate_id=envelope.aggregate_id,
        actor=envelope.actor,
        correlation_id=str(envelope.correlation_id),
        payload=masked(payload, personal_fields(contract) if contract else ()),
    )


def with_payload(topic: str, value: bytes | None, changes: Mapping[str, Any]) -> bytes:
    """The record with these fields of its payload changed, those given as None taken out; all else stays byte for byte. Raises Malformed."""
    told = decoded(topic, value)
    if told is None or value is None:
        words = "what is parked is no envelope, so it has no payload to change; it can only be skipped"
        raise Malformed("payload", "undecodable", words)
    contract = contracts_of(topic).get(told.type)
    envelope = _fields(value)
    payload = _payload_of(envelope["payload"])
    if contract is not None:
        _demand_changeable(contract, payload, changes)
    for name, part in changes.items():
        if part is None:
            payload.pop(name, None)
        else:
            payload[name] = msgspec.Raw(_encode(part))
    envelope["payload"] = msgspec.Raw(_encode(payload))
    return checked(topic, _encode(envelope), value)


def checked(topic: str, value: bytes, before: bytes | None) -> bytes:
    """The value, if it may take the place of `before`; raises Malformed."""
    told, was = decoded(topic, value), decoded(topic, before)
    if told is None:
        raise Malformed("value", "undecodable", f"the new value is no envelope of {topic}: {_why(topic, value)}")
    if was is None:
        words = "what is parked is no envelope, so nothing tells what it was meant to be; it can only be skipped"
        raise Malformed("value", "undecodable", words)
    for name in KEPT:
        if getattr(told, name) != getattr(was, name):
            raise Malformed(
                "value", "other_record", f"an edit leaves {name} as it is: answers, order and rights hang on it"
            )
    contract = contracts_of(topic).get(told.type)
    if contract is None:
        if told.type in CORE_EVENTS:
            return value
        raise Malformed("type", "unknown_type", f"{topic} has no {told.type}")
    message = _message(contract, told, bytes(_envelope(topic, value).payload))
    if message.key != told.aggregate_id:
        words = f"the key of the record is {told.aggregate_id}, and its payload says {contract.key_field}={message.key}"
        raise Malformed(f"payload.{contract.key_field}", "wrong_key", words)
    return value


def _message(contract: type[Message], told: Decoded, payload: bytes) -> Message:
    try:
        return contract.read(told.schema_version, payload)
    except UnknownVersion as error:
        raise Malformed("schema_version", "unknown_version", str(error)) from None
    except UpcastFailed as error:
        raise Malformed("payload", "upcast_failed", str(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, ("payload", *first["loc"])))
        raise Malformed(where, first["type"], f"{told.type}, {where}: {first['msg']}") from None


def difference(topic: str, before: bytes | None, after: bytes) -> list[tuple[str, Any, Any]]:
    """What an edit changes: (field, before, after), personal fields masked; None where a field is not there."""
    was, is_ = decoded(topic, before), decoded(topic, after)
    if is_ is None:
        return []
    old, new = (_flat(told) if told else {} for told in (was, is_))
    names = [*new, *(name for name in old if name not in new)]
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _flat(told: Decoded) -> dict[str, Any]:
    around = {name: part for name, part in told.__dict__.items() if name not in {"payload", "actor"}}
    actor = f"{told.actor.type}:{told.actor.id} {told.actor.role}".rstrip()
    payload = told.payload if isinstance(told.payload, Mapping) else {"payload": told.payload}
    return {**around, "actor": actor, **{f"payload.{name}": part for name, part in payload.items()}}


def _demand_changeable(contract: type[Message], there: Mapping[str, msgspec.Raw], changes: Mapping[str, Any]) -> None:
    for name in changes:
        if name not in contract.model_fields and name not in there:
            known = ", ".join(contract.model_fields)
            raise Malformed(f"payload.{name}", "unknown_field", f"{contract.wire_name} has no {name}; it has {known}")
        if name in personal_fields(contract) or name in blind_fields(contract) or _sealed(there.get(name)):
            words = f"{name} is personal: it stands here sealed and cannot be given in the clear; it can only be left as it is"
            raise Malformed(f"payload.{name}", "personal", words)


def _sealed(part: msgspec.Raw | None) -> bool:
    """Whether it is personal whatever the contract of today says: an older version may have called it otherwise."""
    return part is not None and is_sealed(msgspec.json.decode(part))


def _payload_of(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _fields(raw)
    except msgspec.MsgspecError:
        raise Malformed(
            "payload", "undecodable", "the record's payload is no object; give the whole value instead"
        ) from None


def _envelope(topic: str, value: bytes | None) -> CommandEnvelope | EventEnvelope:
    decode = decode_command if topic.endswith(".commands") else decode_event
    envelope: CommandEnvelope | EventEnvelope = decode(value or b"")
    return envelope


def _why(topic: str, value: bytes) -> str:
    try:
        json.loads(bytes(_envelope(topic, value).payload))
    except (ValueError, TypeError, RecursionError) as error:
        return str(error)
    return ""
