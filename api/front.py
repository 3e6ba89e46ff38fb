"""The way in: what the contracts make is answered here, everything else by the framework behind.

A framework serves any application, which costs a request more than our own work on it. So paths of generated routes go straight to
their endpoint; they are described, and all others served, as before.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.frame import Frame
from api.routes import Generated

Handler = Callable[[Request, Any], Awaitable[Response]]


class Front:
    """ASGI: the generated routes, before `behind`."""

    def __init__(self, routes: Generated, handlers: Mapping[type[Exception], Handler], behind: ASGIApp) -> None:
        """`handlers` answer what endpoints raise; any other error goes on."""
        self._routes, self._handlers, self._behind = routes, handlers, behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = self._routes.found(scope) if scope["type"] == "http" else None
        if found is None:
            await self._behind(scope, receive, send)
            return
        endpoint, scope["segments"] = found
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except Exception as error:  # noqa: BLE001 - what nobody answers is raised again
            response = await self._answered(request, error)
        await response(scope, receive, send)

    async def _answered(self, request: Request, error: Exception) -> Response:
        for kind in type(error).__mro__:
            if (handler := self._handlers.get(kind)) is not None:
                return await handler(request, error)
        raise error


class Application(FastAPI):
    """The framework, with the frame around all and the front before it."""

    routes_first: Generated

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its own telemetry, which nobody reads, asks the environment each time."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """As it is built when the first request comes."""
        behind = super().build_middleware_stack()
        return Frame(Front(self.routes_first, self.exception_handlers, behind))  # type: ignore[arg-type]  # only classes are handled
