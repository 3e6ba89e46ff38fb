"""The edge as a process of its own: real sockets, real HTTP, settings from the environment."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from streams.settings import Settings
from tests.acceptance.children import environment
from tests.api.caller import Caller

AWARD, BODY, ROOT = "/v1/points/award_points", {"user_id": "u1", "amount": 5}, "root/Admin"


def _environment(settings: Settings) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_")},
        **environment(settings),
    }


@asynccontextmanager
async def _process(settings: Settings, port: int) -> AsyncIterator[tuple[Caller, asyncio.subprocess.Process]]:
    command = (sys.executable, "-m", "caravan", "api", "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        *command, env=_environment(settings), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=60, transport=httpx.AsyncHTTPTransport(retries=3)
    )
    caller = Caller(client, settings)
    try:
        await _listening(port, process)
        await caller.until("/ready", 200)
        yield caller, process
    finally:
        await client.aclose()
        await caller.close()
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return
    raise AssertionError("the edge ended before it listened")


@pytest.fixture
async def process(prepared: Settings, free_port: int) -> AsyncIterator[tuple[Caller, asyncio.subprocess.Process]]:
    """An edge in a process of its own, ready."""
    async with _process(prepared, free_port) as started:
        yield started


async def _raw(caller: Caller, request: bytes) -> bytes:
    port = caller.client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(30):
            return await reader.read(4096)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_over_real_sockets(process: tuple[Caller, asyncio.subprocess.Process]) -> None:
    """Commands, views, HEAD, chunked bodies too large, and an end on SIGTERM."""
    caller, running = process
    before = await caller.ends()
    answer = await caller.post(AWARD, BODY, ROOT)
    assert answer.status_code == 202
    assert (await caller.get(answer.headers["location"], ROOT)).json()["status"] == "pending"
    head = await caller.client.head("/v1/points/statement/u1", headers=caller.headers("u1"))
    assert (head.status_code, head.content) == (200, b"")

    start = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % AWARD.encode()
    chunk = b"%x\r\n%b\r\n" % (256 * 1024 + 1, b"x" * (256 * 1024 + 1))
    for request in (
        start + b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
        start + b"Content-Length: 999999999999\r\n\r\n",
    ):
        assert (await _raw(caller, request)).startswith(b"HTTP/1.1 413 ")
    for garbage in (
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"POST /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        assert (await _raw(caller, garbage))[9:12] in {b"400", b"404", b"405"}
    after = await caller.ends()
    assert sum(after.values()) - sum(before.values()) == 1

    running.send_signal(signal.SIGTERM)
    _, words = await running.communicate()
    assert running.returncode in {0, -signal.SIGTERM}
    assert b"Traceback" not in words, words.decode()


async def test_a_killed_edge_leaves_keys_that_another_takes_on(
    process: tuple[Caller, asyncio.subprocess.Process], free_port: int
) -> None:
    """SIGKILL between requests; the next process answers the same key with the same command."""
    caller, running = process
    key = {"Idempotency-Key": "k"}
    first = await caller.post(AWARD, BODY, ROOT, key)
    running.kill()
    await running.wait()

    async with _process(caller.settings, free_port) as (again, _):
        second = await again.post(AWARD, BODY, ROOT, key)

    assert (second.status_code, second.json()) == (202, first.json())


async def _events(lines: AsyncIterator[str]) -> list[str]:
    """The data of the events until the stream ends; httpx raises if it is cut off."""
    return [line async for line in lines if line.startswith("data: ")]


async def test_an_open_stream_ends_with_the_process(process: tuple[Caller, asyncio.subprocess.Process]) -> None:
    """Cleanly and at once, though this server would wait for ever; a client that left before is forgotten."""
    caller, running = process
    url, who = "/v1/points/balance/u1/live", caller.headers("u1")
    async with caller.client.stream("GET", url, headers=who) as left:
        async for line in left.aiter_lines():
            if line == "data: null":
                break
    async with (
        caller.client.stream("GET", url, headers=who) as one,
        caller.client.stream("GET", url, headers=who) as two,
    ):
        assert one.headers["content-type"].startswith("text/event-stream")
        lines = one.aiter_lines()
        async for line in lines:
            if line == "data: null":
                break
        running.send_signal(signal.SIGTERM)
        assert await _events(lines) == []
        assert await _events(two.aiter_lines()) == ["data: null"]
    _, words = await running.communicate()
    assert running.returncode in {0, -signal.SIGTERM}
    assert b"Traceback" not in words, words.decode()
    assert b"ERROR" not in words, words.decode()
