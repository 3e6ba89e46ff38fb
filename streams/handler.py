"""What the loop asks of an agent: the port between `streams.loop` and the kinds of agents."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from streams.envelope import body_hash
from streams.errors import CaravanError
from streams.store import BadData, Claim, Work

DRAIN_S = 5.0  # how long a leaving owner waits for what is under way


class Stop(CaravanError):
    """The partition must not go on; the text says why and how to mend it."""


class Position(NamedTuple):
    """Where a partition stands: the next offset, the last number, the id of the record before."""

    next: int
    number: int
    last_id: str | None = None


class Handler(Protocol):
    """What an agent does with a batch. It may keep things in memory until `forget`."""

    async def begin(self, claim: Claim) -> None:
        """A claim was made. Raises Stop when the store and the log cannot belong together."""
        ...

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Decode, decide and encode a batch; with `careful` look ids up first. Touches nothing outside but to read.

        Without records it does what is due; `careful` then asks for one piece of it.
        """
        ...

    def due(self) -> float | None:
        """Seconds until it wants to be run without records; None when nothing waits for its time."""
        ...

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """The work that parks this one record (None: the due piece prepared last), whose data the store refused."""
        ...

    def asked(self) -> None:
        """An operator's request waits for this partition: it is due."""
        ...

    def committed(self, work: Work) -> None:
        """The work stands; what follows from it may start."""
        ...

    def forget(self) -> None:
        """Drop everything that was read or decided."""
        ...

    async def end(self) -> None:
        """The partition is given up; finish or cancel what runs."""
        ...


def identity(record: Any) -> str:
    """What tells a record from another one at the same offset."""
    return body_hash(record.value or b"")
