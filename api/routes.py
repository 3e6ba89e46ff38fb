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
    method: str
    segments: int
    tail: tuple[str, ...]
    endpoint: Endpoint

    def fits(self, values: list[str]) -> bool:
        return len(values) == self.segments + len(self.tail) and tuple(values[self.segments :]) == self.tail


class Generated(BaseRoute):
    """Finds endpoints by method, domain and name. Paths it does not know are left to other routes."""

    def __init__(self) -> None:
        """Empty."""
        self._table: dict[tuple[str, ...], list[_Entry]] = {}

    def add(self, method: str, place: tuple[str, ...], segments: int, endpoint: Endpoint, *tail: str) -> None:
        """Serve `/v1/<place>` followed by so many path segments, which the endpoint finds as `scope["segments"]`, and `tail`."""
        self._table.setdefault(place, []).append(_Entry(method, segments, tail, endpoint))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full, or partial when only the method is wrong."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return Match.NONE, {}
        parts = scope["path"][len(PREFIX) :].split("/")
        for depth in (2, 1):
            there = self._table.get(tuple(parts[:depth]), ())
            values = parts[depth:]
            fits = {e.method: e for e in there if e.fits(values)} if all(values) else {}
            if fits:
                found = fits.get("GET" if scope["method"] == "HEAD" else scope["method"])
                child = {
                    "endpoint": found.endpoint if found else None,
                    "segments": values[: found.segments] if found else values,
                    "allowed": sorted(fits),
                }
                return (Match.FULL if found else Match.PARTIAL), child
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint."""
        endpoint: Endpoint | None = scope["endpoint"]
        if endpoint is None:
            raise HTTPException(405, headers={"Allow": ", ".join(scope["allowed"])})
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
