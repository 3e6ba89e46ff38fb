"""The platform in memory, for authors of domains and for the core's own tests.

`Kit` runs a domain's agents through the shipped loop, with a store and a broker in memory that are held to the same suite as Postgres and Kafka::

    kit = Kit(decider, transfers)
    outcome = kit.send(SpendPoints(user_id="u1", amount=5), actor=user("u1"))
    assert (outcome.status, outcome.code) == ("rejected", "insufficient")
    assert kit.rows("balance") == [("u1", 0, 0)]
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from streams.acting import Acting
from streams.agent import Agent, Decider
from streams.clock import VirtualClock
from streams.contract import Command, Event
from streams.deciding import Deciding
from streams.decision import ROOT, State
from streams.envelope import Actor, EventEnvelope, Signer, decode_event
from streams.folding import Folding
from streams.ids import uuid7
from streams.loop import Handler, Partition
from streams.memory import MemoryBroker, MemoryStore
from streams.producer import command_record, signed
from streams.shard import document_key
from streams.store import Parked, Result, Slot

ADMIN = Actor("user", "admin", "Admin")
SIGNER = Signer([("test", b"0123456789abcdef")])


def user(user_id: str, role: str = "User") -> Actor:
    """A user who issues a command."""
    return Actor("user", user_id, role)


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
