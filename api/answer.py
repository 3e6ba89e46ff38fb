"""Answers that are there whole, as bytes, and headers of requests as bytes: what a request costs beside its own work."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

JSON = "application/json"


class Answer(Response):
    """A body with its status and headers, sent as it is."""

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = JSON
    ) -> None:
        """Unlike its base it encodes nothing that it is not given."""
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type.encode())]
        if headers:
            self.raw_headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def given(request: Request) -> Mapping[bytes, bytes]:
    """The request's headers by their names in small letters; of those given twice the first."""
    scope = request.scope
    found: dict[bytes, bytes] | None = scope.get("caravan.given")
    if found is None:
        found = scope["caravan.given"] = dict(reversed(scope["headers"]))
    return found
