"""How the partitions of a group are shared, and that they stay where they are."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations, product
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from streams.assignor import Member, Sharing, share

COMMANDS, EVENTS, FOREIGN = "points.commands", "points.events", "orders.events"
TOPICS = (COMMANDS, EVENTS, FOREIGN)
Shares = Mapping[str, Mapping[str, list[int]]]

names = st.sampled_from(["a", "b", "c", "d", "e"])
counts = st.fixed_dictionaries({COMMANDS: st.integers(0, 8)}, optional={FOREIGN: st.integers(0, 11)}).map(
    lambda found: {**found, EVENTS: found[COMMANDS]}
)
places = st.tuples(st.sampled_from([*TOPICS, "gone.events"]), st.integers(0, 12))
histories = st.dictionaries(names, st.tuples(st.frozensets(places), st.integers(-1, 3)), min_size=1)


def group(given: Mapping[str, tuple[frozenset[tuple[str, int]], int]]) -> dict[str, Member]:
    """Members that read everything, and what they say of the time before."""
    return {name: Member(frozenset(TOPICS), held, since) for name, (held, since) in given.items()}


def fresh(*members: str) -> dict[str, Member]:
    """Members that hold nothing."""
    return group(dict.fromkeys(members, (frozenset[tuple[str, int]](), -1)))


def settled(shares: Shares, since: int = 0) -> dict[str, Member]:
    """The members as they join again after this assignment."""
    return group({name: (places_of(shares, name), since) for name in shares})


def places_of(shares: Shares, name: str) -> frozenset[tuple[str, int]]:
    """Topic and partition of everything that a member got."""
    return frozenset((topic, number) for topic, numbers in shares[name].items() for number in numbers)


def moved(before: Shares, after: Shares) -> Counter[str]:
    """Topic -> partitions that went from a member that is still there to another."""
    lost = {place for name in before if name in after for place in places_of(before, name) - places_of(after, name)}
    return Counter(topic for topic, _ in lost)


def numbers_of(shares: Shares, topic: str) -> dict[str, list[int]]:
    return {name: topics.get(topic, []) for name, topics in shares.items()}


@given(counts, histories)
def test_everything_is_given_once_in_even_shares_of_every_topic(
    counts: dict[str, int], history: dict[str, tuple[frozenset[tuple[str, int]], int]]
) -> None:
    shares = share(counts, group(history))

    for topic, count in counts.items():
        found = numbers_of(shares, topic)
        assert sorted(number for numbers in found.values() for number in numbers) == list(range(count))
        assert max(map(len, found.values())) - min(map(len, found.values())) <= 1


@given(counts, histories)
def test_a_number_of_all_topics_goes_to_one_member(
    counts: dict[str, int], history: dict[str, tuple[frozenset[tuple[str, int]], int]]
) -> None:
    owners: dict[int, set[str]] = {}
    for name, topics in share(counts, group(history)).items():
        for numbers in topics.values():
            for number in numbers:
                owners.setdefault(number, set()).add(name)

    assert all(len(found) == 1 for found in owners.values())


@given(counts, histories)
def test_nothing_moves_when_all_are_still_there(
    counts: dict[str, int], history: dict[str, tuple[frozenset[tuple[str, int]], int]]
) -> None:
    shares = share(counts, group(history))

    assert share(counts, settled(shares)) == shares


@given(counts, histories, names)
def test_who_begins_anew_takes_nothing_from_others(
    counts: dict[str, int], history: dict[str, tuple[frozenset[tuple[str, int]], int]], name: str
) -> None:
    """A worker that ended and comes again under another name: nobody else loses anything."""
    before = share(counts, group({**history, name: (frozenset(), -1)}))
    again = settled({one: topics for one, topics in before.items() if one != name}) | fresh("z")
    after = share(counts, again)

    assert moved(before, after).total() == 0


@given(counts, histories, names)
def test_what_a_member_leaves_is_all_that_moves(
    counts: dict[str, int], history: dict[str, tuple[frozenset[tuple[str, int]], int]], name: str
) -> None:
    before = share({COMMANDS: counts[COMMANDS]}, group({**history, name: (frozenset(), -1)}))
    rest = {one: topics for one, topics in before.items() if one != name} or {"z": {}}
    after = share({COMMANDS: counts[COMMANDS]}, settled(rest))

    assert moved(before, after).total() == 0


@given(st.integers(0, 5), st.dictionaries(names, st.frozensets(st.integers(0, 4)), min_size=1, max_size=3))
def test_as_many_stay_as_any_even_assignment_lets_stay(count: int, held: dict[str, frozenset[int]]) -> None:
    taken: set[int] = set()
    for name in sorted(held):
        held[name] -= taken
        taken |= held[name]
    shares = share({COMMANDS: count}, group({name: (on_commands(numbers), 0) for name, numbers in held.items()}))
    stayed = sum(len(held[name] & set(numbers)) for name, numbers in numbers_of(shares, COMMANDS).items())

    assert stayed == max(
        sum(number in held[name] for number, name in enumerate(owners)) for owners in even(count, list(held))
    )


def even(count: int, members: list[str]) -> set[tuple[str, ...]]:
    """Every way to give so many numbers to these members evenly."""
    least, over = divmod(count, len(members))
    return {
        owners
        for owners in product(members, repeat=count)
        if sorted(Counter(owners)[name] for name in members) == [least] * (len(members) - over) + [least + 1] * over
    }


def on_commands(numbers: frozenset[int]) -> frozenset[tuple[str, int]]:
    return frozenset((COMMANDS, number) for number in numbers)


def test_the_order_of_the_members_says_nothing() -> None:
    members = group(
        {"a": (on_commands(frozenset({1, 2})), 1), "b": (on_commands(frozenset({2})), 1), "c": (frozenset(), 0)}
    )
    found = [share({COMMANDS: 4, EVENTS: 4}, dict(order)) for order in permutations(members.items())]

    assert all(shares == found[0] for shares in found)


def test_two_workers_each_get_commands_and_events() -> None:
    assert share({COMMANDS: 4, EVENTS: 4, FOREIGN: 6}, fresh("a", "b")) == {
        "a": {COMMANDS: [0, 1], EVENTS: [0, 1], FOREIGN: [0, 1, 4]},
        "b": {COMMANDS: [2, 3], EVENTS: [2, 3], FOREIGN: [2, 3, 5]},
    }


def test_of_two_who_hold_a_number_the_later_one_keeps_it() -> None:
    """A worker that was frozen while another took its place still tells what it held."""
    members = group({"a": (on_commands(frozenset({0, 1, 2, 3})), 4), "b": (on_commands(frozenset({2, 3})), 5)})

    assert numbers_of(share({COMMANDS: 4}, members), COMMANDS) == {"a": [0, 1], "b": [2, 3]}
    members["b"] = replace(members["b"], round=3)
    assert numbers_of(share({COMMANDS: 4}, members), COMMANDS) == {"a": [0, 1], "b": [2, 3]}
    members["b"] = replace(members["b"], held=on_commands(frozenset({0, 1})))
    assert numbers_of(share({COMMANDS: 4}, members), COMMANDS) == {"a": [0, 1], "b": [2, 3]}


def test_a_topic_goes_to_those_only_who_read_it() -> None:
    """While a group is upgraded, its new members read more."""
    old = Member(frozenset({COMMANDS}), on_commands(frozenset({0, 1, 2, 3})), 2)
    new = Member(frozenset({COMMANDS, FOREIGN}))
    shares = share({COMMANDS: 4, FOREIGN: 2}, {"old": old, "new": new})

    assert shares["old"] == {COMMANDS: [0, 1]}
    assert shares["new"] == {COMMANDS: [2, 3], FOREIGN: [0, 1]}


class Cluster(NamedTuple):
    """What a client knows of the topics."""

    counts: Mapping[str, int]

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """None for a topic that is not there."""
        return set(range(self.counts[topic])) if topic in self.counts else None


class Group:
    """Consumers that join by turns; what they tell each other goes through bytes, as through the broker."""

    def __init__(self) -> None:
        """Nobody is there."""
        self.members: dict[str, Sharing] = {}

    def rebalance(self, *absent: str) -> dict[str, dict[str, list[int]]]:
        """All but these join; any of them leads."""
        asking = {name: sent(member.metadata(TOPICS)) for name, member in self.members.items() if name not in absent}
        leader = self.members[min(asking)]
        given = leader.assign(Cluster({COMMANDS: 4, EVENTS: 4}), asking)
        for name, assignment in given.items():
            self.members[name].on_assignment(sent(assignment))
        return {name: dict(assignment.assignment) for name, assignment in given.items()}


def sent(told: Any) -> Any:
    """What arrives."""
    return type(told).decode(told.encode())


def test_members_keep_what_they_hold_from_one_rebalance_to_the_next() -> None:
    group = Group()
    group.members = {"b": Sharing()}
    group.rebalance()
    group.members["a"] = Sharing()

    assert group.rebalance() == {"b": {COMMANDS: [0, 1], EVENTS: [0, 1]}, "a": {COMMANDS: [2, 3], EVENTS: [2, 3]}}
    assert group.rebalance("b") == {"a": {COMMANDS: [0, 1, 2, 3], EVENTS: [0, 1, 2, 3]}}
    assert group.rebalance() == {"a": {COMMANDS: [0, 1], EVENTS: [0, 1]}, "b": {COMMANDS: [2, 3], EVENTS: [2, 3]}}


def test_what_nobody_understands_counts_as_nothing_held() -> None:
    member = Sharing()
    told = member.metadata([COMMANDS])
    strange = type(told)(0, [COMMANDS], b"\x07 what a later version may tell")
    found = member.assign(Cluster({COMMANDS: 2}), {"a": told, "b": strange})

    assert {name: list(one.assignment) for name, one in found.items()} == {
        "a": [(COMMANDS, [0])],
        "b": [(COMMANDS, [1])],
    }
