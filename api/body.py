"""Reading bodies: bounded while they stream, JSON and nothing else."""

import asyncio
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from api.answer import given
from api.errors import Problem
from api.frame import BODY

MAX_BODY = 256 * 1024  # bytes
PATIENCE_S = 10.0  # for a body to arrive


async def read(request: Request) -> bytes:
    """The body of a JSON request. Raises `unsupported_media_type`, `body_too_large`, `request_timeout`."""
    headers = given(request)
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise Problem("unsupported_media_type")
    if b"content-encoding" in headers:  # whoever encodes nothing does not say so (RFC 9110, 8.4.1)
        raise Problem("unsupported_media_type")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > MAX_BODY:
        raise Problem("body_too_large", headers={"Connection": "close"})
    if (arrived := request.scope.get("extensions", {}).get(BODY)) and (body := arrived()) is not None:
        if len(body) > MAX_BODY:
            raise Problem("body_too_large", headers={"Connection": "close"})
        return bytes(body)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await _bounded(request)
    except TimeoutError:
        raise Problem("request_timeout", headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem("unreadable_body") from None


async def _bounded(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body = body + chunk if body else chunk
        if len(body) > MAX_BODY:
            raise Problem("body_too_large", headers={"Connection": "close"})
    return body


def parse(body: bytes) -> Any:
    """The JSON value. Raises `unreadable_body` for anything else: no JSON, no UTF-8, NaN, too deep."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem("unreadable_body", str(error)[:200]) from None


def nul(value: Any, at: tuple[str | int, ...] = ()) -> tuple[str | int, ...] | None:
    """Where a NUL character stands in a parsed value, which Postgres cannot store; None when nowhere."""
    stack: list[tuple[tuple[str | int, ...], Any]] = [(at, value)]
    while stack:
        here, part = stack.pop()
        if isinstance(part, str) and "\0" in part:
            return here
        if isinstance(part, dict):
            stack += [((*here, name), inner) for name, inner in part.items()]
            stack += [(here, name) for name in part]
        elif isinstance(part, list):
            stack += [((*here, i), inner) for i, inner in enumerate(part)]
    return None
