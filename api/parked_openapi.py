"""What OpenAPI says of `/v1/parked`."""

from typing import Any

from api.parked import BODIES, PLACE, ROOT
from streams.view import MAX_LIMIT

ID = "01990000-0000-7000-8000-000000000001"
ASK = {
    "redrive": ("Have a parked record processed again, and then what waits behind it, in order.", {"reason": "the rule is mended"}),
    "skip": ("Give a parked record up; a command is answered as rejected, with the code `skipped`.", {"reason": "sent twice"}),
    "edit": (
        "Change what a parked record says and have it processed: some fields of its payload, or its whole value.",
        {"reason": "a typing error", "payload": {"amount": 5}},
    ),
}  # fmt: skip
_ABOUT = "The edge writes a request; the owner of the record's partition acts on it between two batches. Roles: Admin."


def paths() -> dict[str, Any]:
    """The paths."""
    place = "/".join((f"/v1/{ROOT}", *(f"{{{name}}}" for name in PLACE)))
    there = [_parameter(name, "path", _INTEGER if name in ("partition", "offset") else _TEXT) for name in PLACE]
    described = {
        f"/v1/{ROOT}": {"get": _get("list", "Records that could not be processed.", "ParkedPage", _FILTERS, (401, 403, 422))},
        place: {"get": _get("show", "A parked record, whole; personal fields are masked in `envelope`.", "ParkedRecord", there, (401, 403, 404, 409))},
        f"/v1/{ROOT}/requests/{{id}}": {
            "get": _get("request", "What became of a request.", "ParkedRequest", _REQUEST, (401, 403, 404, 422))
        },
    }  # fmt: skip
    return described | {f"{place}/{action}": {"post": _post(action, there)} for action in BODIES}


def _get(name: str, summary: str, schema: str, parameters: list[Any], errors: tuple[int, ...]) -> dict[str, Any]:
    return {
        "operationId": f"{ROOT}.{name}",
        "tags": ["platform"],
        "summary": summary,
        "description": f"{summary} Roles: Admin.",
        "parameters": parameters,
        "responses": {"200": _answer(summary, schema), **_errors((*errors, 500, 503))},
        "security": [{"bearer": []}],
        "x-roles": ["Admin"],
    }


def _post(action: Any, parameters: list[Any]) -> dict[str, Any]:
    summary, example = ASK[action]
    schema = BODIES[action].model_json_schema()
    content = {"schema": schema, "examples": {action: {"value": example}}}
    return {
        "operationId": f"{ROOT}.{action}",
        "tags": ["platform"],
        "summary": summary,
        "description": f"{summary} {_ABOUT}",
        "parameters": [*parameters, {"$ref": "#/components/parameters/Prefer"}],
        "requestBody": {"required": action != "redrive", "content": {"application/json": content}},
        "responses": {
            "200": _answer("With `Prefer: wait`: the owner has acted.", "ParkedRequest"),
            "202": _answer("The request is written.", "ParkedRequest"),
            **_errors((400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503)),
        },
        "security": [{"bearer": []}],
        "x-roles": ["Admin"],
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    example = {"ParkedPage": {"items": [_LINE], "next": None}, "ParkedRecord": _RECORD, "ParkedRequest": _DONE}[schema]
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": {schema: {"value": example}}}
    return {"description": description, "content": {"application/json": content}}


def _errors(statuses: tuple[int, ...]) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _parameter(name: str, where: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    told = {"name": name, "in": where, "required": where == "path", "schema": schema}
    return told | ({"description": description} if description else {})


_TEXT, _INTEGER, _MOMENT = {"type": "string"}, {"type": "integer"}, {"type": "string", "format": "date-time"}
_MAYBE = {"type": ["string", "null"]}
_FILTERS = [
    _parameter("domain", "query", _TEXT, "Only what is parked in this domain."),
    _parameter("agent", "query", _TEXT, "Only what this agent parked."),
    _parameter("key", "query", _TEXT, "Only this key, with the records that wait on it."),
    _parameter("cause", "query", _TEXT, "Only this cause."),
    _parameter("type", "query", _TEXT, "Only messages of this type."),
    _parameter("since", "query", _MOMENT, "Only those parked since then."),
    _parameter("until", "query", _MOMENT, "Only those parked before."),
    _parameter("held", "query", {"type": "boolean", "default": False}, "Those that only wait behind another, too."),
    _parameter("cursor", "query", _TEXT, "`next` of the part before."),
    _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50}, "Items in one part."),
]  # fmt: skip
_REQUEST = [
    _parameter("id", "path", {"type": "string", "format": "uuid"}),
    _parameter("domain", "query", _TEXT, "The domain, which spares a search."),
]
_LINE: dict[str, Any] = {
    "domain": "invoices", "agent": "invoices", "topic": "invoices.commands", "partition": 2, "offset": 1207, "place": "invoices.commands/2/1207",
    "key": "i17", "cause": "rule_failed", "type": "create_invoice", "command_id": ID, "actor": "user:ann", "attempts": 1, "holds": True,
    "waiting": 3, "parked_at": "2026-01-31T12:00:00Z", "tried_at": "2026-01-31T12:00:00Z",
}  # fmt: skip
_DONE: dict[str, Any] = {
    "request_id": ID, "status": "done", "outcome": "4 records were run.", "still_parked": False, "action": "redrive", "by": "user:root", "reason": None, "domain": "invoices",
    "agent": "invoices", "place": "invoices.commands/2/1207", "asked_at": "2026-01-31T12:05:00Z", "done_at": "2026-01-31T12:05:00Z",
    "cause": "rule_failed",
}  # fmt: skip
_RECORD: dict[str, Any] = {
    **_LINE, "error": "Traceback (most recent call last): …", "next": "The domain's code raised: …", "behind": None, "key_base64": "aTE3",
    "value_base64": "e30=", "headers": [{"name": "caravan-sig", "value": "k1:…", "value_base64": "azE6"}], "envelope": None, "history": [_DONE],
}  # fmt: skip


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_WHERE = {"domain": _TEXT, "agent": _TEXT, "topic": _TEXT, "partition": _INTEGER, "offset": _INTEGER, "place": _TEXT}
_LINE_SCHEMA = {
    **_WHERE, "key": _MAYBE, "cause": {"type": "string", "description": "A stable code."}, "type": _MAYBE, "command_id": _MAYBE, "actor": _MAYBE,
    "attempts": _INTEGER, "holds": {"type": "boolean", "description": "Whether later records of its key wait."},
    "waiting": {"type": "integer", "description": "How many wait behind it."}, "parked_at": _MOMENT, "tried_at": _MOMENT,
}  # fmt: skip
_REF = "#/components/schemas/"
SCHEMAS: dict[str, Any] = {
    "ParkedLine": _object(_LINE_SCHEMA),
    "ParkedPage": _object({"items": {"type": "array", "items": {"$ref": f"{_REF}ParkedLine"}}, "next": _MAYBE}),
    "ParkedRecord": _object({
        **_LINE_SCHEMA, "error": {"type": "string", "description": "Words, or a traceback."}, "next": {"type": "string", "description": "What to do."},
        "behind": {**_MAYBE, "description": "The place of the record that it waits behind."}, "key_base64": _MAYBE, "value_base64": _MAYBE,
        "headers": {"type": "array", "items": _object({"name": _TEXT, "value": _TEXT, "value_base64": _TEXT})},
        "envelope": {"type": ["object", "null"], "additionalProperties": True, "description": "What it says, where that can be decoded."},
        "history": {"type": "array", "items": {"$ref": f"{_REF}ParkedRequest"}},
    }),
    "ParkedRequest": _object({
        "request_id": {"type": "string", "format": "uuid"}, "status": {"type": "string", "enum": ["waiting", "done", "refused"]},
        "outcome": {**_MAYBE, "description": "What became of it, in words."},
        "still_parked": {"type": "boolean", "description": "Whether one of those that it was to run has failed, and is parked now."}, "action": {"type": "string", "enum": list(BODIES)}, "by": _TEXT,
        "reason": _MAYBE, "domain": _TEXT, "agent": _TEXT, "place": _TEXT, "asked_at": _MOMENT, "done_at": _MAYBE, "cause": _MAYBE,
    }),
}  # fmt: skip
