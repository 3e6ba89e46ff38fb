"""Events of several partitions in the order of their records' time, as far as it is known what will come before what."""

from collections import deque
from operator import itemgetter
from typing import Generic, TypeVar

from streams.reading import Place

T = TypeVar("T")


class Merge(Generic[T]):
    """Takes what partitions give, each in its order, and gives it on in the order of time; of one time, in the order of the partitions, so that
    reading again gives the same.

    While a partition is behind and has given nothing, nothing is known of its next time: then nothing later goes on. The time of
    a partition does not go back, even where a record's does.
    """

    def __init__(self) -> None:
        """Holds nothing."""
        self._waiting: dict[Place, deque[tuple[int, T]]] = {}
        self._reached: dict[Place, int] = {}

    def put(self, place: Place, time: int, item: T) -> None:
        """Take the next of a partition."""
        at = self._reached[place] = max(time, self._reached.get(place, time))
        self._waiting.setdefault(place, deque()).append((at, item))

    def take(self, behind: set[Place]) -> list[tuple[Place, T]]:
        """What can go on when more is to come of the partitions `behind`."""
        reached = [(self._waiting[place][-1][0] if self._waiting.get(place) else -1, place) for place in behind]
        limit = min(reached, default=None)
        ready: list[tuple[tuple[int, Place], T]] = []
        for place, waiting in self._waiting.items():
            while waiting and (limit is None or (waiting[0][0], place) <= limit):
                time, item = waiting.popleft()
                ready.append(((time, place), item))
        ready.sort(key=itemgetter(0))  # keeps the order of a partition
        return [(place, item) for (_, place), item in ready]

    def hungry(self, behind: set[Place]) -> set[Place]:
        """Of the partitions `behind`, those of which nothing waits: only they need to be asked for more."""
        return {place for place in behind if not self._waiting.get(place)} or behind
