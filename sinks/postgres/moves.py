"""How positions move, as workers tell it by NOTIFY after each commit; those who wait for an offset wait here."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Self
from zlib import crc32

MAX_MARKS = 256  # keys in one message, whose length Postgres bounds by 8000 bytes


def message(place: tuple[str, str, int], reached: int, keys: Collection[str]) -> str:
    """What a worker tells: the place (domain, agent, partition), the next offset, and marks of the changed keys unless they are many."""
    told = ":".join(map(str, (*place, reached)))
    return f"{told}:{','.join(map(mark, keys))}" if len(keys) <= MAX_MARKS else told


def mark(key: str) -> str:
    """A short name of a key. That two keys share one wakes somebody for nothing."""
    return f"{crc32(key.encode()):x}"


Told = Callable[[int | None, int], None]
"""What is called at a move: the partition and the offset that it reached. No partition and 0: moves may have been missed; and -1: rows changed otherwise."""


class _Entry:
    """One who waits: for moves of some partitions beyond an offset, of one key's or of any."""

    __slots__ = ("mark", "offset", "partitions", "told")

    def __init__(self, partitions: Collection[int], offset: int, mark: str | None, told: Told) -> None:
        self.partitions, self.offset, self.mark, self.told = frozenset(partitions), offset, mark, told


class Moves:
    """Wakes who waits for a partition of a domain to pass an offset. A message may be lost: who waits reads again now and then."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._waiting: dict[str, dict[str | None, dict[_Entry, None]]] = {}
        self._reached: dict[tuple[str, int], int] = {}  # by domains' own agents, as far as was heard

    def heard(self, payload: str) -> None:
        """Take a `message`. One of another agent than the domain's decider is a projection's: rows changed, and no offset of the domain's own was passed."""
        try:
            domain, agent, number, told, *marks = payload.split(":")
            partition, reached = int(number), int(told)
        except ValueError:
            return
        own = agent == domain
        if own:
            self._reached[domain, partition] = reached
        there = self._waiting.get(domain)
        if there is None:
            return
        changed = [None, *dict.fromkeys(marks[0].split(","))] if marks else list(there)
        for entry in [entry for one in changed for entry in there.get(one, ())]:
            if own and partition in entry.partitions and entry.offset < reached:
                entry.told(partition, reached)
            elif not own and entry.offset < 0:  # a projection's partitions are those of its source
                entry.told(None, -1)

    def unheard(self) -> None:
        """Messages may have been lost: wake everybody."""
        self._reached.clear()
        for entry in [entry for there in self._waiting.values() for some in there.values() for entry in some]:
            entry.told(None, 0)

    def is_before(self, domain: str, partition: int, offset: int) -> bool:
        """Whether the last that was heard of a partition is that it has not passed the offset; False when nothing was."""
        return self._reached.get((domain, partition), offset + 1) <= offset

    def watch(self, domain: str, partition: int, offset: int) -> "Watch":
        """Begin to listen; do so before reading, and no move is missed."""
        return Watch(self, domain, partition, offset)

    @contextmanager
    def listening(
        self, domain: str, partitions: Collection[int], told: Told, *, offset: int = -1, key: str | None = None
    ) -> Iterator[None]:
        """Call `told` at every move of these partitions beyond an offset; with `key` only at those that change it, as far as they tell."""
        entry = _Entry(partitions, offset, None if key is None else mark(key), told)
        there = self._waiting.setdefault(domain, {})
        there.setdefault(entry.mark, {})[entry] = None
        try:
            yield
        finally:
            there[entry.mark].pop(entry)
            if not there[entry.mark]:
                del there[entry.mark]
            if not there and self._waiting.get(domain) is there:
                del self._waiting[domain]


class Watch:
    """One who waits for a partition to pass an offset; use it with `with`."""

    def __init__(self, moves: Moves, domain: str, partition: int, offset: int) -> None:
        """Nothing is heard yet."""
        self._moves, self._place = moves, (domain, partition, offset)
        self._listening = moves.listening(domain, [partition], self._told, offset=offset)
        self.woken = asyncio.Event()

    def _told(self, _partition: int | None, _reached: int) -> None:
        self.woken.set()

    def __enter__(self) -> Self:
        """Listen."""
        self._listening.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._listening.__exit__(None, None, None)

    @property
    def early(self) -> bool:
        """Whether a word of the move beyond the offset is still to come, as far as was heard: until then it is idle to ask."""
        return self._moves.is_before(*self._place)

    async def next(self, seconds: float) -> bool:
        """Return at the next move beyond the offset since the last call, or after `seconds`; whether there was one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        there = self.woken.is_set()
        self.woken.clear()
        return there
