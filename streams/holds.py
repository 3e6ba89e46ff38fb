"""Keys that wait: after a record is parked, the later ones of its key are parked behind it, in order."""

import traceback
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from uuid import UUID

from streams.records import EventRecord
from streams.store import HELD, Claim, Parked, Slot, Store, Work


class Holds:
    """What one agent's partition knows of waiting keys; looked up by index while there are any."""

    def __init__(self, store: Store, slot: Slot) -> None:
        """Nothing is known before `begin`."""
        self._store, self._slot = store, slot
        self._any = True
        self._parked_here: set[bytes] = set()  # and not committed, so there are no more than two batches have
        self._lifted: set[bytes] = set()

    def begin(self, claim: Claim) -> None:
        """Learn from a claim whether any key waits."""
        self._any = claim.holds or bool(self._parked_here)

    async def waiting(self, keys: Iterable[bytes | None]) -> set[bytes]:
        """Those of these keys that wait since an earlier batch, which may be committed while the store is asked."""
        asked = {key for key in keys if key is not None} if self._any else None
        if not asked:
            return set()
        here, lifted = self._parked_here & asked, set(self._lifted)
        return await self._store.held(self._slot, asked) - lifted | here

    def __contains__(self, key: bytes) -> bool:
        """Whether the key waits since a record of this or a not yet committed batch."""
        return key in self._parked_here

    def add(self, key: bytes | None) -> None:
        """A record of this key is being parked."""
        if key is not None:
            self._parked_here.add(key)
            self._any = True

    def lift(self, key: bytes) -> None:
        """The last record that holds this key is being run or let go."""
        self._lifted.add(key)

    def committed(self, work: Work) -> None:
        """The store knows now what this batch parked or let go."""
        self._parked_here.difference_update(parked.key for parked in work.parked if parked.key is not None)
        if work.acted:
            self._lifted.clear()

    def keeps(self, record: Any, waiting: Collection[bytes], work: Work) -> bool:
        """Whether the record's key waits; it is parked then. Ask again for each record, since the one before may have been parked."""
        if (waiting or self._parked_here) and (record.key in waiting or record.key in self._parked_here):
            work.parked.append(held(record))
            return True
        return False

    def passing(self, events: Iterable[EventRecord], waiting: Collection[bytes], work: Work) -> Iterator[EventRecord]:
        """Those events whose key does not wait; the others are parked."""
        return (event for event in events if not self.keeps(event.record, waiting, work))

    def park(self, work: Work, record: Any, cause: str, error: str) -> None:
        """Park a record, behind which its key waits."""
        work.parked.append(parked(record, cause, error, holds=True))
        self.add(record.key)

    def forget(self) -> None:
        """Drop what is known; until the next claim every batch looks it up."""
        self._parked_here.clear()
        self._lifted.clear()
        self._any = True


def parked(
    record: Any, cause: str, error: str, *, holds: bool, command_id: UUID | None = None, actor: str | None = None
) -> Parked:
    """A parked record, as it was. `cause` is a stable code, `error` the words or the traceback."""
    headers = [(name, bytes(value)) for name, value in record.headers]
    timestamp = getattr(record, "timestamp", 0)  # a call of an effect has none, nor needs it
    return Parked(record.offset, record.key, record.value, headers, cause, error, command_id, actor, holds, timestamp)


def held(record: Any, *, command_id: UUID | None = None, actor: str | None = None) -> Parked:
    """A record parked for no other reason than that its key waits."""
    words = "An earlier record of this key is parked."
    return parked(record, HELD, words, holds=True, command_id=command_id, actor=actor)


def words_of(error: Exception) -> str:
    """What a rule raised, with the end of its traceback, as it is parked."""
    return "".join(traceback.format_exception(error, limit=-8))
