"""OpenAPI 3.1, from contracts and view functions."""

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from api.errors import MEDIA_TYPE, PROBLEMS
from api.live import TAIL
from api.parked_openapi import SCHEMAS as PARKED
from api.parked_openapi import paths as parked_paths
from api.results import MAX_WAIT
from api.sse import MEDIA_TYPE as MEDIA_TYPE_LIVE
from api.views import MAX_TOKENS, Signature
from streams.contract import Command
from streams.personal import blind_fields

REF = "#/components/schemas/{model}"
_COMMAND = (400, 401, 403, 408, 413, 415, 422, 500, 503)
_VIEW = (401, 403, 404, 409, 422, 500, 503)


class Catalogue(NamedTuple):
    """All that is served: per domain its issuable commands and its views."""

    commands: Mapping[str, Sequence[type[Command]]]
    views: Mapping[str, Sequence[Signature]]


def document(catalogue: Catalogue) -> dict[str, Any]:
    """The OpenAPI document."""
    contracts = [c for many in catalogue.commands.values() for c in many]
    signatures = [(domain, s) for domain, many in catalogue.views.items() for s in many]
    schemas, components = _schemas(contracts, [s for _, s in signatures])
    paths: dict[str, Any] = {}
    for contract in contracts:
        paths[f"/v1/{contract.topic.domain}/{contract.wire_name}"] = {"post": _command(contract, schemas[contract])}
    for domain, signature in signatures:
        path, shown = view_path(domain, signature), _view(domain, signature, schemas[signature])
        paths[path] = {"get": shown}
        if signature.segments:
            paths[f"{path}/{TAIL}"] = {"get": _live(signature, shown)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Caravan", "version": _version(), "description": _ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": "/"}],
        "tags": [{"name": domain} for domain in sorted({*catalogue.commands, *catalogue.views})] + [{"name": "platform"}],
        "paths": paths | _platform() | parked_paths(),
        "components": {
            "schemas": components | _SCHEMAS | PARKED,
            "parameters": _PARAMETERS,
            "responses": {str(status): _problems(status) for status in sorted({s for s, _ in PROBLEMS.values()})},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }  # fmt: skip


_ABOUT = """Commands are published to Kafka and answered with 202 once Kafka has them; their domain decides them in the order
of their key. Views are read from Postgres; a view asked with the token of a command (`after`) includes that command.
Errors are problem+json (RFC 9457) with a stable `code`."""


def view_path(domain: str, signature: Signature) -> str:
    """The path of a view, with its parameters in braces."""
    return "/".join((f"/v1/{domain}/{signature.name}", *(f"{{{name}}}" for name in signature.segments)))


class _Schemas(GenerateJsonSchema):
    """Answers tell every field that they always have as required; names are not said twice."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """A default is written into an answer like any value."""
        return self.mode == "serialization" or super().field_is_required(field, total)

    def dict_schema(self, schema: Any) -> Any:
        """A map whose keys have a pattern is one also for generators that know no `patternProperties`."""
        found = super().dict_schema(schema)
        for pattern, part in found.pop("patternProperties", {}).items():
            found["additionalProperties"] = part
            found["propertyNames"] = {**found.get("propertyNames", {}), "pattern": pattern}
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:
        """`User Id` adds nothing to `user_id`."""
        del schema
        return False


def _schemas(
    contracts: Sequence[type[Command]], signatures: Sequence[Signature]
) -> tuple[dict[Any, Any], dict[str, Any]]:
    """A schema for each command's body and each view's answer, and the components they refer to.

    All are made at once: what bodies and answers share has one name, or one for each where the two differ.
    """
    body: JsonSchemaMode = "validation"
    answer: JsonSchemaMode = "serialization"
    asked = [(c, body, TypeAdapter[Any](c)) for c in contracts] + [(s, answer, s.adapter) for s in signatures]
    made, rest = TypeAdapter.json_schemas(asked, ref_template=REF, schema_generator=_Schemas)
    components = rest.get("$defs", {})
    for contract in contracts:  # the edge fills these, and takes them from nobody
        for name in blind_fields(contract):
            del components[made[contract, body]["$ref"].rpartition("/")[2]]["properties"][name]
    found: dict[Any, Any] = {asker: made[asker, mode] for asker, mode, _ in asked}
    return found, components


def _words(thing: Any) -> tuple[str, str]:
    text = inspect.getdoc(thing) or ""
    return text.partition("\n")[0], text


def _command(contract: type[Command], schema: Any) -> dict[str, Any]:
    domain, name = contract.topic.domain, contract.wire_name
    summary, text = _words(contract)
    who = f"Roles: {', '.join(contract.roles)}" + (
        f"; only where `{contract.owner}` is the caller." if contract.owner else "."
    )
    examples = {f"{name}_{n}": {"value": dict(example)} for n, example in enumerate(contract.examples, 1)}
    content: dict[str, Any] = {"schema": schema} | ({"examples": examples} if examples else {})
    return {
        "operationId": f"{domain}.{name}",
        "tags": [domain],
        "summary": summary or name,
        "description": f"{text}\n\n{who}".strip(),
        "parameters": _refs("Prefer", "IdempotencyKey", "TraceParent"),
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": _answer("With `Prefer: wait`: it was accepted.", "CommandStatus"),
            "202": _answer("Kafka has the command.", "Accepted"),
            "404": {"$ref": "#/components/responses/404"},
            "409": {"$ref": "#/components/responses/409"},
            **_errors(_COMMAND + ((410,) if contract.retired else ())),
        },
        "security": _security(contract.roles),
        "x-roles": list(contract.roles),
        "x-key": contract.key_field,
        "x-after": list(contract.after),
    } | ({"deprecated": True} if contract.retired else {})  # fmt: skip


def _view(domain: str, signature: Signature, schema: Any) -> dict[str, Any]:
    summary, text = _words(signature.function)
    properties = signature.model.model_json_schema(ref_template=REF)["properties"]
    parameters: list[Any] = [
        {"name": n, "in": "path", "required": True, "schema": properties[n]} for n in signature.segments
    ]
    parameters += [{"name": n, "in": "query", "schema": properties[n]} for n in signature.query]
    owner = signature.readers.owner
    who = f"Readers: {', '.join(signature.readers.roles)}" + (
        f"; only where `{owner}` is the caller." if owner else "."
    )
    return {
        "operationId": f"{domain}.{signature.name}",
        "tags": [domain],
        "summary": summary or signature.name,
        "description": f"{text}\n\n{who}".strip(),
        "parameters": parameters + _refs("After", *(("Cursor", "Limit") if signature.paging else ())),
        "responses": {
            "200": {"description": summary or "The view.", "content": {"application/json": {"schema": schema}}},
            **_errors(_VIEW),
        },
        "security": _security(signature.readers.roles),
        "x-roles": list(signature.readers.roles),
    }


def _live(signature: Signature, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The stream of a view, from what is told of the view."""
    kept = [part for part in shown["parameters"] if part not in _refs("Cursor")]
    schema = shown["responses"]["200"]["content"]["application/json"]["schema"]
    answer = {
        "description": "Server-sent events: each `data` is the answer of the view.",
        "content": {MEDIA_TYPE_LIVE: {"schema": _string(), "x-data": schema}},
    }
    return {
        **shown,
        "operationId": f"{shown['operationId']}.{TAIL}",
        "summary": f"Live: {shown['summary']}",
        "description": f"{shown['description']}\n\n{_LIVE}{_LIVE_PAGE if signature.paging else ''}",
        "parameters": kept + _refs("LastEventId"),
        "responses": {**shown["responses"], "200": answer, **_errors((429,))},
    }


_LIVE = """The answer of the view as it stands, then each newer one, until the token expires; several changes may arrive as
one, and the newest always arrives. The event `absent` (data `null`) says that there is nothing to show (yet), `dropped` (data `{"code": "too_slow"}`) to a client that reads too slowly why its stream ends. Coming back with the id of
the last event gives the newest state, never an older one."""
_LIVE_PAGE = " Shown is the first part of the list."


def _platform() -> dict[str, Any]:
    status = {
        "operationId": "commands.status",
        "tags": ["platform"],
        "summary": "What became of a command; seen by its issuer and by Admins.",
        "parameters": _refs("CommandId", "Domain", "StatusToken"),
        "responses": {"200": _answer("What is known.", "CommandStatus"), **_errors((401, 404, 422, 500, 503))},
        "security": [{"bearer": []}, {}],
    }
    paths = {"/v1/commands/{id}": {"get": status}}
    for path, summary in (("/health", "The process runs."), ("/ready", "Kafka and Postgres answer.")):
        answers = {"200": {"description": summary, "content": {"application/json": {"schema": _ANY}}}}
        get: dict[str, Any] = {
            "operationId": path[1:],
            "tags": ["platform"],
            "summary": summary,
            "responses": answers | (_errors((503,)) if path == "/ready" else {}),
            "security": [{}],
        }
        paths[path] = {"get": get}
    return paths


def _security(roles: Sequence[str]) -> list[dict[str, list[str]]]:
    return [{"bearer": []}, {}] if "Guest" in roles else [{"bearer": []}]


def _refs(*names: str) -> list[dict[str, str]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _errors(statuses: Sequence[int]) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _answer(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": REF.format(model=schema)}}}
    return {"description": description, "content": content}


def _problems(status: int) -> dict[str, Any]:
    codes = {code: title for code, (s, title) in PROBLEMS.items() if s == status}
    examples = {
        code: {"value": {"type": f"/docs#{code}", "title": title, "status": status, "code": code, "detail": title, "instance": "/"}}
        for code, title in codes.items()
    }  # fmt: skip
    content = {"schema": {"$ref": REF.format(model="Problem")}, "examples": examples}
    told = {
        "description": " / ".join(f"`{code}`: {title}" for code, title in codes.items()),
        "content": {MEDIA_TYPE: content},
    }
    return told | ({"headers": _RETRY} if status in (409, 429, 503) else {})


def _version() -> str:
    try:
        return version("caravan")
    except PackageNotFoundError:
        return "0"


def _string(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


def _parameter(
    name: str, where: str, schema: dict[str, Any], description: str, *, required: bool = False
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema, "description": description}


_ANY = {"type": "object", "additionalProperties": True}
_RETRY = {
    "Retry-After": {
        "schema": {"type": "integer"},
        "description": "Seconds after which the same may be answered differently.",
    }
}
_PARAMETERS = {
    "Prefer": _parameter("Prefer", "header", _string(examples=["wait=5"]), f"`wait=N`: answer with the result if it comes within N seconds, at most {MAX_WAIT}."),
    "IdempotencyKey": _parameter("Idempotency-Key", "header", _string(minLength=1, maxLength=200), "Makes a repeat of this request safe for 48 hours."),
    "TraceParent": _parameter("traceparent", "header", _string(), "W3C trace context; passed on through Kafka."),
    "After": _parameter("after", "query", _string(), f"Token of a command of this domain that the answer must include; several, at most {MAX_TOKENS}, with commas between them."),
    "LastEventId": _parameter("Last-Event-ID", "header", _string(), "Id of the last event that was received; EventSource sends it by itself."),
    "Cursor": _parameter("cursor", "query", _string(), "`next` of the part before."),
    "Limit": _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "Items in one part."),
    "CommandId": _parameter("id", "path", _string(format="uuid"), "The command's id.", required=True),
    "Domain": _parameter("domain", "query", _string(), "The command's domain.", required=True),
    "StatusToken": _parameter("token", "query", _string(), "The token that came with the 202; tells a pending command from an unknown one."),
}  # fmt: skip

_EVENT = {
    "type": "object",
    "required": ["event_id", "type"],
    "properties": {"event_id": _string(format="uuid"), "type": _string()},
}
_SCHEMAS: dict[str, Any] = {
    "Accepted": {
        "type": "object",
        "required": ["command_id", "status_url", "token"],
        "properties": {
            "command_id": _string(format="uuid"),
            "status_url": _string(format="uri-reference"),
            "token": _string(description="Ask views of this domain with `?after=` this."),
            "status": _string(enum=["pending", "parked"], description="After `Prefer: wait` ended without a result."),
        },
    },
    "CommandStatus": {
        "type": "object",
        "required": ["command_id", "domain", "status", "code", "details", "events", "token"],
        "properties": {
            "command_id": _string(format="uuid"),
            "domain": _string(),
            "status": _string(enum=["pending", "accepted", "rejected", "parked"]),
            "code": {"type": ["string", "null"], "description": "Why it was rejected or parked."},
            "details": _ANY,
            "events": {"type": "array", "items": _EVENT},
            "token": {"type": ["string", "null"]},
        },
    },
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "code", "detail", "instance"],
        "properties": {
            "type": _string(format="uri-reference"),
            "title": _string(),
            "status": {"type": "integer"},
            "code": _string(),
            "detail": _string(),
            "instance": _string(format="uri-reference"),
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["field", "code", "message"],
                    "properties": {"field": _string(), "code": _string(), "message": _string()},
                },
                "description": "Each wrong field, where the request is `invalid`.",
            },
            "command_id": _string(format="uuid", description="The command that was refused, or of which nobody knows."),
            "status_url": _string(format="uri-reference"),
            "domain": _string(description="This and what follows: of a command that its rule refused."),
            "details": {**_ANY, "description": "What the rule says beyond its code."},
            "events": {"type": "array", "items": _EVENT},
            "token": {"type": ["string", "null"]},
        },
    },
}  # fmt: skip
