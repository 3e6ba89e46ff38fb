"""Connections of bad clients, on real sockets: each ends in its time, with words where there is somebody to hear them."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api import guard as guards
from api.frame import Frame
from api.guard import Guard, Limits

HANG_S = 60
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = Limits(connections=40, head_bytes=4096, head_s=0.3, ahead=4, stalled_s=0.5, linger_s=0.3, sent_bytes=16384)


class Peer:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """It is open."""
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Send without waiting."""
        self.writer.write(data)

    async def answer(self) -> bytes:
        """The next answer, whole."""
        async with asyncio.timeout(HANG_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return head + await self.reader.readexactly(int(length[15:]))

    async def rest(self) -> bytes:
        """All until the other side ends; what it sent before it was cut off."""
        found = b""
        async with asyncio.timeout(HANG_S):
            try:
                while chunk := await self.reader.read(65536):
                    found += chunk
            except ConnectionError:
                pass
        return found


class Served:
    """A server with an application that tells what happens to it."""

    def __init__(self, limits: Limits) -> None:
        """Not started."""
        self.guard = Guard(limits)
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.port = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/` says hello, `/large` much, `/wait` waits until it may or its client has left, `/read` reads its body first."""
        if scope["path"] == "/wait":
            self.begun.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if scope["path"] == "/read":
            while (await receive()).get("more_body"):
                pass
        body = b"x" * 8_000_000 if scope["path"] == "/large" else b"hello"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:4_000_000], "more_body": len(body) > 5})
        if len(body) > 5:
            await send({"type": "http.response.body", "body": body[4_000_000:]})

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A client."""
        end = socket.socket()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # so that one who does not read is full soon
        end.setblocking(False)
        await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=end, limit=65536)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds."""
        async with asyncio.timeout(HANG_S):
            while not condition():  # noqa: ASYNC110 - it comes true elsewhere
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _serving(limits: Limits) -> AsyncIterator[Served]:
    served = Served(limits)
    config = uvicorn.Config(
        Frame(served.app),
        port=0,
        http=cast("type[asyncio.Protocol]", served.guard.protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[assignment,method-assign]  # a test's signals are not its
    serving = asyncio.create_task(server.serve())
    try:
        await served.until(lambda: server.started)
        served.port = server.servers[0].sockets[0].getsockname()[1]
        yield served
    finally:
        served.go.set()
        server.should_exit = True
        await serving


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A server with short limits."""
    monkeypatch.setattr(guards, "LOOK_S", 0.02)
    async with _serving(SHORT) as one:
        yield one


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A server with few connections that waits long for everything."""
    monkeypatch.setattr(guards, "LOOK_S", 0.02)
    async with _serving(Limits(connections=10, ahead=4)) as one:
        yield one


async def test_requests_are_answered_one_after_another(served: Served) -> None:
    """On one connection, also when they are sent ahead."""
    async with served.peer() as peer:
        for _ in range(3):
            peer.send(GET)
            assert (await peer.answer()).endswith(b"hello")
        peer.send(GET * 3)
        for _ in range(3):
            assert (await peer.answer()).endswith(b"hello")


async def test_a_connection_that_is_kept_for_nothing_ends(patient: Served) -> None:
    """Some time after its last answer."""
    async with patient.peer() as peer:
        peer.send(GET)
        await peer.answer()
        (connection,) = patient.guard.there
        connection.timeout_keep_alive = 0
        assert await peer.rest() == b""
    assert not patient.guard.cut


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n", GET[:-2] + b"A: b\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(served: Served, sent: bytes) -> None:
    """Nor is a second one. Whoever sent a part of it is told."""
    async with served.peer() as peer, served.peer() as second:
        second.send(GET)
        await second.answer()
        peer.send(sent)
        told = await peer.rest()
        assert told.startswith(b"HTTP/1.1 408 ") if sent else told == b""
        if sent:
            second.send(sent)
            assert (await second.rest()).startswith(b"HTTP/1.1 408 ")


async def test_a_head_byte_by_byte_is_cut_off_in_its_time(served: Served) -> None:
    """Each byte is no new beginning; others are answered meanwhile."""
    async with served.peer() as slow, served.peer() as other:
        ended = asyncio.create_task(slow.rest())
        slow.send(b"GET / HTTP/1.1\r\n")
        answers = 0
        while not ended.done():
            slow.send(b"a")
            other.send(GET)
            assert (await other.answer()).endswith(b"hello")
            answers += 1
        assert (await ended).startswith(b"HTTP/1.1 408 ")
        assert answers > 3


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nA: " + b"x" * 9000,
        b"GET / HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /" + b"x" * 9000,
        b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 2000,
        b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 2000 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 5_000_000,
    ],
)
async def test_large_heads_are_431(served: Served, sent: bytes) -> None:
    """Whole or not, in one header, in many, or in the path."""
    async with served.peer() as peer, served.peer() as second:
        second.send(GET)
        await second.answer()
        for one in (peer, second):
            one.send(sent)
            told = await one.rest()
            assert told.startswith(b"HTTP/1.1 431 ")
            assert b'"code":"headers_too_large"' in told


async def test_what_is_no_http_is_told_so(served: Served) -> None:
    """In the words of every other error."""
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"):
        async with served.peer() as peer:
            peer.send(garbage)
            told = await peer.rest()
            assert told.startswith(b"HTTP/1.1 400 ")
            assert b'"code":"bad_request"' in told


async def test_an_answer_that_is_not_read_ends(served: Served) -> None:
    """However little the client takes, and nothing more is kept for it."""
    async with served.peer() as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await served.until(lambda: len(served.guard.there) == 1)
        await served.until(lambda: not served.guard.there)


async def test_answers_that_are_not_read_end(served: Served) -> None:
    """Small ones as well, which a client asks for and does not take."""
    async with served.peer() as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await served.until(lambda: bool(served.guard.there))
        while served.guard.there:
            peer.send(GET)
            await asyncio.sleep(0)


async def test_an_answer_is_heard_by_those_who_still_send(served: Served) -> None:
    """The answer comes before the end of the body that nobody wants; then the line ends, whatever is still sent."""
    async with served.peer() as peer:
        peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(20):
            peer.send(b"x" * 500_000)
        assert (await peer.rest()).endswith(b"hello")
        await served.until(lambda: not served.guard.there)


async def test_a_body_that_comes_for_ever_after_its_answer_is_cut_off(served: Served) -> None:
    """Though each chunk of it comes in time."""
    async with served.peer() as peer:
        peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await served.until(lambda: bool(served.guard.there))
        while served.guard.there:
            peer.send(b"1\r\nx\r\n")
            await asyncio.sleep(0)


async def test_requests_ahead_are_bounded(served: Served) -> None:
    """Behind one that takes its time."""
    async with served.peer() as peer:
        peer.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await served.begun.wait()
        peer.send(GET * (SHORT.ahead + 1))
        assert await peer.rest() == b""
        await served.until(lambda: served.cancelled == 1)


async def test_a_reader_that_has_left_is_not_served_on(served: Served) -> None:
    """Also when requests wait behind; what changes something goes on."""
    for ahead in (0, 2):
        async with served.peer() as peer:
            peer.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + GET * ahead)
            await served.begun.wait()
        await served.until(lambda: served.cancelled > 0)
        served.cancelled = 0
        served.begun.clear()
    async with served.peer() as peer:
        peer.send(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await served.begun.wait()
    await served.until(lambda: not served.guard.there)
    assert served.cancelled == 0


async def test_whoever_is_longest_idle_makes_room(patient: Served) -> None:
    """So a crowd of idle connections keeps nobody out; those at work stay."""
    async with AsyncExitStack() as crowd:
        busy = await crowd.enter_async_context(patient.peer())
        busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await patient.begun.wait()
        for n in range(40):
            peer = await crowd.enter_async_context(patient.peer())
            if n % 2:
                peer.send(GET)
                assert (await peer.answer()).endswith(b"hello")
            assert len(patient.guard.there) <= 11
        patient.go.set()
        assert (await busy.answer()).endswith(b"hello")


async def test_where_all_are_at_work_the_next_one_is_told(patient: Served) -> None:
    """503, and served as soon as one has ended."""
    async with AsyncExitStack() as crowd:
        for _ in range(10):
            peer = await crowd.enter_async_context(patient.peer())
            peer.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await patient.begun.wait()
            patient.begun.clear()
        async with patient.peer() as late:
            told = await late.rest()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"too_many_connections"' in told
        patient.go.set()
        await peer.answer()
        peer.writer.close()
        await patient.until(lambda: len(patient.guard.there) < 10)
        async with patient.peer() as later:
            later.send(GET)
            assert (await later.answer()).endswith(b"hello")


async def test_files_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as this process may open, less those that it needs itself; it asks for more where it may."""
    asked: list[Any] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
    for now, most in (((1024, 1_000_000), 4096), ((1024, 1024), 832), ((100, 100), 1), ((9000, 9000), 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=now: now)
        assert guards.affordable(Limits()) == most
    assert asked == [(4288, 1_000_000), (1024, 1024), (100, 100)]
