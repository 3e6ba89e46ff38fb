"""Reading topics as people and tools do: without a group, from a place or a time on, several partitions in the order of time.

Agents do not read like this: they take their position from the store (`streams.loop`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.errors import CaravanError
from streams.fetching import Fetched, keep_packed
from streams.kafka import Kafka, KafkaUrl
from streams.settings import Settings

POLL_MS = 300  # how long a fetch waits for records
FETCH_BYTES = 1 << 20
READ_S = 10.0  # how long one record may take
T = TypeVar("T")


class Place(NamedTuple):
    """A partition of a topic, which is named without namespace."""

    topic: str
    partition: int


class Found(NamedTuple):
    """A record and where it stands."""

    place: Place
    record: Any


class Reader:
    """Use it with `async with`. Every method raises CaravanError while Kafka is away."""

    def __init__(self, settings: Settings, wait_ms: int = POLL_MS, fetch_bytes: int = FETCH_BYTES) -> None:
        """Connects to nothing yet. Who goes from partition to partition waits for a fetch under way each time: give a short `wait_ms` then.

        `fetch_bytes` bounds what one fetch brings of a partition.
        """
        self._wait_ms, self._fetch_bytes = wait_ms, fetch_bytes
        self._url, self._namespace = KafkaUrl.parse(settings.kafka), settings.namespace
        self._kafka = Kafka(settings)
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._consumer = AIOKafkaConsumer(
            **self._url.client(),
            enable_auto_commit=False,
            fetch_max_wait_ms=self._wait_ms,
            max_partition_fetch_bytes=self._fetch_bytes,
            auto_offset_reset="none",  # records that are gone are told; by default a reader would jump to the end
        )
        try:
            await answered(self._url, self._consumer.start())
            keep_packed(self._consumer)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self._stop()

    async def _stop(self) -> None:
        try:
            await self._consumer.stop()
        except (KafkaError, OSError):
            pass
        except asyncio.CancelledError:  # aiokafka's own, of a task of a consumer that is closed at once
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        await self._kafka.stop()

    async def places(self, topics: Collection[str]) -> list[Place]:
        """The partitions of those topics; raises CaravanError for one that there is not."""
        found = []
        for topic in topics:
            count = await answered(self._url, self._kafka.partitions(topic))
            if not count:
                raise CaravanError(f"There is no topic {self._namespace}{topic} yet; caravan topics --create makes it.")
            found += [Place(topic, number) for number in range(count)]
        return found

    async def bounds(self, places: Collection[Place]) -> dict[Place, tuple[int, int]]:
        """First offset that is there, and the one that the next record will get."""
        tps = [self._tp(place) for place in places]
        starts = await answered(self._url, self._consumer.beginning_offsets(tps))
        ends = await answered(self._url, self._consumer.end_offsets(tps))
        return {place: (starts[self._tp(place)], ends[self._tp(place)]) for place in places}

    async def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """The offset that the next record of each will get."""
        told = await answered(self._url, self._consumer.end_offsets([self._tp(place) for place in places]))
        return {place: told[self._tp(place)] for place in places}

    async def since(self, places: Collection[Place], milliseconds: int) -> dict[Place, int]:
        """The first offset of each whose record has at least that Unix time; its end where there is none."""
        asked = {self._tp(place): milliseconds for place in places}
        told = await answered(self._url, self._consumer.offsets_for_times(asked))
        bounds = await self.bounds(places)
        found = {place: told.get(self._tp(place)) for place in places}
        return {place: bounds[place][1] if at is None else at.offset for place, at in found.items()}

    async def follow(self, starts: Mapping[Place, int], *, live: bool) -> AsyncIterator[Found]:
        """Records from these offsets on: what is there now in the order of time, then with `live` what comes."""
        ends = {place: end for place, (_, end) in (await self.bounds(list(starts))).items()}
        self.begin(starts)
        async for found in self._backlog(starts, ends):
            yield found
        while live:
            batch = await self._fetched([])
            for found in sorted(batch, key=lambda found: found.record.timestamp):
                yield found

    async def scan(self, place: Place, start: int) -> AsyncIterator[Any]:
        """The records of one partition from an offset to the end as it is now."""
        async for found in self.follow({place: start}, live=False):
            yield found.record

    async def batches(self, place: Place, start: int, end: int) -> AsyncIterator[list[Any]]:
        """The records of one partition from an offset up to another, as they are fetched: for whoever reads many."""
        self.begin({place: start})
        while start < end:
            records = [record for _, record in await self._fetched([place])]
            start = records[-1].offset + 1 if records else start
            if kept := [record for record in records if record.offset < end]:
                yield kept

    async def read(self, place: Place, offset: int) -> Any | None:
        """The record at this offset, None when it is not there any more or not yet."""
        start, end = (await self.bounds([place]))[place]
        return await self._one(place, offset) if start <= offset < end else None

    async def bisect(self, place: Place, before: Callable[[Any], bool | None]) -> int:
        """The first offset at which `before(record)` is no longer true, by halving; None of it means: look at the next record."""
        low, high = (await self.bounds([place]))[place]
        while low < high:
            middle = (low + high) // 2
            at, told = middle, None
            while at < high and (told := before(await self._one(place, at))) is None:
                at += 1
            low, high = (at + 1, high) if told else (low, middle)
        return low

    def begin(self, starts: Mapping[Place, int]) -> None:
        """Read these partitions from these offsets on, by `fetch`."""
        self._consumer.assign([self._tp(place) for place in starts])
        for place, offset in starts.items():
            self._consumer.seek(self._tp(place), offset)

    async def fetch(self, places: Collection[Place]) -> dict[Place, list[Any]]:
        """What comes next of those partitions in whole record batches, nothing when nothing came for a while."""
        return await answered(self._url, self._got(places, Fetched.records))

    async def position(self, place: Place) -> int:
        """The offset from which on it reads next; not every offset has a record."""
        return int(await answered(self._url, self._consumer.position(self._tp(place))))

    # -- inside

    def _tp(self, place: Place) -> TopicPartition:
        return TopicPartition(self._namespace + place.topic, place.partition)

    async def _one(self, place: Place, offset: int) -> Any:
        self.begin({place: offset})
        async with asyncio.timeout(READ_S):
            while not (found := await answered(self._url, self._got([place], Fetched.first))):
                pass
            return found[place]

    async def _got(self, places: Collection[Place], unpack: Callable[[Fetched], T]) -> dict[Place, T]:
        """What comes next of those partitions, as far as there is something."""
        batch = await self._consumer.getmany(*map(self._tp, places), timeout_ms=POLL_MS)
        skip = len(self._namespace)
        found = {Place(tp.topic[skip:], tp.partition): unpack(fetched) for tp, (fetched,) in batch.items()}
        return {place: got for place, got in found.items() if got}

    async def _backlog(self, starts: Mapping[Place, int], ends: Mapping[Place, int]) -> AsyncIterator[Found]:
        """Merge what was there at the start by time; a partition is asked for more only when it has nothing left."""
        waiting: dict[Place, deque[Any]] = {place: deque() for place in starts}
        reached = dict(starts)
        while True:
            if hungry := [p for p, kept in waiting.items() if not kept and reached[p] < ends[p]]:
                for place, record in await self._fetched(hungry):
                    waiting[place].append(record)
                    reached[place] = record.offset + 1
            elif full := [place for place, kept in waiting.items() if kept]:
                first = min(full, key=lambda place: waiting[place][0].timestamp)
                yield Found(first, waiting[first].popleft())
            else:
                return

    async def _fetched(self, places: Collection[Place]) -> list[Found]:
        return [Found(place, record) for place, got in (await self.fetch(places)).items() for record in got]


async def answered(url: KafkaUrl, question: Awaitable[T]) -> T:
    """The broker's answer; raises CaravanError while Kafka is away."""
    try:
        return await question
    except OffsetOutOfRangeError as error:
        raise CaravanError(f"Records that were to be read are not there any more: {error}") from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise CaravanError(f"Kafka is away at {', '.join(url.servers)}: {error}") from error
