"""One seed: two workers, clients, faults; then all goes well, everything settles, time passes, and the history is judged."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from streams.contract import Command
from streams.memory import MemoryGroup, MemoryStore
from streams.store import Slot
from streams.testing import SIGNER
from tests.checker.check import check
from tests.checker.history import History
from tests.checker.memory import observe
from tests.checker.model import platform
from tests.simulation.broker import QUICK_S, SimBroker
from tests.simulation.clients import Clients
from tests.simulation.faults import EVENTS, Faults
from tests.simulation.operators import Operators
from tests.simulation.orders import TOPICS, Order, agents, award, journeys, order
from tests.simulation.scheduler import Endless, Loop, Process, process
from tests.simulation.store import SimStore
from tests.simulation.worker import SimWorker
from topics.identity import UpdateProfile
from topics.promotions import ActivateCampaign

START = datetime(2026, 1, 1, tzinfo=UTC)
WORKERS = 2
TRAFFIC_S = 25.0  # about, during which faults begin
SESSION_S = 10.0
IN_TRANSACTION = 500  # times that a moment is looked for at which a worker stands in a transaction, to freeze it there
LOOK_S = 0.5  # between two looks of the observer
SETTLE_S = 180.0  # after the last fault everything must have settled
AFTERWARDS = timedelta(days=2)  # passes then: what expires does


class SimClock:
    """The port Clock on the loop's time."""

    offset = timedelta()

    def __init__(self, loop: Loop) -> None:
        """It begins at START."""
        self._loop = loop

    def now(self) -> datetime:
        """The virtual time."""
        return START + timedelta(microseconds=int(self._loop.time() * 1_000_000))


class Outcome(NamedTuple):
    """What a seed led to."""

    seed: int
    findings: list[str]
    faults: Counter[str]
    commands: int
    digest: str


class World:
    """Everything of a seed."""

    def __init__(self, seed: int) -> None:
        """Nothing has happened."""
        self.seed, self.loop = seed, Loop(seed)
        self.dice, self.faults = Random(f"{seed} dice"), Faults(seed)
        self._draw = self.dice.random
        self.clock = SimClock(self.loop)
        self.topics, self.agents = TOPICS, agents(lambda: self.faults.mended)
        self.history = History(clock=self.loop.time)
        self.memory = MemoryStore()
        self.store = SimStore(self, self.memory)
        heard = {agent.source.domain: agent.source for found in self.agents.values() for agent in found}
        self.broker = SimBroker(self, self.clock, [*heard.values()])
        self.groups = {domain: MemoryGroup(self._read_by(domain)) for domain in self.agents}
        self.workers: list[SimWorker] = []
        self.clients, self.operators = Clients(self), Operators(self)
        self._positions: dict[Slot, tuple[int, int, int]] = {}
        self._shown: Counter[str] = Counter()
        self._read = 0
        self._names = 0

    # -- what its parts ask of it

    def process(self) -> Process | None:
        """The process that asks."""
        return process()

    async def trip(self, longest: float) -> None:
        """Over the wire: in no time, after whatever else is ready, or later."""
        way = self._draw()
        if way < 0.25 or longest > QUICK_S:
            await asyncio.sleep(self._draw() * longest)
        elif way < 0.5:
            await asyncio.sleep(0)

    def outside(self, delay: float, callback: Any, *args: Any) -> None:
        """Something that the broker or Postgres does, whatever becomes of who asked for it."""
        self.loop.outside(delay, callback, *args)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the process that asks."""
        return self.loop.create_task(work)

    def order(self, line: Any) -> Order:
        """What becomes of a client's line at the edge."""
        return order(line, self._code_of)

    def closing(self, domain: str, key: str) -> Command:
        """A command that any domain takes, for a key."""
        if domain == "points":
            return award(key, f"event-{key}")
        if domain == "identity":
            return UpdateProfile(user_id=key, language="de")
        return ActivateCampaign(campaign_id=key, partner_id="p1")

    # -- a run

    def run(self) -> Outcome:
        """From the beginning to the end."""
        asyncio.set_event_loop(self.loop)
        try:
            findings = self.loop.run_until_complete(self._scenario())
        except Endless:
            findings = [f"stuck: no end after {self.loop.steps} steps", *self._unsettled()]
        findings += self._judged()
        sent = sum(one["kind"] == "sent" for one in self.history.seen)
        digest = f"{self.history.digest()}-{self.loop.steps}-{self.loop.time():.6f}"
        self.loop.set_exception_handler(lambda *_: None)  # what still waits is dropped as it is
        return Outcome(self.seed, findings, self.faults.count, sent, digest)

    async def _scenario(self) -> list[str]:
        for _ in range(WORKERS):
            self._begin_worker()
        lines = [*journeys(self.seed, START)]
        watching = asyncio.create_task(self._watch())
        operating = asyncio.create_task(self.operators.run())
        troubles = [asyncio.create_task(self._trouble(kind)) for kind in self.faults.events]
        await self.clients.run(lines)
        await asyncio.gather(*troubles)
        self.faults.end()
        operating.cancel()
        self.faults.mended = self.faults.is_mended_in_the_end
        await self.clients.close()
        if self.faults.mended:
            await self.operators.redrive_all()
        waiting = await self._settle()
        watching.cancel()
        if not waiting:
            await asyncio.sleep(AFTERWARDS.total_seconds())
            waiting = await self._settle()
        return waiting

    def _judged(self) -> list[str]:
        """What is wrong with all that was seen in the end."""
        self._look()
        self.history.note("clock", "observer", at=self.clock.now())
        observe(self.history, self.broker, self.memory, [*TOPICS.values()], SIGNER)
        self._positions.clear()
        self._look()
        failures = [f"error: {words}" for worker in self.workers for words in worker.failures()]
        return [*failures, *check(self.history.seen, platform)]

    def _begin_worker(self) -> None:
        self._names += 1
        self.workers.append(SimWorker(self, f"worker-{self._names}"))

    # -- what goes wrong at a moment

    async def _trouble(self, kind: str) -> None:
        assert kind in EVENTS
        dice = self.faults.dice
        await asyncio.sleep(dice.random() * TRAFFIC_S)
        self.faults.note(kind)
        span = dice.choice((0.3, 2.0, 6.0)) * (0.5 + dice.random())
        if kind == "broker away":
            await self._broker_away(span)
        elif kind == "postgres away":
            await self._postgres_away(span)
        elif kind == "rebalance":
            for group in self.groups.values():
                group.rebalance()
        elif worker := self._victim():
            await self._strike(kind, worker, span)

    async def _broker_away(self, span: float) -> None:
        self.broker.away = True
        await asyncio.sleep(span)
        self.broker.away = False
        self.broker.deliver()

    async def _postgres_away(self, span: float) -> None:
        self.store.away = True
        await asyncio.sleep(span)
        self.store.away = False

    def _victim(self) -> SimWorker | None:
        alive = [worker for worker in self.workers if worker.alive and not (worker.process.frozen or worker.leaving)]
        return self.faults.dice.choice(alive) if alive else None

    async def _strike(self, kind: str, worker: SimWorker, span: float) -> None:
        if kind == "worker left":
            leaving = worker.process.context.run(self.loop.create_task, worker.leave())
            await asyncio.wait([leaving], timeout=SESSION_S)  # it may be killed or frozen meanwhile
            await asyncio.sleep(span)
            self._begin_worker()
        elif kind == "worker killed":
            worker.kill()
            await asyncio.sleep(span)
            self._begin_worker()
            await asyncio.sleep(max(0.0, SESSION_S - span))
            worker.expire()
        elif kind == "worker frozen":
            await self._freeze(worker, min(span, SESSION_S - 1))
        else:
            await self._freeze(worker, SESSION_S + span + (1000.0 if kind == "long standstill" else 0.0))

    async def _freeze(self, worker: SimWorker, span: float) -> None:
        """After the session has run out others take over; thawed, it goes on as if nothing had been until it is told."""
        for _ in range(IN_TRANSACTION):
            if self.store.has_open(worker.process):
                break
            await asyncio.sleep(QUICK_S)
        worker.process.frozen = True
        await asyncio.sleep(min(span, SESSION_S))
        if span > SESSION_S:
            worker.expire()
            await asyncio.sleep(span - SESSION_S)
        self.loop.thaw(worker.process)
        if span > SESSION_S:
            await asyncio.sleep(self.dice.random() * 2)
            worker.join()

    # -- what is seen

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        """Positions that have moved; and what a client reads whose token is covered."""
        for domain in TOPICS:
            for slot, place in sorted(self.memory.schemas[domain].places.items()):
                seen = place.next, place.number, place.epoch
                if self._positions.get(slot) != seen:
                    self._positions[slot] = seen
                    self.history.position("store", domain, {**slot._asdict(), **vars(place)})
        ledger = self.memory.schemas["points"].rows.get("ledger", [])
        for row in ledger[self._read :]:
            self._shown[row[0]] = max(self._shown[row[0]], row[1])
        self._read = len(ledger)
        places = {
            slot.partition: p for slot, p in self.memory.schemas["points"].places.items() if slot.agent == "points"
        }
        for token in [*self.clients.tokens]:
            key, name, partition, offset = token
            if partition in places and places[partition].next > offset:
                self.clients.tokens.remove(token)
                if UUID(name) in self.memory.schemas["points"].results:  # else it is parked, which the answer would say
                    self.history.note("read", "client", domain="points", key=key, seq=self._shown[key], token=name)

    async def _settle(self) -> list[str]:
        """Wait until everything is done; what is not in time, in words."""
        end = self.loop.time() + SETTLE_S
        while waiting := [*self._unsettled()]:
            if self.loop.time() > end:
                return waiting
            await asyncio.sleep(LOOK_S)
        return []

    def _unsettled(self) -> Any:
        now = int((self.clock.now() - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
        for domain, found in self.agents.items():
            schema = self.memory.schemas[domain]
            for agent in found:
                topic, decides = getattr(agent, "topic", None) or agent.source, hasattr(agent, "topic")
                name = topic.commands_topic if decides else topic.events_topic
                for number in range(topic.partitions):
                    slot = Slot(domain, agent.name, name, number)
                    place = schema.places.get(slot)
                    end = self.broker.end(name, number)
                    if self.faults.mended and any(p.holds for (s, _), p in schema.parked.items() if s == slot):
                        yield f"stuck: {slot} has parked records, and all was redriven"
                    if place is None or place.next < end or (decides and place.relayed < place.number):
                        yield f"stuck: {agent.name} on {name}/{number}, which ends at {end}: {place}"
            if late := sorted(key for key, (_, due) in schema.timers.items() if due <= now):
                yield f"stuck: the timers of {late} in {domain} are overdue"

    # -- parts

    def _read_by(self, domain: str) -> dict[str, int]:
        found = {}
        for agent in self.agents[domain]:
            topic = getattr(agent, "topic", None)
            name = topic.commands_topic if topic else agent.source.events_topic
            found[name] = (topic or agent.source).partitions
        return found

    def _code_of(self, campaign: str, voucher: str) -> str | None:
        """The code on a voucher, as its owner sees it."""
        row = self.memory.schemas["promotions"].rows.get("voucher", {}).get((campaign, voucher))
        return row[10] if row else None
