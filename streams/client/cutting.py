"""Consistent cuts: ends of several topics such that no event is inside whose cause is outside.

Ends are read one topic after the other while records are written, so that an effect may be inside and its cause outside. Three facts mend it:
a policy writes an effect after it read the cause, so the ends that are read after an event was there are behind all its causes; an event
that was there before a first look has its causes before a second one; and an effect has the correlation id of its cause and more hops.
So only events between two looks are in question, and ends move on, as far as needed, until every one of them has its causes.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from streams.client.asked import Asked, broker, wanted
from streams.client.places import Cut
from streams.reading import Place, Reader


class Link(msgspec.Struct):
    """What ties events of a chain together."""

    correlation_id: str
    hops: int = 0


class Ends(Protocol):
    """What is asked of a reader."""

    async def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """The offset that the next record of each will get."""
        ...

    def batches(self, place: Place, start: int, end: int) -> AsyncIterator[list[Any]]:
        """The records of a partition from an offset up to another."""
        ...


_decode = msgspec.json.Decoder(Link).decode
Links = list[tuple[int, Link]]
"""Offsets, and what stands there."""


async def cut(*asked: Asked, kafka: str | None = None, namespace: str | None = None) -> Cut:
    """Ends of these topics, a prefix of each partition, that hold the causes in these topics of all the events that they hold.

    The events of one command are inside together. To be given as `until=`, and kept as text. Raises CaravanError while Kafka is away.
    """
    async with Reader(broker(kafka, namespace, ()), wait_ms=20) as reader:
        return await consistent(reader, await reader.places(list(wanted(asked))))


async def consistent(reader: Ends, places: Collection[Place]) -> Cut:
    """A cut of these partitions."""
    known = await reader.ends(places)  # whoever stands before these has its causes before the next ones
    cut = await reader.ends(places)
    links: dict[Place, Links] = {place: [] for place in places}
    while True:
        later = await reader.ends(places)  # and whoever stands before the cut has its causes before these
        for place in places:
            if known[place] < later[place]:
                async for records in reader.batches(place, known[place], later[place]):
                    links[place] += linked(records)
        known = later
        if (moved := closed(cut, links)) == cut:
            return Cut(cut)
        cut = moved


def closed(cut: Mapping[Place, int], links: Mapping[Place, Links]) -> dict[Place, int]:
    """The ends, moved on until no event of `links` that is inside has one outside with its correlation and fewer hops.

    Such are its causes, and perhaps more. `links` are all the events from where nothing is in question any more, as far as is known.
    """
    moved = dict(cut)
    while True:
        hops = _deepest(moved, links)
        further = {place: _end(at, links[place], hops) for place, at in moved.items()}
        if further == moved:
            return moved
        moved = further


def _deepest(cut: Mapping[Place, int], links: Mapping[Place, Links]) -> dict[str, int]:
    """Of each correlation the most hops of an event inside."""
    found: dict[str, int] = {}
    for place, end in cut.items():
        for offset, link in links[place]:
            if offset < end:
                found[link.correlation_id] = max(link.hops, found.get(link.correlation_id, 0))
    return found


def _end(end: int, links: Links, hops: Mapping[str, int]) -> int:
    """Behind the last cause of what is inside; the other events of its command have the same correlation and hops."""
    behind = [offset + 1 for offset, link in links if link.hops < hops.get(link.correlation_id, 0)]
    return max(end, *behind) if behind else end


def linked(records: Iterable[Any]) -> Links:
    """What ties these records; those that are no events tie nothing."""
    found = []
    for record in records:
        try:
            found.append((record.offset, _decode(record.value)))
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            continue
    return found
