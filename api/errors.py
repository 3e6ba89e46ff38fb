"""Errors as RFC 9457 problem+json. Every code is stable; `PROBLEMS` is the whole list, which OpenAPI and `/docs` show too."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.answer import Answer

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 50  # fields told in one answer
MAX_NAME = 200  # characters of a field's name that are told back

PROBLEMS: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "This is not HTTP/1.1."),
    "unreadable_body": (400, "The body is not readable JSON."),
    "unauthorized": (401, "A valid bearer token is needed."),
    "forbidden": (403, "The caller may not do this."),
    "banned": (403, "The caller is banned: until then, or for ever."),
    "restricted": (403, "The caller may command nothing of this domain: until then, or for ever."),
    "not_found": (404, "There is nothing here for the caller."),
    "method_not_allowed": (405, "This path does not take this method."),
    "request_timeout": (408, "The request did not arrive in time."),
    "in_progress": (409, "Another request with this Idempotency-Key is still running."),
    "not_yet_applied": (409, "The view does not cover the token yet."),
    "no_longer_parked": (409, "The record is not parked any more."),
    "request_refused": (409, "The owner of the record's partition refused the request."),
    "parked": (409, "The token's command is parked; an operator has to look at it."),
    "retired": (410, "The platform takes this command no longer."),
    "subject_erased": (410, "The person whom this is about was erased, so nothing personal is taken of them."),
    "body_too_large": (413, "The body is larger than 256 KiB."),
    "unsupported_media_type": (415, "The body must be application/json, not compressed."),
    "invalid": (422, "Fields are missing, unknown or wrong."),
    "bad_token": (422, "The token was not given by this platform."),
    "token_of_other_domain": (422, "The token covers the views of another domain."),
    "bad_cursor": (422, "The cursor was not given by this list."),
    "bad_event_id": (422, "The Last-Event-ID was not given by this live view."),
    "bad_idempotency_key": (422, "An Idempotency-Key has 1 to 200 visible ASCII characters."),
    "idempotency_key_reused": (422, "This Idempotency-Key was used with another body."),
    "too_many_streams_of_caller": (429, "The caller watches as many live views as one may."),
    "headers_too_large": (431, "The request's line and headers are larger than 32 KiB."),
    "internal_error": (500, "Something went wrong on our side."),
    "kafka_unavailable": (503, "Kafka is away; nothing was sent."),
    "outcome_unknown": (503, "Kafka did not answer; the command may have been sent."),
    "postgres_unavailable": (503, "Postgres is away."),
    "too_many_streams": (503, "This process shows as many live views as it can."),
    "overloaded": (503, "This process has as much in hand as it can do in time; nothing was begun."),
    "too_many_connections": (503, "This process has as many connections as it can serve."),
    "not_ready": (503, "A part of the platform is away."),
}

RETRY = {"Retry-After": "1"}
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 401: "unauthorized", 403: "forbidden", 422: "invalid"}
log = logging.getLogger(__name__)


class Problem(Exception):  # its name is that of the RFC
    """An answer that is an error: one of `PROBLEMS`, in words for this case, with further members for the body."""

    def __init__(
        self, code: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        """`detail` says what is special here, `headers` go along."""
        super().__init__(code)
        self.code, self.detail = code, detail
        self.headers, self.members = dict(headers or {}), members
        self.status, self.title = PROBLEMS[code]


def json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Answer(orjson.dumps(body), status, headers)


def problem(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """A problem+json answer."""
    body = {
        "type": f"/docs#{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail or title,
        "instance": request.url.path,
        **(members or {}),
    }
    return Answer(orjson.dumps(body), status, headers, MEDIA_TYPE)


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer a Problem."""
    assert isinstance(error, Problem)
    return problem(request, error.status, error.code, error.title, error.detail, error.headers, error.members)


async def on_http(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: unknown paths, wrong methods."""
    assert isinstance(error, HTTPException)
    code = _BY_STATUS.get(error.status_code, f"http_{error.status_code}")
    _, title = PROBLEMS.get(code, (0, error.detail))
    return problem(request, error.status_code, code, title, headers=error.headers)


def on_crash(request: Request, error: Exception) -> Response:
    """Answer a bug of ours: it is logged, and the caller is told nothing of it."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(request, *_plain("internal_error"))


def _plain(code: str) -> tuple[int, str, str]:
    status, title = PROBLEMS[code]
    return status, code, title


def invalid(errors: Sequence[tuple[str, str, str]]) -> Problem:
    """422 for fields: (path, code, message) each."""
    told = [{"field": f[:MAX_NAME], "code": c, "message": m[:MAX_NAME]} for f, c, m in errors[:MAX_ERRORS]]
    return Problem("invalid", errors=told)


def invalid_fields(error: ValidationError, inside: str = "") -> Problem:
    """422 for what Pydantic found; `inside` is the part of the request it stood in."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return invalid([(path((inside, *e["loc"]) if inside else e["loc"]), e["type"], e["msg"]) for e in found])


def path(location: Sequence[str | int]) -> str:
    """`items.0.name`; the whole body is `$`."""
    return ".".join(map(str, location)) or "$"
