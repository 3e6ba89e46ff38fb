"""Ends this process when its event loop does not go on, or when it takes too long to leave: nothing on the loop could.

A thread counts seconds, and the loop sets them back. It counts its own turns and not a clock, so a process that was frozen is no hang. Code that never lets a
thread have its turn (a regular expression that backtracks for ever) is ended by a timer on the processor time that it burns.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
from types import FrameType

HUNG_S = 60  # without a turn of the loop
TURN_S = 1.0
STATUS = 70  # EX_SOFTWARE: an error of ours


class Watchdog:
    """One a process; started on its main thread's loop."""

    def __init__(self, *, hung: float = HUNG_S, leave: float) -> None:
        """`leave` is how long the process may take to end once it is told to, seconds."""
        self._hung, self._leave = hung, leave
        self._silent = self._leaving = 0.0
        self._told = False
        self._off = threading.Event()

    def start(self) -> None:
        """Watch the running loop."""
        faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
        self._loop = asyncio.get_running_loop()
        self._turn()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def listen(self, stopping: asyncio.Event) -> None:
        """Have SIGTERM and SIGINT set the event. They are heard, and the time to leave runs, even while the loop hangs."""
        loop = self._loop

        def told(_number: int, _frame: FrameType | None) -> None:
            self._told = True
            loop.call_soon_threadsafe(stopping.set)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, told)

    def leave(self) -> None:
        """The process is about to end by itself: from now on, too, it has its time and no more."""
        self._told = True

    def stop(self) -> None:
        """Watch no more, for a process that goes on."""
        self._off.set()
        self._next.cancel()
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _turn(self) -> None:
        self._silent = 0.0
        signal.setitimer(signal.ITIMER_PROF, 2 * self._hung)  # twice: where the thread has its turns it comes first
        self._next = self._loop.call_later(TURN_S, self._turn)

    def _watch(self) -> None:
        while not self._off.wait(TURN_S):
            self._silent += TURN_S
            if self._told:
                self._leaving += TURN_S
                if self._leaving > self._leave:
                    self._end(
                        f"told to end {self._leave:.0f} s ago, and something still hangs; what was not committed is left to the next owner"
                    )
            elif self._silent > self._hung:
                self._end(
                    f"the event loop has not had a turn for {self._hung:.0f} s; the supervisor starts the worker again"
                )

    def _end(self, why: str) -> None:
        os.write(sys.stderr.fileno(), f"ERROR {__name__}: {why}. Where every thread stands:\n".encode())
        faulthandler.dump_traceback(all_threads=True)
        os._exit(STATUS)
