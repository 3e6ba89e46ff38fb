"""A TCP proxy that stands before Kafka or Postgres and does to connections what networks do.

Nothing is lost inside a connection: what is held back arrives later, or the connection ends, as TCP has it.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from streams.kafka import KafkaUrl

Direction = Literal["up", "down"]
"""To the server, or to the client."""

CHUNK = 1 << 16  # bytes
HERE = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)  # a close sends RST
TELL_ADDRESSES = {
    3,
    10,
    60,
}  # Metadata, FindCoordinator, DescribeCluster: the answers in which brokers' addresses stand


class Proxy:
    """Leads from a port of its own to one server; a client comes through unharmed until a fault is set."""

    def __init__(self, host: str, port: int) -> None:
        """Nobody listens before `start`."""
        self.port = 0
        self.renamed: Mapping[bytes, bytes] = {}
        """What is replaced in Kafka's answers: the ports of brokers by those of their proxies."""
        self.taken = 0
        """Connections so far."""
        self.held = asyncio.Event()
        """Set when what `hold_answer_to` waits for was sent."""
        self.leads_to = port
        self._host = host
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._ends = asyncio.Event()
        self._late_s = self._jitter_s = 0.0
        self._rate = float("inf")
        self._words: bytes | None = None
        self.heal()

    async def start(self) -> None:
        """Take connections; after `refuse` on the same port again."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HERE, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    # -- faults

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """Each piece arrives so much later, in order."""
        self._late_s, self._jitter_s = seconds, jitter

    def throttle(self, bytes_per_s: float) -> None:
        """No connection gets more than that, in either direction."""
        self._rate = bytes_per_s

    def cut(self) -> None:
        """Reset every connection that there is; new ones are taken."""
        for line in list(self._lines):
            line.cut()

    def refuse(self) -> None:
        """Take no new connection; those that there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def black_hole(self, *directions: Direction) -> None:
        """Keep connections, take new ones, and let nothing through, or nothing in one direction."""
        for direction in directions or ("up", "down"):
            self._open[direction].clear()

    def keep_ends(self) -> None:
        """What comes passes, that the other side has gone away does not: for a moment that is so in every network."""
        self._ends.clear()

    def hold_answer_to(self, words: bytes) -> None:
        """On the connection that sends these bytes next, answers stay here from then on; `held` tells that it has come to that."""
        self._words = words
        self.held.clear()

    def cut_held(self) -> None:
        """Reset the connections whose answers are held."""
        for line in list(self._lines):
            if line.is_held:
                line.cut()

    def heal(self) -> None:
        """Nothing is delayed or held any more; after `refuse`, `start` is needed too."""
        for gate in self._open.values():
            gate.set()
        self._ends.set()
        self._late_s = self._jitter_s = 0.0
        self._rate = float("inf")
        self._words = None
        for line in self._lines:
            line.release()

    async def close(self) -> None:
        """End everything."""
        self.refuse()
        self.heal()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.taken += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self.leads_to)
        except (OSError, asyncio.CancelledError):  # of a server's task, asyncio takes a cancellation for a bug
            _reset(writer)
            self._tasks.discard(task)
            return
        line = _Line(writer, far_writer)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, far_writer, "up", line))
                both.create_task(self._pass(far_reader, writer, "down", line))
        except* (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            line.cut()
            self._lines.discard(line)
            self._tasks.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, line: "_Line"
    ) -> None:
        async for piece in self._pieces(reader, direction, line):
            await self._slowly(len(piece))
            await self._open[direction].wait()
            if direction == "down":
                await line.released.wait()
            if asks := direction == "up" and self._words is not None and self._words in piece:
                self._words = None
                line.hold()
            writer.write(piece)
            await writer.drain()
            if asks:
                self.held.set()
        await self._open[direction].wait()  # a partition hides an end, too
        await self._ends.wait()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        raise EOFError

    async def _pieces(self, reader: asyncio.StreamReader, direction: Direction, line: "_Line") -> AsyncIterator[bytes]:
        """What comes, in whole messages of Kafka's protocol where addresses are renamed in them."""
        if not self.renamed:
            while piece := await reader.read(CHUNK):
                yield piece
            return
        with suppress(asyncio.IncompleteReadError):
            while True:
                size = await reader.readexactly(4)
                message = await reader.readexactly(int.from_bytes(size, "big"))
                yield size + (line.asked(message) if direction == "up" else self._renamed(line, message))

    def _renamed(self, line: "_Line", answer: bytes) -> bytes:
        if line.tells_addresses(answer):
            for theirs, ours in self.renamed.items():
                answer = answer.replace(theirs, ours)
        return answer

    async def _slowly(self, size: int) -> None:
        wait = self._late_s + random.uniform(-self._jitter_s, self._jitter_s) + size / self._rate
        if wait > 0:
            await asyncio.sleep(wait)


class _Line:
    """One connection."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.released = asyncio.Event()
        self.released.set()
        self._writers = writers
        self._asked: dict[bytes, int] = {}

    @property
    def is_held(self) -> bool:
        return not self.released.is_set()

    def hold(self) -> None:
        self.released.clear()

    def release(self) -> None:
        self.released.set()

    def cut(self) -> None:
        for writer in self._writers:
            _reset(writer)

    def asked(self, request: bytes) -> bytes:
        """Note which kind of request has this correlation id."""
        self._asked[request[4:8]] = int.from_bytes(request[:2], "big")
        return request

    def tells_addresses(self, answer: bytes) -> bool:
        return self._asked.pop(answer[:4], None) in TELL_ADDRESSES


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


class Wires:
    """Proxies before all servers of a URL."""

    def __init__(self, url: str, proxies: Sequence[Proxy]) -> None:
        """Made by `wires`."""
        self.proxies = proxies
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        places = ",".join(f"{HERE}:{proxy.port}" for proxy in self.proxies)
        self.url = urlunsplit(parts._replace(netloc=login + at + places))

    @property
    def one(self) -> Proxy:
        """Where there is a single server."""
        (proxy,) = self.proxies
        return proxy


@asynccontextmanager
async def wires(url: str) -> AsyncIterator[Wires]:
    """Stand before every server of a Kafka or Postgres URL on loopback; `.url` leads through the proxies."""
    servers = KafkaUrl.parse(url).servers if url.startswith("kafka:") else (urlsplit(url).netloc.rpartition("@")[2],)
    async with AsyncExitStack() as stack:
        proxies = []
        for server in servers:
            host, _, port = server.rpartition(":")
            proxies.append(Proxy(host, int(port)))
            await proxies[-1].start()
            stack.push_async_callback(proxies[-1].close)
        if url.startswith("kafka:"):
            ports = {_bytes(proxy.leads_to): _bytes(proxy.port) for proxy in proxies}
            for proxy in proxies:
                proxy.renamed = ports
        yield Wires(url, proxies)


def _bytes(port: int) -> bytes:
    """As a port stands in answers."""
    return port.to_bytes(4, "big")
