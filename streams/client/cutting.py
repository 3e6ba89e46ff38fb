"""Consistent cuts: ends of several topics such that no event is inside whose cause is outside.

Ends are read one topic after the other while records are written, so that an effect may be inside and its cause outside. Three facts mend it:
a policy writes an effect after it read the cause, so the ends that are read after an event was there are behind all its causes; an event
that was there before a first look has its causes before a second one; and an effect has the correlation id of its cause and more hops.
So only events between two looks are in question, and ends move on, as far as needed, until every one of them has its causes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streams.client.asked import Asked, broker, wanted
from streams.client.places import Cut
from streams.reading import Place, Reader
from streams.settings import Settings


class Link(msgspec.Struct):
    """What ties events of a chain together."""

    correlation_id: str
    command_id: str
    hops: int = 0


_decode = msgspec.json.Decoder(Link).decode
Links = list[tuple[int, Link]]
"""Offsets, and what stands there."""


async def cut(*asked: Asked, kafka: str | None = None, namespace: str | None = None) -> Cut:
    """Ends of these topics, a prefix of each partition, that hold the causes in these topics of all the events that they hold.

    The events of one command are inside together. To be given as `until=`, and kept as text. Raises CaravanError while Kafka is away.
    """
    return await _cut(broker(kafka, namespace, ()), list(wanted(asked)))


async def _cut(settings: Settings, topics: list[str]) -> Cut:
    async with Reader(settings, wait_ms=20) as reader:
        places = await reader.places(topics)
        settled = await reader.ends(places)
        ends = await reader.ends(places)
        cut, known = dict(ends), dict(settled)
        links: dict[Place, Links] = {place: [] for place in places}
        while True:
            later = await reader.ends(places)
            for place in places:
                if known[place] < later[place]:
                    links[place] += [link async for link in _links(reader, place, known[place], later[place])]
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
    """Behind the last cause of what is inside, and behind the other events of its command."""
    last: str | None = None
    for offset, link in links:
        if link.hops < hops.get(link.correlation_id, 0):
            last, end = link.command_id, max(end, offset + 1)
        elif link.command_id == last and offset == end:
            end = offset + 1
    return end


async def _links(reader: Reader, place: Place, start: int, end: int) -> Any:
    async for records in reader.batches(place, start, end):
        for found in linked(records):
            yield found


def linked(records: Iterable[Any]) -> Links:
    """What ties these records; those that are no events tie nothing."""
    found = []
    for record in records:
        try:
            found.append((record.offset, _decode(record.value)))
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            continue
    return found
