"""JSON Schema 2020-12 of a record's value: the whole envelope with the typed payload, for consumers in any language.

It says what stands on a topic: personal fields sealed, times and numbers as the platform writes them. Unknown fields are allowed everywhere, since messages
may get optional ones at any time.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from streams.contract import Command, Message, Topic
from streams.envelope import CommandEnvelope, EventEnvelope
from streams.personal import personal_fields

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SEALED = {
    "type": "string",
    "pattern": r"^enc1\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+$",
    "description": "Personal: sealed with the key of its subject, and never again in the clear on a topic.",
}
"""What stands in the place of a personal value."""
DEFS = "#/$defs/"
_UUIDS = frozenset({"event_id", "command_id", "correlation_id", "causation_id"})


def record(kind: type[Message]) -> dict[str, Any]:
    """The schema of the values of a message's records."""
    around = CommandEnvelope if issubclass(kind, Command) else EventEnvelope
    fixed = {"type": kind.wire_name, "schema_version": kind.version, "domain": kind.topic.domain}
    return _record(around, fixed, payload_of(kind), words(kind))


def core_record(topic: Topic, name: str) -> dict[str, Any]:
    """The schema of what the core itself tells of a command on the domain's event topic."""
    fixed = {"type": name, "schema_version": 1, "domain": topic.domain}
    return _record(EventEnvelope, fixed, {"type": "object", "properties": {}}, CORE[name])


CORE = {
    "command_accepted": "Told by the platform of a command that was accepted and left no event of its domain; the payload is empty.",
    "command_rejected": "Told by the platform of a command that was rejected and left no event of its domain; `outcome` says why.",
}
"""What stands on every event topic beside the events of its domain."""


def _record(
    kind: type[msgspec.Struct], fixed: Mapping[str, Any], payload: Mapping[str, Any], words: str
) -> dict[str, Any]:
    around = envelope(kind)
    parts = {name: {"const": value} for name, value in fixed.items()}
    parts["payload"] = {name: part for name, part in payload.items() if name != "$defs"}
    return {
        "$schema": DIALECT,
        "title": f"{fixed['domain']}.{fixed['type']} version {fixed['schema_version']}",
        **({"description": words} if words else {}),
        "type": around["type"],
        "properties": {**around["properties"], **parts},
        "required": around["required"],
        **({"$defs": payload["$defs"]} if "$defs" in payload else {}),
    }


@cache
def payload_of(kind: type[Message]) -> dict[str, Any]:
    """The schema of the payload alone, with `$defs` where it has models in it. Made once: leave it as it is."""
    schema: dict[str, Any] = plain(kind.model_json_schema(mode="serialization"))
    schema.pop("description", None)
    for name in personal_fields(kind):
        schema["properties"][name] = _sealed(schema["properties"][name])
    return schema


def words(thing: Any) -> str:
    """What the docstring of a declaration says; nothing where it is that of a base class."""
    return " ".join((vars(thing).get("__doc__") or "").split())


def plain(schema: Any) -> Any:
    """The schema without generated titles and without the ban of unknown fields."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {}
    for name, part in schema.items():
        if name in {"properties", "$defs"}:
            found[name] = {key: plain(value) for key, value in part.items()}
        elif name in {"default", "examples", "enum", "const"}:
            found[name] = part
        elif not (name == "title" and isinstance(part, str)) and not (name == "additionalProperties" and part is False):
            found[name] = plain(part)
    return found


def inlined(schema: Any, definitions: Mapping[str, Any], inside: frozenset[str] = frozenset()) -> Any:
    """The schema with what it refers to put in place; a model within itself becomes `{}` there."""
    if isinstance(schema, list):
        return [inlined(part, definitions, inside) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    if isinstance(reference := schema.get("$ref"), str):
        name = reference.rpartition("/")[2]
        beside = {key: part for key, part in schema.items() if key != "$ref"}
        return {**({} if name in inside else inlined(definitions[name], definitions, inside | {name})), **beside}
    return {key: inlined(part, definitions, inside) for key, part in schema.items() if key != "$defs"}


@cache
def envelope(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of what stands around the payload; its parts in place, the types of ids and times told. Made once: leave it as it is."""
    schema = plain(msgspec.json.schema(kind))
    definitions = schema["$defs"]
    for part in definitions.values():
        part["description"] = " ".join(part["description"].split())
    whole: dict[str, Any] = inlined(definitions.pop(kind.__name__), definitions)
    properties = whole["properties"]
    for name, part in properties.items():
        if name in _UUIDS and part.get("type") == "string":
            part["format"] = "uuid"
        if name.endswith("_at"):
            part["format"] = "date-time"
    properties["number" if kind is EventEnvelope else "hops"]["minimum"] = 1 if kind is EventEnvelope else 0
    return whole


def _sealed(schema: Mapping[str, Any]) -> dict[str, Any]:
    nullable = any(part.get("type") == "null" for part in schema.get("anyOf", ()))
    default = {"default": schema["default"]} if "default" in schema else {}
    return {"anyOf": [SEALED, {"type": "null"}], **default} if nullable else {**SEALED, **default}
