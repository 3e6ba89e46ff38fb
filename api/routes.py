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
        if not self.tail:
            return len(values) == self.segments
        return len(values) == self.segments + len(self.tail) and tuple(values[self.segments :]) == self.tail


class Generated(BaseRoute):
    """Finds endpoints by method, domain and name. Paths it does not know are left to other routes."""

    def __init__(self) -> None:
        """Empty."""
        self._table: dict[tuple[str, ...], list[_Entry]] = {}

    def add(self, method: str, place: tuple[str, ...], segments: int, endpoint: Endpoint, *tail: str) -> None:
        """Serve `/v1/<place>` followed by so many path segments, which the endpoint finds as `scope["segments"]`, and `tail`."""
        self._table.setdefault(place, []).append(_Entry(method, segments, tail, endpoint))

    def found(self, scope: Scope) -> tuple[Endpoint, list[str]] | None:
        """The endpoint that serves this request, and its path segments."""
        path = scope["path"]
        if not path.startswith(PREFIX):
            return None
        parts = path[len(PREFIX) :].split("/")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for depth in (2, 1):
            values = parts[depth:]
            for entry in self._table.get(tuple(parts[:depth]), ()):
                if entry.method == method and entry.fits(values) and all(values):
                    return entry.endpoint, values[: entry.segments]
        return None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Never full, for `found` comes first; partial when only the method is wrong."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return Match.NONE, {}
        parts = scope["path"][len(PREFIX) :].split("/")
        for depth in (2, 1):
            values = parts[depth:]
            fits = [entry for entry in self._table.get(tuple(parts[:depth]), ()) if entry.fits(values)]
            if fits and all(values):
                return Match.PARTIAL, {"allowed": sorted({entry.method for entry in fits})}
        return Match.NONE, {}

    async def handle(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Tell which methods there are."""
        raise HTTPException(405, headers={"Allow": ", ".join(scope["allowed"])})
