"""A thousand live views on one edge process: each is shown its own states and the newest, and they cost little."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.api.listener import Event, parsed
from tests.faults.edges import EdgeProcess, edges_of
from tests.faults.ground import Ground
from tests.faults.report import Figures

STREAMS, USERS, CHANGES = 1000, 250, 8
ENTRIES = 40  # of each statement before, so that a state has some 10 KiB
AT_ONCE = 50
HANG_S = 120
MIB = 1 << 20
EACH = 100 * 1024  # bytes of the edge that a stream may cost; it is a third of that
GROWTH = 15 * MIB  # by the changes; feeds that kept their states would need 20 more than the 5 that it is
STATEMENT = "/v1/points/statement/{}/live?limit=50"
SEED = """
INSERT INTO ledger (user_id, seq, at, kind, debit, credit, amount, reference)
SELECT u, -n, now(), 'awarded', 'system:issued', 'user:' || u || ':available', 1, repeat('x', 100)
FROM unnest($1::text[]) AS u, generate_series(1, $2::int) AS n"""


class Follower:
    """One stream of a user's statement, and the newest entries that it was shown."""

    def __init__(self, user: str, answer: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Nothing was read of `answer`."""
        self.user, self.seen = user, list[int]()
        self._answer, self.writer = answer, writer

    async def event(self) -> Event:
        """The next event; the edge sends each as a chunk of its own."""
        while True:
            size = int(await self._answer.readuntil(b"\r\n"), 16)
            chunk = await self._answer.readexactly(size + 2)
            if (found := parsed(chunk.decode().strip())) is not None:
                return found

    async def follow(self, newest: int) -> None:
        """Read on until this entry is there."""
        while not self.seen or self.seen[-1] != newest:
            items = (await self.event()).data["items"]
            assert {item["credit"] for item in items} == {f"user:{self.user}:available"}, "somebody else's"
            self.seen.append(items[0]["seq"])


async def begin(edge: EdgeProcess, user: str, followers: list[Follower]) -> None:
    """Open a stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1 << 20)
    bearer = edge.by(user)["Authorization"]
    writer.write(f"GET {STATEMENT.format(user)} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\n\r\n".encode())
    follower = Follower(user, reader, writer)
    followers.append(follower)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await follower.follow(-1)


@asynccontextmanager
async def crowd(edge: EdgeProcess, users: Sequence[str]) -> AsyncIterator[list[Follower]]:
    """All streams, each of which has shown what there is."""
    followers: list[Follower] = []
    try:
        for first in range(0, STREAMS, AT_ONCE):
            some = [begin(edge, users[n % len(users)], followers) for n in range(first, first + AT_ONCE)]
            await asyncio.gather(*some)
        yield followers
    finally:
        for follower in followers:
            follower.writer.close()
        await asyncio.gather(*(follower.writer.wait_closed() for follower in followers), return_exceptions=True)


async def change(edge: EdgeProcess, users: Sequence[str]) -> None:
    """Award points to each in turn, again and again."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(user: str) -> None:
        async with room:
            answer = await edge.award(user)
            assert answer.status_code == 202, answer.text

    for _ in range(CHANGES):
        await asyncio.gather(*map(one, users))


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.scenario("S16")
@pytest.mark.req("SR118")
async def test_a_thousand_streams_are_each_shown_their_own(ground: Ground, tmp_path: Path, figures: Figures) -> None:
    """By a real worker's commits; what they cost is bounded, and nothing is left of them."""
    await ground.worker()
    users = [f"u{n}" for n in range(USERS)]
    await ground.outside.rows(SEED, users, ENTRIES)
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start()
        process = psutil.Process(edge.pid)
        await edge.award("somebody")
        empty = process.memory_info().rss
        async with asyncio.timeout(5 * HANG_S), crowd(edge, users) as followers:
            opened = process.memory_info().rss
            following = [asyncio.create_task(follower.follow(CHANGES)) for follower in followers]
            await change(edge, users)
            await asyncio.gather(*following)
            changed = process.memory_info().rss
            assert (await edge.balance(users[0])).json()["active"] == CHANGES, "others are served meanwhile"
        assert [f.seen for f in followers if f.seen != sorted(set(f.seen))] == [], "older, or seen again"
        assert (opened - empty) / STREAMS < EACH
        assert changed - opened < GROWTH
    figures.note(faults=0, commands=USERS * CHANGES)
