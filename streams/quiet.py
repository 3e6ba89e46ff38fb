"""What a library logs again and again is written once in a while, with the number of times."""

import logging
import time
from collections.abc import Callable

EVERY_S = 10.0  # between two lines of the same words
REMEMBERED = 1000  # lines of other words, of which it is known when they were written


class Throttle(logging.Filter):
    """Lets a line through when the same was not written lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was written yet."""
        super().__init__()
        self._clock = clock
        self._written: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it."""
        text, now = record.getMessage(), self._clock()
        if now - self._written.get(text, -EVERY_S) < EVERY_S:
            self._left_out[text] = self._left_out.get(text, 0) + 1
            return False
        if len(self._written) >= REMEMBERED:
            self._written.clear()
            self._left_out.clear()
        self._written[text] = now
        if more := self._left_out.pop(text, 0):
            record.msg, record.args = f"{text} (and {more} times more)", ()
        return True


_THROTTLE = Throttle()


def calm(package: str) -> None:
    """Throttle the loggers that the modules of this package have now; calling it again changes nothing."""
    for name in list(logging.root.manager.loggerDict):
        if name == package or name.startswith(package + "."):
            logging.getLogger(name).addFilter(_THROTTLE)
