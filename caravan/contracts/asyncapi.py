"""AsyncAPI 3.0 from a catalogue: channels are topics, operations are who sends and who receives."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from caravan.contracts import examples
from caravan.contracts.flow import Party, named
from caravan.contracts.schemas import envelope, inlined
from caravan.topics import retention
from streams.envelope import CommandEnvelope, EventEnvelope

VERSION = "3.0.0"
KAFKA = "0.5.0"  # version of the bindings
_SETTINGS = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes")
_HEADERS = {
    "type": "object",
    "properties": {
        "caravan-sig": {
            "type": "string",
            "pattern": "^[^:]+:[A-Za-z0-9+/=_-]+$",
            "description": "Id of a key of the platform, a colon, and in base64 the HMAC-SHA256 by it over topic, key and value.",
        },
        "traceparent": {"type": "string", "description": "W3C trace context."},
    },
    "required": ["caravan-sig"],
}
_ABOUT = """Commands and domain events on Kafka. The value of a record is one JSON object, its key the aggregate id in UTF-8; records of one key are in order.
A namespace, where the platform has one, stands before every topic's name. Messages get optional fields at any time: what a reader does not know it ignores.
Personal fields are sealed; who holds the subject's key can open them. Partitions are those of murmur2, as Java clients hash."""
_CLASSES = {"personal": 2, "blind": 1, "none": 0}


def document(catalogue: Mapping[str, Any], schemas: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The document; `schemas` has those of records, with an example each, by their paths."""
    domains = catalogue["domains"]
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for name, domain in domains.items():
        for side in ("commands", "events"):
            channels[f"{name}.{side}"] = _channel(name, domain, side)
            _operate(operations, f"{name}.{side}", domain[side])
        if domain["changelog"]:
            channels[f"{name}.changelog"] = _changelog(name, domain)
    return {
        "asyncapi": VERSION,
        "info": {"title": "Caravan", "version": version, "description": _ABOUT, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": dict(sorted(operations.items())),
        "components": {
            "messages": {
                identifier: _message(domain[side][kind], identifier, schemas[path])
                for name, domain in domains.items()
                for side in ("commands", "events")
                for kind, identifier, path in _messages(f"{name}.{side}", domain[side])
            }
            | {f"{name}.changelog.document": _document() for name, domain in domains.items() if domain["changelog"]},
            "schemas": {"headers": _HEADERS, "command": envelope(CommandEnvelope), "event": envelope(EventEnvelope)},
        },
    }


def _messages(channel: str, kinds: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    """(message, identifier, path of its schema) of every version whose schema is known; the current one has no version in its name."""
    for name, kind in kinds.items():
        for version, path in kind["schemas"].items():
            older = "" if int(version) == kind["version"] else f".v{version}"
            yield name, f"{channel}.{name}{older}", path


def _channel(name: str, domain: Mapping[str, Any], side: str) -> dict[str, Any]:
    address, kinds = f"{name}.{side}", domain[side]
    identifiers = [identifier for _, identifier, _ in _messages(address, kinds)]
    what = "Commands to" if side == "commands" else "What happened in"
    retired = " The domain is retired: nothing new comes." if domain["retired"] else ""
    return {
        "address": address,
        "title": address,
        "description": f"{what} the domain {name}.{retired}",
        "messages": {
            identifier.removeprefix(f"{address}."): {"$ref": f"#/components/messages/{identifier}"}
            for identifier in identifiers
        },
        "bindings": _binding(domain, address),
        "x-key": domain["key"],
        "x-privacy": max((kind["privacy"] for kind in kinds.values()), key=_CLASSES.__getitem__, default="none"),
        "x-retention": retention(domain["topics"][address]),
        "x-retired": domain["retired"],
    }


def _changelog(name: str, domain: Mapping[str, Any]) -> dict[str, Any]:
    address = f"{name}.changelog"
    return {
        "address": address,
        "title": address,
        "description": f"The last state of every document of the domain {name}.",
        "messages": {"document": {"$ref": f"#/components/messages/{address}.document"}},
        "bindings": _binding(domain, address),
        "x-retention": retention(domain["topics"][address]),
    }


def _document() -> dict[str, Any]:
    properties = {"version": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}, "data": {}}
    return {
        "name": "document",
        "title": "A document of the domain's state",
        "payload": {"type": "object", "properties": properties, "required": sorted(properties)},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": KAFKA}},
    }


def _binding(domain: Mapping[str, Any], address: str) -> dict[str, Any]:
    config = {"cleanup.policy": "delete", **domain["topics"][address]}
    settings = {name: int(value) if value.lstrip("-").isdigit() else [value] for name, value in config.items()}
    return {
        "kafka": {
            "topic": address,
            "partitions": domain["partitions"],
            "topicConfiguration": {name: settings[name] for name in _SETTINGS},
            "bindingVersion": KAFKA,
        }
    }


def _message(kind: Mapping[str, Any], identifier: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    domain, side, name = identifier.split(".")[:3]
    told = {name: schema["properties"][name] for name in ("type", "schema_version", "domain", "payload")}
    properties = inlined(told, schema.get("$defs", {}))
    version = schema["properties"]["schema_version"]["const"]
    key = properties["payload"]["properties"].get(kind["key"], {"type": "string"})
    return {
        "name": name,
        "title": f"{name}, version {version}",
        "summary": kind["description"] or f"{name} of the domain {domain}.",
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/headers"},
        "payload": {"allOf": [{"$ref": f"#/components/schemas/{side.removesuffix('s')}"}], "properties": properties},
        "bindings": {"kafka": {"key": {**key, "description": _key(kind)}, "bindingVersion": KAFKA}},
        "tags": [{"name": domain}, {"name": side}],
        "examples": [{"name": name, "headers": _headers(one), "payload": one} for one in schema.get("examples", ())],
        "x-version": version,
        "x-privacy": kind["privacy"],
        "x-personal": kind["personal"],
        "x-blind": sorted(kind["blind"]),
        "x-publishers": [named(party) for party in kind["publishers"]],
        "x-listeners": [named(party) for party in kind["listeners"]],
    }


def _key(kind: Mapping[str, Any]) -> str:
    return f"The payload's {kind['key']}, in UTF-8." if kind["key"] else "The aggregate's id, in UTF-8."


def _headers(value: Mapping[str, Any]) -> dict[str, str]:
    return examples.headers(value["aggregate_id"], json.dumps(value).encode())


def _operate(operations: dict[str, Any], channel: str, kinds: Mapping[str, Any]) -> None:
    """Add who sends and who receives on a channel, each with the messages that it does."""
    for name, kind in kinds.items():
        for action, parties in (("send", kind["publishers"]), ("receive", kind["listeners"])):
            for party in parties:
                identifier = _identifier(channel, action, party)
                operation = operations.setdefault(identifier, _operation(channel, action, party))
                operation["messages"].append({"$ref": f"#/channels/{channel}/messages/{name}"})


def _identifier(channel: str, action: str, party: Party) -> str:
    parts = [channel.partition(".")[0], "edge"] if party["kind"] == "edge" else [party["domain"], party["kind"]]
    named = [party["name"]] if party["kind"] in {"policy", "projection", "effect"} else []
    return ".".join((*parts, *named, action, channel))


def _operation(channel: str, action: str, party: Party) -> dict[str, Any]:
    who = "edge" if party["kind"] == "edge" else named(party)
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "title": f"{who} {'publishes to' if action == 'send' else 'listens to'} {channel}",
        "messages": [],
        "x-kind": party["kind"],
    }
