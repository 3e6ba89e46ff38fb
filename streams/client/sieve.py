"""What every subscription does with records before it reads their events: who speaks, what was seen before, what was asked for."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from streams.client.asked import Wanted
from streams.client.places import Position
from streams.client.source import Gone
from streams.reading import Place
from streams.records import CORE_EVENTS


class Head(msgspec.Struct, gc=False):
    """What has to be known of an event to decide what becomes of its record."""

    type: str
    schema_version: int
    domain: str
    number: int


class Unread(NamedTuple):
    """A record that is not given as an event: `cause` is a stable code, `error` says it in words."""

    place: Place
    offset: int
    cause: str
    error: str


class Kept(NamedTuple):
    """Records to be read, and their heads: two lists, for a pair of each would cost as much as reading it."""

    records: list[Any]
    heads: list[Head]


@dataclass
class Sifted:
    """What became of some records of a partition: where the reader stood before them and stands behind them, and the latest time of theirs."""

    before: Position
    position: Position
    time: int
    kept: Kept = field(default_factory=lambda: Kept([], []))
    unread: list[Unread] = field(default_factory=list)
    repeats: int = 0


_STRANGE = (msgspec.MsgspecError, UnicodeDecodeError, TypeError)  # TypeError: a record without a value
decode_head = msgspec.json.Decoder(Head).decode


class Sieve:
    """Sifts the records of one partition in their order; the state is the position that it is given and gives back."""

    def __init__(self, place: Place, wanted: Wanted, signed: Callable[[Any], bool] | None, *, core: bool) -> None:
        """`signed` tells whether the platform signed a record; None takes its word for it. `core` keeps `command_accepted` and `command_rejected`."""
        self._place, self._signed = place, signed
        self._every = wanted.every
        self._names = frozenset(wanted.kinds) | (CORE_EVENTS if core else frozenset())

    def sift(self, records: Sequence[Any], at: Position) -> Sifted:
        """Raises Gone where numbers are missing between two events."""
        last = records[-1]
        sifted = Sifted(at, at, max([record.timestamp for record in records]))
        new = self._new(self._spoken(records, sifted), at.number, sifted)
        number = new.heads[-1].number if new.heads else at.number
        sifted.position = at.after(last.offset, number, last.value)
        sifted.kept = self._asked_for(new)
        return sifted

    def _spoken(self, records: Sequence[Any], sifted: Sifted) -> Kept:
        if self._signed is None:
            try:
                return Kept([*records], [decode_head(record.value) for record in records])
            except _STRANGE:
                pass  # one of them; the slow way tells which
        kept = Kept([], [])
        for record in records:
            if self._signed is not None and not self._signed(record):
                words = "No signature by one of the keys given."
                sifted.unread.append(Unread(self._place, record.offset, "unsigned", words))
                continue
            try:
                kept.heads.append(decode_head(record.value))
                kept.records.append(record)
            except _STRANGE as error:
                words = f"Not an envelope: {error}"
                sifted.unread.append(Unread(self._place, record.offset, "undecodable", words))
        return kept

    def _new(self, kept: Kept, seen: int, sifted: Sifted) -> Kept:
        """Without what was seen before: numbers have no gaps, so that most often one look is enough."""
        if not kept.heads:
            return kept
        numbers = [head.number for head in kept.heads]
        first = seen + 1 if seen else numbers[0]
        if numbers == [*range(first, first + len(numbers))]:
            return kept
        new = Kept([], [])
        for record, head in zip(*kept, strict=True):
            if head.number <= seen:
                sifted.repeats += 1
                continue
            if seen and head.number > seen + 1:
                raise Gone(
                    f"{self._place.topic} {self._place.partition} goes on from number {seen} to {head.number} at offset {record.offset}: events "
                    "were deleted, or somebody else writes there; with signing_keys= only what the platform signed counts."
                )
            seen = head.number
            new.records.append(record)
            new.heads.append(head)
        return new

    def _asked_for(self, new: Kept) -> Kept:
        there = {head.type for head in new.heads}
        wanted = there - (CORE_EVENTS - self._names) if self._every else there & self._names
        return new if wanted == there else chosen(new, wanted)


def chosen(kept: Kept, types: Collection[str]) -> Kept:
    """Those of some types."""
    at = [n for n, head in enumerate(kept.heads) if head.type in types]
    return Kept([kept.records[n] for n in at], [kept.heads[n] for n in at])
