"""A replay from its first event to the exchange of its tables; whatever is killed on the way, the same command goes on."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Self, TypeVar

from caravan.replay.code import mark
from caravan.replay.compare import CORE, Comparison, Result
from caravan.replay.fold import Fold
from sinks.postgres.differing import Compared, Moment, demand_key
from sinks.postgres.exchange import Exchange, exchange
from sinks.postgres.replay import STATE, TIMERS, Beside, Known, NotHeld, Stands
from streams import discover
from streams.agent import Decider, Folds, agents_of
from streams.errors import CaravanError
from streams.feeding import Pace
from streams.folding import foldable
from streams.settings import Settings

LOOK_S = 0.2  # between two looks at where both stand
WAIT_S = 0.7  # how long the live tables stand still for the last events; less than a worker waits before it ends whoever is in its way
NEAR = 100  # events, or what is folded in a quarter of a second: from there on it is tried
PATIENCE_S = 60.0  # how long nothing may move, or somebody may be in the way
RATE_S = 3.0  # over which the rate is told
T = TypeVar("T")


class NotNow(CaravanError):
    """What was asked for does not fit where the replay stands; the words say what does."""


class Progress(NamedTuple):
    """How far it is: events folded of those that there are, by the second, and how many the live tables are ahead."""

    doing: str
    folded: int
    whole: int
    rate: float
    behind: int


@dataclass(frozen=True)
class Wishes:
    """What is to be built. None: as it was begun, or else everything from the first event on."""

    tables: tuple[str, ...] | None = None
    asked: str | None = None
    since: Mapping[str, int] = field(default_factory=dict)
    rate: float | None = None
    show: int = 20


class Replay:
    """The replay of one domain. Use it with `async with`; nobody else replays the domain meanwhile. Every method raises CaravanError."""

    def __init__(
        self,
        settings: Settings,
        domain: str,
        wishes: Wishes,
        progress: Callable[[Progress | None], None] = lambda _: None,
    ) -> None:
        """Nothing is begun."""
        self.domain, self.wishes = domain, wishes
        self.agents: list[Folds] = foldable(agents_of(domain))
        self.beside = Beside(settings.postgres, settings.namespace, domain)
        self._settings, self._progress = settings, progress
        self._pace = Pace(wishes.rate)
        self._places = [(agent.name, _live_topic(agent)) for agent in self.agents]
        self._seen: list[tuple[float, int]] = []

    async def __aenter__(self) -> Self:
        """Connect; raises Busy."""
        if not self.agents:
            raise NotNow(f"{self.domain} has nothing that follows from events")
        await self.beside.__aenter__()
        try:
            await self.beside.alone()
        except BaseException:
            await self.beside.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close; that there is no more progress is told by None."""
        self._progress(None)
        await self.beside.__aexit__(*error)

    # -- what operators ask for

    async def build(self) -> Comparison:
        """Fold all events that there are, and compare."""
        known = await self._begun()
        async with self._folding(known) as fold:
            await self._catch_up(fold, "building" if known.state == "building" else "catching up")
            await self._demand_all_folded()
            moment, stands = await self._moment(fold)
            self._tell("comparing", fold, stands)
            numbers = dict(fold.numbers())
            async with moment:
                comparison = await self._compare(moment, known)
        after = known.now(state="compared", numbers=numbers, compared_at=_now(), accepted=None, lost=comparison.lost)
        after = after.now(rows=comparison.rows, differing=comparison.differing, diff=comparison.diff)
        await self.beside.write(after)
        return comparison

    async def swap(self, accept: str | None) -> Known:
        """Exchange the tables with the live ones; what differs must have been accepted by the mark of just that."""
        known = await self._there()
        if known.state == "swapped":
            return known
        if known.state == "building":
            raise NotNow(f"{self.domain} was not compared yet; run: caravan replay {self.domain}")
        self._demand_code(known)
        if known.diff is not None and known.diff not in (accept, known.accepted):
            told = f"of {self.domain} {known.differing} rows differ, and {'that is not the diff' if accept else 'nobody accepted the diff'}"
            raise NotNow(
                f"{told} {known.diff}; look with: caravan replay {self.domain}; accept with: --accept-diff {known.diff}"
            )
        if accept is not None and known.diff is None:
            raise NotNow("nothing differs, so there is no diff to accept; leave --accept-diff out")
        known = known.now(accepted=known.diff)
        return await self._exchanged(known, known.now(state="swapped"))

    async def swap_back(self) -> Known:
        """Exchange them again."""
        known = await self._there()
        if known.state == "back":
            return known
        if known.state != "swapped":
            raise NotNow(f"{self.domain} was not swapped, so there is nothing to go back to")
        if known.lost:
            raise NotNow(
                f"there was no {', '.join(known.lost)} before the swap, so there is nothing to go back to; end with --abort"
            )
        return await self._exchanged(known, known.now(state="back"))

    async def abort(self) -> Known:
        """Drop what was built; after a swap that is the old tables."""
        known = self._new() if await self.beside.has_other() else await self._there()
        await self.beside.drop()
        return known

    # -- beginning

    async def _there(self) -> Known:
        if (known := await self.beside.known()) is None:
            raise NotNow(f"there is no replay of {self.domain}; begin with: caravan replay {self.domain}")
        return known

    async def _begun(self) -> Known:
        """What is known of it, once it is begun."""
        known = await self.beside.known()
        if known is None:
            if await self.beside.has_other():
                words = "was built by something else, as caravan worker --rebuild; end that, and drop it with --abort"
                raise NotNow(f"the schema {self.beside.shadow} {words}")
            known = self._new()
            await self._demand_keys(known)
        elif known.state == "swapped":
            words = "the replay is swapped in already: --swap-back exchanges again, --abort drops the old tables"
            raise NotNow(f"{self.domain}: {words}")
        else:
            self._demand_code(known)
            self._demand_same(known)
        await self.beside.make(known)
        return known

    def _new(self) -> Known:
        wishes, every = self.wishes, sorted(kind.name for kind in discover.rows(self.domain))
        return Known(
            tables=tuple(sorted(wishes.tables)) if wishes.tables is not None else tuple(every),
            whole=wishes.tables is None,
            code=mark(self.domain),
            asked=wishes.asked or "earliest",
            since=dict(wishes.since),
            begun_at=_now(),
        )

    async def _demand_keys(self, known: Known) -> None:
        if known.since:
            for table in known.tables:
                if (shape := await self.beside.shape(table)) is not None:
                    demand_key(table, shape.key)

    def _demand_code(self, known: Known) -> None:
        if known.code != mark(self.domain):
            raise NotNow(
                f"the code of {self.domain} is another than the one that the replay was begun with; end it with --abort and begin anew"
            )

    def _demand_same(self, known: Known) -> None:
        wishes = self.wishes
        other = wishes.tables is not None and tuple(sorted(wishes.tables)) != known.tables
        if other or (wishes.asked is not None and wishes.asked != known.asked):
            views = "" if known.whole else f" --views {','.join(known.tables)}"
            words = f"a replay with{views or ' all views'} --from {known.asked} is there; go on with that, or end it with --abort"
            raise NotNow(f"{self.domain}: {words}")

    # -- folding

    @asynccontextmanager
    async def _folding(self, known: Known) -> AsyncIterator[Fold]:
        async with Fold(self._settings, self.agents, self.beside.shadow, known, self._pace) as fold:
            yield fold

    async def _catch_up(self, fold: Fold, doing: str) -> None:
        """Fold until the live tables are near."""
        moved, last, looked = time.monotonic(), -1, 0.0
        while True:
            live = await self.beside.stands(self._places)
            fold.follow(live)
            fold.demand_alive()
            rate = self._tell(doing, fold, live)
            folded, behind = fold.folded(), fold.behind(live)
            if fold.claimed and behind <= max(NEAR, rate / 4):
                return
            if folded != last:
                moved, last = time.monotonic(), folded
            elif time.monotonic() - moved > PATIENCE_S:
                raise NotNow(_why_it_stands(self.domain, behind))
            if time.monotonic() - looked > 1:
                looked = time.monotonic()
                if why := await self.beside.stopped():
                    raise NotNow(f"the replay stopped: {why}")
            await asyncio.sleep(LOOK_S)

    def _tell(self, doing: str, fold: Fold, live: Stands) -> float:
        """Tell how far it is; the rate."""
        now, folded = time.monotonic(), fold.folded()
        if not fold.claimed:
            return 0.0
        self._seen = [*(one for one in self._seen if now - one[0] < RATE_S), (now, folded)]
        since, before = self._seen[0]
        rate = (folded - before) / (now - since) if now > since else 0.0
        behind = fold.behind(live)
        self._progress(Progress(doing, folded, folded + behind, rate, behind))
        return rate

    async def _demand_all_folded(self) -> None:
        count, first = await self.beside.parked()
        if count:
            raise NotNow(
                f"{count} events cannot be folded, the first is {first}; mend the rules, end the replay with --abort and begin anew"
            )

    async def _reached(self, fold: Fold, stands: Stands) -> bool:
        """Whether the replay comes to where the live tables are held, in a moment."""
        fold.follow(stands)
        deadline, self._pace.rate = time.monotonic() + WAIT_S, None
        try:
            while not (there := fold.stands_at(stands)) and time.monotonic() < deadline:  # noqa: ASYNC110 - many tasks move it
                await asyncio.sleep(0.002)
        finally:
            self._pace.rate = self.wishes.rate
        if not there and fold.is_ahead_of(stands):
            words = "has events that the live tables do not know: Postgres was emptied or restored. A worker takes them over; let it come to its end first"
            raise NotNow(f"the topic of {self.domain} {words}")
        return there

    async def _moment(self, fold: Fold) -> tuple[Moment, Stands]:
        """Both schemas where they stand at the same numbers."""

        async def attempt() -> tuple[Moment, Stands] | None:
            async with self.beside.held(self._places) as stands:
                if not await self._reached(fold, stands):
                    return None
                return await Moment.begin(self.beside), stands

        return await self._insist(fold, attempt)

    async def _insist(self, fold: Fold, attempt: Callable[[], Awaitable[T | None]]) -> T:
        """Try again and again while somebody is in the way, or the replay is not there yet."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(NotHeld):
                if (done := await attempt()) is not None:
                    return done
            if time.monotonic() > deadline:
                words = f"for {PATIENCE_S:.0f} s there was no moment in which {self.domain} could be held; try again when there is less traffic"
                raise NotNow(words)
            await asyncio.sleep(random.uniform(LOOK_S / 2, LOOK_S))  # noqa: S311 - only not in step with others
            await self._catch_up(fold, "catching up")

    # -- comparing and exchanging

    async def _compare(self, moment: Moment, known: Known) -> Comparison:
        comparison = Comparison(self.agents, self.wishes.show)
        for name in self._exchanged_tables(known):
            shapes = [await self.beside.shape(name, schema) for schema in (self.beside.shadow, self.beside.live)]
            result = Result(name)
            if shapes[0] is None:
                raise NotNow(f"{name} of the replay is gone; end it with --abort and begin anew")
            if shapes[1] is None:
                result.lost = True
                comparison.results.append(result)
                continue
            columns = [column for column in shapes[0].columns if column in shapes[1].columns]
            table = CORE.get(name) or Compared(name, columns, shapes[0].key or columns)
            if known.since:
                result.kept = await moment.take_over(name, columns, table.key)
            await comparison.add(moment, table, result)
        return comparison

    def _exchanged_tables(self, known: Known) -> list[str]:
        core = []
        if known.whole and any(agent.table is not None for agent in self.agents):
            core = [STATE, TIMERS] if any(isinstance(agent, Decider) for agent in self.agents) else [STATE]
        return [*known.tables, *core]

    async def _exchanged(self, known: Known, after: Known) -> Known:
        """Have the tables exchanged, once; what is known then."""
        tables = self._exchanged_tables(known)
        await self.beside.migrate()
        missing = tuple([name for name in tables if await self.beside.shape(name) is None])
        after = after.now(swapped_at=_now(), lost=missing)
        whole = [agent for agent in self.agents if known.whole]
        what = Exchange(
            tables,
            self._places,
            [agent.name for agent in whole if agent.table is not None],
            next((agent.name for agent in whole if isinstance(agent, Decider)), None),
        )
        async with self._folding(known) as fold:
            await self._catch_up(fold, "catching up")
            await self._demand_all_folded()

            async def attempt() -> Known | None:
                now = await self._there()  # a COMMIT whose answer was lost was perhaps done
                if now.state == after.state:
                    return now
                try:
                    await exchange(self.beside, what, halted, after)
                finally:
                    fold.go_on()
                return await self._there()

            async def halted(stands: Stands) -> bool:
                """At just these numbers, and it stays there: what is folded next belongs to other tables."""
                self._tell("exchanging", fold, stands)
                if there := await self._reached(fold, stands):
                    fold.halt()
                return there

            return await self._insist(fold, attempt)


def _live_topic(agent: Folds) -> str:
    return agent.topic.commands_topic if isinstance(agent, Decider) else agent.source.events_topic


def _why_it_stands(domain: str, behind: int) -> str:
    return (
        f"for {PATIENCE_S:.0f} s nothing came, and {behind} events that {domain} has decided are not on its topic yet: "
        "is a worker running, and Kafka there?"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
