"""A view with a token never answers older than it, whatever servers lag, are lost or taken over by another meanwhile.

The shipped views and live views on servers that are made up, in virtual time, so that thousands of orders of what happens are tried in seconds;
`tests/faults/test_edge_reads.py` does the same with processes, brokers and a real replica.
"""

import asyncio
import math
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.requests import Request

from api.auth import GUEST, Caller
from api.edge import Edge
from api.errors import Problem
from api.feeds import Feeds
from api.live import Live
from api.load import Load
from api.sse import Streams
from api.tokens import Token, Tokens
from api.views import WAIT_S, Show, Signature, View
from sinks.postgres.edge import EdgeStore
from sinks.postgres.reader import Reader
from streams.contract import Topic
from streams.store import Unavailable
from streams.view import Db, view
from tests.api.listener import Event, parsed
from tests.api.servers import DOMAIN, PARTITIONS, SLOWEST_S, USERS, Store, World
from tests.simulation.scheduler import Loop

TOKENS = Tokens([("k1", b"0123456789abcdef0123456789abcdef")])
TOPIC = Topic(DOMAIN, key="user_id", partitions=PARTITIONS)
IN_TIME_S = WAIT_S + 6 * SLOWEST_S
ENDS_S = 600.0
Step = tuple[str, int, float]
T = TypeVar("T")
STEPS = st.tuples(
    st.sampled_from(["apply"] * 4 + ["replicate"] * 4 + ["fail over"]), st.integers(0, 5), st.floats(0.0, 0.5)
)


class Count(BaseModel):
    times: int


@view(roles=("Guest",))
async def written(db: Db, user_id: str) -> Count | None:
    """How often a user was written."""
    found = await db.fetchval("", user_id)
    return None if found is None else Count(times=found)


class Client:
    """Writes, and reads anywhere with the tokens of its writes."""

    def __init__(self, world: World, edges: list[Edge], chance: random.Random) -> None:
        """Nothing is written."""
        self._world, self._edges, self._chance = world, edges, chance
        self._views = [View(edge, DOMAIN, Signature("written", written)) for edge in edges]
        self.tokens: dict[str, tuple[str, int]] = {}
        self.answered = self.put_off = 0

    def write(self) -> None:
        """Write a user; the token of it, and what must be seen with it."""
        user = self._chance.choice(USERS)
        partition, offset, times = self._world.send(user)
        token = TOKENS.write(DOMAIN, partition, offset, UUID(int=1), "user:u1")
        self.tokens[user] = (token, times)

    async def read(self) -> None:
        """Read one of those written, with its token and perhaps those of others; anywhere."""
        user = self._chance.choice(sorted(self.tokens))
        others = self._chance.sample(sorted(self.tokens), self._chance.randrange(len(self.tokens)))
        after = dict.fromkeys([user, *others])
        asked = asyncio.get_running_loop().time()
        least = self.tokens[user][1]
        request = _request(user, ",".join(self.tokens[one][0] for one in after))
        try:
            answer = await Show(self._chance.choice(self._views))(request)
        except (Problem, Unavailable) as error:
            self.put_off += 1
            told = getattr(error, "code", "postgres_unavailable")
            assert told != "not_found", "older than its own write"
            assert told in {"not_yet_applied", "postgres_unavailable"}
        else:
            assert orjson.loads(bytes(answer.body))["times"] >= least, "older than its own write"
            self.answered += 1
        assert asyncio.get_running_loop().time() - asked <= IN_TIME_S

    async def watch(self, user: str) -> None:
        """Follow a live view from one's own write on, over any edges, until all that is ever written is shown."""
        token, least = self.tokens[user]
        last, seen = "", list[int]()
        while not seen or seen[-1] != self._world.written(user):
            ear = Ear()
            live = Live(self._chance.choice(self._views), TOPIC)
            serving = asyncio.create_task(ear.serve(live, _request(user, token, last)))
            try:
                for _ in range(self._chance.randrange(1, 4)):
                    event = await ear.event(serving)
                    if event is None:
                        break
                    last = event.id
                    seen.append(event.data["times"] if event.data else 0)
                    assert seen[-1] >= least, "older than its own write"
                    if seen[-1] == self._world.written(user):
                        break
            finally:
                ear.left.set()
                await asyncio.wait([serving])
        assert seen == sorted(set(seen)), "older, or seen again"


class Ear:
    """Hears one stream."""

    def __init__(self) -> None:
        """Nothing was heard."""
        self.left = asyncio.Event()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    async def serve(self, live: Live, request: Request) -> None:
        """Until it ends, or cannot begin."""
        with suppress(Unavailable, Problem):
            answer = await live(request)
            await answer(request.scope, self._receive, self._send)

    async def event(self, serving: asyncio.Task[None]) -> Event | None:
        """The next event; None when there is none any more."""
        heard = asyncio.create_task(self._events.get())
        await asyncio.wait([heard, serving], return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            return heard.result()
        heard.cancel()
        await serving
        return None

    async def _send(self, message: Any) -> None:
        if (event := parsed(message.get("body", b"").decode().strip())) is not None:
            self._events.put_nowait(event)

    async def _receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}


def _request(user: str, after: str, last: str = "") -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": f"/v1/{DOMAIN}/written/{user}",
            "segments": (user,),
            "query_string": f"after={after}".encode(),
            "headers": [(b"last-event-id", last.encode())],
        }
    )


def _edge(store: Store) -> Edge:
    """An edge with what views need."""

    async def hashed(given: dict[str, Any], _blind: object) -> dict[str, Any]:
        return given

    parts = {
        "auth": SimpleNamespace(actor=lambda _: GUEST, caller=lambda _: Caller(GUEST, -math.inf, math.inf)),
        "standings": SimpleNamespace(withdrawn=lambda *_: asyncio.get_running_loop().create_future()),
        "blinder": SimpleNamespace(hashed=hashed),
        "load": Load(),
        "tokens": TOKENS,
        "store": store,
        "streams": Streams(),
        "feeds": Feeds(cast("EdgeStore", store)),
        "ending": False,
    }
    return cast("Edge", SimpleNamespace(**parts))


async def _clients(world: World, chance: random.Random, steps: list[Step]) -> list[Client]:
    """Things happen in the given order; meanwhile clients write, read and watch. In the end all is well and everybody is answered."""
    edges = [_edge(Store(world, servers)) for servers in (None, [1], [0, 2], [0, 1, 2])]
    clients = [Client(world, edges, random.Random(chance.random())) for _ in range(3)]
    for client in clients:
        client.write()
    async with asyncio.timeout(ENDS_S), asyncio.TaskGroup() as group:
        for what, which, pause in steps:
            for client in clients:
                if chance.random() < 0.5:
                    client.write()
                group.create_task(client.read())
                if chance.random() < 0.1:
                    group.create_task(client.watch(chance.choice(sorted(client.tokens))))
            await asyncio.sleep(pause)
            world.happen(what, which)
        world.settle()
        for client in clients:
            for user in client.tokens:
                group.create_task(client.watch(user))
    for client in clients:
        before = client.answered
        await client.read()
        assert client.answered == before + 1, "all is well, and it is not answered"
    return clients


def clients_of(seed: int, steps: list[Step]) -> list[Client]:
    """Run it; the same each time."""
    chance = random.Random(seed)
    with asyncio.Runner(loop_factory=lambda: Loop(seed)) as runner:
        return runner.run(_clients(World(chance), chance, steps))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), steps=st.lists(STEPS, max_size=25))
def test_a_token_is_covered_or_it_is_told_in_time(seed: int, steps: list[Step]) -> None:
    """Views and live views, on a primary, on replicas that lag, on any of several, through failovers."""
    clients_of(seed, steps)


def test_both_happen() -> None:
    """Reads are answered, and reads are put off: else the property says nothing."""
    steps: list[Step] = [("apply", 1, 0.2), ("replicate", 1, 0.2), ("fail over", 0, 0.2), ("apply", 0, 0.2)] * 8
    clients = [client for seed in range(3) for client in clients_of(seed, steps)]
    assert sum(client.answered for client in clients) > 50
    assert sum(client.put_off for client in clients) > 5


class AfterTheView(View):
    """Looks at the position after the view."""

    async def covering(self, tokens: Sequence[Token], read: Callable[[Reader], Awaitable[T]]) -> T:
        """Wrong."""
        found: list[T] = []

        async def nothing(_db: Reader) -> None:
            return None

        async with self.edge.store.db(self.domain) as db:
            found.append(await read(db))
        await super().covering(tokens, nothing)
        return found[0]


class OfAnother(View):
    """Looks at the position of one server, and reads from whichever comes next."""

    async def covering(self, tokens: Sequence[Token], read: Callable[[Reader], Awaitable[T]]) -> T:
        """Wrong."""

        async def nothing(_db: Reader) -> None:
            return None

        await super().covering(tokens, nothing)
        async with self.edge.store.db(self.domain) as db:
            return await read(db)


class OneOff(View):
    """Takes the next offset for the last."""

    async def covering(self, tokens: Sequence[Token], read: Callable[[Reader], Awaitable[T]]) -> T:
        """Wrong."""
        return await super().covering([msgspec.structs.replace(t, offset=t.offset - 1) for t in tokens], read)


class First(View):
    """Covers the first token only."""

    async def covering(self, tokens: Sequence[Token], read: Callable[[Reader], Awaitable[T]]) -> T:
        """Wrong."""
        return await super().covering(tokens[-1:], read)


@pytest.mark.parametrize("wrong", [AfterTheView, OfAnother, OneOff, First])
def test_what_is_wrong_is_found(wrong: type[View], monkeypatch: pytest.MonkeyPatch) -> None:
    """The property fails for each way in which a view can be taken for one that covers its token."""
    monkeypatch.setattr(sys.modules[__name__], "View", wrong)
    steps: list[Step] = [("apply", 1, 0.1), ("replicate", 1, 0.1), ("apply", 0, 0.1), ("replicate", 2, 0.1)] * 6

    def several() -> None:
        for seed in range(20):
            clients_of(seed, steps)

    with pytest.raises(ExceptionGroup) as caught:
        several()
    assert caught.group_contains(AssertionError, match="older than its own write")
