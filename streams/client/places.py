"""Where a reader stands in topics, and up to where it is to read: texts of JSON that can be kept anywhere."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self
from zlib import crc32

from streams.errors import CaravanError
from streams.reading import Place

VERSION = 1


class Position(NamedTuple):
    """Behind a record of a partition: the next offset, the last number that was seen (0: none yet), and a checksum of the record before."""

    offset: int
    number: int = 0
    checksum: int | None = None

    def after(self, offset: int, number: int, value: bytes | None) -> "Position":
        """Where a reader stands that was given this record."""
        return Position(offset + 1, max(self.number, number), crc32(value or b""))


class Cursor(dict[Place, Position]):
    """Positions by place. `str()` gives the text, `Cursor.parse` takes it back."""

    def __str__(self) -> str:
        """The text that can be kept."""
        topics: dict[str, dict[str, list[int | None]]] = {}
        for (topic, partition), position in sorted(self.items()):
            topics.setdefault(topic, {})[str(partition)] = [*position]
        return json.dumps({"cursor": VERSION, "at": topics}, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises CaravanError for what `str` of a cursor did not write."""
        try:
            told = json.loads(text)
            if told["cursor"] != VERSION:
                raise CaravanError(f"A cursor of version {told['cursor']}; this code reads version {VERSION}.")
            return cls(
                (Place(topic, int(partition)), Position(*position))
                for topic, partitions in told["at"].items()
                for partition, position in partitions.items()
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CaravanError(f"This is no cursor: {text[:80]}") from error


class Cut(dict[Place, int]):
    """Up to where to read each partition of some topics: the offset of the first record that is outside.

    `str()` gives a text that can be kept, `Cut.parse` takes it back. It may also be given as `since=`: what comes after it.
    """

    def __str__(self) -> str:
        """The text that can be kept."""
        topics: dict[str, dict[str, int]] = {}
        for (topic, partition), end in sorted(self.items()):
            topics.setdefault(topic, {})[str(partition)] = end
        return json.dumps({"cut": VERSION, "ends": topics}, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises CaravanError for what `str` of a cut did not write."""
        try:
            told = json.loads(text)
            if told["cut"] != VERSION:
                raise CaravanError(f"A cut of version {told['cut']}; this code reads version {VERSION}.")
            return cls(of_offsets(told["ends"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CaravanError(f"This is no cut: {text[:80]}") from error


Offsets = Mapping[str, Mapping[int, int]]
"""Offsets by partition, by topic: `{"points.events": {0: 120, 1: 98}}`."""


def of_offsets(offsets: Mapping[str, Mapping[int, int]] | Mapping[str, Mapping[str, int]]) -> dict[Place, int]:
    """The same by place."""
    return {Place(topic, int(p)): int(at) for topic, told in offsets.items() for p, at in told.items()}


def topics_of(places: Iterable[Place]) -> list[str]:
    """The topics that these are partitions of."""
    return sorted({place.topic for place in places})
