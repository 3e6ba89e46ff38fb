"""Bugs to plant in the shipped code: each takes away one thing that the promise rests on, and the simulator must find it."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from streams.deciding import Deciding
from streams.handler import Position
from streams.holds import Holds
from streams.ids import derived
from streams.log import Entry
from streams.loop import Partition
from streams.memory import MemoryStore, Share
from streams.records import CommandRecord
from streams.relay import Relay
from streams.shard import Shard
from streams.store import BadData, Claim, Duplicate, Lost, Outgoing, Slot, Unavailable, Work
from streams.timing import Due, Timers
from tests.simulation.store import SimStore


def no_fence() -> None:
    """A batch is committed whoever owns the partition and wherever it stands."""
    commit = MemoryStore.commit

    async def unfenced(self: MemoryStore, slot: Slot, epoch: int, work: Work) -> None:
        place = self.schemas[slot.domain].places[slot]
        work.expected = place.next
        await commit(self, slot, place.epoch, work)

    _put(MemoryStore, "commit", unfenced)


def skipped_batch() -> None:
    """A delivery that begins behind the position is taken as it comes."""
    go_on = Partition._continue

    async def go_on_blindly(self: Partition, records: Sequence[Any], generation: int) -> Sequence[Any]:
        if generation == self._generation and records[0].offset > self._ahead.next:
            return records
        return await go_on(self, records, generation)

    _put(Partition, "_continue", go_on_blindly)


def kept_memory() -> None:
    """What was read under an earlier epoch is used on."""

    def forget(self: Deciding) -> None:
        self._epoch = -1
        self.shard._dirty.clear()
        self.shard._pinned.clear()
        self._holds.forget()

    _put(Deciding, "forget", forget)


def no_inbox() -> None:
    """Nobody looks whether a command has a result."""
    commit = MemoryStore.commit

    async def known(self: MemoryStore, slot: Slot, ids: Collection[UUID]) -> set[UUID]:
        return set()

    async def unheeding(self: MemoryStore, slot: Slot, epoch: int, work: Work) -> None:
        results = self.schemas[slot.domain].results
        before = {r.command_id: found for r in work.results if (found := results.pop(r.command_id, None))}
        try:
            await commit(self, slot, epoch, work)
        except Exception:
            results.update(before)
            raise

    _put(MemoryStore, "known", known)
    _put(MemoryStore, "commit", unheeding)


def relay_before_commit() -> None:
    """Events go out when they are decided."""
    prepare = Deciding.prepare

    async def hasty(self: Deciding, records: Sequence[Any], at: Position, careful: bool) -> Work:
        work = await prepare(self, records, at, careful)
        self.relay.offer(work.outbox)
        return work

    _put(Deciding, "prepare", hasty)


def kafkas_position() -> None:
    """A new owner begins where the group was told that the one before it stood."""
    claim = SimStore.claim

    async def trusting(self: SimStore, slot: Slot, owner: str, held: int | None, begin: int = 0) -> Claim:
        found = await claim(self, slot, owner, held, begin)
        told = self.world.groups[slot.domain].committed.get(Share(slot.topic, slot.partition), 0)
        self.inner.schemas[slot.domain].places[slot].next = told
        return found._replace(next=told, last_id=None)

    _put(SimStore, "claim", trusting)


def kept_batch() -> None:
    """Batch N has failed, and N+1, which was prepared meanwhile, is committed."""

    async def forgiving(self: Partition) -> None:
        if self._committing is not None:
            with suppress(Duplicate, BadData, Lost, Unavailable):
                await self._committing
            self._committing = None

    _put(Partition, "_finish", forgiving)


def followers_go_on() -> None:
    """A record is parked and the later ones of its key are worked."""

    async def waiting(self: Holds, keys: Collection[bytes]) -> set[bytes]:
        return set()

    _put(Holds, "waiting", waiting)
    _put(Holds, "__contains__", lambda self, key: False)


def timer_twice() -> None:
    """What is due is run once more."""
    take = Timers.take

    async def taking(self: Timers, shard: Shard, limit: int = 500) -> list[Due]:
        found = await take(self, shard, limit)
        return [*found, *map(_again, found)]

    _put(Timers, "take", taking)


def _again(due: Due) -> Due:
    envelope = due.command.envelope
    another = derived(envelope.command_id, "again", due.document, "", 0)
    record = due.command.record._replace(offset=due.command.record.offset - 1)
    changed = type(envelope)(
        **{name: getattr(envelope, name) for name in envelope.__struct_fields__} | {"command_id": another}
    )
    return due._replace(command=CommandRecord(record, changed, due.command.message))


def unordered_relay() -> None:
    """The events of a chunk go out in another order."""
    groups: Callable[[Relay, Sequence[Outgoing]], Iterator[list[Entry]]] = Relay._groups
    _put(Relay, "_groups", lambda self, rows: reversed([*groups(self, rows)]))


def _put(kind: type, name: str, function: Callable[..., Awaitable[Any] | Any]) -> None:
    setattr(kind, name, function)


MUTATIONS = {
    made.__name__: made
    for made in (
        no_fence,
        skipped_batch,
        kept_memory,
        no_inbox,
        relay_before_commit,
        kafkas_position,
        kept_batch,
        followers_go_on,
        timer_twice,
        unordered_relay,
    )
}
