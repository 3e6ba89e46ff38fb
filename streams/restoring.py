"""A Postgres that is behind its event topic, as one restored from yesterday's backup is, takes over what the topic tells.

Every event there was decided once, and must not be decided again: its command may have been answered, and policies and the outside have acted on it. So what
the decider wrote beside the events is written again from them, by the code that rebuilds a domain: documents, rows and timers are folded, results and the settling of
pending commands stand in the envelopes. The position on the command topic stays where it was restored to. What is read again from there on has a
result by then and is dropped, save commands that left no event: those that were parked are parked again, those whose events never reached Kafka are decided.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from streams.agent import Decider
from streams.envelope import Signer
from streams.errors import CaravanError
from streams.folding import fold, load
from streams.following import BREATH
from streams.handler import Stop
from streams.log import Log
from streams.pulse import breathe
from streams.records import CORE_EVENTS, EventReader, EventRecord, Unfit
from streams.results import ACCEPTED, result_of, settled_of
from streams.shard import Shard
from streams.store import BadData, Claim, Duplicate, Slot, Store, Work

log = logging.getLogger(__name__)


class Restoring:
    """Closes the gap of one partition of a decider, under its claim and in its shard."""

    def __init__(self, decider: Decider, slot: Slot, shard: Shard, *, store: Store, log: Log, signer: Signer) -> None:
        """Nothing is read yet."""
        self._decider, self._slot, self._shard = decider, slot, shard
        self._store, self._log = store, log
        self._reader = EventReader(decider.topic, slot.partition, signer)
        self._topic = decider.topic.events_topic

    async def close(self, claim: Claim, last: int) -> int:
        """Take over the events from the claim's number to `last`, each batch in a transaction of its own; how many they were.

        Raises Stop where one is missing or cannot be folded, and what the store raises. It may be broken off at any point: what was taken over is not taken
        over again.
        """
        log.warning(
            "%s/%d goes up to number %d and Postgres knows %d: it was restored from an older copy; taking over the rest",
            self._topic, self._slot.partition, last, claim.number,
        )  # fmt: skip
        number, begun = claim.number, None
        offset, rest = await self._start(number), list[EventRecord]()
        while number < last:
            if not (records := await self._log.read_on(self._topic, self._slot.partition, offset)):
                raise self._hole(number + 1)
            offset = records[-1].offset + 1
            events = rest + [event async for event in self._new(records, number + len(rest))]
            whole = len(events) if events and _number(events[-1]) >= last else _whole(events)
            events, rest = events[:whole], events[whole:]
            if events:
                await self._take_over(claim, events)
                number, begun = _number(events[-1]), begun or events[0].envelope.occurred_at
        log.warning(
            "%s/%d: took over %d events, the first of %s; commands are read again from offset %d on",
            self._topic, self._slot.partition, number - claim.number, begun, claim.next,
        )  # fmt: skip
        return number - claim.number

    async def _start(self, number: int) -> int:
        """An offset at or below that of the next number: offsets count repeats and strangers too, so they run ahead of numbers."""
        start, end = await self._log.bounds(self._topic, self._slot.partition)
        offset = max(start, min(number, end - 1))
        records = await self._log.read_on(self._topic, self._slot.partition, offset)
        return (
            offset if next(self._numbers(records), number + 1) <= number + 1 else start
        )  # a copied topic begins anew at 0

    def _numbers(self, records: Sequence[Any]) -> Iterator[int]:
        for record in records:
            try:
                yield self._reader.envelope(record).number
            except Unfit:
                continue

    async def _new(self, records: Sequence[Any], number: int) -> Any:
        """The events above `number`, without gaps; what others put on the topic and what the relay repeated is stepped over."""
        for n, record in enumerate(records):
            if n % BREATH == 0:
                await breathe()
            try:
                found = self._reader.envelope(record).number
            except Unfit:
                continue
            if found > number + 1:
                raise self._hole(number + 1)
            if found == number + 1:
                yield self._read(record, found)
                number = found

    def _read(self, record: Any, number: int) -> EventRecord:
        try:
            return self._reader.read(record)
        except Unfit as unfit:
            raise self._unfit(number, unfit) from unfit

    async def _take_over(self, claim: Claim, events: Sequence[EventRecord]) -> None:
        number = _number(events[-1])
        work = Work(claim.next, claim.next, number, claim.last_id, relayed=number, partitions=claim.partitions)
        self._shard.trim()
        await load(self._decider, self._shard, self._store, self._slot, events)
        for n, event in enumerate(events):
            if n % BREATH == 0:
                await breathe()
            self._fold(event, work)
        for _, told in groupby(events, key=lambda event: event.envelope.command_id):
            _tell([*told], work)
        # These commands are read again and dropped then, which counts them as repeats; they are none. The others were parked, and have been run since.
        work.duplicates = -sum(result.offset >= claim.next for result in work.results)
        work.unparked = [result.offset for result in work.results if result.offset < claim.next]
        work.states, work.timers = self._shard.take(), self._shard.take_timers()
        try:
            await self._store.commit(self._slot, claim.epoch, work)
        except (BadData, Duplicate) as fault:
            raise self._unfit(number, fault) from fault
        self._shard.committed()

    def _fold(self, event: EventRecord, work: Work) -> None:
        try:
            self._demand_follows(event)
            fold(self._decider, self._shard, event, work)
        except Exception as error:
            raise self._unfit(event.envelope.number, error) from error

    def _demand_follows(self, event: EventRecord) -> None:
        key, sequence = event.envelope.aggregate_id, event.envelope.aggregate_seq
        if event.message is not None and (version := self._shard.root(key).version) + 1 != sequence:
            raise OtherHistory(f"the document of {key} is at {version} and the event is its {sequence}.")

    def _hole(self, number: int) -> Stop:
        return Stop(
            f"Postgres was restored from an older copy and {self._topic} has no event number {number} any more, so what followed cannot "
            "be taken over from it. Restore the newer Postgres, or the events, or reset both."
        )

    def _unfit(self, number: int, error: Exception) -> Stop:
        return Stop(
            f"Postgres was restored from an older copy and event number {number} of {self._topic}, or one just before it, cannot be "
            f"taken over: {error!r}. Run the code that the events were made with, or restore the newer Postgres."
        )


class OtherHistory(CaravanError):
    """The documents are not those that these events followed upon."""


def _number(event: EventRecord) -> int:
    return event.envelope.number


def _whole(events: Sequence[EventRecord]) -> int:
    """How many of them are of commands of which surely all are here: not the last one's."""
    last = events[-1].envelope.command_id if events else ""
    return next((n for n in range(len(events), 0, -1) if events[n - 1].envelope.command_id != last), 0)


def _tell(events: Sequence[EventRecord], work: Work) -> None:
    """The result that the command of these events had."""
    envelope = events[-1].envelope
    outcome = envelope.outcome or ACCEPTED
    told = [(e.envelope.event_id, e.envelope.type) for e in events if e.envelope.type not in CORE_EVENTS]
    work.results.append(result_of(UUID(envelope.command_id), outcome, told, envelope.actor, envelope.source))
    if outcome.settles is not None:
        work.settled.append(settled_of(outcome))
