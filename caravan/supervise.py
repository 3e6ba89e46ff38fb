"""Keeps services running until told to stop: by a signal, or by the end of the make that started us."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from caravan.embedded.process import Child, last_words
from caravan.errors import Problem

TICK = 0.25  # s between looks at the children
FIRST, LONGEST = 0.5, 30.0  # s of back-off before a restart
STEADY = 60.0  # s after which a service has proved itself and its back-off begins anew
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """We were told to stop; raised wherever the main thread is."""


@contextmanager
def until_stopped() -> Iterator[None]:
    """Within, a signal raises Stopped once; while things are being ended, further ones are ignored."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if (
            number != signal.SIGHUP or handler is not signal.SIG_IGN
        ):  # under nohup a closed terminal is no reason to end
            signal.signal(number, stop)
    try:
        with contextlib.suppress(Stopped):
            yield
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class Parent:
    """The make that runs us, if one does: when it is killed, nothing tells us but our parent's number."""

    def __init__(self) -> None:
        self._pid = os.getppid() if os.environ.get("MAKELEVEL") else None

    def check(self) -> None:
        """Raise Stopped if it is gone."""
        if self._pid is not None and os.getppid() != self._pid:
            raise Stopped


def say(line: str, log: Path | None = None) -> None:
    """A line for the user, and for the log; a terminal that is gone does not matter."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)
    if log:
        with contextlib.suppress(OSError), log.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


@dataclass
class Service:
    """Something to keep alive: `start` makes a new child of it."""

    name: str
    start: Callable[[], Child]
    child: Child | None = None
    began: float = 0.0
    delay: float = FIRST
    due: float | None = field(default=None)  # when to start it again

    def run(self) -> Child:
        """Start it now."""
        self.child, self.began, self.due = self.start(), time.monotonic(), None
        return self.child

    def tend(self, tell: Callable[[str], None]) -> None:
        """Start it again if it has ended and its time has come; never raises."""
        now = time.monotonic()
        if self.due is not None:
            if now >= self.due:
                self._again(tell)
        elif self.child is not None and (status := self.child.ended()) is not None:
            self._wait(f"ended with status {status}{last_words(self.child.log)}; see {self.child.log}", tell)

    def _again(self, tell: Callable[[str], None]) -> None:
        try:
            self.run()
        except (Problem, OSError) as error:
            self._wait(str(error), tell)

    def _wait(self, why: str, tell: Callable[[str], None]) -> None:
        now = time.monotonic()
        if now - self.began > STEADY:
            self.delay = FIRST
        tell(f"{self.name}: {why}; starting it again in {self.delay:g} s")
        self.due, self.delay = now + self.delay, min(self.delay * 2, LONGEST)


def keep(
    services: list[Service], parent: Parent, tell: Callable[[str], None], look: Callable[[], None] = lambda: None
) -> None:
    """Tend the services for ever, and `look` each time; Stopped ends it."""
    while True:
        time.sleep(TICK)
        parent.check()
        look()
        for service in services:
            service.tend(tell)
