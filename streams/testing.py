"""The platform in memory, for authors of domains and for the core's own tests.

`Kit` runs a domain's agents through the shipped loop, with a store and a broker in memory that are held to the same suite as Postgres and Kafka::

    kit = Kit(decider, transfers)
    outcome = kit.send(SpendPoints(user_id="u1", amount=5), actor=user("u1"))
    assert (outcome.status, outcome.code) == ("rejected", "insufficient")
    assert kit.rows("balance") == [("u1", 0, 0)]
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple, Self
from uuid import UUID

from streams.acting import Acting
from streams.agent import Agent, Decider
from streams.clock import Clock, VirtualClock
from streams.contract import Command, Event
from streams.deciding import Deciding
from streams.decision import ROOT, State
from streams.envelope import Actor, EventEnvelope, Signer, decode_event
from streams.folding import Folding
from streams.ids import uuid7
from streams.log import Entry
from streams.loop import Handler, Partition
from streams.partitioner import partition_of
from streams.producer import command_record, signed
from streams.shard import document_key
from streams.store import BadData, Claim, Duplicate, Lost, Outgoing, Parked, Result, Slot, Stored, Work

ADMIN = Actor("user", "admin", "Admin")
SIGNER = Signer([("test", b"0123456789abcdef")])
_STORABLE = re.compile("[^\\x00\\ud800-\\udfff]*")
DELIVERY = 500  # records that the broker hands over at most at once


def user(user_id: str, role: str = "User") -> Actor:
    """A user who issues a command."""
    return Actor("user", user_id, role)


class MemoryRecord(NamedTuple):
    """A record as read; see `streams.log.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class MemoryBroker:
    """Topics in memory; fills the ports Log and Feed for any number of partitions' tasks."""

    def __init__(self, clock: Clock, topics: Mapping[str, int]) -> None:
        """`topics` maps names to partition counts."""
        self._clock = clock
        self._topics = {name: [list[MemoryRecord]() for _ in range(count)] for name, count in topics.items()}
        self._readers: dict[Slot, _Reader] = {}

    # -- Log

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset, and the next one."""
        records = self._topics[topic][partition]
        return (records[0].offset if records else 0), self.end(topic, partition)

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return len(self._topics.get(topic, ()))

    async def read(self, topic: str, partition: int, offset: int) -> MemoryRecord | None:
        """The record at this offset."""
        return next((record for record in self._topics[topic][partition] if record.offset == offset), None)

    async def append(self, topic: str, partition: int, groups: Sequence[Sequence[Entry]]) -> None:
        """Append in order."""
        for group in groups:
            for entry in group:
                self._add(topic, partition, entry.key, entry.value, entry.headers)

    async def publish(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> tuple[int, int]:
        """Append one record by its key."""
        partition = partition_of(key, len(self._topics[topic]))
        return partition, self._add(topic, partition, key, value, headers)

    # -- Feed

    def join(self, slot: Slot, partition: Partition) -> None:
        """Deliver to this partition's task."""
        self._readers[slot] = _Reader(partition)

    async def seek(self, slot: Slot, offset: int) -> int:
        """Deliver from this offset on."""
        reader = self._readers[slot]
        reader.cursor = offset
        reader.generation += 1
        return reader.generation

    def pause(self, slot: Slot) -> None:
        """Deliver nothing until `resume`."""
        self._readers[slot].flowing = False

    def resume(self, slot: Slot) -> None:
        """Deliver again."""
        self._readers[slot].flowing = True
        asyncio.get_running_loop().call_soon(self._deliver, slot)

    async def hint(self, slot: Slot, offset: int) -> None:
        """Nobody looks at it here."""

    # -- for tests

    def end(self, topic: str, partition: int) -> int:
        """The offset of the next record."""
        records = self._topics[topic][partition]
        return records[-1].offset + 1 if records else 0

    def records(self, topic: str) -> list[MemoryRecord]:
        """All records of a topic, partition after partition."""
        return [record for partition in self._topics[topic] for record in partition]

    def add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> int:
        """Put any record at the end, well formed or not; its offset."""
        return self._add(topic, partition, key, value, list(headers))

    def drop(self, topic: str, partition: int, offsets: Collection[int]) -> None:
        """Lose records, as compaction, retention or a broken disk does."""
        records = self._topics[topic][partition]
        records[:] = [record for record in records if record.offset not in offsets]

    def _add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> int:
        offset = self.end(topic, partition)
        milliseconds = int((self._clock.now() - self._clock.offset).timestamp() * 1000)
        self._topics[topic][partition].append(
            MemoryRecord(topic, partition, offset, milliseconds, key, value, tuple(headers))
        )
        with suppress(RuntimeError):  # put there by hand, outside the loop: `deliver` hands it over
            asyncio.get_running_loop().call_soon(self.deliver)
        return offset

    def deliver(self) -> None:
        """Hand over what there is."""
        for slot in self._readers:
            self._deliver(slot)

    def _deliver(self, slot: Slot) -> None:
        reader = self._readers[slot]
        records = self._topics[slot.topic][slot.partition]
        while reader.flowing:
            batch = [record for record in records if record.offset >= reader.cursor][:DELIVERY]
            if not batch:
                return
            reader.cursor = batch[-1].offset + 1
            reader.partition.offer(batch, reader.generation)


@dataclass
class _Reader:
    partition: Partition
    cursor: int = 0
    generation: int = 0
    flowing: bool = False


@dataclass
class _Place:
    """The offsets row of a slot."""

    next: int = 0
    epoch: int = 0
    owner: str = ""
    number: int = 0
    relayed: int = 0
    duplicates: int = 0
    last_id: str | None = None
    partitions: int | None = None
    stopped: str | None = None


@dataclass
class _Schema:
    """What one domain has stored."""

    places: dict[Slot, _Place] = field(default_factory=lambda: defaultdict(_Place))
    states: dict[str, Stored] = field(default_factory=dict)
    results: dict[UUID, Result] = field(default_factory=dict)
    outbox: dict[tuple[int, int], Outgoing] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    parked: dict[tuple[Slot, int], Parked] = field(default_factory=dict)


class MemoryStore:
    """A store in memory, with the store's laws: fence, inbox, versions of documents, all or nothing."""

    def __init__(self) -> None:
        """Empty."""
        self.schemas: defaultdict[str, _Schema] = defaultdict(_Schema)

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def claim(self, slot: Slot, owner: str, held: int | None) -> Claim:
        """Become the owner: a new epoch, unless the row still shows the epoch `held`."""
        place = self.schemas[slot.domain].places[slot]
        if place.epoch != held:
            place.epoch += 1
        place.owner = owner
        holds = any(parked.holds for (at, _), parked in self.schemas[slot.domain].parked.items() if at == slot)
        return Claim(place.next, place.epoch, place.number, place.relayed, place.last_id, place.partitions, holds)

    async def load(self, slot: Slot, keys: Collection[str]) -> Mapping[str, Stored]:
        """The documents of these keys, those that there are."""
        states = self.schemas[slot.domain].states
        return {key: states[key] for key in keys if key in states}

    async def known(self, slot: Slot, ids: Collection[UUID]) -> set[UUID]:
        """Which of these ids the inbox has."""
        return {command_id for command_id in ids if command_id in self.schemas[slot.domain].results}

    async def held(self, slot: Slot, keys: Collection[bytes]) -> set[bytes]:
        """Which of these keys wait behind a parked record."""
        parked = self.schemas[slot.domain].parked.items()
        return {p.key for (at, _), p in parked if at == slot and p.holds and p.key is not None and p.key in keys}

    async def unsent(self, slot: Slot, after: int, limit: int) -> list[Outgoing]:
        """The next events above number `after`; whole commands."""
        outbox = self.schemas[slot.domain].outbox
        rows = [
            row for (partition, number), row in sorted(outbox.items()) if partition == slot.partition and number > after
        ]
        end = next((n for n in range(limit, len(rows) + 1) if not rows[n - 1].more), len(rows))
        return rows[:end]

    async def commit(self, slot: Slot, epoch: int, work: Work) -> None:
        """Check everything, then do everything."""
        schema = self.schemas[slot.domain]
        place = schema.places[slot]
        if place.epoch != epoch:
            raise Lost("Another owner holds this partition.")
        ids = [result.command_id for result in work.results]
        if len(set(ids)) != len(ids) or any(command_id in schema.results for command_id in ids):
            raise Duplicate("An id of the batch is in the inbox.")
        keys = ((state.key,) for state in work.states)
        for value in chain.from_iterable(chain(*work.rows.values(), work.results, work.settled, keys)):
            _check_storable(value)
        for state in work.states:
            stored = schema.states.get(state.key)
            if (stored.version if stored else 0) != state.replaces:
                raise Lost("A document was changed by another owner.")
        if place.next != work.expected:
            raise Lost("The position was moved by another owner.")
        self._write(schema, slot, work)
        place.next, place.number, place.last_id, place.partitions = (
            work.next,
            work.number,
            work.last_id,
            work.partitions,
        )
        place.relayed = max(place.relayed, work.relayed)
        place.duplicates += work.duplicates

    def _write(self, schema: _Schema, slot: Slot, work: Work) -> None:
        schema.results.update({result.command_id: result for result in work.results})
        schema.outbox.update({(row.partition, row.number): row for row in work.outbox})
        schema.states.update({state.key: state for state in work.states})
        schema.parked.update({(slot, parked.offset): parked for parked in work.parked})
        for settled in work.settled:
            pending = schema.results.get(settled.command_id)
            if pending is not None and pending.status == "pending":
                schema.results[settled.command_id] = pending._replace(
                    status=settled.status, code=settled.code, details=settled.details
                )
        for rows, values in work.rows.items():
            if rows.key:
                schema.rows.setdefault(rows.name, {}).update({value[: len(rows.key)]: tuple(value) for value in values})
            else:
                schema.rows.setdefault(rows.name, []).extend(tuple(value) for value in values)

    async def sent(self, slot: Slot, epoch: int, number: int) -> None:
        """Kafka has all events up to `number`."""
        schema = self.schemas[slot.domain]
        if schema.places[slot].epoch == epoch and schema.places[slot].relayed < number:
            schema.places[slot].relayed = number
            for partition, n in [*schema.outbox]:
                if partition == slot.partition and n <= number:
                    del schema.outbox[partition, n]

    async def stopped(self, slot: Slot, why: str | None) -> None:
        """Write down why a partition stands still."""
        self.schemas[slot.domain].places[slot].stopped = why


def _check_storable(value: Any) -> None:
    """What Postgres does not take is not taken here; raises BadData. (CHECKs and the types of columns only Postgres knows.)"""
    if isinstance(value, str) and not _STORABLE.fullmatch(value):
        raise BadData("22021: invalid byte sequence")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise BadData("22003: bigint out of range")


class Told(NamedTuple):
    """What became of a command that a kit was sent; `events` are those that it and what followed from it left."""

    status: str
    code: str | None
    details: Mapping[str, Any]
    events: list[Event]


class Kit:
    """A domain in memory: send commands, look at results, events, state and rows. Close it, or use it with `with`."""

    def __init__(self, *agents: Agent, clock: VirtualClock | None = None) -> None:
        """Give the decider and the policies of one domain."""
        self.decider = next(agent for agent in agents if isinstance(agent, Decider))
        self.topic = self.decider.topic
        self.clock = clock or VirtualClock()
        self.store = MemoryStore()
        names = (self.topic.commands_topic, self.topic.events_topic)
        self.broker = MemoryBroker(self.clock, dict.fromkeys(names, self.topic.partitions))
        self._runner = asyncio.Runner()
        self._tasks: list[tuple[Partition, Handler, asyncio.Task[None]]] = []
        self._runner.run(self._start(agents))

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End its tasks."""
        self._runner.run(self._stop())
        self._runner.close()

    def send(
        self, command: Command, *, actor: Actor = ADMIN, command_id: UUID | None = None, at: datetime | None = None
    ) -> Told:
        """Publish a command, run everything that follows, and tell what became of it."""
        command_id = command_id or uuid7(int(self.clock.now().timestamp() * 1000))
        ends = self._ends()
        key, value = command_record(command, command_id=command_id, issued_at=at or self.clock.now(), actor=actor)
        self._runner.run(self._publish(key, value))
        result = self.result(command_id)
        if result is None:
            return Told("parked", None, {}, self.events(ends))
        details = json.loads(result.details)["details"] if result.details else {}
        return Told(result.status, result.code, details, self.events(ends))

    def settle(self) -> None:
        """Run until nothing is left to do, after records were put onto a topic by hand."""
        self._runner.run(self._settle())

    def result(self, command_id: UUID) -> Result | None:
        """The result of a command, None while there is none."""
        return self.store.schemas[self.topic.domain].results.get(command_id)

    def envelopes(self, since: Sequence[int] = ()) -> list[EventEnvelope]:
        """All events on the topic, or those from the offsets `since`, in the order of number per partition."""
        records = self.broker.records(self.topic.events_topic)
        return [decode_event(r.value or b"") for r in records if not since or r.offset >= since[r.partition]]

    def events(self, since: Sequence[int] = ()) -> list[Event]:
        """The events of the domain in the order in which they occurred."""
        own = [envelope for envelope in self.envelopes(since) if envelope.type in self.topic.events]
        own.sort(key=lambda envelope: (envelope.occurred_at, envelope.hops, envelope.aggregate_seq))
        return [self.topic.events[envelope.type].from_topic(bytes(envelope.payload)) for envelope in own]

    def state(self, key: str, sub_key: str = ROOT) -> State:
        """A document as stored, or its initial state."""
        stored = self.store.schemas[self.topic.domain].states.get(document_key(key, sub_key))
        return self.decider.table.decode(sub_key, stored.data) if stored else self.decider.table.initial(sub_key)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """The rows of a view's table, sorted."""
        rows = self.store.schemas[self.topic.domain].rows.get(table, [])
        return sorted(rows.values() if isinstance(rows, dict) else rows)

    def parked(self) -> list[Parked]:
        """The parked records, in order."""
        return [parked for _, parked in sorted(self.store.schemas[self.topic.domain].parked.items())]

    def rebuilt(self) -> MemoryStore:
        """A new store, built from the events alone by the projection."""
        store = MemoryStore()
        self._runner.run(self._rebuild(store))
        return store

    # -- inside

    async def _start(self, agents: Iterable[Agent]) -> None:
        for agent in agents:
            topic = agent.topic.commands_topic if isinstance(agent, Decider) else agent.source.events_topic
            for number in range(self.topic.partitions):
                slot = Slot(self.topic.domain, agent.name, topic, number)
                self._open(slot, self._handler(agent, slot), self.store)
        await self._settle()

    def _handler(self, agent: Agent, slot: Slot) -> Handler:
        if isinstance(agent, Decider):
            return Deciding(agent, slot, store=self.store, log=self.broker, signer=SIGNER, clock=self.clock)
        return Acting(agent, slot, store=self.store, log=self.broker, signer=SIGNER)

    def _open(self, slot: Slot, handler: Handler, store: MemoryStore) -> None:
        partition = Partition(slot, handler, store=store, log=self.broker, feed=self.broker, owner="kit")
        self.broker.join(slot, partition)
        self._tasks.append((partition, handler, asyncio.create_task(partition.run())))

    def _ends(self) -> list[int]:
        return [self.broker.end(self.topic.events_topic, number) for number in range(self.topic.partitions)]

    async def _publish(self, key: bytes, value: bytes) -> None:
        topic = self.topic.commands_topic
        await self.broker.publish(topic, key, value, signed(topic, key, value, SIGNER))
        await self._settle()

    async def _settle(self) -> None:
        quiet = 0
        self.broker.deliver()
        while quiet < 3:  # an append made in the last round shows in the next
            await asyncio.sleep(0)
            for _, _, task in self._tasks:
                if task.done():
                    task.result()
            quiet = quiet + 1 if self._idle() else 0

    def _idle(self) -> bool:
        return all(
            partition.idle_at(self.broker.end(partition.slot.topic, partition.slot.partition))
            and (not isinstance(handler, Deciding) or handler.relay.idle)
            for partition, handler, _ in self._tasks
        )

    async def _rebuild(self, store: MemoryStore) -> None:
        for number in range(self.topic.partitions):
            slot = Slot(self.topic.domain, f"{self.topic.domain}.rebuild", self.topic.events_topic, number)
            self._open(slot, Folding(self.decider, slot, store=store, signer=SIGNER), store)
        await self._settle()

    async def _stop(self) -> None:
        for partition, _, task in self._tasks:
            partition.leave()
            await task
