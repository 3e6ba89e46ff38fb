"""Edge processes, as `caravan api` starts them, and clients of theirs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from caravan.embedded.process import Child
from caravan.instance import free_ports
from streams.settings import Settings
from tests.acceptance.children import environment
from tests.api.caller import token
from tests.faults.ground import ROOT, Ground
from tests.faults.outside import until

END_S = 20.0  # how long an edge may take to end
LATE_S = 60.0  # how long a client waits for anything
AWARD = "/v1/points/award_points"
ADMIN = "root/Admin"


class EdgeProcess:
    """An edge, and one client of it with a pool of connections."""

    def __init__(self, settings: Settings, log: Path, *options: str) -> None:
        """Start it; `options` stand before its command line."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_")}
        self.settings, self.log = settings, log
        (self.port,) = free_ports(1)
        command = [*options, sys.executable, "-m", "caravan", "api", "--port", str(self.port)]
        self._child = Child(log.stem, command, log, env=ours | environment(settings), cwd=ROOT)
        self._child.start()
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", timeout=LATE_S, limits=httpx.Limits(max_connections=None)
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def text(self) -> str:
        """What it wrote."""
        return self.log.read_text("utf-8", "replace")

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._child.ended() is None

    async def is_ready(self) -> bool:
        """Whether it says so."""
        assert self.runs, self.text
        try:
            return (await self.client.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def ready(self) -> Self:
        """Wait until it is."""
        await until(self.is_ready, f"the edge is ready:\n{self.text}")
        return self

    def freeze(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        os.kill(self.pid, signal.SIGKILL)
        self._child.reap(0)

    def ask(self) -> None:
        """Tell it to end, as an operator would."""
        self._child.ask()

    async def ended(self) -> int | None:
        """Wait for its end; its exit status."""

        async def has() -> bool:
            return not self.runs

        await until(has, f"the edge ends:\n{self.text}", END_S)
        return self._child.ended()

    async def close(self) -> None:
        """End it, and the client."""
        await self.client.aclose()
        if self.runs:
            self.thaw()
            self._child.stop(END_S)

    # -- a client

    def by(self, who: str, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        """Headers of `u1`, who is a User, or of `root/Admin`."""
        user, _, role = who.partition("/")
        return {"Authorization": f"Bearer {token(self.settings, user, role or 'User')}", **(headers or {})}

    async def award(self, user: str, amount: int = 1, key: str | None = None, **headers: str) -> httpx.Response:
        """Award points, with an Idempotency-Key if one is given."""
        with_key = {**headers, **({"Idempotency-Key": key} if key is not None else {})}
        return await self.client.post(AWARD, json={"user_id": user, "amount": amount}, headers=self.by(ADMIN, with_key))

    async def balance(self, user: str, after: str | None = None) -> httpx.Response:
        """The user's balance, not older than a token if one is given."""
        asked = {"after": after} if after is not None else {}
        return await self.client.get(f"/v1/points/balance/{user}", params=asked, headers=self.by(user))


class Edges:
    """Edges on the same ground; they end with it."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        """None is there."""
        self._ground, self._folder = ground, folder
        self.all: list[EdgeProcess] = []

    async def start(self, *options: str, settings: Settings | None = None) -> EdgeProcess:
        """One more, ready; with `settings` it goes another way to Kafka or Postgres."""
        log = self._folder / f"edge-{len(self.all)}.log"
        edge = EdgeProcess(settings or self._ground.settings, log, *options)
        self.all.append(edge)
        return await edge.ready()


@asynccontextmanager
async def edges_of(ground: Ground, folder: Path) -> AsyncIterator[Edges]:
    """Start edges in the block."""
    edges = Edges(ground, folder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_close, edges)
        yield edges


async def _close(edges: Edges) -> None:
    await asyncio.gather(*(edge.close() for edge in edges.all))


async def until_taken(edge: EdgeProcess, user: str, key: str, amount: int = 1) -> tuple[Any, list[str]]:
    """Repeat a command with its key, as clients do, until it is accepted; the answer, and the codes of those before."""
    codes: list[str] = []
    async with asyncio.timeout(LATE_S):
        while True:
            answer = await edge.award(user, amount, key)
            if answer.status_code == 202:
                return answer.json(), codes
            codes.append(answer.json()["code"])
            await asyncio.sleep(0.05)
