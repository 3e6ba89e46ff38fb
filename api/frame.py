"""The frame around every answer: a request id, headers that keep browsers careful, and no bug of ours leaves in words."""

import asyncio
import os
import re

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import on_crash

LEFT = "the client has left"  # what a server says to a request that it cancels, since nobody waits for its answer
DROP = (
    "caravan.drop"  # an extension: called with last words and a reason, it ends an answer whose client does not take it
)
BODY = "caravan.body"  # an extension: called, it gives the request's body if all of it has come, else None
_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_DEFAULTS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Frame:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand around `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        begun = False

        async def framed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                there = {name for name, _ in message["headers"]}
                kept = [(name, value) for name, value in _DEFAULTS if name not in there]
                message["headers"] = [*message["headers"], *kept, *_ALWAYS, (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except asyncio.CancelledError as error:
            if error.args != (LEFT,):
                raise
        except Exception as error:
            if begun:
                raise
            await on_crash(Request(scope), error)(scope, receive, framed)


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN.fullmatch(value):
            return bytes(value)
    return os.urandom(12).hex().encode()
