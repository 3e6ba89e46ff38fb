"""A load generator that is not the bottleneck: one thread, raw non-blocking sockets, HTTP/1.1 with keep-alive.

Run by the suite as a process of its own: `python -m benchmarks.generator` reads a `Plan` as JSON from its input, prints `begin` when the
warm-up is over, `end` when no new request is sent, and then a `Report` as JSON. A request costs it a tenth of what the servers pay for one.

With a rate it is an open loop: each request has a time at which it is due, and its latency counts from then, whether a connection was free or
not. Without one every connection sends its next request when it has its answer.
"""

import resource
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import cycle, islice

import msgspec

DRAIN_S = 15.0  # for the answers that are still under way at the end
READ = 65536  # bytes
SPARE = 64  # open files that are no connections
_UNKNOWN = b'"outcome_unknown"'
_END, _LENGTH = b"\r\n\r\n", b"content-length: "


class Ask(msgspec.Struct, frozen=True):
    """A request, whole, and how its answer must begin: the status and the body. Answers of one `kind` are counted together."""

    kind: str
    request: str
    status: int
    begins: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What to send where. The asks come in turn, again and again; `rate` a second in all, 0 as fast as the answers come."""

    ports: list[int]
    connections: int
    warmup: float
    seconds: float
    asks: list[Ask]
    rate: float = 0


@dataclass
class Kind:
    """What came of the asks of one kind; latencies in seconds are those of good answers after the warm-up, sorted."""

    good: int = 0  # all of them
    counted: int = 0  # good and after the warm-up
    statuses: dict[str, int] = field(default_factory=dict)  # after the warm-up
    wrong: int = 0  # the right status and another body
    unknown: int = 0  # all of those that may have been taken: told so, cut, or not answered
    latencies: list[float] = field(default_factory=list)


@dataclass
class Report:
    """`seconds` were measured; `processor` is the generator's own share of a core; `unsent` were due and found no connection in time."""

    seconds: float
    processor: float
    sent: int
    unsent: int
    kinds: dict[str, Kind]


class _Line:
    """A connection."""

    __slots__ = ("ask", "begun", "held", "port", "socket")

    def __init__(self, port: int) -> None:
        self.port = port
        self.held = b""  # of an answer that has not come whole
        self.ask: tuple[bytes, Kind, bytes, bytes] | None = None
        self.begun = 0.0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)


class Generator:
    """Drives the servers of one plan."""

    def __init__(self, plan: Plan) -> None:
        """Connect."""
        self.plan = plan
        self.kinds = {ask.kind: Kind() for ask in plan.asks}
        self._asks = cycle(
            [(ask.request.encode(), self.kinds[ask.kind], b"%d" % ask.status, ask.begins.encode()) for ask in plan.asks]
        )
        self._selector = selectors.DefaultSelector()
        self._idle: deque[_Line] = deque()
        self._busy = 0
        self._sent = 0
        self._from = self._until = float("inf")
        _room_for(plan.connections)
        for port in islice(cycle(plan.ports), plan.connections):
            self._open(port)

    def run(self) -> Report:
        """Send, measure, hear the last answers."""
        plan = self.plan
        start = time.perf_counter()
        self._from, self._until = start + plan.warmup, start + plan.warmup + plan.seconds
        drive = self._paced if plan.rate else self._saturated
        drive(self._from)
        print("begin", flush=True)
        begun, worked = time.perf_counter(), time.process_time()
        unsent = drive(self._until)
        seconds, worked = time.perf_counter() - begun, time.process_time() - worked
        print("end", flush=True)
        last = time.perf_counter() + DRAIN_S
        while self._busy and time.perf_counter() < last:
            self._hear(0.1)
        for key in self._selector.get_map().values():
            if (ask := key.data.ask) is not None:
                ask[1].unknown += 1
        for kind in self.kinds.values():
            kind.latencies.sort()
        return Report(seconds, worked / seconds, self._sent, unsent + self._busy, self.kinds)

    def _saturated(self, until: float) -> int:
        while time.perf_counter() < until:
            while self._idle:
                self._send(self._idle.popleft(), time.perf_counter())
            self._hear(0.1)
        return 0

    def _paced(self, until: float) -> int:
        """Up to the due time `until`; what found no connection by then and has none a while later either was never sent."""
        step, start = 1 / self.plan.rate, self._from - self.plan.warmup
        due = start + self._sent * step
        while due < until:
            now = time.perf_counter()
            if now > until + DRAIN_S:
                return round((until - due) / step)
            while due <= now and due < until and self._idle:
                self._send(self._idle.popleft(), due)
                due = start + self._sent * step
            self._hear(max(0.0, due - time.perf_counter()) if self._idle else 0.1)
        return 0

    def _send(self, line: _Line, begun: float) -> None:
        line.ask, line.begun = next(self._asks), begun
        self._sent += 1
        self._busy += 1
        try:
            line.socket.send(line.ask[0])
        except OSError:
            self._failed(line)

    def _hear(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            line: _Line = key.data
            try:
                data = line.socket.recv(READ)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._failed(line)
            else:
                self._take(line, line.held + data if line.held else data)

    def _take(self, line: _Line, data: bytes) -> None:
        body = data.find(_END) + 4
        at = data.find(_LENGTH, 0, body)
        if body < 4 or at < 0 or len(data) < body + int(data[at + 16 : data.index(b"\r", at)]):
            line.held = data
            return
        assert line.ask is not None
        _, kind, status, begins = line.ask
        line.held, line.ask = b"", None
        self._busy -= 1
        now = time.perf_counter()
        good = data.startswith(status, 9) and data.startswith(begins, body)
        if good:
            kind.good += 1
        elif _UNKNOWN in data:
            kind.unknown += 1
        if self._from <= line.begun < self._until:
            _count(kind, data[9:12].decode())
            if good:
                kind.counted += 1
                kind.latencies.append(now - line.begun)
            elif data.startswith(status, 9):
                kind.wrong += 1
        if b"connection: close" in data[:body]:
            self._again(line)
        else:
            self._idle.append(line)

    def _failed(self, line: _Line) -> None:
        """The other side ended the connection; with a request under way that is an error."""
        if line.ask is not None:
            self._busy -= 1
            line.ask[1].unknown += 1
            if self._from <= line.begun < self._until:
                _count(line.ask[1], "cut")
        else:
            self._idle.remove(line)
        self._again(line)

    def _again(self, line: _Line) -> None:
        self._selector.unregister(line.socket)
        line.socket.close()
        self._open(line.port)

    def _open(self, port: int) -> None:
        line = _Line(port)
        self._selector.register(line.socket, selectors.EVENT_READ, line)
        self._idle.append(line)


def _room_for(connections: int) -> None:
    """As many open files, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _count(kind: Kind, status: str) -> None:
    kind.statuses[status] = kind.statuses.get(status, 0) + 1


def main() -> None:
    """As above."""
    report = Generator(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)).run()
    print(msgspec.json.encode(report).decode())


if __name__ == "__main__":
    main()
