"""Subscriptions: typed events, or batches of them, from topics to an analyst."""

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar
from weakref import WeakSet

from streams.client.asked import LIVE, Since, Until, Wanted
from streams.client.merging import Merge
from streams.client.opening import Found, Keys
from streams.client.places import Cursor, Cut, Position
from streams.client.sieve import Sieve, Sifted, Unread
from streams.client.source import Hungry, Source
from streams.client.sync import synchronous
from streams.client.typed import Reading, Received, personal, received
from streams.contract import Event
from streams.envelope import Signer
from streams.errors import CaravanError
from streams.reading import Place, Reader
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.client.batches import Batches

ROWS = 100_000  # of a batch, unless it is said
E_co = TypeVar("E_co", bound=Event, covariant=True)
G = TypeVar("G")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a subscription reads."""

    since: Since
    until: Until
    keys: Keys | None
    on_unread: Callable[[Unread], None] | None
    core: bool


class Progress(NamedTuple):
    """Offsets that were read, and that there are to read; of a live subscription those that there were at its beginning."""

    done: int
    total: int


class Step(NamedTuple):
    """Events in the order in which they are given, each with where the subscription stands once it was; then where it stands after all."""

    events: list[Received[Any]]
    positions: list[tuple[Place, Position]]
    after: dict[Place, Position]


class Subscription(Generic[E_co]):
    """Made by `subscribe`. Iterate over it, with `for` or `async for`; begun again, it goes on where it stands.

    `cursor` says where that is, `unread` counts by cause the records that were not given as events, `repeats` those that came again.
    """

    def __init__(self, settings: Settings, topics: Mapping[str, Wanted], options: Options) -> None:
        """Connects to nothing yet."""
        self._settings, self._topics, self._options = settings, topics, options
        self._at = Cursor()
        self._since = options.since
        self._ends: dict[Place, int] | None = None
        self._begun: dict[Place, int] = {}
        self.unread: Counter[str] = Counter()
        self.repeats = 0
        self._open: WeakSet[Any] = WeakSet()

    @property
    def cursor(self) -> str:
        """Where it stands, to be kept, and to be given as `since=`: every later event is given once, and no earlier one. Raises CaravanError before it was begun."""
        if not self._at:
            raise CaravanError("The subscription has read nothing yet: there is no cursor.")
        return str(self._at)

    @property
    def end(self) -> Cut | None:
        """Up to where it reads, once it has begun; None for a live one."""
        return None if self._ends is None else Cut(self._ends)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        done = sum(position.offset - self._begun[place] for place, position in self._at.items())
        ends = self._ends or {}
        return Progress(done, sum(max(0, ends.get(place, 0) - at) for place, at in self._begun.items()))

    # -- `with` and `async with` disconnect at the end of the block, also when an iteration was left before its end

    async def __aenter__(self) -> Self:
        """Connects to nothing yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        for one in list(self._open):
            await one.aclose()

    def __enter__(self) -> Self:
        """Connects to nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        for one in list(self._open):
            one.close()

    def opened(self, iteration: G) -> G:
        """Have it ended with the block."""
        self._open.add(iteration)
        return iteration

    # -- one event after the other

    def __aiter__(self) -> AsyncGenerator[Received[E_co]]:
        """Events in the order of their records' time, those of a partition in their order."""
        return self.opened(self._events())

    def __iter__(self) -> Generator[Received[E_co]]:
        """As with `async for`, for programs without a loop: a thread of its own reads."""
        return self.opened(self._plain_events())

    async def _events(self) -> AsyncGenerator[Received[E_co]]:
        async with aclosing(self._steps()) as steps:
            async for step in steps:
                for event in self._told(step):
                    yield event

    def _plain_events(self) -> Generator[Received[E_co]]:
        with synchronous(self._steps) as steps:
            for step in steps:
                yield from self._told(step)

    def _told(self, step: Step) -> Iterator[Received[E_co]]:
        for event, (place, position) in zip(step.events, step.positions, strict=True):
            self._at[place] = position
            yield event
        self._at.update(step.after)

    async def _steps(self) -> AsyncGenerator[Step]:
        merge: Merge[tuple[Received[Any] | None, Position]] = Merge()
        readings: dict[Place, Reading] = {}
        async with aclosing(self.sifted(merge.hungry)) as sifted:
            async for found, behind in sifted:
                for place, one in found.items():
                    reading = readings.setdefault(place, Reading(place, self._topics[place.topic]))
                    await self._put(merge, place, one, reading)
                if step := self._step(merge.take(behind)):
                    yield step

    async def _put(
        self, merge: Merge[tuple[Received[Any] | None, Position]], place: Place, one: Sifted, reading: Reading
    ) -> None:
        events = reading.read(one.kept, one.unread)
        self.report(one.unread)
        keys = await self.granted(personal(events)) if self._options.keys else {}
        at = one.before
        for found, event in zip(events, received(place, events, keys), strict=True):
            at = at.after(event.offset, event.number, found.record.value)
            merge.put(place, found.record.timestamp, (event, at))
        merge.put(place, one.time, (None, one.position))

    @staticmethod
    def _step(taken: list[tuple[Place, tuple[Received[Any] | None, Position]]]) -> Step | None:
        if not taken:
            return None
        events = [(event, place, position) for place, (event, position) in taken if event is not None]
        after = {place: position for place, (_, position) in taken}
        return Step([event for event, _, _ in events], [(place, at) for _, place, at in events], after)

    # -- in batches

    def arrow(self, rows: int = ROWS) -> "Batches[Any]":
        """Batches of Arrow tables of about so many events, one table an event type, to be iterated over with `for` or `async for`.

        `.all()` and `await .collect()` read up to the end and give one batch. Events of one partition stand in their order, and those of one
        command in one batch.
        """
        return _batches(self, rows, "arrow")

    def polars(self, rows: int = ROWS) -> "Batches[Any]":
        """As `arrow`, in data frames of Polars."""
        return _batches(self, rows, "polars")

    def pandas(self, rows: int = ROWS) -> "Batches[Any]":
        """As `arrow`, in data frames of pandas, whose columns are kept as Arrow's."""
        return _batches(self, rows, "pandas")

    # -- for both

    @property
    def topics(self) -> Mapping[str, Wanted]:
        """What is wanted, by topic."""
        return self._topics

    @property
    def opens(self) -> bool:
        """Whether there is a key service."""
        return self._options.keys is not None

    @property
    def live(self) -> bool:
        """Whether it goes on for ever."""
        return self._options.until == LIVE

    async def granted(self, subjects: set[str]) -> Found:
        """The keys of these subjects that the key service gives."""
        return await self._options.keys(subjects) if subjects and self._options.keys else {}

    def stands(self, after: Mapping[Place, Position]) -> None:
        """What was given up to there was taken."""
        self._at.update(after)

    def report(self, unread: Sequence[Unread]) -> None:
        """Tell of records that are not given: to the handler, or the first of each cause to the log."""
        for one in unread:
            if self._options.on_unread is not None:
                self._options.on_unread(one)
            elif not self.unread[one.cause]:
                place = f"{one.place.topic} {one.place.partition} at {one.offset}"
                logger.warning(
                    "%s: %s is not given: %s (further ones are counted in .unread)", one.cause, place, one.error
                )
            self.unread[one.cause] += 1

    async def sifted(self, hungry: Hungry | None = None) -> AsyncGenerator[tuple[dict[Place, Sifted], set[Place]]]:
        """What is new of each partition, and the partitions of which more is to come before the end; nothing now and then of a live one."""
        async with Reader(self._settings) as reader:
            source = Source(reader, list(self._topics))
            await source.open(Cursor(self._at) or self._since, self._options.until)
            positions = dict(source.starts)
            self._ends = source.ends
            self._begun = self._begun or {place: at.offset for place, at in positions.items()}
            self._at.update(source.starts)
            sieves = {place: self._sieve(place) for place in source.places}
            async with aclosing(source.fetched(hungry)) as fetched:
                async for batch, behind in fetched:
                    found = {place: sieves[place].sift(records, positions[place]) for place, records in batch.items()}
                    positions.update({place: one.position for place, one in found.items()})
                    self.repeats += sum(one.repeats for one in found.values())
                    yield found, behind

    def _sieve(self, place: Place) -> Sieve:
        keys = self._settings.signing_keys
        signed = Signer(keys).checker(place.topic) if keys else None
        return Sieve(place, self._topics[place.topic], signed, core=self._options.core)


def _batches(subscription: Subscription[Any], rows: int, kind: str) -> "Batches[Any]":
    try:
        from streams.client.batches import Batches
    except ImportError as error:
        raise CaravanError(f"Batches need Arrow ({error.name}): pip install 'caravan[analytics]'") from error
    return Batches(subscription, rows, kind)
