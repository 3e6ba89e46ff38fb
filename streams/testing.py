"""The platform in memory, for authors of domains and for the core's own tests.

`Kit` runs the agents of one or more domains through the shipped loop, with a store and a broker in memory that are held to the same suite as Postgres
and Kafka, and a clock that only the test moves::

    kit = Kit.of("points")
    outcome = kit.send(SpendPoints(user_id="u1", amount=5), actor=user("u1"))
    assert (outcome.status, outcome.code) == ("rejected", "insufficient")
    assert kit.rows("balance") == [("u1", 0, 0)]
    kit.advance(timedelta(days=2))  # whatever is due by then happens
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self
from uuid import UUID, uuid4

from streams.acting import Acting
from streams.agent import Agent, Changelog, Decider, Projection, agents_of, start_of
from streams.changelog import Keeping
from streams.clock import VirtualClock
from streams.contract import Command, Event, Topic
from streams.deciding import Deciding
from streams.decision import ROOT, State
from streams.effect import Effect
from streams.effecting import Effecting
from streams.envelope import Actor, EventEnvelope, Signer, decode_event
from streams.folding import Folding, foldable, rebuilding
from streams.handler import Handler
from streams.ids import uuid7
from streams.loop import Partition
from streams.memory import MemoryBroker, MemoryStore
from streams.outside import Outside
from streams.producer import command_record, signed
from streams.shard import document_key, space_of
from streams.store import Action, Parked, Request, Result, Slot

ADMIN = Actor("user", "admin", "Admin")
SIGNER = Signer([("test", b"0123456789abcdef")])


def user(user_id: str, role: str = "User") -> Actor:
    """A user who issues a command."""
    return Actor("user", user_id, role)


Ends = Mapping[tuple[str, int], int]
"""How far topics go: the next offset by name and partition."""


class Told(NamedTuple):
    """What became of a command that a kit was sent; `events` are those that it and what followed from it left."""

    status: str
    code: str | None
    details: Mapping[str, Any]
    events: list[Event]


class Kit:
    """Domains in memory: send commands, look at results, events, state and rows. Close it, or use it with `with`.

    Where a question names no domain, that of the first decider is meant.
    """

    def __init__(
        self, *agents: Agent, clock: VirtualClock | None = None, outside: Mapping[str, Outside] = MappingProxyType({})
    ) -> None:
        """Give the agents of the domains, a decider first. `outside` is what effects ask, by their names; without it one that does everything."""
        self.outside, self.agents = dict(outside), list(agents)
        self.deciders = {agent.topic.domain: agent for agent in agents if isinstance(agent, Decider)}
        self.decider = next(iter(self.deciders.values()))
        self.topic = self.decider.topic
        self.clock = clock or VirtualClock()
        self.from_nothing = False
        self.store = MemoryStore()
        self._topics: dict[str, Topic] = {}
        self.broker = MemoryBroker(self.clock, {})
        self._runner = asyncio.Runner()
        self._tasks: list[tuple[Partition, Handler, asyncio.Task[None]]] = []
        self._runner.run(self._start(agents))

    @classmethod
    def of(
        cls,
        *domains: str,
        clock: VirtualClock | None = None,
        outside: Mapping[str, Outside] = MappingProxyType({}),
    ) -> Self:
        """The domains of these names, as they are declared."""
        return cls(*(agent for domain in domains for agent in agents_of(domain)), clock=clock, outside=outside)

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

    def join(self, *agents: Agent) -> None:
        """Start agents that are new on this platform, and run all that follows."""
        self.agents += agents
        self.deciders |= {agent.topic.domain: agent for agent in agents if isinstance(agent, Decider)}
        self._runner.run(self._start(agents))

    def send(
        self, command: Command, *, actor: Actor = ADMIN, command_id: UUID | None = None, at: datetime | None = None
    ) -> Told:
        """Publish a command, run everything that follows, and tell what became of it."""
        command_id = command_id or uuid7(int(self.clock.now().timestamp() * 1000))
        ends = self.ends()
        key, value = command_record(command, command_id=command_id, issued_at=at or self.clock.now(), actor=actor)
        self._runner.run(self._publish(command.topic.commands_topic, key, value))
        result = self.result(command_id)
        if result is None:
            return Told("parked", None, {}, self.events(ends))
        details = json.loads(result.details)["details"] if result.details else {}
        return Told(result.status, result.code, details, self.events(ends))

    def advance(self, by: timedelta) -> list[Event]:
        """Move the clock and run what is due by then; the events that it and what followed from it left."""
        ends = self.ends()
        self.clock.advance(by)
        for partition, _, _ in self._tasks:
            partition.wake()
        self.settle()
        return self.events(ends)

    def settle(self) -> None:
        """Run until nothing is left to do, after records were put onto a topic by hand."""
        self._runner.run(self._settle())

    def result(self, command_id: UUID) -> Result | None:
        """The result of a command, None while there is none."""
        return next(
            (found for schema in self.store.schemas.values() if (found := schema.results.get(command_id))), None
        )

    def envelopes(self, since: Ends | None = None) -> list[EventEnvelope]:
        """All events on the topics, or those since these ends of them, in the order of number per partition."""
        return [
            decode_event(record.value or b"")
            for topic in self._topics.values()
            for record in self.broker.records(topic.events_topic)
            if since is None or record.offset >= since[topic.events_topic, record.partition]
        ]

    def events(self, since: Ends | None = None) -> list[Event]:
        """The events of the domains in the order in which they occurred."""
        found = [
            envelope for envelope in self.envelopes(since) if envelope.type in self._topics[envelope.domain].events
        ]
        found.sort(key=lambda envelope: (envelope.occurred_at, envelope.hops, envelope.aggregate_seq))
        return [self._topics[e.domain].events[e.type].read(e.schema_version, bytes(e.payload)) for e in found]

    def ends(self) -> Ends:
        """Where the event topics end now."""
        return {
            (topic.events_topic, number): self.broker.end(topic.events_topic, number)
            for topic in self._topics.values()
            for number in range(topic.partitions)
        }

    def state(
        self, key: str, sub_key: str = ROOT, domain: str | None = None, *, projection: str | None = None
    ) -> State:
        """A document as stored, or its initial state: the decider's, or else that projection's."""
        domain = domain or self.topic.domain
        name, space = (projection, space_of(projection)) if projection else (domain, "")
        tables = (a.table for a in foldable(self.agents) if (a.target.domain, a.name) == (domain, name))
        if (table := next(tables, None)) is None:
            raise LookupError(f"{name} of {domain} keeps no state.")
        stored = self.store.schemas[domain].states.get(space + document_key(key, sub_key))
        return table.decode(sub_key, stored.data, stored.rules) if stored else table.initial(sub_key)

    def rows(self, table: str, domain: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of a view's table, sorted."""
        rows = self.store.schemas[domain or self.topic.domain].rows.get(table, [])
        return sorted(rows.values() if isinstance(rows, dict) else rows)

    def parked(self) -> list[Parked]:
        """The parked records of all domains, in order."""
        return [parked for schema in self.store.schemas.values() for _, parked in sorted(schema.parked.items())]

    def ask(self, action: Action, parked: Parked, value: bytes | None = None) -> tuple[str, str]:
        """Ask for a parked record, as an operator does, and run all that follows; status and outcome of the request."""
        for schema in self.store.schemas.values():
            for (slot, offset), there in schema.parked.items():
                if there is parked:
                    request = Request(uuid4(), offset, action, value, by="operator")
                    return self._runner.run(self._ask(slot, request))
        raise LookupError("It is not parked (any more).")

    def rebuilt(self) -> MemoryStore:
        """A new store, built from the events alone by the projections."""
        store = MemoryStore()
        self._runner.run(self._rebuild(store))
        return store

    # -- inside

    async def _start(self, agents: Iterable[Agent]) -> None:
        for agent in agents:
            for topic in (agent.source, agent.target):
                self._topics[topic.domain] = topic
                names = (topic.commands_topic, topic.events_topic, topic.changelog_topic)
                self.broker.declare(dict.fromkeys(names, topic.partitions))
        for agent in agents:
            source = agent.source
            name = source.commands_topic if isinstance(agent, Decider) else source.events_topic
            for number in range(source.partitions):
                slot = Slot(agent.target.domain, agent.name, name, number)
                start = start_of(agent, from_nothing=self.from_nothing)
                self._open(slot, self._handler(agent, slot), self.store, start)
        await self._settle()

    def _handler(self, agent: Agent, slot: Slot) -> Handler:
        ports: Any = {"store": self.store, "log": self.broker, "signer": SIGNER}
        if isinstance(agent, Decider):
            effects = [a.name for a in self.agents if isinstance(a, Effect) and a.target is agent.topic]
            return Deciding(agent, slot, **ports, clock=self.clock, from_nothing=self.from_nothing, effects=effects)
        if isinstance(agent, Effect):
            adapter = self.outside.setdefault(agent.name, Outside())
            return Effecting(agent, adapter, slot, **ports, clock=self.clock)
        if isinstance(agent, Projection):
            return Folding(agent, slot, store=self.store, signer=SIGNER)
        if isinstance(agent, Changelog):
            return Keeping(agent, slot, **ports)
        return Acting(agent, slot, **ports, from_nothing=self.from_nothing)

    def _open(
        self, slot: Slot, handler: Handler, store: MemoryStore, start: Literal["earliest", "now", "kept"] = "earliest"
    ) -> None:
        partition = Partition(slot, handler, store=store, log=self.broker, feed=self.broker, owner="kit", start=start)
        self.broker.join(slot, partition)
        if isinstance(handler, Effecting):
            handler.wake = partition.wake
        self._tasks.append((partition, handler, asyncio.create_task(partition.run())))

    async def _publish(self, topic: str, key: bytes, value: bytes) -> None:
        await self.broker.publish(topic, key, value, signed(topic, key, value, SIGNER))
        await self._settle()

    async def _ask(self, slot: Slot, request: Request) -> tuple[str, str]:
        await self.store.ask(slot, request)
        for partition, handler, _ in self._tasks:
            if partition.slot == slot:
                handler.asked()
                partition.wake()
        await self._settle()
        row = self.store.schemas[slot.domain].requests[slot, request.id]
        return row.status, row.outcome or ""

    async def _settle(self) -> None:
        quiet = 0
        self.broker.deliver()
        while quiet < 3:  # an append made in the last round shows in the next
            await asyncio.sleep(0)
            for partition, _, task in self._tasks:
                if partition.reason.fault is not None:
                    raise partition.reason.fault
                if task.done():
                    task.result()
            quiet = quiet + 1 if self._idle() else 0

    def _idle(self) -> bool:
        return all(
            partition.idle_at(self.broker.end(partition.slot.topic, partition.slot.partition))
            and (not isinstance(handler, Deciding) or handler.relay.idle)
            and (not isinstance(handler, Effecting) or handler.idle)
            for partition, handler, _ in self._tasks
        )

    async def _rebuild(self, store: MemoryStore) -> None:
        for agent in foldable(self.agents):
            for number in range(agent.source.partitions):
                handler = rebuilding(agent, number, store=store, signer=SIGNER)
                self._open(handler.slot, handler, store)
        await self._settle()

    async def _stop(self) -> None:
        for partition, _, task in self._tasks:
            partition.leave()
            await task
