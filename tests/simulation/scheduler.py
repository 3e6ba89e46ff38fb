"""An event loop without a world: time jumps to the next timer, what is ready runs in a drawn order, and processes can be frozen and killed."""

import asyncio
import heapq
import random
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any


class Process:
    """What runs in a context of its own. Frozen, none of its callbacks runs until it is thawed; killed, none ever does."""

    def __init__(self, name: str) -> None:
        """It runs."""
        self.name = name
        self.frozen = self.dead = False
        self.kept: list[asyncio.Handle] = []
        self.context: Context = copy_context()
        self.context.run(_PROCESS.set, self)


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


def process() -> Process | None:
    """The process that runs now; None for what stands outside of all: the broker, Postgres, clients."""
    return _PROCESS.get()


class Still(RuntimeError):
    """Nothing is ready and nothing will ever be."""


class Endless(RuntimeError):
    """It has run for longer than any seed takes."""


STEPS = 100_000  # a seed takes a fifth of them


class Loop(asyncio.BaseEventLoop):
    """Runs one callback at a time."""

    _ready: Any
    _scheduled: list[Any]

    def __init__(self, seed: int) -> None:
        """Time begins at zero."""
        super().__init__()
        self._ready = []
        self._now = 0.0
        self._random = random.Random(f"{seed} order").random
        self._timers = 0
        self.steps = 0

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._now

    def thaw(self, frozen: Process) -> None:
        """Let its callbacks run, those that have become due as well."""
        frozen.frozen = False
        kept, frozen.kept = frozen.kept, []
        self._ready.extend(kept)

    def outside(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """Call something that no process can stop."""
        self.call_later(delay, callback, *args, context=_OUTSIDE)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Make it ready; its turn is drawn."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Make it ready at that time; of two at one time the earlier made comes first."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers += 1
        heapq.heappush(self._scheduled, (when, self._timers, handle))
        return handle

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0][2]._cancelled:
                heapq.heappop(scheduled)
            if not scheduled:
                raise Still
            self._now = max(self._now, scheduled[0][0])
        while scheduled and scheduled[0][0] <= self._now:
            ready.append(heapq.heappop(scheduled)[2])
        at = int(self._random() * len(ready))
        ready[at], ready[-1] = ready[-1], ready[at]
        handle = ready.pop()
        if handle._cancelled:
            return
        of = handle._context.get(_PROCESS)
        if of is not None and (of.frozen or of.dead):
            of.kept.append(handle)
            return
        self.steps += 1
        if self.steps > STEPS:
            raise Endless
        handle._run()

    def _check_closed(self) -> None:
        """What is dropped with this loop may still ask something of it."""

    def _process_events(self, event_list: Any) -> None:
        """There are no files."""

    def _write_to_self(self) -> None:
        """There are no threads."""


_OUTSIDE = Context()
