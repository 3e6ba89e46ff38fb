"""A kit whose worker dies at a write: before it, or after it and before anybody heard; then another worker takes over what it left."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, cast

from streams.agent import Agent, agents_of
from streams.clock import VirtualClock
from streams.contract import Command, Event
from streams.effect import Effect
from streams.envelope import Actor
from streams.handler import Handler
from streams.ids import _shaped
from streams.memory import MemoryBroker, MemoryStore
from streams.outside import Outside
from streams.store import Slot
from streams.testing import ADMIN, Kit
from tests.standins import StandIns, tell

START = datetime(2030, 1, 1, 9, tzinfo=UTC)
COMMITS, APPENDS = frozenset({"commit", "sent", "answer"}), frozenset({"append"})
Start = Literal["earliest", "now", "kept"]
DOMAINS = ("points", "identity", "promotions", "quests", "referrals")


class Still(VirtualClock):
    """Stands unless it is moved, so that every run has the same times."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return START + self.offset


class Cut(NamedTuple):
    """Where a worker dies: at which of its writes, counted from 0; a commit to the store or an append to a topic."""

    write: int
    when: Literal["before", "after"]


class Life:
    """How far a worker has come."""

    def __init__(self, cut: Cut | None = None) -> None:
        """Without a cut it lives for ever."""
        self.cut, self.writes, self.counting, self.dead = cut, 0, False, False

    async def write(self, call: Callable[[], Any]) -> Any:
        """Do one, or die."""
        if self.dead:
            raise asyncio.CancelledError
        at, self.writes = self.writes, self.writes + self.counting
        strikes = self.counting and self.cut is not None and self.cut.write == at
        if strikes and self.cut and self.cut.when == "before":
            await self._die()
        answer = await call()
        if strikes:
            await self._die()
        return answer

    async def _die(self) -> None:
        self.dead = True
        await asyncio.Event().wait()  # nothing of it goes on


class Wire:
    """What a worker has of store or broker: while it lives."""

    def __init__(self, inner: Any, life: Life, writes: frozenset[str]) -> None:
        """Pass all on; `writes` are the methods at which it may die."""
        self._inner, self._life, self._writes = inner, life, writes

    def __getattr__(self, name: str) -> Any:
        """The method of that name."""
        found = getattr(self._inner, name)
        if name in self._writes:
            return lambda *args, **named: self._life.write(lambda: found(*args, **named))
        return found


class MortalKit(Kit):
    """All domains in memory; once `arm` was called, the worker dies at the cut, once."""

    def __init__(self, agents: Iterable[Agent], cut: Cut | None = None) -> None:
        """Nothing has happened. What effects ask outlives the worker, and may be asked twice."""
        self.life, self._cut, self.deaths, self._commands = Life(), cut, 0, 0
        self._standins = StandIns()
        agents = tuple(agents)
        outside = {agent.name: Outside(repeatable=True) for agent in agents if isinstance(agent, Effect)}
        super().__init__(*agents, clock=Still(), outside=outside)

    @classmethod
    def whole(cls, cut: Cut | None = None) -> "MortalKit":
        """Every domain that there is."""
        return cls([agent for domain in DOMAINS for agent in agents_of(domain)], cut)

    def arm(self) -> None:
        """From now on writes count."""
        self.life.cut, self.life.counting = self._cut, True

    def say(self, command: Command, actor: Actor = ADMIN) -> str:
        """Send a command, under an id that it has in every run, and have all happen that follows; its status."""
        self._commands += 1
        milliseconds = int(self.clock.now().timestamp() * 1000)
        name = _shaped(milliseconds.to_bytes(6, "big") + self._commands.to_bytes(10, "big"), 7)
        return self.send(command, actor=actor, command_id=name).status

    def happen(self, event: Event) -> None:
        """Something happens in a domain that is not built yet, and is told twice."""
        record = self._standins.record(event, self.clock.now())
        tell(self, record, record)

    def pass_time(self, by: timedelta) -> None:
        """Time passes, and what is due happens."""
        self.advance(by)

    def code_of(self, campaign_id: str, voucher_id: str) -> str:
        """What the owner of a voucher shows."""
        return str(getattr(self.state(campaign_id, f"voucher/{voucher_id}", "promotions"), "code", ""))

    def points(self, name: str) -> int:
        """What a user has to spend."""
        return next(int(row[1]) for row in self.rows("balance", "points") if row[0] == name)

    def moves(self, name: str) -> Counter[str]:
        """The movements of a user's points, by kind."""
        return Counter(row[3] for row in self.rows("ledger", "points") if row[0] == name)

    def times(self, kind: str) -> int:
        """How many events of a kind there are; one that a relay repeats is one."""
        return len({envelope.event_id for envelope in self.envelopes() if envelope.type == kind})

    def _handler(self, agent: Agent, slot: Slot) -> Handler:
        with self._wired():
            return super()._handler(agent, slot)

    def _open(self, slot: Slot, handler: Handler, store: MemoryStore, start: Start = "earliest") -> None:
        with self._wired():
            super()._open(slot, handler, self._store(store), start)

    @contextmanager
    def _wired(self) -> Iterator[None]:
        """While parts of the worker are made: what they are given ends with it."""
        store, broker = self.store, self.broker
        self.store, self.broker = self._store(store), cast("MemoryBroker", Wire(broker, self.life, APPENDS))
        try:
            yield
        finally:
            self.store, self.broker = store, broker

    def _store(self, store: MemoryStore) -> MemoryStore:
        return cast("MemoryStore", Wire(store, self.life, COMMITS))

    async def _settle(self) -> None:
        quiet = 0
        self.broker.deliver()
        while quiet < 3:
            await asyncio.sleep(0)
            if self.life.dead:
                await self._replace()
            for partition, _, task in self._tasks:
                if partition.reason.fault is not None:
                    raise partition.reason.fault
                if task.done():
                    task.result()
            quiet = quiet + 1 if self._idle() else 0

    async def _replace(self) -> None:
        """Another worker begins where this one stood."""
        self.deaths += 1
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left:  # again and again: what would take its leave does not
                task.cancel()
            await asyncio.sleep(0)
        self.life, self._tasks = Life(), []
        await self._start(self.agents)
