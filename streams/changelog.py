"""The changelog: the last state of every document on a compacted topic, for readers who want states and not events.

A domain opts in with `Topic(..., changelog=True)` and `Changelog(DECIDER)` in its `agent.py`. A record's key is the document's key (`u1`, `u1/hold/h1`), its
partition that of the aggregate's events, its value JSON: `{"version": 7, "at": "2026-01-01T12:00:00Z", "data": {...}}`. It is written by
one reader of the ordered events, at least once: the versions of a key rise, save that a re-run repeats some and that a former owner's late record may come behind
newer ones, so readers keep the highest version. Such an owner finds out when it commits, and writes the newest once more, so that compaction keeps the
right one. Several changes of a batch are folded to the last one. `version` counts a document's changes; that of an aggregate's own document
is the number of its last event.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from streams.agent import Changelog
from streams.envelope import Signer
from streams.errors import CaravanError
from streams.following import unseen
from streams.handler import DRAIN_S, Position, identity
from streams.holds import Holds, parked
from streams.log import Entry, Log
from streams.records import EventReader, EventRecord, Unfit
from streams.redriving import Again, Contents, Requests
from streams.shard import documents_of, moment
from streams.store import BadData, Claim, Slot, Store, Stored, Work

REMEMBERED = 50_000  # documents whose last written version is known, so that what did not change is not written again


class Keeping:
    """The handler of a changelog on one partition of the domain's events."""

    def __init__(self, changelog: Changelog, slot: Slot, *, store: Store, log: Log, signer: Signer) -> None:
        """Nothing is read before the first batch."""
        self.changelog, self.slot = changelog, slot
        self._store, self._log, self._signer = store, log, signer
        self._reader = EventReader(changelog.source, slot.partition, signer)
        self._written: dict[str, int] = {}
        self._uncommitted: deque[list[str]] = deque()
        self._doubtful: set[str] = set()
        self._requests = Requests(
            slot, Holds(store, slot), Contents.events(self._reader.read), store=store, signer=signer
        )

    async def begin(self, claim: Claim) -> None:
        """Put right what may have come too late under an earlier claim."""
        self._requests.begin(claim)
        await self._put_right()

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Write the documents that the events of a batch may have changed, as they are now, and wait for their acknowledgement."""
        if records:
            work = Work(at.next, records[-1].offset + 1, at.number, identity(records[-1]))
            events = await unseen(self._reader, records, work)
        else:
            work = Work(at.next, at.next, at.number, at.last_id)
            events = await self._redriven(work, careful)
        touched = [(event.envelope.aggregate_id, event.message) for event in events if event.message is not None]
        wanted = documents_of(self.changelog.decider.reads, touched)
        found = await self._store.load(self.slot, wanted) if wanted else {}
        changed = [key for key in sorted(found) if self._written.get(key, 0) < found[key].version]
        self._uncommitted.append(changed)
        await self._write([found[key] for key in changed])
        self._remember(found)
        work.published = len(changed)
        return work

    def due(self) -> float | None:
        """Nothing waits for its time; a request is due at once."""
        return 0.0 if self._requests.waiting else None

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """Park a record that the store refuses."""
        if record is None:
            work = Work(at.next, at.next, at.number, at.last_id)
            self._requests.park(fault, work)
            return work
        work = Work(at.next, record.offset + 1, at.number, identity(record))
        work.parked.append(parked(record, "refused_by_store", str(fault), holds=False))
        return work

    def asked(self) -> None:
        """An operator's request waits."""
        self._requests.waiting = True

    def committed(self, work: Work) -> None:
        """The batch was the owner's, so nobody had written newer documents before it."""
        if self._uncommitted:
            self._uncommitted.popleft()

    def forget(self) -> None:
        """Others may have been here: what was written and not committed may have come behind newer documents."""
        self._written.clear()
        self._doubtful.update(*self._uncommitted)
        self._uncommitted.clear()

    async def end(self) -> None:
        """Put right what may have come too late, though the partition is another's."""
        with suppress(CaravanError, OSError, TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._put_right()

    async def _redriven(self, work: Work, careful: bool) -> list[EventRecord]:
        """Parked events that can be read now. What was parked here held nothing: the documents are written as they are now."""
        events: list[EventRecord] = []

        def one(record: Again) -> None:
            try:
                events.append(self._reader.read(record))
            except Unfit as unfit:
                work.parked.append(parked(record, unfit.cause, str(unfit), holds=False))

        if (piece := await self._requests.take(careful)) is not None:
            await self._requests.run(piece, work, one)
        return events

    async def _put_right(self) -> None:
        """Write the doubtful documents until they are found as they were written: newer ones then come behind."""
        while self._doubtful:
            found = await self._store.load(self.slot, self._doubtful)
            await self._write([found[key] for key in sorted(found)])
            again = await self._store.load(self.slot, self._doubtful)
            self._doubtful = {key for key in again if key not in found or again[key].version != found[key].version}

    async def _write(self, documents: Sequence[Stored]) -> None:
        if documents:
            groups = [[self._entry(document)] for document in documents]
            await self._log.append(self.changelog.source.changelog_topic, self.slot.partition, groups)

    def _remember(self, found: Any) -> None:
        for key, document in found.items():
            self._written.pop(key, None)
            self._written[key] = document.version
        while len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]

    def _entry(self, document: Stored) -> Entry:
        topic, key = self.changelog.source.changelog_topic, document.key.encode()
        told = {"version": document.version, "at": moment(document.at), "data": msgspec.Raw(document.data.encode())}
        value = msgspec.json.encode(told)
        return Entry(key, value, [self._signer.sign(topic, key, value)])
