"""One route for everything under `/v1/`: a table of paths, so that the number of domains costs a request nothing."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

PREFIX = "/v1/"
Endpoint = Callable[[Request], Awaitable[Response]]


class _Entry(NamedTuple):
    segments: int
    endpoint: Endpoint


class Generated(BaseRoute):
    """Finds endpoints by method, domain and name. Paths it does not know are left to other routes."""

    def __init__(self) -> None:
        """Empty."""
        self._table: dict[tuple[str, ...], dict[str, _Entry]] = {}

    def add(self, method: str, place: tuple[str, ...], segments: int, endpoint: Endpoint) -> None:
        """Serve `/v1/<place>` followed by so many path segments, which the endpoint finds as `scope["segments"]`."""
        self._table.setdefault(place, {})[method] = _Entry(segments, endpoint)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full, or partial when only the method is wrong."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return Match.NONE, {}
        parts = scope["path"][len(PREFIX) :].split("/")
        for depth in (2, 1):
            there = self._table.get(tuple(parts[:depth]), {})
            values = parts[depth:]
            fits = {m: e.endpoint for m, e in there.items() if e.segments == len(values)} if all(values) else {}
            if fits:
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                found = fits.get(method)
                child = {"endpoint": found, "segments": values, "allowed": sorted(fits)}
                return (Match.FULL if found else Match.PARTIAL), child
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint."""
        endpoint: Endpoint | None = scope["endpoint"]
        if endpoint is None:
            raise HTTPException(405, headers={"Allow": ", ".join(scope["allowed"])})
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
