"""A projection under audit: its rows and documents, folded from the events up to where it stood when Postgres was looked at."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sinks.postgres.audit import Position
from streams.agent import Projection
from streams.envelope import Signer
from streams.folding import fold, reader_of, shard_of
from streams.reading import Place, Reader
from streams.records import EventReader, EventRecord, Unfit
from streams.shard import space_of
from streams.store import Work

if TYPE_CHECKING:
    from caravan.audit.domain import Domain

_ASIDE = 'SELECT "offset", what FROM aside WHERE agent = ? AND topic = ? AND partition = ?'


class Projected:
    """Follows one projection; what it folds goes into the scratch file of the domain that it writes to."""

    def __init__(self, projection: Projection, domain: "Domain", signer: Signer) -> None:
        """Nothing is read yet."""
        self.projection, self.table = projection, projection.table
        self.space = space_of(projection.name)
        self._domain, self._signer = domain, signer
        self._next: defaultdict[int, int] = defaultdict(int)
        self._number: defaultdict[int, int] = defaultdict(int)
        self._waiting: defaultdict[int, list[EventRecord]] = defaultdict(list)

    async def follow(self, positions: Sequence[Position], reader: Reader) -> int:
        """Fold on to these positions; how many events were read. What is parked waits, and what an operator skipped is left out."""
        count = 0
        for at in positions:
            if at.agent == self.projection.name and at.topic == self.projection.source.events_topic:
                aside = dict(self._domain.scratch.all(_ASIDE, at.agent, at.topic, at.partition))
                waiting, self._waiting[at.partition] = self._waiting[at.partition], []
                self._fold(at.partition, waiting, aside)
                events = reader_of(self.projection, at.partition, self._signer)
                async for records in reader.batches(Place(at.topic, at.partition), self._next[at.partition], at.next):
                    count += len(records)
                    self._fold(at.partition, self._fresh(at.partition, events, records), aside)
                self._next[at.partition] = max(at.next, self._next[at.partition])
        return count

    def _fresh(self, partition: int, events: EventReader, records: Sequence[Any]) -> list[EventRecord]:
        """The events that are new; of records of strangers the domain whose topic it is tells."""
        fresh = []
        for record in records:
            try:
                event = events.read(record)
            except Unfit:
                continue
            if event.envelope.number > self._number[partition]:
                self._number[partition] = event.envelope.number
                fresh.append(event)
        return fresh

    def _fold(self, partition: int, events: Sequence[EventRecord], aside: dict[int, str]) -> None:
        if not events:
            return
        shard = shard_of(self.projection, partition)
        if shard is not None:
            self._domain.load(shard, self.projection, events)
        work = Work(0, 0, 0, None)
        for event in events:
            what = aside.get(event.record.offset)
            if what == "parked":
                self._waiting[partition].append(event)
            elif what != "skip":
                self._run(event, shard, work)
        self._domain.write(shard, work)
        if shard is not None:
            shard.close()

    def _run(self, event: EventRecord, shard: Any, work: Work) -> None:
        try:
            fold(self.projection, shard, event, work)
        except Exception as error:  # noqa: BLE001 - rules may raise anything
            place = f"{self.projection.source.events_topic} {event.envelope.source.partition}:{event.record.offset}"
            words = f"{self.projection.name}, number {event.envelope.number}: {type(error).__name__}: {error}"
            self._domain.lasting.add("fold_failed", self._domain.name, place, words)
