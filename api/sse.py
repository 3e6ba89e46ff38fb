"""Server-sent events: the format, and an answer that goes on until its client, its time or the process ends."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, contextmanager, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.errors import Problem
from api.health import RETRY

MAX_STREAMS = 1000  # in one process
MAX_OF_CALLER = 50  # of these; all Guests together may have half of them
READERS = 4  # connections to Postgres that all streams together may use at a time
BEAT = b": \n\n"  # a comment, so that proxies see life
RETRY_MS = 1000  # after which a client comes back
LATEST_MS = 3000  # after which, at most, one whose process has ended comes back: not all at the same moment
_LAST_S = 1.0  # for the last words to a client that does not read
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(data: bytes, ident: str, name: str = "") -> bytes:
    """One event; `data` is JSON, so of one line."""
    head = f"event: {name}\n" if name else ""
    return f"{head}id: {ident}\ndata: ".encode() + data + b"\n\n"


class Streams:
    """All streams of this process: how many there may be, and their common end."""

    def __init__(self, most: int = MAX_STREAMS) -> None:
        """None is open."""
        self.most, self.open = most, 0
        self._of = Counter[str]()
        self.reading = asyncio.Semaphore(READERS)
        self.ended = asyncio.Event()

    @contextmanager
    def place(self, caller: str | None) -> Iterator[None]:
        """A place for one stream of a caller, None for Guests.

        Raises `too_many_streams`, `too_many_streams_of_caller`, and `not_ready` once the process ends.
        """
        if self.ended.is_set():
            raise Problem("not_ready", "This process is about to end.", headers=RETRY)
        if self.open >= self.most:
            raise Problem("too_many_streams", headers=RETRY)
        name = caller or ""
        if self._of[name] >= (MAX_OF_CALLER if caller else max(1, self.most // 2)):
            raise Problem("too_many_streams_of_caller", headers=RETRY)
        self.open += 1
        self._of[name] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._of[name] -= 1
            if not self._of[name]:
                del self._of[name]

    def end(self) -> None:
        """End them all, since a server waits for its open answers."""
        self.ended.set()


class EventStream(Response):
    """An answer of events. Whichever comes first ends it: the events' own end, the client's, the process's, or its time."""

    media_type = MEDIA_TYPE

    def __init__(self, streams: Streams, held: ExitStack, events: AsyncGenerator[bytes], seconds: float) -> None:
        """Send `events` for at most `seconds`; `held` is given back at the end."""
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)
        self._streams, self._held, self._events, self._seconds = streams, held, events, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's signature
        """Serve it."""
        with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            writing = asyncio.create_task(self._write(send), name="stream: write")
            gone = asyncio.create_task(_gone(receive), name="stream: client")
            ended = asyncio.create_task(self._streams.ended.wait(), name="stream: process")
            tasks = (writing, gone, ended)
            try:
                await asyncio.wait(tasks, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
                left = gone.done()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if not writing.cancelled() and (error := writing.exception()) is not None and not left:
                raise error
            if not left:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_S):
                        await send({"type": "http.response.body", "body": self._last_words()})

    def _last_words(self) -> bytes:
        if not self._streams.ended.is_set():
            return b""
        after = random.randint(RETRY_MS // 2, LATEST_MS)  # noqa: S311 - it only spreads them
        return b"retry: %d\n: this process ends, come back\n\n" % after

    async def _write(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            await send(_part(b"retry: %d\n\n" % RETRY_MS))
            async for one in events:
                await send(_part(one))


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
