"""More than the process can do in time: the rest is refused at once, and what was accepted has its effect, once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

import httpx
import pytest
import uvicorn

from api.app import create_app
from api.guard import Guard
from api.load import Load
from streams.settings import Settings
from tests.api.caller import Caller
from tests.api.conftest import SERVES

AWARD, BODY, ROOT = "/v1/points/award_points", {"user_id": "u1", "amount": 5}, "root/Admin"
MOST = 3
HANG_S = 60


class Served:
    """An edge on a real socket that takes little at a time, and a Kafka that can be held up."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings, SERVES)
        self.load: Load = self.app.state.edge.load
        self.load.most = MOST
        self.guard = Guard(load=self.load)
        self.may_publish = asyncio.Event()
        self.may_publish.set()
        log = self.app.state.edge.log
        self._publish, log.publish = log.publish, self._held

    async def _held(self, *record: Any) -> tuple[int, int]:
        await self.may_publish.wait()
        place: tuple[int, int] = await self._publish(*record)
        return place

    async def until_busy(self, kind: str, count: int) -> None:
        """Wait until so many of a kind are at work."""
        async with asyncio.timeout(HANG_S):
            while self.load.at_work[kind] != count:  # type: ignore[index]  # noqa: ASYNC110 - it comes true elsewhere
                await asyncio.sleep(0.01)


@pytest.fixture
async def served(prepared: Settings) -> AsyncIterator[tuple[Served, Caller]]:
    """One that is ready, and a caller with as many connections as it likes."""
    one = Served(prepared)
    async with _serving(one) as port:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANG_S, limits=limits) as client:
            caller = Caller(client, prepared, one.app)
            await caller.until("/ready", 200)
            yield one, caller
            await caller.close()


@asynccontextmanager
async def _serving(one: Served) -> AsyncIterator[int]:
    protocol = cast("type[asyncio.Protocol]", one.guard.protocol)
    config = uvicorn.Config(one.app, port=0, http=protocol, ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[assignment,method-assign]  # a test's signals are not its
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(HANG_S):
            while not server.started:  # noqa: ASYNC110 - it comes true elsewhere
                await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        one.may_publish.set()
        server.should_exit = True
        await serving


def _refused(answer: httpx.Response) -> bool:
    told: Mapping[str, Any] = answer.json()
    return (answer.status_code, told["code"], told["status"], answer.headers["retry-after"]) == (
        503,
        "overloaded",
        503,
        "1",
    ) and answer.headers["content-type"] == "application/problem+json"


async def test_what_is_too_much_is_refused_and_the_rest_has_its_effect(served: tuple[Served, Caller]) -> None:
    """Nothing is accepted that is not in Kafka, nothing is there that was refused; views do not wait for Kafka."""
    one, caller = served
    one.may_publish.clear()
    accepted = [asyncio.create_task(caller.post(AWARD, BODY, ROOT)) for _ in range(MOST)]
    await one.until_busy("command", MOST)

    more = await asyncio.gather(*(caller.post(AWARD, BODY, ROOT) for _ in range(20)))
    assert all(map(_refused, more))
    assert (await caller.get("/v1/points/statement/u1", "u1")).status_code == 200

    one.may_publish.set()
    answers = await asyncio.gather(*accepted)
    assert {answer.status_code for answer in answers} == {202}
    again = await caller.post(AWARD, BODY, ROOT)
    assert again.status_code == 202, "there is room again"
    ids = Counter([record["command_id"] for record in [await caller.record(one) for one in (*answers, again)]])
    assert ids == Counter(answer.json()["command_id"] for answer in (*answers, again))
    assert sum((await caller.ends()).values()) == MOST + 1
    assert one.load.refused == 20


async def test_who_only_waits_is_not_at_work(served: tuple[Served, Caller]) -> None:
    """For a position, a result or the next state: there may be more of them than may be at work."""
    one, caller = served
    token = (await caller.post(AWARD, BODY, ROOT)).json()["token"]
    waiting = [
        *(asyncio.create_task(caller.post(AWARD, BODY, ROOT, {"Prefer": "wait=30"})) for _ in range(MOST)),
        *(asyncio.create_task(caller.get(f"/v1/points/balance/u1?after={token}", "u1")) for _ in range(MOST)),
    ]
    streams = [caller.client.stream("GET", "/v1/points/balance/u1/live", headers=caller.headers("u1")) for _ in waiting]
    for stream in streams:
        assert (await stream.__aenter__()).status_code == 200
    await one.until_busy("command", 0)
    await one.until_busy("read", 0)

    assert (await caller.post(AWARD, BODY, ROOT)).status_code == 202
    assert (await caller.get("/v1/points/statement/u1", "u1")).status_code == 200

    for stream in streams:
        await stream.__aexit__(None, None, None)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    one.app.state.edge.end()
    await one.until_busy("command", 0)
    await one.until_busy("read", 0)


async def test_probes_are_answered_always(served: tuple[Served, Caller]) -> None:
    """Or whoever watches would end a process for being busy."""
    one, caller = served
    one.load.most = 0
    assert _refused(await caller.get("/v1/points/statement/u1", "u1"))
    assert [(await caller.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]


async def test_a_refused_body_does_not_confuse_the_connection(served: tuple[Served, Caller]) -> None:
    """The next request on it is answered as such."""
    one, caller = served
    one.may_publish.clear()
    held = [asyncio.create_task(caller.post(AWARD, BODY, ROOT)) for _ in range(MOST)]
    await one.until_busy("command", MOST)
    alone = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(base_url=str(caller.client.base_url), limits=alone, timeout=HANG_S) as client:
        for body in (b"{}", b"x" * 100_000):
            answer = await client.post(AWARD, content=body, headers=caller.headers(ROOT))
            assert _refused(answer)
            assert (await client.get("/health")).status_code == 200
    one.may_publish.set()
    assert {answer.status_code for answer in await asyncio.gather(*held)} == {202}
