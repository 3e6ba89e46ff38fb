"""The broker in memory serves several processes: each with a feed of its own, all of them in a group that shares partitions."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.clock import VirtualClock
from streams.loop import Partition
from streams.memory import MemoryBroker, MemoryFeed, MemoryGroup, Share
from streams.memory.group import Told
from streams.store import Slot
from streams.waiting import Delivery

TOPICS = {"a": 4, "b": 2}
SLOT = Slot("d", "agent", "a", 1)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("vwxyz")), max_size=30))
def test_every_partition_has_one_owner_and_members_have_equal_shares(steps: list[tuple[bool, str]]) -> None:
    group = MemoryGroup(TOPICS)
    told: dict[str, tuple[int, Collection[Share]]] = {}
    members: set[str] = set()

    def tell(name: str) -> Told:
        return lambda generation, shares: told.update({name: (generation, shares)})

    for comes, name in steps:
        if comes:
            members.add(name)
            group.join(name, tell(name))
        else:
            members.discard(name)
            group.leave(name)
        for topic, count in TOPICS.items():
            sizes = [sum(share.topic == topic for share in told[member][1]) for member in members]
            assert sum(sizes) == (count if members else 0)
            assert not sizes or max(sizes) - min(sizes) <= 1
        assert {told[member][0] for member in members} <= {group.generation}


def test_partitions_stay_where_they_are() -> None:
    group = MemoryGroup({"a": 4})
    for name in "xyz":
        group.join(name, lambda *_: None)
    before = dict(group.owners)
    group.leave("y")

    assert [share for share, owner in group.owners.items() if before[share] not in {"y", owner}] == []


def test_a_position_told_from_an_earlier_generation_is_not_kept() -> None:
    group = MemoryGroup({"a": 1})
    group.join("x", lambda *_: None)
    group.hint("x", group.generation, Share("a", 0), 5)
    group.join("y", lambda *_: None)
    group.hint("x", group.generation - 1, Share("a", 0), 3)

    assert group.committed == {Share("a", 0): 5}


async def test_a_process_cannot_seek_on_what_it_was_not_given() -> None:
    feed = MemoryFeed(MemoryBroker(VirtualClock(), {"a": 2}))
    with pytest.raises(OSError, match="not assigned"):
        await feed.seek(SLOT, 0)


async def test_each_process_stands_where_it_sought() -> None:
    broker = MemoryBroker(VirtualClock(), {"a": 2})
    for n in range(3):
        broker.add("a", 1, b"k", b"%d" % n)
    seen: dict[str, list[int]] = {"one": [], "two": []}

    class Taking(Partition):
        def __init__(self, name: str) -> None:
            self.name = name

        def offer(self, delivery: Delivery) -> None:
            seen[self.name] += [record.offset for records, _ in delivery.parts for record in records]

    for name, begin in (("one", 0), ("two", 2)):
        feed = MemoryFeed(broker)
        feed.join(SLOT, Taking(name))
        await feed.seek(SLOT, begin)
        feed.readers[SLOT].flowing = True
    broker.deliver()

    assert seen == {"one": [0, 1, 2], "two": [2]}
