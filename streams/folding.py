"""The projection: events in, and in one transaction out: rows, and documents where the rules keep any.

It runs the `evolve` and `project` of what it is given: those of a `Projection`, live or anew, or a decider's own over its event topic, so that what it builds is
what the decider built.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from streams.agent import Agent, Decider, Folds, takes_lines
from streams.envelope import Signer
from streams.following import unseen
from streams.handler import Position, Stop, identity
from streams.holds import Holds, parked, words_of
from streams.pulse import breathe
from streams.records import EventReader, EventRecord, LineReader, Unfit
from streams.redriving import Again, Contents, Piece, Requests
from streams.shard import Shard, UnreadableDocument, documents_of, evolved, space_of
from streams.sink import Line, fact_of, rows_of
from streams.store import BadData, Claim, Slot, Store, Work

CHUNK = 128  # events that are read and then folded, so that they are still in the processor's cache


class Chosen(NamedTuple):
    """Which rows are written, where it is not all: those of these tables, made by the events from this offset on."""

    tables: Collection[str]
    since: int = 0


class Folding:
    """The handler of a projection on one partition of a domain's events. With `chosen` it writes some rows only; documents are always whole."""

    def __init__(self, agent: Folds, slot: Slot, *, store: Store, signer: Signer, linger: float = 0.0) -> None:
        """Nothing is read before the first batch. While it waits `linger` seconds with one, more come for the next."""
        self.agent, self.slot = agent, slot
        self.chosen: Chosen | None = None
        self.shard = shard_of(agent, slot.partition)
        self._store, self._linger = store, linger
        self._reader = reader_of(agent, slot.partition, signer)
        self._holds = Holds(store, slot)
        self._requests = Requests(slot, self._holds, Contents.events(self._reader.read), store=store, signer=signer)

    async def begin(self, claim: Claim) -> None:
        """Learn whether any key waits, and whether an operator asks."""
        self._requests.begin(claim)
        self._holds.begin(claim)

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Fold a batch, or what operators ask for. Numbers that were seen before (a relay's repeats) are dropped."""
        if self.shard is not None:
            self.shard.trim()
        if not records:
            return await self._redrive(Work(at.next, at.next, at.number, at.last_id), careful)
        if self._linger:
            await asyncio.sleep(self._linger)
        work = Work(at.next, records[-1].offset + 1, at.number, identity(records[-1]))
        waiting = await self._holds.waiting(record.key for record in records)
        rest: list[EventRecord] = []
        for begin in range(0, len(records), CHUNK):
            events = await unseen(self._reader, records[begin : begin + CHUNK], work)
            rest += events if rest else self._run(events, waiting, work, asked=False)
        await load(self.agent, self.shard, self._store, self.slot, rest)
        for begin in range(0, len(rest), CHUNK):
            await breathe()
            self._run(rest[begin : begin + CHUNK], waiting, work, asked=True)
        return self._whole(work)

    def due(self) -> float | None:
        """Timers are set here and run by the decider alone; a request is due at once."""
        return 0.0 if self._requests.waiting else None

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """Park a record, or else the redriven one, whose rows the store refuses."""
        if self.shard is not None:
            self.shard.take()
        if record is None:
            work = Work(at.next, at.next, at.number, at.last_id)
            self._requests.park(fault, work)
            return work
        self._demand_parkable(fault)
        number = self._reader.read(record).envelope.number
        work = Work(at.next, record.offset + 1, number, identity(record))
        self._holds.park(work, record, "refused_by_store", str(fault))
        return work

    def asked(self) -> None:
        """An operator's request waits."""
        self._requests.waiting = True

    def committed(self, work: Work) -> None:
        """The documents stand."""
        if self.shard is not None:
            self.shard.committed()
        self._holds.committed(work)

    def forget(self) -> None:
        """Drop documents and held keys."""
        if self.shard is not None:
            self.shard.clear()
        self._holds.forget()

    async def end(self) -> None:
        """Give the memory back."""
        if self.shard is not None:
            self.shard.close()

    async def _redrive(self, work: Work, careful: bool) -> Work:
        """Fold parked events. Their numbers were seen already."""
        piece = await self._requests.take(careful)
        if piece is not None:
            events = self._read_parked(piece)
            there = [event for event in events.values() if not isinstance(event, Unfit)]
            await load(self.agent, self.shard, self._store, self.slot, there)

            def one(record: Again) -> None:
                event = events[record.offset]
                if isinstance(event, Unfit):
                    work.parked.append(parked(record, event.cause, str(event), holds=False))
                    return
                self._run([event], piece.behind, work, asked=True)

            await self._requests.run(piece, work, one)
        return self._whole(work)

    def _read_parked(self, piece: Piece) -> dict[int, EventRecord | Unfit]:
        found: dict[int, EventRecord | Unfit] = {}
        for record in piece.records:
            try:
                found[record.offset] = self._reader.read(self._requests.again(record))
            except Unfit as unfit:
                found[record.offset] = unfit
        return found

    def _run(
        self, events: Sequence[EventRecord], waiting: Collection[bytes], work: Work, *, asked: bool
    ) -> Sequence[EventRecord]:
        """Fold those whose keys do not wait; unless the store was `asked` for documents, up to the first that needs another. Returns those that are left."""
        agent, shard, chosen, holds = self.agent, self.shard, self.chosen, self._holds
        for n, event in enumerate(events):
            if holds.keeps(event.record, waiting, work):
                continue
            made = work if chosen is None else Work(work.expected, work.next, work.number, work.last_id)
            try:
                fold(agent, shard, event, made)
            except Exception as error:  # noqa: BLE001 - rules may raise anything
                if not asked and isinstance(error, UnreadableDocument):
                    return events[n:]
                self._demand_parkable(error)
                holds.park(work, event.record, "rule_failed", words_of(error))
            if chosen is not None and event.record.offset >= chosen.since:
                for kind, rows in made.rows.items():
                    if kind.name in chosen.tables:
                        work.rows[kind] += rows
        return ()

    def _demand_parkable(self, error: Exception) -> None:
        """Raise Stop where a record that was left out would be missing."""
        if takes_lines(self.agent):
            words = f"{self.agent.name} cannot take a record, and leaves none out: {words_of(error)}"
            raise Stop(f"{words}. Mend its rules or its tables; it goes on by itself.") from error

    def _whole(self, work: Work) -> Work:
        if self.shard is not None:
            work.states, work.timers = self.shard.take(), self.shard.take_timers()
        return work


def foldable(agents: Iterable[Agent]) -> list[Folds]:
    """What there is to rebuild in a domain: the agents whose documents and rows follow from events alone."""
    return [agent for agent in agents if isinstance(agent, Folds)]


def rebuilding(agent: Folds, partition: int, *, store: Store, signer: Signer) -> Folding:
    """The handler that builds a partition of it anew, from the first event on and under a position of its own; `store` says into which schema.

    Nothing goes outward, and the `slot` of the handler tells topic and position. Where it parks anything, the rules are mended and it begins anew.
    """
    slot = Slot(agent.target.domain, f"{agent.name}.rebuild", agent.source.events_topic, partition)
    return Folding(agent, slot, store=store, signer=signer)


def reader_of(agent: Folds, partition: int, signer: Signer) -> EventReader:
    """What reads a partition for it: events, or lines."""
    return (LineReader if takes_lines(agent) else EventReader)(agent.source, partition, signer)


def shard_of(agent: Folds, partition: int) -> Shard | None:
    """The documents of one partition; None for a projection without state. Those of a projection have keys of their own in the store."""
    if agent.table is None:
        return None
    space = "" if isinstance(agent, Decider) else space_of(agent.name)
    return Shard(agent.table, partition, agent.timer, space=space)


async def load(agent: Folds, shard: Shard | None, store: Store, slot: Slot, events: Sequence[EventRecord]) -> None:
    """Have the documents of these events in memory."""
    if shard is None:
        return
    wanted = documents_of(agent.reads, [(e.message.key, e.message) for e in events if e.message is not None])
    if keys := shard.missing(wanted):
        shard.fill(keys, await store.load(slot, [shard.space + key for key in keys]))


def fold(agent: Folds, shard: Shard | None, event: EventRecord, work: Work) -> None:
    """Fold one event into documents and rows. Whatever the rules raise leaves both as they were."""
    message: Any = event.message
    if message is None:
        return
    fact = message if type(message) is Line else fact_of(event.envelope, message)
    if shard is None:
        made = rows_of(agent.project(fact, {}))
    else:
        states = shard.states(fact.key, agent.reads(message))
        changed = evolved(agent.evolve, states, message)
        dues = shard.dues(fact.key, changed)
        made = rows_of(agent.project(fact, states))
        # nothing below this line raises
        if changed or isinstance(agent, Decider):  # a decider's own document counts all events of its key
            shard.put(fact.key, changed, fact.seq, fact.at)
            if dues:
                shard.set(dues)
    rows = work.rows
    for kind, row in made:
        rows[kind].append(row)
