"""What the core needs of a log: the port that Kafka and the in-memory broker fill. Topics are named without namespace."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from streams.errors import CaravanError
from streams.store import Slot

MAX_MESSAGE = 1_048_576  # bytes, `max.message.bytes` of every topic
MAX_GROUP = 900_000  # bytes of one command's events; the rest is room for the overhead of a batch


class NotSent(CaravanError):
    """Kafka did not take the record; it was surely not sent."""


class SendUnknown(CaravanError):
    """Kafka did not answer; the record may have been sent or may be sent yet."""


class Record(Protocol):
    """A record as it was read; `timestamp` is the broker's, Unix milliseconds."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Entry(NamedTuple):
    """A record to append."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Log(Protocol):
    """Reads single records and appends; may be shared by every partition of a process."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset that is there, and the one that the next record will get. Raises OSError while it is away."""
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has, 0 when there is none. Raises OSError while it is away."""
        ...

    async def read(self, topic: str, partition: int, offset: int) -> Any | None:
        """The Record at this offset, None when there is none. Raises OSError while it is away."""
        ...

    async def read_on(self, topic: str, partition: int, offset: int) -> Sequence[Any]:
        """Some of the Records from this offset on, in order; none where the topic ends or did not begin yet. Raises OSError while it is away."""
        ...

    async def append(self, topic: str, partition: int, groups: Sequence[Sequence[Entry]]) -> None:
        """Append in order; a group never comes apart. Returns once acknowledged; raises OSError when part may be missing."""
        ...

    async def publish(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> tuple[int, int]:
        """Append one record by its key, signed by the caller; (partition, offset). Raises NotSent or SendUnknown."""
        ...


class Feed(Protocol):
    """The consuming side: where the partitions of an app stand."""

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on; deliveries fetched after it carry the number that is returned. Raises OSError."""
        ...

    def pause(self, slot: Slot) -> None:
        """Deliver nothing of this partition until `resume`."""
        ...

    def resume(self, slot: Slot) -> None:
        """Deliver again."""
        ...

    async def holds(self, slot: Slot) -> bool | None:
        """Whether the group says, asked now, that this partition is worked here; None when nobody answers in time."""
        ...

    async def hint(self, slot: Slot, offset: int) -> None:
        """Tell the group where we stand, for tools that show lag; a failure is only logged."""
        ...
