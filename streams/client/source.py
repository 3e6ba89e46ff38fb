"""The records of some topics from positions on, checked to be those that the positions were taken from."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from datetime import datetime
from typing import Any
from zlib import crc32

import msgspec

from streams.client.asked import LIVE, NOW, Since, Until, begin, end, milliseconds
from streams.client.places import Cursor, Cut, Position
from streams.errors import CaravanError
from streams.reading import Place, Reader


class Gone(CaravanError):
    """Records are missing that were there, or are to be there."""


Fetched = dict[Place, list[Any]]
Hungry = Callable[[set[Place]], set[Place]]


class Source:
    """Reads the topics by `reader`, which is connected."""

    def __init__(self, reader: Reader, topics: Collection[str]) -> None:
        """Reads nothing yet."""
        self._reader, self._topics = reader, topics
        self.places: list[Place] = []
        self.starts = Cursor()
        self.ends: dict[Place, int] | None = None
        self.highs: dict[Place, int] = {}

    async def open(self, since: Since, until: Until) -> None:
        """Find where it begins and ends. Raises CaravanError, Gone where the topics are not those of the cursor."""
        self.places = await self._reader.places(self._topics)
        bounds = await self._reader.bounds(self.places)
        self.starts = await self._starts(begin(since), bounds)
        told = end(until)
        self.ends = None if told == LIVE else await self._ends(told, bounds)
        self.highs = self.ends or {place: high for place, (_, high) in bounds.items()}
        for place, position in self.starts.items():
            low, high = bounds[place]
            if not low <= position.offset <= high:
                raise Gone(
                    f"{place.topic} {place.partition} is to be read from offset {position.offset} on, and the topic has {low} to {high}: "
                    "records were deleted, or it is another topic than the one that the cursor was taken from. Begin anew with since='earliest'."
                )

    async def fetched(self, hungry: Hungry | None = None) -> AsyncGenerator[tuple[Fetched, set[Place]]]:
        """Whole record batches of each partition, with the partitions of which more was there before the end; nothing now and then.

        Of one that is live these are those that have not come to what was there at the beginning. `hungry` chooses of which of them to read on.
        """
        begun = {place: self._from(position) for place, position in self.starts.items()}
        self._reader.begin(begun)
        unchecked = {place: at for place, at in self.starts.items() if begun[place] < at.offset}
        behind = {place for place in self.places if begun[place] < self.highs[place]}
        while behind or self.ends is None:
            found = {}
            asked = hungry(behind) if hungry and behind else behind
            for place, got in (await self._reader.fetch(asked)).items():
                records = _same(place, unchecked.pop(place), got) if place in unchecked else got
                if records := records if self.ends is None else _below(records, self.ends[place]):
                    found[place] = records
            behind = {place for place in behind if await self._reader.position(place) < self.highs[place]}
            yield found, behind

    @staticmethod
    def _from(position: Position) -> int:
        """Where to begin: at the record before, where there is a word about it."""
        return position.offset if position.checksum is None else position.offset - 1

    async def _starts(
        self, since: datetime | Mapping[Place, int] | Cursor | str, bounds: Mapping[Place, tuple[int, int]]
    ) -> Cursor:
        if isinstance(since, str):
            edge = 1 if since == NOW else 0
            return Cursor((place, Position(told[edge])) for place, told in bounds.items())
        if isinstance(since, datetime):
            found = await self._reader.since(self.places, milliseconds(since))
            return Cursor(
                [(place, Position(await self._whole(place, at, bounds[place]))) for place, at in found.items()]
            )
        known = {place: at if isinstance(at, Position) else Position(at) for place, at in since.items()}
        at = Cursor()
        for place, (low, _) in bounds.items():
            at[place] = known.get(place, Position(low))
            if at[place].checksum is not None and at[place].offset == low:
                at[place] = at[place]._replace(checksum=None)  # the record before was deleted in time
        return at

    async def _whole(self, place: Place, offset: int, bounds: tuple[int, int]) -> int:
        """The first offset of the command whose events stand there; the broker's time may change among them."""
        low, high = bounds
        if not low < offset < high:
            return offset
        here = command_of(await self._reader.read(place, offset))
        while offset > low and here is not None and command_of(await self._reader.read(place, offset - 1)) == here:
            offset -= 1
        return offset

    async def _ends(
        self, until: datetime | Mapping[Place, int] | str, bounds: Mapping[Place, tuple[int, int]]
    ) -> dict[Place, int]:
        if isinstance(until, str):
            return {place: high for place, (_, high) in bounds.items()}
        if isinstance(until, datetime):
            found = await self._reader.since(self.places, milliseconds(until))
            return {place: await self._whole(place, at, bounds[place]) for place, at in found.items()}
        if missing := [place for place in self.places if place not in until]:
            raise CaravanError(
                f"The end given for reading says nothing about {missing[0].topic} {missing[0].partition}."
            )
        for place in self.places:
            if until[place] > bounds[place][1]:
                raise Gone(
                    f"{place.topic} {place.partition} ends at {bounds[place][1]}, before the end given, {until[place]}."
                )
        return {place: until[place] for place in self.places}

    def cut(self) -> Cut:
        """Where reading ends, of one that is not live."""
        return Cut(self.ends or {})


class _Command(msgspec.Struct):
    command_id: str


_decode = msgspec.json.Decoder(_Command).decode


def command_of(record: Any) -> str | None:
    """The command that left an event."""
    try:
        return _decode(record.value).command_id
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, AttributeError):
        return None


def _same(place: Place, at: Position, records: list[Any]) -> list[Any]:
    first = records[0]
    if first.offset != at.offset - 1 or crc32(first.value or b"") != at.checksum:
        raise Gone(
            f"{place.topic} {place.partition} has another record at offset {at.offset - 1} than when the cursor was taken: "
            "it is another topic of the same name. Begin anew with since='earliest'."
        )
    return records[1:]


def _below(records: list[Any], end: int) -> list[Any]:
    if records and records[-1].offset < end:
        return records
    return [record for record in records if record.offset < end]
