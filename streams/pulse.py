"""The pulse of a partition: it beats whenever its work goes on, however long a batch takes, so that whoever watches knows slow from stuck."""

import asyncio
from contextvars import ContextVar
from pathlib import Path
from typing import Any


class Pulse:
    """Counts beats, and keeps what shows where a partition's work stands."""

    def __init__(self) -> None:
        """No beat yet."""
        self.beats = 0
        self.moves = 0  # commits among them
        self._delivered: tuple[float, int] | None = None
        self._task: asyncio.Task[Any] | None = None

    def follow(self) -> None:
        """Beats of this task, and of those that it starts from now on, are ours."""
        self._task = asyncio.current_task()
        _PULSE.set(self)

    def beat(self) -> None:
        """Something went on: a part of a batch, a try that failed and will be made again."""
        self.beats += 1

    def move(self) -> None:
        """A commit."""
        self.beats += 1
        self.moves += 1

    def arrive(self, offset: int) -> None:
        """The transport delivered up to this offset; that is no beat."""
        self._delivered = asyncio.get_running_loop().time(), offset

    @property
    def delivered(self) -> str:
        """What the transport delivered last, in words."""
        if self._delivered is None:
            return "nothing was delivered yet"
        at, offset = self._delivered
        return f"the last delivery went up to offset {offset}, {asyncio.get_running_loop().time() - at:.0f} s ago"

    def stacks(self, *others: "asyncio.Task[Any] | None") -> str:
        """Where our task and these stand."""
        return "\n".join(_stack(task) for task in (self._task, *others) if task is not None)


_PULSE: ContextVar[Pulse | None] = ContextVar("pulse", default=None)


def beat() -> None:
    """Beat for the partition that this task works for, if it works for one."""
    if (pulse := _PULSE.get()) is not None:
        pulse.beat()


async def breathe() -> None:
    """Let everything else on this loop have its turn; to be called in the middle of long batches."""
    beat()
    await asyncio.sleep(0)


def _stack(task: "asyncio.Task[Any]") -> str:
    """Where a task waits, from its beginning inwards, a line each; `Task.get_stack` would show the first alone."""
    lines = [f"{task.get_name()}:"]
    at: Any = task.get_coro()
    while at is not None:
        frame = getattr(at, "cr_frame", None) or getattr(at, "gi_frame", None)
        if frame is None:
            break
        lines.append(f"  {Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
        at = getattr(at, "cr_await", None) or getattr(at, "gi_yieldfrom", None)
    return "\n".join(lines)
