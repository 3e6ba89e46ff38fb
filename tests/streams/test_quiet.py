"""A log that can be read while something is away for long."""

import logging

import pytest

from streams import quiet
from streams.quiet import EVERY_S, REMEMBERED, Throttle


class Clock:
    """Stands where it is put."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def line(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("library", logging.ERROR, __file__, 1, text, args, None)


def test_the_same_words_are_written_once_in_a_while_with_their_number() -> None:
    clock = Clock()
    throttle = Throttle(clock)

    assert throttle.filter(line("node %s is away", 1))
    assert not any(throttle.filter(line("node %s is away", 1)) for _ in range(100))
    assert throttle.filter(line("node %s is away", 2))
    clock.now = EVERY_S
    again = line("node %s is away", 1)
    assert throttle.filter(again)
    assert again.getMessage() == "node 1 is away (and 100 times more)"
    clock.now = 3 * EVERY_S
    later = line("node %s is away", 1)
    assert throttle.filter(later)
    assert later.getMessage() == "node 1 is away"


def test_it_does_not_grow_with_what_is_said() -> None:
    throttle = Throttle(Clock())

    assert all(throttle.filter(line("%d", n)) for n in range(3 * REMEMBERED))
    assert len(throttle._written) <= REMEMBERED


def test_a_package_is_calmed_once_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    library, other = logging.getLogger("noisy.client"), logging.getLogger("noisyless")
    quiet.calm("noisy")
    quiet.calm("noisy")
    for logger in (library, other):
        for _ in range(3):
            logger.warning("away")

    assert len(library.filters) == 1
    assert [record.name for record in caplog.records] == ["noisy.client", *["noisyless"] * 3]
