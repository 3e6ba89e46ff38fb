"""Listens to a live view as EventSource does; in this process it speaks ASGI, since an HTTP client would wait for the end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from api.frame import DROP
from tests.api.caller import Caller


class Event(NamedTuple):
    """One event as a client is given it."""

    name: str
    id: str
    data: Any


def parsed(block: str) -> Event | None:
    """An event of a stream; None for what is a comment or a setting."""
    fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
    if "data" not in fields:
        return None
    return Event(fields.get("event", "message"), fields.get("id", ""), orjson.loads(fields["data"]))


class Listener:
    """An open stream."""

    def __init__(self) -> None:
        """Nothing was heard."""
        self.status, self.headers = 0, dict[str, str]()
        self.beats = 0
        self.text = ""
        self.heard = ""
        self.over = False
        self.dropped = ""
        self.reads = asyncio.Event()
        self.reads.set()
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()

    async def send(self, message: Any) -> None:
        """Take a message of the application, once we read."""
        await self.reads.wait()
        self._incoming.put_nowait(message)

    def drop(self, last: bytes, why: str) -> None:
        """End as a server does whose client takes nothing."""
        self.dropped = why
        self._incoming.put_nowait({"body": last})

    async def receive(self) -> Any:
        """Give the application a message of the client."""
        return await self._outgoing.get()

    def leave(self) -> None:
        """Go away."""
        self._outgoing.put_nowait({"type": "http.disconnect"})

    async def begin(self) -> None:
        """Wait for the answer's head."""
        self._outgoing.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        start = await self._incoming.get()
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}

    async def event(self) -> Event:
        """The next event; raises EOFError at the end."""
        async with asyncio.timeout(30):
            while True:
                block = await self.block()
                if block.startswith(":"):
                    self.beats += 1
                if (found := parsed(block)) is not None:
                    return found

    async def block(self) -> str:
        """The next part of the stream, whatever it is."""
        while "\n\n" not in self.text:
            if self.over:
                raise EOFError
            message = await self._incoming.get()
            self.text += message["body"].decode()
            self.heard += message["body"].decode()
            self.over = not message.get("more_body")
            if self.over and "\n\n" not in self.text:
                raise EOFError
        block, _, self.text = self.text.partition("\n\n")
        return block

    async def end(self) -> list[Event]:
        """What comes until the end."""
        found = []
        try:
            while True:
                found.append(await self.event())
        except EOFError:
            return found


@asynccontextmanager
async def listening(
    caller: Caller, url: str, who: str | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Listener]:
    """A stream of the edge in this process; the client leaves at the end."""
    path, _, query = url.partition("?")
    sent = {**caller.headers(who), **(headers or {})}
    listener = Listener()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "server": ("edge", 80),
        "client": ("127.0.0.1", 1),
        "extensions": {DROP: listener.drop},
    }
    assert caller.app is not None
    serving = asyncio.create_task(caller.app(scope, listener.receive, listener.send))
    try:
        async with asyncio.timeout(30):
            await listener.begin()
        yield listener
    finally:
        listener.leave()
        async with asyncio.timeout(30):
            await serving
