"""Server-sent events: the format, and an answer that goes on until its client, its time or the process ends."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.errors import RETRY, Problem
from api.frame import DROP

MAX_STREAMS = 2000  # in one process, of up to 4096 connections
MAX_OF_CALLER = 50  # of these; all Guests together may have half of them
SLOW_S = 10.0  # that a client may take nothing of what waits for it, beyond the buffers of its connection
BEAT = b": \n\n"  # a comment, so that proxies see life
RETRY_MS = 1000  # after which a client comes back
LATEST_MS = 3000  # after which, at most, one whose process has ended comes back: not all at the same moment
DROPPED = b'event: dropped\ndata: {"code":"too_slow"}\n\n'
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
        self.dropped = 0  # since their clients were too slow
        self.ended = False
        self._end: asyncio.Future[None] | None = None

    @contextmanager
    def place(self, caller: str | None) -> Iterator[None]:
        """A place for one stream of a caller, None for Guests.

        Raises `too_many_streams`, `too_many_streams_of_caller`, and `not_ready` once the process ends.
        """
        if self.ended:
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

    @property
    def end_of_process(self) -> asyncio.Future[None]:
        """Done when all are to end."""
        if self._end is None:
            self._end = asyncio.get_running_loop().create_future()
        return self._end

    def end(self) -> None:
        """End them all, since a server waits for its open answers."""
        self.ended = True
        if self._end is not None and not self._end.done():
            self._end.set_result(None)


class EventStream(Response):
    """An answer of events. Whichever comes first ends it: the events' own end, the client's, the process's, its time, that its token is withdrawn, or that the client is too slow."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        streams: Streams,
        held: ExitStack,
        events: AsyncGenerator[bytes],
        seconds: float,
        withdrawn: asyncio.Future[None],
    ) -> None:
        """Send `events` for at most `seconds`, and no longer than until `withdrawn`; `held` is given back at the end."""
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)
        self._streams, self._held, self._events, self._seconds = streams, held, events, seconds
        self._withdrawn = withdrawn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            writing = asyncio.create_task(self._write(send), name="stream: write")
            gone = asyncio.create_task(_gone(receive), name="stream: client")
            ends: tuple[asyncio.Future[None], ...] = (writing, gone, self._withdrawn, self._streams.end_of_process)
            try:
                await asyncio.wait(ends, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
                left = gone.done()
            finally:
                writing.cancel()
                gone.cancel()
                await asyncio.gather(writing, gone, return_exceptions=True)
        error = None if writing.cancelled() else writing.exception()
        if left:
            return
        if isinstance(error, Slow):
            self._drop(scope, DROPPED)
        elif error is not None:
            raise error
        else:
            try:
                async with asyncio.timeout(_LAST_S):
                    await send({"type": "http.response.body", "body": self._last_words()})
            except TimeoutError:
                self._drop(scope, self._last_words())

    def _drop(self, scope: Scope, last: bytes) -> None:
        """End it without the client's help. What it has not taken stays for a while, and the last words behind it, should it read on."""
        self._streams.dropped += 1
        if (drop := scope.get("extensions", {}).get(DROP)) is not None:
            drop(last, "with a live view whose client was too slow")

    def _last_words(self) -> bytes:
        if not self._streams.ended:
            return b": the time of this stream is over\n\n"
        after = random.randint(RETRY_MS // 2, LATEST_MS)  # noqa: S311 - it only spreads them
        return b"retry: %d\n: this process ends, come back\n\n" % after

    async def _write(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            await _sent(send, b"retry: %d\n\n" % RETRY_MS)
            async for one in events:
                await _sent(send, one)


class Slow(Exception):
    """The client takes nothing."""


async def _sent(send: Send, body: bytes) -> None:
    """Send a part; raises Slow when there is no room for it for too long."""
    try:
        async with asyncio.timeout(SLOW_S):
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except TimeoutError:
        raise Slow from None


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
