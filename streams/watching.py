"""Watches the partitions of a process: one that has work and does none gets a new task; where that does not help, the process ends.

No work done means that its pulse does not beat: no commit, no part of a batch, no failed try that will be made again. An idle partition, one that is stopped with a
reason, a batch that takes long and a store or a log that is away are therefore no cause for alarm.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streams.errors import CaravanError
from streams.loop import Partition
from streams.store import Slot, Store, Unavailable

log = logging.getLogger(__name__)

WATCH_S = 30.0  # how long a partition may have work and do none
LOOKS = 6  # times it is looked at in this time; a process that was frozen does not count the time
TRIES = 3  # new tasks in a row, none of which committed anything, before the process ends
GROUP_LOOKS = 24  # looks without an assignment before the process ends
PROBE_S = 10.0  # how long store and log may take to show that it is not they who are away


class Stuck(CaravanError):
    """A partition stays where it is whatever is tried here; another process shall take it."""


class Crew(Protocol):
    """The partitions of one group's member."""

    domain: str

    @property
    def settled(self) -> bool:
        """Whether the group has told what is worked here."""
        ...

    def partitions(self) -> Sequence[Partition]:
        """The partitions worked here."""
        ...

    async def replace(self, slot: Slot, why: str) -> None:
        """Put a new task in the place of one that is stuck."""
        ...


class Ends(Protocol):
    """What is asked of the log."""

    async def ends(self, places: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """The offset of the next record of each topic and partition. Raises OSError while it is away."""
        ...

    async def alive(self) -> bool:
        """Whether it answers."""
        ...

    async def read(self, topic: str, partition: int, offset: int) -> Any | None:
        """The record at this offset. Raises OSError while it is away, or when no record comes."""
        ...


@dataclass
class _Seen:
    """What the last looks at a slot saw."""

    partition: Partition
    beats: int = -1
    moves: int = 0
    looks: int = 0
    tries: int = 0


class Watch:
    """Over everything that a worker runs."""

    def __init__(self, crews: Iterable[Crew], *, store: Store, log: Ends, seconds: float = WATCH_S) -> None:
        """Nothing happens before `run`."""
        self._crews, self._store, self._log = crews, store, log
        self._seconds = seconds
        self._seen: dict[Slot, _Seen] = {}
        self._unsettled: dict[str, int] = {}

    async def run(self) -> None:
        """Watch until cancelled; raises Stuck when nothing helped."""
        while True:
            await asyncio.sleep(self._seconds / LOOKS)
            await self.look()

    async def look(self) -> None:
        """Look once at everything. Raises Stuck."""
        quiet = [(crew, seen) for crew in self._crews for seen in self._quiet(crew)]
        if quiet:
            await self._judge(quiet)
        await self._judge_groups([crew.domain for crew in self._crews if not crew.settled])

    async def _judge(self, quiet: Sequence[tuple[Crew, _Seen]]) -> None:
        try:
            async with asyncio.timeout(PROBE_S):
                ends = await self._log.ends({_place(seen.partition) for _, seen in quiet})
        except OSError:  # the log is away, and with it all reason to go on
            for _, seen in quiet:
                seen.looks = 0
            return
        stuck = [(crew, seen, owed) for crew, seen in quiet if (owed := self._owed(seen, ends)) is not None]
        await asyncio.gather(*(self._help(*one) for one in stuck))

    def _quiet(self, crew: Crew) -> Iterable[_Seen]:
        """What did not beat since the last look."""
        for partition in crew.partitions():
            seen = self._seen.get(partition.slot)
            if seen is None or seen.partition is not partition:
                seen = self._seen[partition.slot] = _Seen(partition, tries=seen.tries if seen else 0)
            if partition.pulse.moves > seen.moves:
                seen.moves, seen.tries = partition.pulse.moves, 0
            if seen.beats == partition.pulse.beats:
                yield seen
            else:
                seen.beats, seen.looks = partition.pulse.beats, 0

    def _owed(self, seen: _Seen, ends: Mapping[tuple[str, int], int]) -> int | None:
        """How much waits, where it has waited long enough."""
        owed = seen.partition.owes(ends[_place(seen.partition)])
        seen.looks = 0 if owed is None else seen.looks + 1
        return owed if seen.looks >= LOOKS else None

    async def _judge_groups(self, waiting: Collection[str]) -> None:
        """The members that their groups tell nothing, though the log answers."""
        if waiting and not await self._log.alive():
            waiting = ()
        self._unsettled = {domain: self._unsettled.get(domain, 0) + 1 for domain in waiting}
        for domain, looks in self._unsettled.items():
            if looks >= GROUP_LOOKS:
                seconds = self._seconds * looks / LOOKS
                raise Stuck(f"{domain}: its group has assigned nothing for {seconds:.0f} s. {_ENDS}")

    async def _help(self, crew: Crew, seen: _Seen, owed: int) -> None:
        partition = seen.partition
        if not await self._is_its_own_fault(partition, owed):
            seen.looks = 0
            return
        seen.tries += 1
        name = f"{partition.slot.agent} {partition.slot.topic}/{partition.slot.partition}"
        why = f"No progress for {self._seconds:.0f} s with {_words(partition, owed)}; {partition.pulse.delivered}."
        log.error("%s: %s Restart %d. It stands at:\n%s", name, why, seen.tries, partition.stacks())
        if seen.tries > TRIES:
            raise Stuck(f"{name}: {why} {TRIES} restarts did not help. {_ENDS}")
        await crew.replace(
            partition.slot, f"{why} It was restarted {seen.tries} times; the worker's log says where it stood."
        )

    async def _is_its_own_fault(self, partition: Partition, owed: int) -> bool:
        """Whether the store answers and the log hands out the next record, while the partition still does nothing."""
        beats, at = partition.pulse.beats, partition.position
        try:
            async with asyncio.timeout(PROBE_S):
                await self._store.known(partition.slot, ())
                if owed and at is not None:  # behind it there may be control records alone
                    await self._log.read(*_place(partition), at)
        except (Unavailable, OSError):
            return False
        return beats == partition.pulse.beats


_ENDS = "The worker ends; its supervisor starts it again."


def _place(partition: Partition) -> tuple[str, int]:
    return partition.slot.topic, partition.slot.partition


def _words(partition: Partition, owed: int) -> str:
    if partition.position is None:
        return "a claim to be made"
    return f"{owed} records waiting from offset {partition.position} on" if owed else "something due"
