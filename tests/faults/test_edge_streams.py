"""Live views through the death of edges, outages and clients that do not read: nothing older, nothing twice, the newest always."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.api.listener import Event, parsed
from tests.faults.edges import EdgeProcess, Edges, edges_of, until_taken
from tests.faults.ground import Ground
from tests.faults.outside import until
from tests.faults.proxy import wires
from tests.faults.report import Figures

LIVE = "/v1/points/balance/{}/live"
HANG_S = 60


class Stream:
    """An open live view as EventSource has it."""

    def __init__(self, answer: httpx.Response) -> None:
        """Nothing was heard."""
        self._blocks = answer.aiter_text()
        self.text = ""
        self.heard = ""

    async def block(self) -> str:
        """The next part, whatever it is; raises EOFError at a clean end."""
        async with asyncio.timeout(HANG_S):
            while "\n\n" not in self.text:
                try:
                    piece = await anext(self._blocks)
                except StopAsyncIteration:
                    raise EOFError from None
                self.text += piece
                self.heard += piece
        block, _, self.text = self.text.partition("\n\n")
        return block

    async def event(self) -> Event:
        """The next event."""
        while True:
            if (found := parsed(await self.block())) is not None:
                return found

    async def until(self, active: int) -> None:
        """Read until the balance is this."""
        while (event := await self.event()).data is None or event.data["active"] != active:
            """There is a newer one."""


@asynccontextmanager
async def watching(edge: EdgeProcess, user: str, last: str = "") -> AsyncIterator[Stream]:
    """Watch a balance, from after an id."""
    headers = edge.by(user, {"Last-Event-ID": last} if last else None)
    async with edge.client.stream("GET", LIVE.format(user), headers=headers) as answer:
        assert answer.status_code == 200
        yield Stream(answer)


async def follow(edges: Edges, user: str, end: int, dice: random.Random) -> list[int]:
    """What a client sees that goes from edge to edge, by its own will and when one dies, until it sees the end."""
    seen: list[int] = []
    last = ""
    async with asyncio.timeout(4 * HANG_S):
        while not seen or seen[-1] != end:
            with suppress(httpx.TransportError, EOFError):
                async with watching(dice.choice(edges.all[-2:]), user, last) as stream:
                    for _ in range(dice.randrange(1, 5)):
                        event = await stream.event()
                        assert event.id != last
                        last = event.id
                        seen.append(event.data["active"] if event.data else 0)
                        if seen[-1] == end:
                            break
    return seen


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S16")
@pytest.mark.req("SR118")
async def test_whoever_comes_back_to_any_edge_misses_nothing_and_sees_nothing_again(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    """Edges are killed under their streams meanwhile, and the worker is replaced."""
    worker = await ground.worker()
    awards, kills = 60, 3
    async with edges_of(ground, tmp_path) as edges:
        await edges.start()
        await edges.start()
        followers = [asyncio.create_task(follow(edges, f"u{n % 3}", awards, random.Random(n))) for n in range(6)]
        for number in range(awards):
            if number % (awards // (kills + 1)) == awards // (kills + 1) - 1:
                edges.all[-2].kill()
                await edges.start()
            if number == awards // 2:
                await worker.leave()
                await ground.worker()
            for user in range(3):
                found, _ = await until_taken(edges.all[-1], f"u{user}", f"{user}-{number}")
                ground.load.acknowledged.add(found["command_id"])
        seen = await asyncio.gather(*followers)
        await ground.settle()

    for states in seen:
        assert states == sorted(set(states)), "older, or seen again"
        assert states[-1] == awards
    assert await ground.broken() == []
    figures.note(faults=kills, commands=3 * awards)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S16")
async def test_open_streams_outlive_kafka_and_postgres(ground: Ground, tmp_path: Path, figures: Figures) -> None:
    """Without Kafka they go on as ever; without Postgres they say so, and go on when it is back."""
    await ground.worker()
    async with (
        wires(ground.settings.kafka) as kafka,
        wires(ground.settings.postgres) as postgres,
        edges_of(ground, tmp_path) as edges,
    ):
        other = await edges.start()
        dsn = postgres.url
        edge = await edges.start(settings=replace(ground.settings, kafka=kafka.url, postgres=dsn, postgres_read=dsn))
        async with watching(edge, "u1") as stream:
            await until_taken(other, "u1", "one")
            await stream.until(1)
            kafka.one.black_hole()
            await until_taken(other, "u1", "two")
            await stream.until(2)
            kafka.one.heal()
            for number, away in ((3, "refuse"), (4, "black_hole")):
                getattr(postgres.one, away)()
                if away == "refuse":
                    postgres.one.cut()
                while "Postgres is away" not in await stream.block():
                    """It has not noticed yet."""
                await until_taken(other, "u1", str(number))
                with pytest.raises(AssertionError):
                    async with watching(edge, "u1"):
                        """A new one is told 503."""
                postgres.one.heal()
                await postgres.one.start()
                await stream.until(number)
    figures.note(faults=3, commands=4)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S16")
async def test_who_reads_no_events_is_dropped_and_others_are_not(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    """What is kept for it is bounded by the connection's buffers. Should it read on, it finds the reason at their end."""
    await ground.worker()
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start()
        for _ in range(60):
            await edge.award("u1")
        with closing(deaf(edge)) as late, closing(deaf(edge)) as never:
            await until(lambda: connected(edge, never), "the edge has taken both")
            async with watching(edge, "u1") as stream:
                number = 60
                async with asyncio.timeout(3 * HANG_S):
                    while "live view whose client was too slow" not in edge.text:
                        number += 1
                        assert (await edge.award("u1")).status_code == 202
                await stream.until(number)
                late.settimeout(HANG_S)
                heard = await asyncio.to_thread(all_of, late)
                assert heard.endswith(b'event: dropped\ndata: {"code":"too_slow"}\n\n\r\n0\r\n\r\n')
                assert (await edge.award("u1")).status_code == 202
                await stream.until(number + 1)
                while await connected(edge, never):
                    assert (await edge.award("u1")).status_code == 202
    figures.note(faults=2, commands=number)


def deaf(edge: EdgeProcess) -> socket.socket:
    """A client that asks for a statement's stream and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect(("127.0.0.1", edge.port))
    bearer = edge.by("u1")["Authorization"]
    client.sendall(
        f"GET /v1/points/statement/u1/live?limit=50 HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\n\r\n".encode()
    )
    return client


def all_of(client: socket.socket) -> bytes:
    """What there is to read until the end."""
    parts = []
    while part := client.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


async def connected(edge: EdgeProcess, client: socket.socket) -> bool:
    """Whether the edge still has this connection."""
    here, there = (f"0100007F:{port:04X}" for port in (edge.port, client.getsockname()[1]))
    table = await asyncio.to_thread(Path("/proc/net/tcp").read_text)
    return any(line.split()[1:4] == [here, there, "01"] for line in table.splitlines())


@pytest.mark.scenario("S16")
@pytest.mark.full
@pytest.mark.req("SR118")
async def test_an_edge_that_ends_tells_its_streams_to_come_back(ground: Ground, tmp_path: Path) -> None:
    """All of them end cleanly, each with a hint when; elsewhere they go on from where they were."""
    await ground.worker()
    async with edges_of(ground, tmp_path) as edges:
        edge, other = await edges.start(), await edges.start()

        async def watch(user: str) -> str:
            async with watching(edge, user) as stream:
                last = (await stream.event()).id
                begun.release()
                with pytest.raises(EOFError):
                    await stream.event()
                assert "retry: " in stream.heard.partition(last)[2]
                assert "this process ends, come back" in stream.heard
            return last

        begun = asyncio.Semaphore(0)
        watchers = [asyncio.create_task(watch(f"u{n}")) for n in range(20)]
        for _ in watchers:
            await begun.acquire()
        edge.ask()
        ids = await asyncio.gather(*watchers)
        assert await edge.ended() in {0, -15}
        assert "Traceback" not in edge.text
        async with watching(other, "u1", ids[1]) as stream:
            await until_taken(other, "u1", "one")
            await stream.until(1)
