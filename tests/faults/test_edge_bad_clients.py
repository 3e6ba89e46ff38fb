"""Clients that are slow, huge, silent or many are cut off, and those who are none of this notice nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.api.caller import token
from tests.faults.edges import ADMIN, AWARD, EdgeProcess, edges_of
from tests.faults.ground import Ground
from tests.faults.outside import until
from tests.faults.report import Figures

Bad = Callable[[EdgeProcess], Awaitable[None]]
HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % AWARD.encode()
GET = b"GET /v1/points/balance/u1 HTTP/1.1\r\nHost: x\r\n"
DRIP_S = 0.02
AGAIN_S = 0.2  # before a bad client comes again


@asynccontextmanager
async def line(edge: EdgeProcess) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of a client that takes little at a time."""
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    end.setblocking(False)
    with closing(end):
        await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", edge.port))
        reader, writer = await asyncio.open_connection(sock=end)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


def signed(edge: EdgeProcess) -> bytes:
    """The header that says who asks."""
    return f"Authorization: Bearer {token(edge.settings, 'root', 'Admin')}\r\n".encode()


async def silent(edge: EdgeProcess) -> None:
    """Connects, and that is all."""
    async with line(edge) as (reader, _):
        await reader.read()


async def slow_head(edge: EdgeProcess) -> None:
    """A header that goes on and on."""
    async with line(edge) as (_, writer):
        writer.write(GET)
        while not writer.is_closing():
            writer.write(b"a")
            await asyncio.sleep(DRIP_S)


async def slow_body(edge: EdgeProcess) -> None:
    """A body that comes byte by byte."""
    async with line(edge) as (_, writer):
        writer.write(HEAD + signed(edge) + b"Content-Length: 200000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(DRIP_S)


async def huge_body(edge: EdgeProcess) -> None:
    """A body without a length that never ends."""
    async with line(edge) as (_, writer):
        writer.write(HEAD + signed(edge) + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()


async def huge_head(edge: EdgeProcess) -> None:
    """Megabytes of header."""
    async with line(edge) as (_, writer):
        writer.write(GET + b"A: ")
        while True:
            writer.write(b"x" * 0x10000)
            await writer.drain()


async def deaf(edge: EdgeProcess) -> None:
    """Asks again and again and reads no answer."""
    async with line(edge) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        while not writer.is_closing():
            writer.write((GET + signed(edge) + b"\r\n") * 4)
            await writer.drain()


async def ahead(edge: EdgeProcess) -> None:
    """Sends a thousand requests behind a stream that does not end."""
    async with line(edge) as (_, writer):
        writer.write(GET.replace(b" HTTP", b"/live HTTP") + signed(edge) + b"\r\n" + (GET + b"\r\n") * 1000)
        await writer.drain()
        await asyncio.sleep(DRIP_S)


async def hurried(edge: EdgeProcess) -> None:
    """Sends a command that would wait for its result, and leaves."""
    async with line(edge) as (_, writer):
        body = b'{"user_id": "u2", "amount": 1}'
        prefer = b"Prefer: wait=30\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(HEAD + signed(edge) + prefer + body)
        await writer.drain()
        await asyncio.sleep(DRIP_S)


async def garbage(edge: EdgeProcess) -> None:
    """Sends what is no HTTP."""
    async with line(edge) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)))
        await reader.read()


BAD: list[Bad] = [silent, slow_head, slow_body, huge_body, huge_head, deaf, ahead, hurried, garbage]


@asynccontextmanager
async def crowd(edge: EdgeProcess, each: int, of: list[Bad]) -> AsyncIterator[None]:
    """So many bad clients of each kind, which come again whenever they are cut off."""

    async def again(bad: Bad) -> None:
        while True:
            with suppress(OSError):
                await bad(edge)
            await asyncio.sleep(AGAIN_S)

    tasks = [asyncio.create_task(again(bad)) for bad in of for _ in range(each)]
    try:
        yield
        ended = [task for task in tasks if task.done()]
        assert not ended, ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def good(edge: EdgeProcess, clients: int, times: int) -> int:
    """So many clients send commands and read; how many answers were as they should be."""

    async def one(number: int) -> int:
        right = 0
        for _ in range(times):
            sent = await edge.award(f"u{number}")
            read = await edge.balance(f"u{number}", sent.json()["token"])
            right += (sent.status_code, read.status_code) == (202, 200)
        return right

    return sum(await asyncio.gather(*(one(10 + n) for n in range(clients))))


@pytest.mark.req("SR004")
async def test_normal_requests_go_on_among_bad_clients_of_every_kind(ground: Ground, tmp_path: Path) -> None:
    """Every one of them is answered as if nobody else were there."""
    await ground.worker()
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start()
        async with crowd(edge, 3, BAD):
            assert await good(edge, 4, 10) == 40
        assert "Traceback" not in edge.text


@pytest.mark.full
@pytest.mark.req("SR004")
async def test_normal_requests_go_on_among_hundreds_of_bad_clients(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    """For longer than any of the limits; the memory that they take is bounded and no file is left open."""
    await ground.worker()
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start()
        loop = asyncio.get_running_loop()
        end, answers, asked = loop.time() + 40, 0, 0
        async with crowd(edge, 25, BAD):
            while loop.time() < end:
                answers += await good(edge, 4, 5)
                asked += 20
        assert answers == asked
        assert memory_mb(edge) < 600
        for _ in range(10):
            assert await good(edge, 4, 1) == 4
        assert "Traceback" not in edge.text
        await until(partial(said, edge, "with a head that took too long"), "the edge tells of it")
    figures.note(faults=25 * len(BAD), commands=answers)


def memory_mb(edge: EdgeProcess) -> int:
    """What the process has taken at most."""
    status = Path(f"/proc/{edge.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def files(edge: EdgeProcess) -> int:
    """How many the process has open."""
    return len(list(Path(f"/proc/{edge.pid}/fd").iterdir()))


async def said(edge: EdgeProcess, words: str) -> bool:
    """Whether the edge wrote this."""
    return words in edge.text


FILES, CROWD = 400, 1000


@pytest.mark.full
async def test_a_thousand_idle_connections_keep_nobody_out(ground: Ground, tmp_path: Path) -> None:
    """An edge that may open few files; whoever is idle longest is closed, and it never runs out of them."""
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start("/usr/bin/prlimit", f"--nofile={FILES}:{FILES}")
        assert "open files are limited: at most 208 connections, and 104 of them live views" in edge.text
        idle = []
        try:
            for _ in range(CROWD):
                end = socket.socket()
                end.setblocking(False)
                await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", edge.port))
                idle.append(end)
                if len(idle) % 100 == 0:
                    assert (await edge.award("u1")).status_code == 202
                    assert files(edge) < FILES
        finally:
            for end in idle:
                end.close()
        await until(partial(said, edge, "idle, since there were too many"), "the edge tells of it")
        assert "Traceback" not in edge.text


@pytest.mark.full
async def test_huge_requests_are_told_so_whole(ground: Ground, tmp_path: Path) -> None:
    """413 and 431 reach a client that sends on regardless."""
    large = b"x" * 3_000_000
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start()
        for request, status in (
            (HEAD + b"Content-Length: 3000000\r\n\r\n" + large, b"413"),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(large) + large, b"413"),
            (GET + b"A: " + large + b"\r\n\r\n", b"431"),
        ):
            async with line(edge) as (reader, writer):
                writer.write(request)
                told = await asyncio.wait_for(reader.read(), 60)
                assert told[9:12] == status
                assert told.endswith(b"}")
        answer = await edge.client.post(AWARD, content=large, headers=edge.by(ADMIN))
        assert answer.status_code == 415
