"""How positions move, as workers tell it by NOTIFY after each commit; those who wait for an offset wait here."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, Self
from zlib import crc32

MAX_MARKS = 256  # keys in one message, whose length Postgres bounds by 8000 bytes


def message(place: tuple[str, str, int], reached: int, keys: Collection[str]) -> str:
    """What a worker tells: the place (domain, agent, partition), the next offset, and marks of the changed keys unless they are many."""
    told = ":".join(map(str, (*place, reached)))
    return f"{told}:{','.join(map(mark, keys))}" if len(keys) <= MAX_MARKS else told


def mark(key: str) -> str:
    """A short name of a key. That two keys share one wakes somebody for nothing."""
    return f"{crc32(key.encode()):x}"


class _Entry(NamedTuple):
    offset: int
    mark: str | None
    woken: asyncio.Future[None]

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Moves:
    """Wakes who waits for a partition of a domain to pass an offset. A message may be lost: who waits reads again now and then."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._waiting: dict[tuple[str, int], set[_Entry]] = defaultdict(set)

    def heard(self, payload: str) -> None:
        """Take a `message`. One of another agent than the domain's decider is a projection's: rows changed, and no offset of the domain's own was passed."""
        try:
            domain, agent, partition, told, *marks = payload.split(":")
            place, reached = (domain, int(partition)), int(told)
        except ValueError:
            return
        own = agent == domain
        changed = frozenset(marks[0].split(",")) if marks else None
        for entry in self._waiting.get(place, ()) if own else self._of(domain):
            passed = entry.offset < reached if own else entry.offset < 0
            if passed and (entry.mark is None or changed is None or entry.mark in changed):
                entry.wake()

    def _of(self, domain: str) -> Iterator["_Entry"]:
        """Everybody of a domain: a projection's partitions are those of its source."""
        for (name, _), there in self._waiting.items():
            if name == domain:
                yield from there

    def unheard(self) -> None:
        """Messages may have been lost: wake everybody."""
        for there in self._waiting.values():
            for entry in there:
                entry.wake()

    def watch(self, domain: str, partition: int, offset: int) -> "Watch":
        """Begin to listen; do so before reading, and no move is missed."""
        return Watch(self._waiting, [(domain, partition)], offset)

    def watch_any(self, domain: str, partitions: Iterable[int], key: str | None = None) -> "Watch":
        """Listen for every move of these partitions; with `key` only for those that change it, as far as they tell."""
        return Watch(self._waiting, [(domain, partition) for partition in partitions], -1, key)


class Watch:
    """One who waits; use it with `with`."""

    def __init__(
        self,
        waiting: dict[tuple[str, int], set[_Entry]],
        places: Iterable[tuple[str, int]],
        offset: int,
        key: str | None = None,
    ) -> None:
        """Wait for `offset` to be passed at any of `places`, and for `key` to change if it is given."""
        self._waiting, self._places = waiting, tuple(places)
        self._offset, self._mark = offset, None if key is None else mark(key)
        self._entry = self._fresh()

    def _fresh(self) -> _Entry:
        return _Entry(self._offset, self._mark, asyncio.get_running_loop().create_future())

    def __enter__(self) -> Self:
        """Listen."""
        for place in self._places:
            self._waiting[place].add(self._entry)
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        for place in self._places:
            there = self._waiting[place]
            there.discard(self._entry)
            if not there:
                del self._waiting[place]

    async def next(self, seconds: float) -> None:
        """Return at the next move beyond the offset since the last call, or after `seconds`."""
        woken = self._entry.woken
        await asyncio.wait([woken], timeout=seconds)
        if woken.done():
            self.__exit__()
            self._entry = self._fresh()
            self.__enter__()
