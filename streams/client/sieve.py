"""What every subscription does with records before it reads their events: who speaks, what was seen before, what was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from streams.client.asked import Wanted
from streams.client.places import Position
from streams.client.source import Gone
from streams.reading import Place
from streams.records import CORE_EVENTS


class Head(msgspec.Struct):
    """What has to be known of an event to decide what becomes of its record."""

    type: str
    schema_version: int
    domain: str
    aggregate_id: str
    number: int
    command_id: str


class Unread(NamedTuple):
    """A record that is not given as an event: `cause` is a stable code, `error` says it in words."""

    place: Place
    offset: int
    cause: str
    error: str


class Kept(NamedTuple):
    """A record to be read."""

    record: Any
    head: Head


@dataclass
class Sifted:
    """What became of some records of a partition: where the reader stood before them and stands behind them, and the latest time of theirs."""

    before: Position
    position: Position
    time: int
    kept: list[Kept] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    repeats: int = 0


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
        sifted = Sifted(at, at, max(record.timestamp for record in records))
        pairs = self._spoken(records, sifted)
        new = self._new(pairs, at.number, sifted)
        number = new[-1].head.number if new else at.number
        sifted.position = at.after(last.offset, number, last.value)
        sifted.kept = self._asked_for(new)
        return sifted

    def _spoken(self, records: Sequence[Any], sifted: Sifted) -> list[Kept]:
        if self._signed is None:
            try:
                return [Kept(record, decode_head(record.value)) for record in records]
            except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
                pass  # one of them; the slow way tells which
        kept = []
        for record in records:
            if self._signed is not None and not self._signed(record):
                sifted.unread.append(
                    Unread(self._place, record.offset, "unsigned", "No signature by one of the keys given.")
                )
                continue
            try:
                kept.append(Kept(record, decode_head(record.value)))
            except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
                words = f"Not an envelope: {error}"
                sifted.unread.append(Unread(self._place, record.offset, "undecodable", words))
        return kept

    def _new(self, pairs: list[Kept], seen: int, sifted: Sifted) -> list[Kept]:
        """Without what was seen before: numbers have no gaps, so that most often one look is enough."""
        if not pairs:
            return []
        first = pairs[0].head.number
        if first == (seen + 1 if seen else first) and [kept.head.number for kept in pairs] == [
            *range(first, first + len(pairs))
        ]:
            return pairs
        new = []
        for kept in pairs:
            number = kept.head.number
            if number <= seen:
                sifted.repeats += 1
                continue
            if seen and number > seen + 1:
                raise Gone(
                    f"{self._place.topic} {self._place.partition} goes on from number {seen} to {number} at offset {kept.record.offset}: events "
                    "were deleted, or somebody else writes there; with signing_keys= only what the platform signed counts."
                )
            seen = number
            new.append(kept)
        return new

    def _asked_for(self, new: list[Kept]) -> list[Kept]:
        names = self._names
        if self._every:
            unwanted = CORE_EVENTS - names
            return [kept for kept in new if kept.head.type not in unwanted]
        return [kept for kept in new if kept.head.type in names]
