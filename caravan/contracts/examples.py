"""Examples of records: payloads that contracts declare, else ones made to fit, in an envelope; every one is taken by its contract."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

from caravan.contracts.schemas import DEFS, payload_of
from streams.contract import Command, Message, Topic
from streams.envelope import Actor, CommandEnvelope, EventEnvelope, Outcome, Source, body_hash, encode
from streams.ids import derived
from streams.personal import blind_fields, blinded, personal_fields

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MADE = int(AT.timestamp() * 1000)
COMMAND_ID = UUID(int=MADE << 80 | 7 << 76 | 2 << 62 | 1)  # an id as the edge makes them, of that time
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_FORMATS = {"date-time": "2026-01-31T12:00:00Z", "date": "2026-01-31", "uuid": str(COMMAND_ID)}
_TEXTS = ("{name}", "{name}-1", "{name}:1", "a", "1", "EUR", "0" * 32)


def headers(key: str, value: bytes) -> dict[str, str]:
    """The headers of an example; nobody's key signed it."""
    digest = sha256(key.encode() + b"\0" + value).digest()
    return {"caravan-sig": "k1:" + _base64(digest), "traceparent": TRACE}


def pool(kinds: Iterable[type[Message]]) -> dict[str, Any]:
    """Values by field, from the payloads that commands declare, so that examples of a domain fit together."""
    found: dict[str, Any] = {}
    for kind in kinds:
        for example in getattr(kind, "examples", ()):
            for name, value in example.items():
                found.setdefault(name, value)
    return found


def record(kind: type[Message], values: Mapping[str, Any]) -> bytes | None:
    """The value of an example record; None where none can be made that the contract takes."""
    payload = _payload(kind, values)
    if payload is None:
        return None
    message = kind.from_topic(payload)
    around: dict[str, Any] = {
        "type": kind.wire_name,
        "schema_version": kind.version,
        "domain": kind.topic.domain,
        "aggregate_id": message.key,
        "payload": msgspec.Raw(payload),
    }
    if isinstance(message, Command):
        actor = _actor(message)
        return encode(
            CommandEnvelope(
                command_id=COMMAND_ID, issued_at=AT, actor=actor, correlation_id=COMMAND_ID, causation_id=None, **around
            )
        )
    return _event(around)


def core_record(topic: Topic, name: str, values: Mapping[str, Any]) -> bytes:
    """The value of an example of what the core itself tells of a command."""
    rejected = {"outcome": Outcome("rejected", "not_possible", 409)} if name == "command_rejected" else {}
    key = str(values.get(topic.key, "a1"))
    around = {"type": name, "schema_version": 1, "domain": topic.domain, "aggregate_id": key}
    return _event({**around, **rejected, "payload": msgspec.Raw(b"{}")})


def _event(around: Mapping[str, Any]) -> bytes:
    cause, actor = str(COMMAND_ID), Actor("user", "u1", "User")
    event_id = str(derived(COMMAND_ID, "", around["type"], around["aggregate_id"], 0))
    return encode(
        EventEnvelope(
            event_id=event_id, occurred_at=AT, aggregate_seq=1, actor=actor, command_id=cause, correlation_id=cause,
            causation_id=cause, number=1, source=Source(0, 0, body_hash(around["payload"])), **around,
        )
    )  # fmt: skip


def _actor(command: Command) -> Actor:
    if not command.roles:
        return Actor("service", command.services[0])
    owner = getattr(command, command.owner) if command.owner else "u1"
    return Actor("guest", "", "Guest") if command.roles == ("Guest",) else Actor("user", owner, command.roles[0])


def _payload(kind: type[Message], values: Mapping[str, Any]) -> bytes | None:
    """The first declared payload, else one that is made; as it stands on a topic."""
    schema = payload_of(kind)
    for told in getattr(kind, "examples", ()):
        with suppress(ValueError):
            return _on_topic(kind, kind.model_validate_json(json.dumps(told), strict=True).to_json())
    plain = {name: value for name, value in values.items() if not isinstance(value, list | dict)}
    for known, whole in ((values, True), (plain, True), (plain, False)):
        made = _object(schema, schema.get("$defs", {}), known, whole=whole)
        with suppress(ValueError):
            return kind.from_topic(json.dumps(made).encode()).to_json()
    return None


def _on_topic(kind: type[Message], payload: bytes) -> bytes:
    """What the edge makes of it: personal fields sealed, blind ones filled. No key of anybody's takes part."""
    told = json.loads(payload)
    for name, filled in blind_fields(kind).items():
        if told.get(filled.source) is not None:
            told[name] = blinded(told[filled.source], filled.kind, b"an example")
    key = kind.from_topic(json.dumps(told).encode()).key
    for name in personal_fields(kind):
        if told.get(name) is not None:
            told[name] = _seal(key, name)
    return kind.from_topic(json.dumps(told).encode()).to_json()


def _seal(subject: str, name: str) -> str:
    return f"enc1.{_base64(subject.encode())}.{_base64(sha256(name.encode()).digest() * 2)}"


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode()


def _object(schema: Any, definitions: Any, values: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """A value for each field, or with not `whole` for those that must be there."""
    required = schema.get("required", ())
    return {
        name: _value(name, part, definitions, values)
        for name, part in schema.get("properties", {}).items()
        if whole or name in required
    }


def _value(name: str, schema: Any, definitions: Any, values: Mapping[str, Any]) -> Any:
    schema = _chosen(schema, definitions)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object" | "array" if isinstance(values.get(name), list | dict):
            return values[name]
        case "object":
            return _object(schema, definitions, values, whole=True)
        case "array":
            return [_value(name, part, definitions, values) for part in _items(schema)]
        case "integer" | "number":
            return _number(values.get(name, 1), schema)
        case "boolean":
            return True
        case "string":
            return _text(name, schema, values)
    return None


def _chosen(schema: Any, definitions: Any) -> Any:
    """The first alternative, and what it refers to."""
    while "anyOf" in schema or "$ref" in schema:
        schema = schema["anyOf"][0] if "anyOf" in schema else definitions[schema["$ref"].removeprefix(DEFS)]
    return schema


def _items(schema: Any) -> list[Any]:
    if "prefixItems" in schema:
        return list(schema["prefixItems"])
    return [schema["items"]] * max(1, schema.get("minItems", 1)) if "items" in schema else []


def _number(value: Any, schema: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = 1
    return min(max(value, schema.get("minimum", value)), schema.get("maximum", value))


def _text(name: str, schema: Any, values: Mapping[str, Any]) -> str:
    if str(schema.get("pattern", "")).startswith(r"^enc1\."):
        return _seal("u1", name)
    if text := _FORMATS.get(schema.get("format", "")):
        return text
    told = values.get(name)
    for text in (told, *(text.format(name=name) for text in _TEXTS)):
        if isinstance(text, str) and _fits(text, schema):
            return text
    return "a" * int(schema.get("minLength", 1))


def _fits(text: str, schema: Any) -> bool:
    low, high = schema.get("minLength", 0), schema.get("maxLength", len(text))
    return low <= len(text) <= high and re.search(schema.get("pattern", ""), text) is not None
