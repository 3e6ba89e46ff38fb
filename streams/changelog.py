"""The changelog: the last state of every document on a compacted topic, for readers who want states and not events.

A domain opts in with `Topic(..., changelog=True)` and `Changelog(DECIDER)` in its `agent.py`. A record's key is the document's key (`u1`, `u1/hold/h1`), its
partition that of the aggregate's events, its value JSON: `{"version": 7, "at": "2026-01-01T12:00:00Z", "data": {...}}`. It is written by
one reader of the ordered events, so the versions of a key rise, save that a re-run repeats some, and a former owner's late record may come behind newer ones:
readers keep the highest version. Several changes of a batch are folded to the last one. `version` counts a document's changes; that of an aggregate's own document
is the number of its last event.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from streams.agent import Changelog
from streams.envelope import Signer
from streams.following import unseen
from streams.handler import Position, identity
from streams.holds import parked
from streams.log import Entry, Log
from streams.records import EventReader
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

    async def begin(self, claim: Claim) -> None:
        """Nothing is kept under a claim."""

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Write the documents that the events of a batch may have changed, as they are now, and wait for their acknowledgement."""
        work = Work(at.next, records[-1].offset + 1, at.number, identity(records[-1]))
        events = await unseen(self._reader, records, work)
        touched = [(event.envelope.aggregate_id, event.message) for event in events if event.message is not None]
        wanted = documents_of(self.changelog.decider.reads, touched)
        found = await self._store.load(self.slot, wanted) if wanted else {}
        entries = [self._entry(found[key]) for key in sorted(found) if self._written.get(key, 0) < found[key].version]
        if entries:
            await self._log.append(self.changelog.source.changelog_topic, self.slot.partition, [[e] for e in entries])
        self._remember(found)
        work.published = len(entries)
        return work

    def due(self) -> float | None:
        """Nothing waits for its time."""

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """Park a record that the store refuses."""
        work = Work(at.next, record.offset + 1, at.number, identity(record))
        work.parked.append(parked(record, "refused_by_store", str(fault), holds=False))
        return work

    def committed(self, work: Work) -> None:
        """Nothing follows: the documents went first."""

    def forget(self) -> None:
        """Forget what was written: others may have been here."""
        self._written.clear()

    async def end(self) -> None:
        """Nothing runs."""

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
