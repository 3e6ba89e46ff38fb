"""How positions move, as workers tell it by NOTIFY after each commit; those who wait for an offset wait here."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Self


class Moves:
    """Wakes who waits for a partition of a domain to pass an offset. A message may be lost: who waits reads again now and then."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._waiting: dict[tuple[str, int], set[tuple[int, asyncio.Future[None]]]] = defaultdict(set)

    def heard(self, payload: str) -> None:
        """Take a message `domain:agent:partition:next`; those of other agents than the domain's decider are not for us."""
        try:
            domain, agent, partition, told = payload.split(":")
            place, reached = (domain, int(partition)), int(told)
        except ValueError:
            return
        if agent == domain:
            for offset, woken in self._waiting.get(place, ()):
                if offset < reached and not woken.done():
                    woken.set_result(None)

    def unheard(self) -> None:
        """Messages may have been lost: wake everybody."""
        for there in self._waiting.values():
            for _, woken in there:
                if not woken.done():
                    woken.set_result(None)

    def watch(self, domain: str, partition: int, offset: int) -> "Watch":
        """Begin to listen; do so before reading, and no move is missed."""
        return Watch(self._waiting, [(domain, partition)], offset)

    def watch_any(self, domain: str, partitions: Iterable[int]) -> "Watch":
        """Listen for every move of these partitions."""
        return Watch(self._waiting, [(domain, partition) for partition in partitions], -1)


class Watch:
    """One who waits; use it with `with`."""

    def __init__(
        self,
        waiting: dict[tuple[str, int], set[tuple[int, asyncio.Future[None]]]],
        places: Iterable[tuple[str, int]],
        offset: int,
    ) -> None:
        """Wait for `offset` to be passed at any of `places`."""
        self._waiting, self._places, self._offset = waiting, tuple(places), offset
        self._entry = (offset, asyncio.get_running_loop().create_future())

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
        _, woken = self._entry
        await asyncio.wait([woken], timeout=seconds)
        if woken.done():
            self.__exit__()
            self._entry = (self._offset, asyncio.get_running_loop().create_future())
            self.__enter__()
