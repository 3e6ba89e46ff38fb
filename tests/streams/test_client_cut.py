"""Consistent cuts: whoever is inside has its causes inside, whatever is written while the cut is taken."""

import json
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from streams.client import Cut, cut, subscribe
from streams.client.cutting import consistent
from streams.errors import CaravanError
from streams.reading import Place
from streams.settings import Settings
from tests.streams.published import BIKES, SHOPS, Published, Rented, Stocked, publishing

PLACES = [Place(topic, partition) for topic in ("a", "b", "c") for partition in range(2)]


@dataclass
class Written:
    """An event of the simulated log; its command wrote `size` of them together, of which this is one."""

    place: Place
    offset: int
    cause: "Written | None"
    chain: int
    hops: int
    command: str


@dataclass
class World:
    """Partitions that somebody writes to between any two looks; policies write what events before it caused, at once or much later."""

    data: st.DataObject
    steps: int
    events: list[Written] = field(default_factory=list)
    logs: dict[Place, list[Written]] = field(default_factory=lambda: {place: [] for place in PLACES})

    def work(self) -> None:
        """Some commands are decided."""
        for _ in range(self.data.draw(st.integers(0, 3))):
            if self.steps:
                self.steps -= 1
                self._command()

    def _command(self) -> None:
        place, size = self.data.draw(st.sampled_from(PLACES)), self.data.draw(st.integers(1, 2))
        events = self.events
        cause = self.data.draw(st.sampled_from([None, *events[-4:]]))
        chain = cause.chain if cause else len(events)
        hops, command = (cause.hops + 1 if cause else 0), f"{len(events)}"
        for _ in range(size):
            self.logs[place].append(Written(place, len(self.logs[place]), cause, chain, hops, command))
            events.append(self.logs[place][-1])

    async def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """One partition after the other."""
        found = {}
        for place in self.data.draw(st.permutations(list(places))):
            self.work()
            found[place] = len(self.logs[place])
        return found

    async def batches(self, place: Place, start: int, end: int) -> AsyncIterator[list[Any]]:
        """The records, while others are written."""
        self.work()
        yield [SimpleNamespace(offset=event.offset, value=_value(event)) for event in self.logs[place][start:end]]


def _value(event: Written) -> bytes:
    return json.dumps({"correlation_id": f"{event.chain}", "hops": event.hops}).encode()


@given(st.data())
async def test_no_cause_is_missing(data: st.DataObject) -> None:
    """Every event inside has the event that caused it inside, and all events of its command."""
    world = World(data, steps=40)
    world.work()

    ends = await consistent(world, PLACES)

    commands: dict[str, set[bool]] = {}
    for place, log in world.logs.items():
        for event in log:
            inside = event.offset < ends[place]
            commands.setdefault(event.command, set()).add(inside)
            if inside and event.cause is not None:
                assert event.cause.offset < ends[event.cause.place]
    assert all(len(sides) == 1 for sides in commands.values())


class Told:
    """A reader to whom a story is told: what each look at the ends finds."""

    def __init__(self, logs: dict[Place, list[tuple[str, int]]], looks: list[list[int]]) -> None:
        self._logs, self._looks = logs, looks

    async def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """The next look; the last one again and again."""
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        return dict(zip(places, look, strict=True))

    async def batches(self, place: Place, start: int, end: int) -> AsyncIterator[list[Any]]:
        """Chain and hops of each event."""
        told = [json.dumps({"correlation_id": chain, "hops": hops}).encode() for chain, hops in self._logs[place]]
        yield [SimpleNamespace(offset=n, value=told[n]) for n in range(start, end)]


async def test_what_comes_in_with_a_cause_has_its_own_causes() -> None:
    """Behind the cause of one chain another chain's effect stands, whose cause was written after the ends were read."""
    a, b, c = PLACES[:3]
    logs = {a: [("first", 2)], b: [("second", 1), ("first", 1)], c: [("second", 0)]}

    ends = await consistent(Told(logs, [[0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 2, 1]]), [a, b, c])

    assert ends == {a: 1, b: 2, c: 1}


@pytest_asyncio.fixture
async def bikes(settings: Settings) -> AsyncIterator[Published]:
    async with publishing(settings) as published:
        yield published


async def test_a_subscription_ends_at_a_cut_and_another_begins_there(bikes: Published) -> None:
    """Kept as a text; together they give every event once."""
    for n in range(5):
        chain = uuid4()
        await bikes.command(Rented(bike_id=f"b{n}", cents=n), chain=chain)
        await bikes.command(Stocked(shop_id=f"s{n}", bikes=n), chain=chain, hops=1)
    kept = str(await cut(BIKES, Stocked, **bikes.options()))
    for n in range(5, 8):
        await bikes.command(Rented(bike_id=f"b{n}", cents=n))

    before = subscribe(Rented, SHOPS, **bikes.options(until=Cut.parse(kept)))
    keys = [received.key async for received in before]
    after = [received.key async for received in subscribe(Rented, SHOPS, **bikes.options(since=kept))]
    rest = [received.key async for received in subscribe(Rented, SHOPS, **bikes.options(since=before.cursor))]

    assert sorted(keys) == [f"{kind}{n}" for kind in "bs" for n in range(5)]
    assert sorted(after) == sorted(rest) == ["b5", "b6", "b7"]
    assert str(before.end) == kept


async def test_a_cut_of_other_topics_is_no_end(bikes: Published) -> None:
    """It would read nothing, or for ever."""
    ends = await cut(BIKES, **bikes.options())
    with pytest.raises(CaravanError, match=r"says nothing about shops.events"):
        _ = [received async for received in subscribe(Stocked, **bikes.options(until=ends))]
