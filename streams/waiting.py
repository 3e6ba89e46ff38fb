"""Deliveries that wait for a partition's task, which takes from them as much as makes a good batch."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

RECORDS = 12_500  # that a batch has before no more of what waits is put to it
BYTES = 16 << 20  # likewise
DELIVERIES = 2  # that wait when no more are wanted,
PACKED = 64 << 10  # if they have so many bytes as they came: a few records keep nobody waiting

Part = tuple[Sequence[Any], int]
"""Records that follow on each other, at least one, and their bytes."""


@dataclass(frozen=True)
class Delivery:
    """Records as the transport hands them over: `parts` unpacks them, `last` is their last offset; `generation` counts the seeks of their partition.

    `size` are their bytes as they came, where somebody knows them; else they are many.
    """

    parts: Iterable[Part]
    last: int
    generation: int
    size: int = PACKED

    @classmethod
    def of(cls, records: Sequence[Any], generation: int) -> "Delivery":
        """Of records that are unpacked."""
        return cls([(records, sum(len(record.value or b"") for record in records))], records[-1].offset, generation)


@dataclass
class _Opened:
    parts: Iterator[Part]
    generation: int
    size: int


class Waiting:
    """Deliveries in the order in which they came."""

    def __init__(self) -> None:
        """None yet."""
        self._deliveries: deque[_Opened] = deque()

    def __len__(self) -> int:
        """How many deliveries have records that were not taken."""
        return len(self._deliveries)

    @property
    def full(self) -> bool:
        """Whether enough waits for a good batch after the one that is taken next."""
        return len(self) >= DELIVERIES and sum(delivery.size for delivery in self._deliveries) >= PACKED

    def put(self, delivery: Delivery) -> None:
        """One more."""
        self._deliveries.append(_Opened(iter(delivery.parts), delivery.generation, delivery.size))

    def clear(self) -> None:
        """Throw them away."""
        self._deliveries.clear()

    def take(self) -> tuple[Sequence[Any], int]:
        """The records of one batch and their generation: a few when few wait, many when many do; none when the delivery had none.

        Those of one generation that follow on each other are put together. Raises what unpacking raises.
        """
        generation = self._deliveries[0].generation
        taken: list[Any] = []
        size = 0
        while self._deliveries and self._deliveries[0].generation == generation:
            delivery = self._deliveries[0]
            if (part := next(delivery.parts, None)) is None:
                self._deliveries.popleft()
                continue
            records, of_them = part
            if taken and (
                records[0].offset != taken[-1].offset + 1
                or len(taken) + len(records) > RECORDS
                or size + of_them > BYTES
            ):
                delivery.parts = chain([part], delivery.parts)
                break
            taken += records
            size += of_them
        return taken, generation
