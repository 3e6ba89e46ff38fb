"""Worker processes that share all partitions, and are killed in the midst of their work."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeVar

from streams.settings import Settings
from tests.acceptance.children import Child
from tests.acceptance.watch import AtWork, Watch

WORKERS = 2
READY = "worker ready: "
POLL_S = 0.1
PATIENCE_S = 100.0
TRY_S = 1.0

T = TypeVar("T")


async def soon(look: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Look until there is something to see, or the time is over; what was seen last."""
    end = time.monotonic() + seconds
    while not (seen := await look()) and time.monotonic() < end:  # noqa: ASYNC110 - it changes in other processes
        await asyncio.sleep(POLL_S)
    return seen


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds."""
    assert await soon(condition, PATIENCE_S), "it did not come true in time"


class Kill(NamedTuple):
    """When to kill a worker: it has acted on events, and commands wait; `pick` says which of the two makes a victim."""

    share: float
    """Of the lines that are left, so many are sent meanwhile."""
    same_name: bool
    """Whether it comes again under its name, at once, or the other one takes over when its session has ended."""
    events: str
    commands: str
    pick: Callable[[AtWork], set[int]]


class Workers:
    """They run all domains, each under a name."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Start them."""
        self._settings, self._folder, self._numbers = settings, folder, count()
        self._children: dict[str, Child] = {}
        for _ in range(WORKERS):
            self.start()

    def start(self, name: str | None = None) -> None:
        """Start one, under this name or a new one."""
        number = next(self._numbers)
        name = name or f"worker-{number}"
        log = self._folder / f"{number}.log"
        self._children[name] = Child(["worker", "--instance", name], self._settings, log)

    async def ready(self) -> None:
        """Wait until each has claimed what it was assigned."""

        async def are_ready() -> bool:
            return all(child.says(READY) for child in self._children.values())

        await until(are_ready)

    async def kill_at_work(self, watch: Watch, kill: Kill) -> str:
        """Kill a worker when commands wait, and commands are published for which no position stands yet; its name."""

        async def published() -> set[int]:
            return (await watch.at_work(kill.events, kill.commands)).published

        async def at_work() -> AtWork | None:
            seen = await watch.at_work(kill.events, kill.commands)
            return seen if seen.published and seen.waiting else None

        while True:
            async with watch.slowed(kill.events):
                if await soon(published, TRY_S):
                    async with watch.slowed(kill.commands):
                        seen = await soon(at_work, PATIENCE_S)
                        assert seen is not None, "the workers are idle"
                        name = next(n for n, child in self._children.items() if child.pid in kill.pick(seen))
                        self._children.pop(name).kill()
                        return name

    def stop(self) -> None:
        """End all."""
        for child in self._children.values():
            child.stop()
