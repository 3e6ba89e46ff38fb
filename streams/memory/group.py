"""A consumer group in memory: who works which partition, and since when."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple


class Share(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


Told = Callable[[int, Collection[Share]], None]
"""Called with a new generation and the partitions that a member has in it."""


class MemoryGroup:
    """Gives every member its share of each topic and leaves partitions where they are as far as that goes."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        """`topics` maps the names to partition counts; there is no member yet."""
        self.generation = 0
        self.owners: dict[Share, str] = {}
        self.committed: dict[Share, int] = {}
        self._topics = dict(topics)
        self._members: dict[str, Told] = {}

    def join(self, name: str, told: Told) -> None:
        """A member comes, or comes again: a new generation begins."""
        self._members[name] = told
        self.rebalance()

    def leave(self, name: str) -> None:
        """A member goes, or its session has expired; it is told nothing more."""
        if self._members.pop(name, None) is not None:
            self.rebalance()

    def has(self, name: str) -> bool:
        """Whether this is a member."""
        return name in self._members

    def hint(self, name: str, generation: int, share: Share, offset: int) -> None:
        """Keep how far a member is; one of an earlier generation is not listened to."""
        if generation == self.generation and name in self._members:
            self.committed[share] = offset

    def rebalance(self) -> None:
        """Begin a new generation and tell every member."""
        self.generation += 1
        for topic, count in self._topics.items():
            self._share(topic, count)
        for name, told in self._members.items():
            told(self.generation, {share for share, owner in self.owners.items() if owner == name})

    def _share(self, topic: str, count: int) -> None:
        before = {Share(topic, number): self.owners.pop(Share(topic, number), "") for number in range(count)}
        names = sorted(self._members)
        has: dict[str, list[Share]] = {name: [] for name in names}
        least, more = divmod(count, len(names)) if names else (0, 0)
        for share, owner in before.items():
            extra = len(has.get(owner, ())) == least
            if owner in has and len(has[owner]) < least + (more > 0):
                has[owner].append(share)
                more -= extra
        kept = {share for mine in has.values() for share in mine}
        for share in (share for share in before if names and share not in kept):
            has[min(names, key=lambda name: (len(has[name]), name))].append(share)
        self.owners.update({share: name for name, mine in has.items() for share in mine})
