"""What open live views share: a question is asked once, however many streams show its answer.

A feed reads when it hears of a move and keeps the newest state alone, so a slow stream costs no more than a quick one.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from heapq import nsmallest
from typing import NamedTuple

from sinks.postgres.edge import EdgeStore
from streams.store import Unavailable

READERS = 4  # connections to Postgres that all feeds together may use at a time
GAP_S = 0.05  # between two reads of one feed
BEHIND_S = 0.25  # before another look at a server that lacks what was shown or told
AWAY_S = 1.0  # before another look at one that did not answer
LOOK_S = 1.0  # between two looks whether a domain has moved
REREAD_S = (
    5.0  # in which each feed of a domain that moves is read once more: about what a lost notification costs at most
)
Positions = Mapping[int, int]
log = logging.getLogger(__name__)


class State(NamedTuple):
    """An answer as an event: it includes all before `least` and nothing from `most` on; `mark` tells one from another."""

    least: Positions
    most: Positions
    mark: bytes
    event: bytes

    def covers(self, since: Positions) -> bool:
        """Whether it is surely no older than what stood at these positions."""
        return all(self.least.get(partition, 0) >= position for partition, position in since.items())


class Question(NamedTuple):
    """What a stream shows; those of the same `name` are shown the same. Moves of `key` in these partitions change it, or of any without one.

    `answer` takes the mark of a state; of that one it gives back no more than `least` again.
    """

    name: str
    domain: str
    key: str | None
    partitions: frozenset[int]
    answer: Callable[[bytes | None], Awaitable[State]]


class Feed:
    """The newest state of one question, for all streams that show it."""

    def __init__(self, feeds: "Feeds", question: Question) -> None:
        """Nothing is read before it is wanted."""
        self.question, self.streams = question, 0
        self.state: State | None = None
        self.failed: Exception | None = None
        self.asked = -math.inf  # when it last was
        self.stands: object = None  # where the domain stood when it was last asked for that reason
        self._feeds, self._loop = feeds, asyncio.get_running_loop()
        self._news = self._loop.create_future()
        self._begun = self._ended = 0  # reads
        self._awaited = False  # whether somebody wants to know of the next read's end, whatever it brings
        self._again = math.inf  # in how many seconds after the read that runs there must be another
        self._due: asyncio.Handle | None = None
        self._when = math.inf  # is it due
        self._reading: asyncio.Task[None] | None = None
        self._told: dict[int, int] = {}  # positions that the server we read from may not have yet

    @property
    def news(self) -> asyncio.Future[None]:
        """Done when there is something new to look at; take it before you look."""
        return self._news

    @property
    def broken(self) -> Exception | None:
        """What ends all its streams: a bug of the view, not that Postgres is away."""
        return None if isinstance(self.failed, Unavailable) else self.failed

    async def fresh(self) -> None:
        """Wait for a read that begins from now on; raises what it raises."""
        wanted = self._begun + 1
        self._want(0.0, gap=0.0)
        while self._ended < wanted:
            self._awaited = True
            await asyncio.wait([self._news])  # which, unlike a plain await, leaves it alone when we are cancelled
        if self.failed is not None:
            raise self.failed

    def behind(self) -> None:
        """A stream waits for a later state than the one that there is."""
        self._awaited = True
        self._want(BEHIND_S)

    def told(self, partition: int | None, reached: int) -> None:
        """Of a move, as `Moves` tells."""
        if partition is not None:
            self._told[partition] = max(reached, self._told.get(partition, 0))
        elif reached == 0:  # we may have missed some, and Postgres may be away, or be another one
            self._told.clear()
            self._tell()
        self._want(0.0)

    def read_again(self, stands: object, seconds: float) -> None:
        """In so many seconds: the domain has moved to where it `stands`."""
        self.stands = stands
        self._want(seconds)

    def end(self) -> None:
        """No stream shows it any more."""
        if self._due is not None:
            self._due.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def _want(self, seconds: float, gap: float = GAP_S) -> None:
        if self._reading is not None:
            self._again = min(self._again, seconds)
            return
        when = max(self._loop.time() + seconds, self.asked + gap)
        if when < self._when:
            if self._due is not None:
                self._due.cancel()
            self._due, self._when = self._loop.call_at(when, self._begin), when

    def _begin(self) -> None:
        self._due, self._when = None, math.inf
        self._reading = self._loop.create_task(self._ask(), name="feed: read")

    async def _ask(self) -> None:
        async with self._feeds.reading:
            self._begun += 1
            self._again = math.inf  # whatever was wanted until now is what this read does
            again, news = await self._answered()
        self._ended, self.asked, self._reading = self._begun, self._loop.time(), None
        if news or self._awaited:
            self._tell()
        if self.broken is not None:
            self._feeds.drop(self)
        elif (again := min(again, self._again)) < math.inf:
            self._want(again)

    async def _answered(self) -> tuple[float, bool]:
        """Ask; in how many seconds to ask again, and whether all streams must know what came."""
        before, self.failed = self.state, None
        known = None if before is None or self._awaited else before.mark
        try:
            state = await self.question.answer(known)
        except Unavailable as error:
            self.failed = error
            return AWAY_S, False
        except Exception as error:  # noqa: BLE001 - whatever it is, the streams raise it
            self.failed = error
            return math.inf, True
        self.state = before._replace(least=state.least) if before is not None and state.mark == known else state
        if state.covers(self._told):
            self._told.clear()
        return BEHIND_S if self._told else math.inf, before is None or before.mark != state.mark

    def _tell(self) -> None:
        self._awaited = False
        news, self._news = self._news, self._loop.create_future()
        if not news.done():
            news.set_result(None)


class Feeds:
    """All feeds of this process."""

    def __init__(self, store: EdgeStore) -> None:
        """There is none."""
        self.reading = asyncio.Semaphore(READERS)
        self._store = store
        self._all: dict[str, tuple[Feed, ExitStack]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._stands: dict[str, object] = {}  # of domains, when they were looked at last

    @contextmanager
    def feed(self, question: Question) -> Iterator[Feed]:
        """The feed of a question, for one more stream; it ends with its last one."""
        feed, _ = self._all.get(question.name) or self._made(question)
        feed.streams += 1
        try:
            yield feed
        finally:
            feed.streams -= 1
            if not feed.streams:
                self.drop(feed)

    def _made(self, question: Question) -> tuple[Feed, ExitStack]:
        feed, held = Feed(self, question), ExitStack()
        feed.stands = self._stands.get(question.domain)  # its first read comes after that
        about = (question.domain, question.partitions, feed.told)
        held.enter_context(self._store.moves.listening(*about, key=question.key))
        self._all[question.name] = feed, held
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="feeds: look")
        return feed, held

    def drop(self, feed: Feed) -> None:
        """No stream begins with it any more."""
        found = self._all.get(feed.question.name)
        if found is not None and found[0] is feed:
            del self._all[feed.question.name]
            found[1].close()
            feed.end()
        if not self._all and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        """For ever: feeds of domains that have moved are asked in turn, for they may not have been told."""
        while True:
            await asyncio.sleep(LOOK_S)
            for domain in {feed.question.domain for feed, _ in self._all.values()}:
                try:
                    async with self.reading, self._store.db(domain) as db:
                        stands = await db.stands()
                except Exception as error:  # noqa: BLE001 - there will be another look
                    log.debug("no look at %s: %s", domain, error)
                else:
                    self._stands[domain] = stands
                    self._ask_some([feed for feed, _ in self._all.values() if feed.question.domain == domain], stands)

    def _ask_some(self, feeds: Sequence[Feed], stands: object) -> None:
        """Of those that were not asked for some time as many as it takes to have asked all in REREAD_S, evenly."""
        some = max(1, math.ceil(len(feeds) * LOOK_S / REREAD_S))
        late = asyncio.get_running_loop().time() - REREAD_S / 2
        waiting = [feed for feed in feeds if feed.asked < late and feed.stands != stands]
        for number, feed in enumerate(nsmallest(some, waiting, key=lambda feed: feed.asked)):
            feed.read_again(stands, number * LOOK_S / some)
