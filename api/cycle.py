"""One request and its answer, as uvicorn runs them, without what an answer that is there whole need not pay for."""

from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

BODY = "caravan.body"
"""An extension: called, it gives the body of the request if all of it has come, else None, and then it is to be received."""


class Cycle(RequestResponseCycle):
    """Head and body of an answer go out in one piece where the head tells the length; everything else is left to uvicorn."""

    held: bytes | None = None  # a head whose body comes at once

    async def send(self, message: Any) -> None:
        """Take a message of the application."""
        if self.held is not None:
            if await self._sent_with(self.held, message):
                return
        elif not self.response_started and not (self.flow.write_paused or self.disconnected):
            headers = [*self.default_headers, *message.get("headers", ())]
            if message["type"] == "http.response.start" and (length := _plain_length(headers)) >= 0:
                self.held = self._head(message["status"], headers)
                self.response_started, self.chunked_encoding = True, False
                self.expected_content_length = length
                self.waiting_for_100_continue = False
                return
        await super().send(message)

    async def _sent_with(self, head: bytes, message: Any) -> bool:
        """Send the head, and the body if this is all of it."""
        self.held = None
        body = message.get("body", b"")
        whole = len(body) == self.expected_content_length and not message.get("more_body", False)
        bare = self.scope["method"] == "HEAD"
        if self.disconnected:
            return False
        self.transport.write(head + body if whole and not bare else head)
        if not whole and not bare:
            return False
        if message.get("more_body", False):
            return True
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

    def _head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in headers]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        return b"".join((STATUS_LINE[status], *lines, b"\r\n"))


def _plain_length(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The length of the body, where the headers tell it and nothing of the connection; else -1, as for what is no header."""
    length = -1
    for name, value in headers:
        if b"\n" in value or b"\r" in value or b"\0" in value:
            return -1
        if name == b"content-length":
            length = int(value)
        elif name in (b"connection", b"transfer-encoding"):
            return -1
    return length
