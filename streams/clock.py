"""The process clock: the only place where the core reads the time."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

BOUND = timedelta(minutes=5)  # how far an envelope's time may stand off the broker's
_SURELY = BOUND.total_seconds() - 1  # as far as it need not be told exactly


class Clock(Protocol):
    """Tells the time and how far it was moved from the machine's."""

    def now(self) -> datetime:
        """The time, in UTC."""
        ...

    @property
    def offset(self) -> timedelta:
        """How far this clock is ahead of the machine's; zero in production."""
        ...


class SystemClock:
    """The machine's clock."""

    offset = timedelta()

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)


class VirtualClock:
    """A clock that tests and developers move; it runs on from where it was put."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        """Start `offset` ahead of the machine's clock."""
        self.offset = offset

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC) + self.offset

    def advance(self, by: timedelta) -> None:
        """Move on; time never goes back."""
        if by < timedelta():
            raise ValueError("A clock moves forward only.")
        self.offset += by


def bounded(told: datetime, broker_ms: int, clock: Clock) -> datetime:
    """The time an envelope tells, kept within `BOUND` of the time at which the broker took the record."""
    if not clock.offset and abs(told.timestamp() - broker_ms / 1000) < _SURELY:
        return told
    taken = datetime.fromtimestamp(broker_ms / 1000, UTC) + clock.offset
    return min(max(told, taken - BOUND), taken + BOUND)


def unix_ms() -> int:
    """The machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
