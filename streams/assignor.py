"""Who of a group works which partitions: whole numbers of partitions are shared, the same of every topic, and they stay where they are.

Partition i of all topics goes to one member, so that each of two workers has commands to decide and events to act on. Shares of a topic
differ by one at most. A member tells what it holds when it joins and keeps of that its fair share.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyAssignorUserDataV1, StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.structs import TopicPartition

NEVER = -1  # the round of a member that was in none
ROUND_BYTES = 4


@dataclass(frozen=True)
class Member:
    """Who asks for a share: what it reads, what it holds, and the round in which it was given that."""

    topics: frozenset[str]
    held: frozenset[tuple[str, int]] = frozenset()
    round: int = NEVER


def share(counts: Mapping[str, int], members: Mapping[str, Member]) -> dict[str, dict[str, list[int]]]:
    """Member -> topic -> partitions. `counts` are the partitions of the topics; a topic that nobody reads is left out.

    Topics that the same members read are shared alike; only while a group is upgraded there are others.
    """
    given: dict[str, dict[str, list[int]]] = {name: {} for name in members}
    placed: dict[int, str] = {}
    for topics, readers in _alike(counts, members):
        holders = placed | _holders(topics, {name: members[name] for name in readers})
        placed |= _spread([counts[topic] for topic in topics], holders, readers)
        for topic in topics:
            for number in range(counts[topic]):
                given[placed[number]].setdefault(topic, []).append(number)
    return given


def _alike(counts: Mapping[str, int], members: Mapping[str, Member]) -> Iterator[tuple[list[str], list[str]]]:
    """The topics that have the same readers, and these; those of most readers first."""
    topics_of: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for topic in sorted(counts):
        if readers := tuple(sorted(name for name, member in members.items() if topic in member.topics)):
            topics_of[readers].append(topic)
    for readers, topics in sorted(topics_of.items(), key=lambda item: (-len(item[0]), item)):
        yield topics, list(readers)


def _holders(topics: Collection[str], members: Mapping[str, Member]) -> dict[int, str]:
    """Number -> who holds it. Of several the one of the latest round, since a member that was away does not know what it lost."""
    claims: Counter[tuple[int, str]] = Counter(
        (number, name) for name, member in members.items() for topic, number in member.held if topic in topics
    )
    return dict(
        sorted(claims, key=lambda claim: (members[claim[1]].round, claims[claim], claim))
    )  # the last one stands


def _spread(counts: Collection[int], holders: Mapping[int, str], names: Sequence[str]) -> dict[int, str]:
    """Number -> member, evenly up to each of the counts, and as much as that allows to those who hold it."""
    owners: dict[int, str] = {}
    waiting = Counter(holders[number] for number in range(max(counts)) if number in holders)
    start = 0
    for end in sorted({*counts} - {0}):
        numbers = range(start, end)
        holds = Counter(holders[number] for number in numbers if number in holders)
        waiting -= holds
        room = _room(end, names, Counter(owners.values()), holds, waiting)
        kept = {number: name for number in numbers if (name := _taken(holders.get(number), room))}
        free = (name for name in names for _ in range(room[name]))
        owners |= {number: kept.get(number) or next(free) for number in numbers}
        start = end
    return owners


def _room(
    end: int, names: Sequence[str], has: Counter[str], holds: Counter[str], waiting: Counter[str]
) -> dict[str, int]:
    """How many of the numbers below `end` each may have beside what it has: the least, or one more.

    One more is for those who have it already, then for those who hold it, then for those who hold the fewest of the numbers to come.
    """
    least, over = divmod(end, len(names))
    first = sorted(names, key=lambda name: (has[name] <= least, has[name] + holds[name] <= least, waiting[name], name))
    return {name: least + (n < over) - has[name] for n, name in enumerate(first)}


def _taken(name: str | None, room: dict[str, int]) -> str | None:
    if name is None or not room.get(name):
        return None
    room[name] -= 1
    return name


class Sharing:
    """An assignor of aiokafka, one for each consumer, since it remembers what that holds.

    Its protocol and what members tell are those of aiokafka's sticky assignor. A group lives only while all its members know one protocol: so
    does this one while workers of a version without this module are replaced, whoever leads it.
    """

    name = StickyPartitionAssignor.name

    def __init__(self) -> None:
        """Holds nothing."""
        self._held: list[TopicPartition] = []
        self._round = NEVER

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What the member tells when it joins."""
        held: defaultdict[str, list[int]] = defaultdict(list)
        for topic, number in self._held:
            held[topic].append(number)
        told = StickyAssignorUserDataV1(list(held.items()), self._round).encode()
        return ConsumerProtocolMemberMetadata(0, sorted(topics), told)

    def assign(self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]) -> dict[str, Any]:
        """What every member gets; asked of the group's leader. What a member tells and nobody understands counts as nothing."""
        asking = {name: _member(told) for name, told in members.items()}
        topics = {topic for member in asking.values() for topic in member.topics}
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        this = max((member.round for member in asking.values()), default=NEVER) + 1
        told = this.to_bytes(ROUND_BYTES)
        return {
            name: ConsumerProtocolMemberAssignment(0, sorted(given.items()), told)
            for name, given in share(counts, asking).items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember it for the next time."""
        self._held = assignment.partitions()
        self._round = int.from_bytes(assignment.user_data) if assignment.user_data else NEVER


def _member(told: ConsumerProtocolMemberMetadata) -> Member:
    read = StickyPartitionAssignor.parse_member_metadata(told)
    held = frozenset((topic, number) for topic, number in read.partitions)
    return Member(frozenset(read.subscription), held, read.generation)
