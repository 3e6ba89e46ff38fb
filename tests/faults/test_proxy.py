"""The proxy itself, before a server that answers each line with the same line; and before Kafka and Postgres."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest

from streams.kafka import Kafka
from streams.settings import Settings
from tests.faults.proxy import HERE, Proxy, wires
from topics.points import POINTS

SILENCE_S = 0.2  # nothing came in so long: a proxy on loopback answers in a thousandth of it


class Peer:
    """A client of the echo."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, line: str) -> None:
        self.writer.write(line.encode() + b"\n")
        await self.writer.drain()

    async def hears(self) -> str:
        async with asyncio.timeout(30):
            return (await self.reader.readline()).decode().strip()

    async def hears_nothing(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                return not await self.reader.read(1)
        return True

    async def is_reset(self) -> bool:
        try:
            async with asyncio.timeout(30):
                await self.reader.read(1)
        except ConnectionResetError:
            return True
        return False


Connect = Callable[[], Awaitable[Peer]]


class Echo:
    """A server; it counts the lines that reached it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.came = asyncio.Event()
        self.tasks: set[asyncio.Task[None] | None] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        with suppress(OSError):
            while line := await reader.readline():
                self.lines.append(line)
                self.came.set()
                writer.write(line)
                await writer.drain()
        writer.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo, HERE, 0)
    proxy = Proxy(HERE, server.sockets[0].getsockname()[1])
    await proxy.start()
    yield proxy
    await proxy.close()
    server.close()
    await asyncio.gather(*filter(None, echo.tasks))


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Connect]:
    peers: list[Peer] = []

    async def connect() -> Peer:
        peers.append(Peer(*await asyncio.open_connection(HERE, proxy.port)))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.writer.close()
        with suppress(OSError):
            await peer.writer.wait_closed()


async def test_what_is_said_comes_through(proxy: Proxy, connect: Connect) -> None:
    peer = await connect()
    await peer.says("hello")

    assert await peer.hears() == "hello"


async def test_a_cut_resets_what_is_open_and_new_connections_are_taken(proxy: Proxy, connect: Connect) -> None:
    peer = await connect()
    await peer.says("hello")
    await peer.hears()
    proxy.cut()

    assert await peer.is_reset()
    again = await connect()
    await again.says("again")
    assert await again.hears() == "again"


async def test_refused_until_it_is_started_again(proxy: Proxy, connect: Connect) -> None:
    peer = await connect()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect()
    await peer.says("still here")
    assert await peer.hears() == "still here"

    await proxy.start()
    await (await connect()).says("another")


async def test_a_black_hole_keeps_connections_and_what_was_said_comes_later(
    proxy: Proxy, echo: Echo, connect: Connect
) -> None:
    old = await connect()
    proxy.black_hole()
    new = await connect()
    for peer in (old, new):
        await peer.says("hello")
        assert await peer.hears_nothing()
    assert not echo.lines

    proxy.heal()
    assert [await peer.hears() for peer in (old, new)] == ["hello", "hello"]


async def test_half_open_the_server_hears_and_the_client_does_not(proxy: Proxy, echo: Echo, connect: Connect) -> None:
    peer = await connect()
    proxy.black_hole("down")
    await peer.says("hello")
    await asyncio.wait_for(echo.came.wait(), 30)

    assert await peer.hears_nothing()
    proxy.heal()
    assert await peer.hears() == "hello"


async def test_an_end_does_not_pass_a_black_hole(proxy: Proxy, echo: Echo, connect: Connect) -> None:
    peer = await connect()
    await peer.says("hello")
    await peer.hears()
    proxy.black_hole("up")
    peer.writer.transport.abort()
    other = await connect()
    await other.says("held")
    await other.hears_nothing()

    assert len(proxy._lines) == 2


async def test_the_answer_to_some_words_is_held_and_then_never_comes(
    proxy: Proxy, echo: Echo, connect: Connect
) -> None:
    peer, other = await connect(), await connect()
    proxy.hold_answer_to(b"COMMIT")
    await peer.says("COMMIT")
    await asyncio.wait_for(proxy.held.wait(), 30)
    await asyncio.wait_for(echo.came.wait(), 30)
    await other.says("COMMIT")

    assert await other.hears() == "COMMIT", "only the first is held"
    proxy.cut_held()
    assert await peer.is_reset()


async def test_late_answers_keep_their_order(proxy: Proxy, connect: Connect) -> None:
    peer = await connect()
    proxy.delay(0.01, jitter=0.01)
    loop = asyncio.get_running_loop()
    for n in range(20):
        await peer.says(str(n))

    assert [await peer.hears() for _ in range(20)] == [str(n) for n in range(20)]
    proxy.delay(0.1)
    begin = loop.time()
    await peer.says("late")
    assert await peer.hears() == "late"
    assert loop.time() - begin >= 0.2


async def test_a_throttled_connection_gets_no_more(proxy: Proxy, connect: Connect) -> None:
    peer = await connect()
    proxy.throttle(20_000)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await peer.says("x" * 10_000)

    assert await peer.hears() == "x" * 10_000
    assert loop.time() - begin >= 1.0


async def test_clients_of_kafka_speak_through_it_only(settings: Settings) -> None:
    async with wires(settings.kafka) as line:
        kafka = Kafka(replace(settings, kafka=line.url))
        await kafka.declare([POINTS])
        offsets = [await kafka.publish(POINTS.commands_topic, b"u1", b"x" * n, []) for n in (1, 100_000)]
        partition, last = offsets[-1]
        record = await kafka.read(POINTS.commands_topic, partition, last)
        assert record is not None
        assert record.value == b"x" * 100_000
        for proxy in line.proxies:
            proxy.black_hole()

        assert not await kafka.alive(), "a client found another way"
        await kafka.stop()


async def test_postgres_answers_through_it(settings: Settings) -> None:
    async with wires(settings.postgres) as line:
        connection = await asyncpg.connect(line.url)
        line.one.cut()
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await connection.fetchval("SELECT 1")
        connection.terminate()
        connection = await asyncpg.connect(line.url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
