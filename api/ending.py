"""Hearing that the process is told to end, while it still serves."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def told(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` in the running loop at a signal to end, and then whoever hears the signal already.

    A server waits for open answers before it tells its application that it ends; streams have to hear it earlier.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread only; whoever runs us here ends us by cancelling
        return
    loop = asyncio.get_running_loop()
    before = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(end)
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is heard:
                signal.signal(number, handler)
