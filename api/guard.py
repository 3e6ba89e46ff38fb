"""What a server owes to bad clients: the limits of connections that uvicorn does not have.

A client that sends its head a byte at a time, reads no answer, sends requests ahead without end or opens connections by the thousand
costs itself something and nobody else. A request pays for this with a few attributes; the rest is one look a second at all connections.
"""

import asyncio
import logging
import resource
import socket
from collections import Counter
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.errors import MEDIA_TYPE, PROBLEMS, RETRY
from api.frame import BODY, DROP, LEFT
from api.load import Kind, Load, kind_of

LOOK_S = 1.0  # between two looks at all connections
SPARE = 192  # open files that are not clients' connections
_FREED = 16  # one in so many is closed when there are too many
_CROWDED_S = 0.1  # before another look for somebody who can make room
_SAFE = frozenset({"GET", "HEAD"})
_PROBES = frozenset({"/health", "/ready"})  # whoever asks would end a process that says no
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one connection may take, and how many there may be."""

    connections: int = 4096
    head_bytes: int = 32 * 1024  # of a request's line and headers
    head_s: float = 10.0  # for them to arrive, the first of a connection included
    ahead: int = 16  # requests that wait behind the one that runs
    stalled_s: float = 30.0  # that a client may take nothing of its answer
    linger_s: float = 3.0  # that we hear a client out who still sends what we have refused
    sent_bytes: int = 128 * 1024  # of answers that the kernel keeps for one connection


def affordable(limits: Limits) -> int:
    """As many connections as this process may have open files for, which it first raises as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - SPARE)
    return limits.connections


class Guard:
    """All connections of one server. `protocol` is what uvicorn is given as `http`."""

    def __init__(self, limits: Limits | None = None, load: Load | None = None) -> None:
        """Nobody is connected; `load` bounds what is at work."""
        self.limits = limits or Limits()
        self.load = load or Load()
        self.most = self.limits.connections
        self.there: set[Guarded] = set()
        self.cut = Counter[str]()
        self._look: asyncio.TimerHandle | None = None
        self._crowded = 0.0  # until when it is known that nobody can make room

    def protocol(self, **given: Any) -> "Guarded":
        """The protocol of a new connection."""
        return Guarded(self, **given)

    def entered(self, one: "Guarded") -> None:
        """Somebody has connected; whoever waited longest for nothing makes room."""
        self.there.add(one)
        if self._look is None:
            self._look = one.loop.call_later(LOOK_S, self._looked, one.loop)
        if len(self.there) > self.most and not self._room_made(one):
            self.cut["refused, since there were too many"] += 1
            one.refuse("too_many_connections")

    def _room_made(self, newest: "Guarded") -> bool:
        if newest.since < self._crowded:
            return False
        idle = [other for other in self.there if other is not newest and other.idle]
        for other in nsmallest(max(1, self.most // _FREED), idle, key=lambda other: other.since):
            self.drop(other, "idle, since there were too many")
        if not idle:
            self._crowded = newest.since + _CROWDED_S
        return bool(idle)

    def drop(self, one: "Guarded", why: str) -> None:
        """End a connection at once."""
        self.cut[why] += 1
        one.line.abort()

    def _looked(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for one in list(self.there):
            one.looked_at(now)
        if self.cut:
            log.warning("connections ended: %s", ", ".join(f"{count} {why}" for why, count in self.cut.items()))
            self.cut.clear()
        self._look = loop.call_later(LOOK_S, self._looked, loop) if self.there else None


class Line:
    """A transport whose `close` hears the client out: closed under a client that still sends, a socket takes its answer with it."""

    def __init__(self, transport: Any) -> None:
        """Stand before `transport`; what every request uses costs nothing more."""
        self._transport = transport
        self.write, self.abort = transport.write, transport.abort
        self.get_extra_info = transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading
        self.unread = False  # whether the client still sends
        self.closed = False
        self.ends = float("inf")

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self.closed or bool(self._transport.is_closing())

    def close(self) -> None:
        """Send what is written and end."""
        if not self.closed:
            self.closed = True
            if self.unread and self._transport.can_write_eof() and not self._transport.is_closing():
                self._transport.write_eof()
                self._transport.resume_reading()
            else:
                self._transport.close()


class Guarded(HttpToolsProtocol):
    """A connection: reads a head, runs its request, and so on."""

    line: Line

    def __init__(self, guard: Guard, **given: Any) -> None:
        """Nothing has come yet."""
        super().__init__(**given)
        self.guard, self._limits = guard, guard.limits
        self.in_head = True
        self.since = self.loop.time()  # when it was connected or got its last answer, then when its head began
        self._begun = False
        self._head_bytes = 0
        self._large = False
        self._stalled = 0.0  # since when the client takes nothing
        self._running: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None

    # -- of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Somebody is there."""
        self.line = Line(transport)
        self._bounded(transport.get_extra_info("socket"))
        super().connection_made(self.line)  # type: ignore[arg-type]  # it has all that is used of a transport
        self.guard.entered(self)

    def _bounded(self, peer: Any) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.sent_bytes)
        if hasattr(
            socket, "TCP_USER_TIMEOUT"
        ):  # Linux: ends those, too, who let us send nothing, or are not there any more
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.stalled_s * 1000))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more; what only reads for them ends."""
        self.guard.there.discard(self)
        self.pipeline.clear()
        running = self._running
        super().connection_lost(exc)
        if running is not None and not running.response_complete:
            running.disconnected = True  # uvicorn tells only the request that came last
            running.message_event.set()
            if self._task is not None and running.scope["method"] in _SAFE:
                self._task.cancel(LEFT)

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        self._stalled = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._stalled = 0.0
        super().resume_writing()

    @property
    def idle(self) -> bool:
        """Whether no request has come whole."""
        return self.in_head and not self._answering

    @property
    def _answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def looked_at(self, now: float) -> None:
        """End what is overdue."""
        limits, line = self._limits, self.line
        if line.is_closing():
            line.ends = min(line.ends, now + (limits.linger_s if line.unread else limits.stalled_s))
            if now >= line.ends:
                self.guard.drop(self, "closed, but not left by the client")
        elif self._stalled and now - self._stalled > limits.stalled_s:
            self.guard.drop(self, "not reading")
        elif self.in_head and (self._begun or self._running is None) and now - self.since > limits.head_s:
            self._late()
        elif self.idle and now - self.since > self.timeout_keep_alive:
            self.line.close()

    def _late(self) -> None:
        self.guard.cut["with a head that took too long"] += 1
        if self._begun:
            self.refuse("request_timeout")
        else:
            self.line.close()

    # -- of what comes

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self.line.closed:
            return
        if self.in_head:
            if not self._begun:
                self._begun, self.since = True, self.loop.time()
            self._head_bytes += len(data)
        self._large = len(data) > self._limits.head_bytes
        super().data_received(data)
        if self.in_head and self._head_bytes > self._limits.head_bytes and not self.line.closed:
            self.refuse("headers_too_large")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.in_head = False
        if self.line.closed:
            return
        if (self._large or self._head_bytes > self._limits.head_bytes) and self._size() > self._limits.head_bytes:
            self.refuse("headers_too_large")
        elif len(self.pipeline) >= self._limits.ahead:
            self.guard.cut["with too many requests ahead"] += 1
            self.line.unread = False
            self.line.close()
            self.line.abort()
        else:
            self.line.unread = True
            super().on_headers_complete()
            if self.pipeline:
                self.flow.resume_reading()  # there are few, and whoever reads hears the client leave

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self.line.closed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; another head may come."""
        self.in_head, self._begun, self._head_bytes = True, False, 0
        self.line.unread = False
        if not self.line.closed:
            super().on_message_complete()

    # -- of answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        load, kind = self.guard.load, kind_of(cycle.scope["method"])
        if load.full(kind) and cycle.scope["path"] not in _PROBES:
            load.refused += 1
            app = overloaded
        cycle.scope["extensions"] = {DROP: self.end_answer, BODY: self.arrived}  # type: ignore[dict-item]  # ours
        load.at_work[kind] += 1
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(partial(self._ended, kind))
        self.tasks.add(task)
        self._running, self._task = cycle, task

    def _ended(self, kind: Kind, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.guard.load.at_work[kind] -= 1

    def arrived(self) -> bytes | None:
        """The body of the running request, if all of it has come. Given by us and not by its cycle, which would then hold itself."""
        running = self._running
        return None if running is None or running.more_body else bytes(running.body)

    def end_answer(self, last: bytes, why: str) -> None:
        """End the answer under way, which the client does not take: what is written stays until it is overdue, with `last` behind it."""
        self.guard.cut[why] += 1
        cycle = self._running
        if cycle is not None and not cycle.response_complete and not self.line.closed:
            if cycle.chunked_encoding:
                self.line.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
            cycle.response_complete = True
            self.line.close()

    def on_response_complete(self) -> None:
        """The answer is written. Who still sends is heard out and not heard again."""
        if self._running is not None and self._running.more_body:
            self.line.close()
        self.since = self.loop.time()
        self.server_state.total_requests += 1
        if not self.line.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        if not self.line.closed:
            self.refuse("bad_request", msg)

    def refuse(self, code: str, detail: str | None = None) -> None:
        """Tell a problem, where no answer is under way, and end the connection."""
        if not self._answering:
            self.line.write(_told(code, detail))
            self.line.unread = code != "too_many_connections"  # those are not even heard out
        self.line.close()


async def overloaded(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer a request that is not begun, for there are too many at work: nothing was sent, and it costs next to nothing."""
    await send({"type": "http.response.start", "status": PROBLEMS["overloaded"][0], "headers": _OVERLOADED})
    await send({"type": "http.response.body", "body": _OVERLOADED_BODY})


def _body(code: str, detail: str | None = None) -> bytes:
    status, title = PROBLEMS[code]
    return orjson.dumps(
        {"type": f"/docs#{code}", "title": title, "status": status, "code": code, "detail": detail or title}
    )


_OVERLOADED_BODY = _body("overloaded")
_OVERLOADED = [
    (b"content-type", MEDIA_TYPE.encode()),
    (b"content-length", b"%d" % len(_OVERLOADED_BODY)),
    (b"retry-after", RETRY["Retry-After"].encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


def _told(code: str, detail: str | None) -> bytes:
    status, body = PROBLEMS[code][0], _body(code, detail)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
