"""The shipped loop on ports in memory, with faults where a test wants them."""

import asyncio
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from streams.acting import Acting
from streams.agent import Decider, Policy
from streams.clock import VirtualClock
from streams.contract import Command
from streams.deciding import Deciding
from streams.envelope import Actor, EventEnvelope, Signer, decode_event
from streams.folding import Folding
from streams.handler import Handler
from streams.ids import uuid7
from streams.log import Entry
from streams.loop import Partition
from streams.memory import MemoryBroker, MemoryRecord, MemoryStore
from streams.producer import command_record, signed
from streams.store import Call, Claim, Outgoing, Parked, Queue, Request, Result, Slot, Store, Stored, Work
from streams.testing import ADMIN, SIGNER
from streams.waiting import BYTES, Delivery
from tests.streams.tally import ECHO, TALLY, decider

COMMANDS, EVENTS = TALLY.commands_topic, TALLY.events_topic


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition, looking again whenever others had their turn."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.001)


class Faults:
    """What shall happen at the calls of a port, in order: an error before the call, one after it was done, a gate it waits at."""

    def __init__(self) -> None:
        self.before: defaultdict[str, deque[Exception | None]] = defaultdict(deque)
        self.after: defaultdict[str, deque[Exception | None]] = defaultdict(deque)
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.always: dict[str, Exception] = {}

    def close(self, name: str) -> asyncio.Event:
        """Calls of this method wait until the returned event is set."""
        gate = self.gates[name] = asyncio.Event()
        return gate

    async def through(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        self.calls[name] += 1
        if name in self.gates:
            await self.gates[name].wait()
        if name in self.always:
            raise self.always[name]
        if self.before[name] and (error := self.before[name].popleft()):
            raise error
        answer = await call(*args)
        if self.after[name] and (error := self.after[name].popleft()):
            raise error
        return answer


class FaultyStore(Faults):
    """A store with faults."""

    def __init__(self, inner: Store) -> None:
        super().__init__()
        self.inner = inner

    async def claim(self, slot: Slot, owner: str, held: int | None, begin: int = 0) -> Claim:
        claim: Claim = await self.through("claim", self.inner.claim, slot, owner, held, begin)
        return claim

    async def standing(self, slot: Slot) -> tuple[int, int]:
        found: tuple[int, int] = await self.through("standing", self.inner.standing, slot)
        return found

    async def doubt(self, slots: Collection[Slot], number: int) -> None:
        await self.through("doubt", self.inner.doubt, slots, number)

    async def load(self, slot: Slot, keys: Collection[str]) -> Mapping[str, Stored]:
        found: Mapping[str, Stored] = await self.through("load", self.inner.load, slot, keys)
        return found

    async def known(self, slot: Slot, ids: Collection[UUID]) -> set[UUID]:
        found: set[UUID] = await self.through("known", self.inner.known, slot, ids)
        return found

    async def held(self, slot: Slot, keys: Collection[bytes]) -> set[bytes]:
        found: set[bytes] = await self.through("held", self.inner.held, slot, keys)
        return found

    async def asked(self, slot: Slot, limit: int) -> list[Request]:
        found: list[Request] = await self.through("asked", self.inner.asked, slot, limit)
        return found

    async def parked(self, slot: Slot, offset: int) -> Parked | None:
        found: Parked | None = await self.through("parked", self.inner.parked, slot, offset)
        return found

    async def queue(self, slot: Slot, key: bytes, limit: int) -> Queue:
        found: Queue = await self.through("queue", self.inner.queue, slot, key, limit)
        return found

    async def timers(self, slot: Slot, limit: int) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = await self.through("timers", self.inner.timers, slot, limit)
        return found

    async def owed(self, slot: Slot, limit: int) -> list[Call]:
        found: list[Call] = await self.through("owed", self.inner.owed, slot, limit)
        return found

    async def calls_of(self, slot: Slot, numbers: Collection[int]) -> list[Call]:
        found: list[Call] = await self.through("calls_of", self.inner.calls_of, slot, numbers)
        return found

    async def answer(self, slot: Slot, call: Call) -> bool:
        return bool(await self.through("answer", self.inner.answer, slot, call))

    async def unsent(self, slot: Slot, after: int, limit: int) -> list[Outgoing]:
        found: list[Outgoing] = await self.through("unsent", self.inner.unsent, slot, after, limit)
        return found

    async def commit(self, slot: Slot, epoch: int, work: Work) -> None:
        await self.through("commit", self.inner.commit, slot, epoch, work)

    async def sent(self, slot: Slot, epoch: int, number: int) -> None:
        await self.through("sent", self.inner.sent, slot, epoch, number)

    async def stopped(self, slot: Slot, why: str | None) -> None:
        await self.through("stopped", self.inner.stopped, slot, why)


class FaultyBroker(Faults, MemoryBroker):
    """The broker in memory with faults at `append`, `bounds` and `read`; it tells the feeds of new records."""

    def __init__(self, clock: VirtualClock, topics: Mapping[str, int]) -> None:
        Faults.__init__(self)
        MemoryBroker.__init__(self, clock, topics)
        self.rig_feeds: list[RigFeed] = []

    async def append(self, topic: str, partition: int, groups: Sequence[Sequence[Entry]]) -> None:
        await self.through("append", super().append, topic, partition, groups)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        found: tuple[int, int] = await self.through("bounds", super().bounds, topic, partition)
        return found

    async def read(self, topic: str, partition: int, offset: int) -> MemoryRecord | None:
        found: MemoryRecord | None = await self.through("read", super().read, topic, partition, offset)
        return found

    def _add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> int:
        offset = super()._add(topic, partition, key, value, headers)
        for feed in self.rig_feeds:
            asyncio.get_running_loop().call_soon(feed.pump)
        return offset


@dataclass
class Reader:
    """Where a feed stands on a slot."""

    partition: Partition
    cursor: int = 0
    generation: int = 0
    flowing: bool = False


class RigFeed:
    """One process's consumer. It can lose deliveries, hand over small ones, and hold them. Each fills a batch, unless `apart` is False."""

    def __init__(self, broker: FaultyBroker, size: int = 500) -> None:
        self.broker, self.size = broker, size
        self.readers: dict[Slot, Reader] = {}
        self.seeks: list[tuple[Slot, int]] = []
        self.hints: list[tuple[Slot, int]] = []
        self.pauses = 0
        self.asked = 0  # how often the group was asked
        self.word: bool | None = True  # what it says
        self.held = False  # deliveries are made by hand
        self.apart = True  # what waits is not put together
        self.lose: deque[bool] = deque()  # whether the next deliveries are lost
        self.stale: deque[bool] = deque()  # whether the next deliveries come as if fetched before the last seek
        self.errors: deque[Exception] = deque()  # what the next seeks raise
        broker.rig_feeds.append(self)

    async def seek(self, slot: Slot, offset: int) -> int:
        if self.errors:
            raise self.errors.popleft()
        self.seeks.append((slot, offset))
        reader = self.readers[slot]
        reader.cursor = offset
        reader.generation += 1
        asyncio.get_running_loop().call_soon(self.pump)
        return reader.generation

    def pause(self, slot: Slot) -> None:
        self.pauses += 1
        self.readers[slot].flowing = False

    def resume(self, slot: Slot) -> None:
        self.readers[slot].flowing = True
        asyncio.get_running_loop().call_soon(self.pump)

    async def holds(self, slot: Slot) -> bool | None:
        self.asked += 1
        return self.word

    async def hint(self, slot: Slot, offset: int) -> None:
        self.hints.append((slot, offset))

    def hand(self, first: int, last: int, *, later: int = 0) -> None:
        """Deliver these records by hand, as fetched after `later` seeks that nobody here made."""
        for slot, reader in self.readers.items():
            records = self.broker._topics[slot.topic][slot.partition][first : last + 1]
            reader.partition.offer(self._delivery(records, reader.generation + later))

    def _delivery(self, records: Sequence[Any], generation: int) -> Delivery:
        size = BYTES if self.apart else 0
        return Delivery([(records, size)], records[-1].offset, generation, size)

    def pump(self) -> None:
        """Hand over what there is, one delivery a turn."""
        if self.held:
            return
        for slot, reader in self.readers.items():
            records = self.broker._topics[slot.topic][slot.partition]
            first = bisect_left(records, reader.cursor, key=lambda record: record.offset)
            batch = records[first : first + self.size]
            if not (reader.flowing and batch):
                continue
            reader.cursor = batch[-1].offset + 1
            if not (self.lose and self.lose.popleft()):
                stale = 1 if self.stale and self.stale.popleft() else 0
                reader.partition.offer(self._delivery(batch, reader.generation - stale))
            asyncio.get_running_loop().call_soon(self.pump)


@dataclass
class Owner:
    """One process's hold of a partition."""

    partition: Partition
    handler: Handler
    feed: RigFeed
    task: asyncio.Task[None]

    async def leave(self) -> None:
        """Leave as a clean stop does."""
        self.partition.leave()
        await self.task

    async def die(self) -> None:
        """End without a word, as a killed process does."""
        self.task.cancel()
        await asyncio.wait([self.task])
        if isinstance(self.handler, Deciding):
            self.handler.relay.stop()


class Rig:
    """A broker and a store in memory, and any number of owners."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.memory = MemoryStore()
        self.store = FaultyStore(self.memory)
        self.broker = FaultyBroker(self.clock, {COMMANDS: TALLY.partitions, EVENTS: TALLY.partitions})
        self.owners: list[Owner] = []

    # -- owners

    def decider(self, partition: int = 0, *, size: int = 500, agent: Decider | None = None, limit: int = 0) -> Owner:
        """A process takes the partition; `limit` bounds its memory."""
        slot = Slot("tally", "tally", COMMANDS, partition)
        handler = Deciding(agent or decider(), slot, store=self.store, log=self.broker, signer=SIGNER, clock=self.clock)
        if limit:
            handler.shard._limit = limit
        return self.open(slot, handler, size)

    def policy(self, partition: int = 0, *, policy: Policy = ECHO) -> Owner:
        slot = Slot("tally", policy.name, EVENTS, partition)
        handler = Acting(policy, slot, store=self.store, log=self.broker, signer=SIGNER)
        return self.open(slot, handler, start=policy.start)

    def projection(self, store: Store, partition: int = 0) -> Owner:
        slot = Slot("tally", "tally.rebuild", EVENTS, partition)
        return self.open(slot, Folding(decider(), slot, store=store, signer=SIGNER), store=store)

    def open(
        self,
        slot: Slot,
        handler: Handler,
        size: int = 500,
        store: Store | None = None,
        start: Literal["earliest", "now"] = "earliest",
    ) -> Owner:
        feed = RigFeed(self.broker, size)
        name = f"owner{len(self.owners)}"
        partition = Partition(
            slot, handler, store=store or self.store, log=self.broker, feed=feed, owner=name, start=start
        )
        feed.readers[slot] = Reader(partition)
        owner = Owner(partition, handler, feed, asyncio.create_task(partition.run()))
        self.owners.append(owner)
        return owner

    async def quiet(self) -> None:
        """Wait until everything that lives has done all there is."""
        await until(lambda: all(self._idle(owner) for owner in self.owners if not owner.task.done()))

    def _idle(self, owner: Owner) -> bool:
        if owner.task.done():
            return True
        if owner.partition.reason.fault is not None:
            raise owner.partition.reason.fault
        slot = owner.partition.slot
        idle = owner.partition.idle_at(self.broker.end(slot.topic, slot.partition))
        return idle and (not isinstance(owner.handler, Deciding) or owner.handler.relay.idle)

    async def close(self) -> None:
        """End everything; an error that ended a task before is raised."""
        self.store.gates.clear()
        for owner in self.owners:
            if not owner.task.done():
                owner.task.cancel()
        ended = await asyncio.gather(*(owner.task for owner in self.owners), return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    # -- records

    def send(
        self,
        command: Command,
        *,
        partition: int = 0,
        command_id: UUID | None = None,
        actor: Actor = ADMIN,
        signer: Signer = SIGNER,
        hops: int = 0,
        **changes: Any,
    ) -> UUID:
        """Put a signed command onto the topic; `changes` go over key, value or headers of the record."""
        now = self.clock.now()
        command_id = command_id or uuid7(int(now.timestamp() * 1000))
        key, value = command_record(command, command_id=command_id, issued_at=now, actor=actor, hops=hops)
        record = {"key": key, "value": value} | changes
        headers = record.pop("headers", None) or signed(COMMANDS, record["key"], record["value"], signer)
        self.broker.add(COMMANDS, partition, record["key"], record["value"], headers)
        return command_id

    # -- what came of it

    @property
    def schema(self) -> Any:
        return self.memory.schemas["tally"]

    def place(self, topic: str = COMMANDS, partition: int = 0, agent: str = "tally") -> Any:
        return self.schema.places[Slot("tally", agent, topic, partition)]

    def entries(self, account: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of the ledger in the order in which they were written."""
        return [row for row in self.schema.rows.get("entries", []) if account in (None, row[0])]

    def amounts(self, account: str) -> list[int]:
        return [row[2] for row in self.entries(account)]

    def totals(self) -> dict[str, int]:
        return dict(self.schema.rows.get("totals", {}).values())

    def parked(self, topic: str = COMMANDS) -> list[Parked]:
        return [parked for (slot, _), parked in sorted(self.schema.parked.items()) if slot.topic == topic]

    def causes(self, topic: str = COMMANDS) -> list[tuple[int, str]]:
        return [(parked.offset, parked.cause) for parked in self.parked(topic)]

    def result(self, command_id: UUID) -> Result:
        result: Result = self.schema.results[command_id]
        return result

    def events(self, partition: int = 0) -> list[EventEnvelope]:
        """What stands on the event topic."""
        return [decode_event(record.value or b"") for record in self.broker._topics[EVENTS][partition]]

    def numbers(self, partition: int = 0) -> list[int]:
        return [event.number for event in self.events(partition)]
