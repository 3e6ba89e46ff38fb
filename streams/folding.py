"""The projection: events in, and in one transaction out: rows, and state where the rules keep any.

It runs a decider's own `evolve` and `project` over its event topic, so what it builds is what the decider built.
"""

from collections.abc import Sequence
from typing import Any

from streams.agent import Decider
from streams.envelope import Signer
from streams.following import BREATH, unseen
from streams.handler import Position, identity
from streams.holds import Holds, words_of
from streams.pulse import breathe
from streams.records import EventReader, EventRecord
from streams.shard import Shard, documents_of, evolved
from streams.sink import fact_of
from streams.store import BadData, Claim, Slot, Store, Work


class Folding:
    """The handler of a projection on one partition of a domain's events."""

    def __init__(self, decider: Decider, slot: Slot, *, store: Store, signer: Signer) -> None:
        """Nothing is read before the first batch."""
        self.decider, self.slot = decider, slot
        self.shard = Shard(decider.table, slot.partition, decider.timer)
        self._store = store
        self._reader = EventReader(decider.topic, slot.partition, signer)
        self._holds = Holds(store, slot)

    async def begin(self, claim: Claim) -> None:
        """Learn whether any key waits."""
        self._holds.begin(claim)

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Fold a batch. Numbers that were seen before (a relay's repeats) are dropped."""
        self.shard.trim()
        work = Work(at.next, records[-1].offset + 1, at.number, identity(records[-1]))
        events = await unseen(self._reader, records, work)
        await load(self.decider, self.shard, self._store, self.slot, events)
        waiting = await self._holds.waiting({event.record.key for event in events})
        for n, event in enumerate(self._holds.passing(events, waiting, work)):
            if n % BREATH == 0:
                await breathe()
            self._run(event, work)
        work.states, work.timers = self.shard.take(), self.shard.take_timers()
        return work

    def due(self) -> float | None:
        """Timers are set here and run by the decider alone."""

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """Park a record whose rows the store refuses."""
        number = self._reader.read(record).envelope.number
        work = Work(at.next, record.offset + 1, number, identity(record))
        self._holds.park(work, record, "refused_by_store", str(fault))
        self.shard.take()
        return work

    def asked(self) -> None:
        """Nobody is served by a build that is not finished: where it parked anything, its rules are mended and it begins anew."""

    def committed(self, work: Work) -> None:
        """The documents stand."""
        self.shard.committed()
        self._holds.committed(work)

    def forget(self) -> None:
        """Drop documents and held keys."""
        self.shard.clear()
        self._holds.forget()

    async def end(self) -> None:
        """Give the memory back."""
        self.shard.close()

    def _run(self, event: EventRecord, work: Work) -> None:
        try:
            fold(self.decider, self.shard, event, work)
        except Exception as error:  # noqa: BLE001 - rules may raise anything
            self._holds.park(work, event.record, "rule_failed", words_of(error))


async def load(decider: Decider, shard: Shard, store: Store, slot: Slot, events: Sequence[EventRecord]) -> None:
    """Have the documents of these events in memory."""
    wanted = documents_of(decider.reads, [(e.envelope.aggregate_id, e.message) for e in events if e.message])
    if missing := shard.missing(wanted):
        shard.fill(missing, await store.load(slot, missing))


def fold(decider: Decider, shard: Shard, event: EventRecord, work: Work) -> None:
    """Fold one event into documents and rows. Whatever the rules raise leaves both as they were."""
    envelope, message = event.envelope, event.message
    if message is None:
        return
    key = envelope.aggregate_id
    states = shard.states(key, decider.reads(message))
    changed = evolved(decider.evolve, states, message)
    dues = shard.dues(key, changed)
    rows = [(row.__rows__, row) for row in decider.project(fact_of(envelope, message), states)]
    # nothing below this line raises
    shard.put(key, changed, envelope.aggregate_seq, envelope.occurred_at)
    shard.set(dues)
    for kind, row in rows:
        work.rows.setdefault(kind, []).append(row)
