"""What followed from a command: its events, the commands that policies made of them, and so on across domains.

Policies are pure and the ids of their commands are derived, so nothing is searched for: what a policy made is computed and looked up.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from caravan.decoded import fields, named, outcome_words
from sinks.postgres.explain import Evidence, Known
from streams import discover
from streams.acting import issued
from streams.agent import Agent, Decider, Folds, Policy, agents_of, takes_lines
from streams.contract import Event, Message, Topic
from streams.decision import ROOT
from streams.effect import Effect
from streams.envelope import MAX_HOPS, EventEnvelope, decode_command, decode_event
from streams.errors import CaravanError
from streams.ids import derived, milliseconds
from streams.personal import MASK, masked, personal_fields
from streams.reading import Place, Reader
from streams.records import CORE_EVENTS
from streams.shard import document_key, space_of
from streams.sink import fact_of

SCAN = 50_000  # records that are looked at for the events of one command
SLACK_MS = 600_000  # how far the events of a timer may stand off its time
GAP = 2_000  # records of other commands after which the rest of the events is not looked for


class Unknown(CaravanError):
    """No domain has heard of the command."""


@dataclass
class Row:
    """A row that an event wrote, as it stands now; None when it is not there (any more)."""

    table: str
    now: dict[str, Any] | None


@dataclass
class Outside:
    """A call to the outside that an event led to."""

    effect: str
    wants: str
    status: str
    commands: list["Link"] = field(default_factory=list)


@dataclass
class Link:
    """A command that a policy, or the answer to an effect, led to."""

    by: str
    command: "CommandNode"


@dataclass
class EventNode:
    """An event and what followed from it; `at` is the platform's time, `stored_at` Kafka's."""

    id: str
    type: str
    at: datetime | None = None
    stored_at: datetime | None = None
    place: str | None = None
    payload: Any = None
    outcome: str | None = None
    rows: list[Row] = field(default_factory=list)
    commands: list[Link] = field(default_factory=list)
    effects: list[Outside] = field(default_factory=list)
    note: str | None = None


@dataclass
class CommandNode:
    """A command, what became of it, and what followed; times as of events."""

    domain: str
    id: str
    status: str
    type: str = "?"
    key: str | None = None
    code: str | None = None
    details: Any = None
    actor: str | None = None
    at: datetime | None = None
    stored_at: datetime | None = None
    place: str | None = None
    payload: Any = None
    correlation_id: str | None = None
    note: str | None = None
    events: list[EventNode] = field(default_factory=list)


class Left(NamedTuple):
    """An event where it stands."""

    record: Any
    envelope: EventEnvelope
    place: Place


class Chain:
    """Walks from a command to all that followed."""

    def __init__(self, reader: Reader, evidence: Evidence) -> None:
        """Look into these."""
        self._reader, self._evidence = reader, evidence
        self._topics = {domain: discover.topic(domain) for domain in discover.domains()}
        self._agents: list[tuple[str, Agent]] = [
            (domain, agent) for domain in self._topics for agent in agents_of(domain)
        ]

    async def of(self, command_id: UUID) -> CommandNode:
        """The whole chain; raises Unknown."""
        for domain in self._topics:
            if await self._evidence.migrated(domain) and (found := await self._command(domain, command_id, None, 0)):
                return found
        if place := await self._evidence.published(command_id):
            return await self._undecided(*place, command_id)
        raise Unknown(f"no domain has heard of the command {command_id}; an id comes with the answer to a command")

    # -- commands

    async def _command(self, domain: str, command_id: UUID, made: Message | None, depth: int) -> CommandNode | None:
        """A command that has a result or is parked; `made` is what a policy made it as."""
        known = await self._evidence.result(domain, command_id)
        if known is None:
            waits = await self._evidence.parked(domain, command_id)
            if waits is None:
                return None
            look = f"caravan parked show {domain}.commands/{waits.partition}/{waits.offset}"
            words = waits.error.rstrip().rpartition("\n")[2]  # of a traceback, what was raised
            node = CommandNode(domain, str(command_id), "parked", code=waits.cause, note=f"{words}; see: {look}")
            await self._record(node, waits.partition, waits.offset, made)
            return node
        node = CommandNode(domain, str(command_id), known.status, code=known.code, actor=known.actor)
        node.details = masked((known.details or {}).get("details") or None)
        await self._record(node, known.partition, known.offset, made)
        await self._events(node, known, depth)
        return node

    async def _undecided(self, domain: str, partition: int, offset: int, command_id: UUID) -> CommandNode:
        note = "Kafka has it, and its domain has not decided it yet"
        node = CommandNode(domain, str(command_id), "pending", note=note)
        await self._record(node, partition, offset, None)
        return node

    async def _record(self, node: CommandNode, partition: int, offset: int, made: Message | None) -> None:
        """Fill in what only the record, or else the policy, knows."""
        topic = self._topics[node.domain]
        if made is not None:
            node.type, node.key, node.payload = made.wire_name, made.key, _payload(type(made), made.to_json())
        if offset < 0:
            node.note = "a timer ran out"
            return
        node.place = f"{topic.commands_topic} {partition}:{offset}"
        record = await self._reader.read(Place(topic.commands_topic, partition), offset)
        if record is None:
            node.note = node.note or "its record is not kept any more"
            return
        try:
            envelope = decode_command(record.value)
        except (ValueError, TypeError):
            return
        node.type, node.key = envelope.type, envelope.aggregate_id
        node.at, node.stored_at = envelope.issued_at, _stored(record)
        node.actor, node.correlation_id = named(envelope.actor), str(envelope.correlation_id)
        node.payload = _payload(topic.commands.get(envelope.type), bytes(envelope.payload))

    # -- events

    async def _events(self, node: CommandNode, known: Known, depth: int) -> None:
        topic = self._topics[node.domain]
        found = await self._left(node, known)
        for left in found:
            envelope = left.envelope
            node.key = node.key or envelope.aggregate_id
            if known.offset < 0:  # no record tells it
                node.at, node.stored_at = envelope.occurred_at, _stored(left.record)
                node.actor, node.correlation_id = named(envelope.actor), envelope.correlation_id
                await self._timer(node, envelope)
            if envelope.outcome is not None and envelope.outcome.status == "pending" and node.status != "pending":
                node.note = "was pending until a later command settled it"
            node.events.append(await self._event(topic, left, depth))
        if not found:
            note = "not on the topic yet, or not any more"
            node.events = [EventNode(event_id, kind, note=note) for event_id, kind in known.events]

    async def _timer(self, node: CommandNode, first: EventEnvelope) -> None:
        """Which command a timer ran: its id is derived from that, from the document and from when it was due."""
        if node.type != "?":
            return
        sequence = first.aggregate_seq - (first.type not in CORE_EVENTS)
        due = UUID(int=milliseconds(UUID(node.id)) << 80)
        for document in await self._evidence.names(node.domain, first.aggregate_id):
            for name in self._topics[node.domain].commands:
                if str(derived(due, "timer", name, document, sequence)) == node.id:
                    node.type, node.note = name, f"the timer of {document} ran out"

    async def _left(self, node: CommandNode, known: Known) -> list[Left]:
        """The records on the event topic that a command left, in order."""
        place = Place(self._topics[node.domain].events_topic, known.partition)
        due = milliseconds(UUID(node.id)) - SLACK_MS

        def before(record: Any) -> bool | None:
            if (envelope := _envelope(record)) is None:
                return None
            if known.offset < 0:
                return envelope.occurred_at.timestamp() * 1000 < due
            return None if envelope.source.offset < 0 else envelope.source.offset < known.offset

        wanted, seen, last = max(1, len(known.events)), 0, 0
        found: dict[str, Left] = {}
        async for record in self._reader.scan(place, await self._reader.bisect(place, before)):
            seen += 1
            envelope = _envelope(record)
            if envelope is not None and envelope.command_id == node.id:
                found.setdefault(envelope.event_id, Left(record, envelope, place))  # a relay may have sent it twice
                last = seen
            if len(found) == wanted or seen >= SCAN or (known.offset >= 0 and seen - last > GAP):
                break
        return list(found.values())

    async def _event(self, topic: Topic, left: Left, depth: int) -> EventNode:
        _, envelope, place = left
        contract = topic.events.get(envelope.type)
        node = EventNode(
            envelope.event_id,
            envelope.type,
            envelope.occurred_at,
            _stored(left.record),
            f"{place.topic} {place.partition}, number {envelope.number}",
        )
        node.payload, node.outcome = _payload(contract, bytes(envelope.payload)), outcome_words(envelope.outcome)
        if contract is None or envelope.type in CORE_EVENTS:
            return node
        try:
            message = contract.read(envelope.schema_version, bytes(envelope.payload))
        except (ValueError, CaravanError) as error:
            node.note = f"its contract does not take it any more: {str(error).splitlines()[0]}"
            return node
        for domain, agent in self._agents:
            if isinstance(agent, Folds) and agent.source is topic and not takes_lines(agent):
                await self._rows(node, agent, envelope, message)
            elif isinstance(agent, Policy) and agent.source is topic and type(message) in agent.on:
                await self._policy(node, domain, agent, left, message, depth)
            elif isinstance(agent, Effect) and agent.source is topic and type(message) in agent.on:
                await self._effect(node, agent, left, message, depth)
        return node

    async def _rows(self, node: EventNode, agent: Folds, envelope: EventEnvelope, message: Event) -> None:
        """The rows that a decider or a projection makes, run on the event and the documents as they are now."""
        domain, table = agent.target.domain, agent.table
        states = {}
        try:
            if table is not None:
                space = "" if isinstance(agent, Decider) else space_of(agent.name)
                sub_keys = (ROOT, *agent.reads(message))
                names = {sub: space + document_key(envelope.aggregate_id, sub) for sub in sub_keys}
                stored = await self._evidence.documents(domain, list(names.values()))
                for sub, name in names.items():
                    states[sub] = table.decode(sub, stored[name]) if name in stored else table.initial(sub)
            rows = [(row.__rows__.name, row._asdict()) for row in agent.project(fact_of(envelope, message), states)]
        except Exception as error:  # noqa: BLE001 - projections may raise anything
            node.note = f"its rows cannot be told: {type(error).__name__}: {error}"
            return
        for name, row in rows:
            now = await self._evidence.row(domain, name, row)
            node.rows.append(Row(f"{domain}.{name}", None if now is None else masked(now)))

    async def _policy(
        self, node: EventNode, domain: str, policy: Policy, left: Left, message: Event, depth: int
    ) -> None:
        _, envelope, place = left
        if depth >= MAX_HOPS:
            node.note = f"{MAX_HOPS} policies in a row: the rest is not shown"
            return
        try:
            made = list(issued(policy, envelope, message))
        except Exception as error:  # noqa: BLE001 - policies may raise anything
            node.note = f"policy {policy.name} raises {type(error).__name__}: {error}"
            return
        for command, command_id in made:
            child = await self._command(domain, command_id, command, depth + 1)
            if child is None:
                child = CommandNode(domain, str(command_id), "waiting", command.wire_name, command.key)
                child.payload = _payload(type(command), command.to_json())
                child.note = await self._why(domain, policy, envelope, place)
            node.commands.append(Link(f"{domain}: policy {policy.name}", child))

    async def _why(self, domain: str, policy: Policy, envelope: EventEnvelope, place: Place) -> str:
        """Why a command of a policy has no result."""
        seen = await self._evidence.number(domain, policy.name, place.topic, place.partition)
        if seen is None or seen < envelope.number:
            return "the policy has not come to this event yet"
        return "it was given to Kafka and is not decided yet, or the event is parked, or older than the policy"

    async def _effect(self, node: EventNode, effect: Effect, left: Left, message: Event, depth: int) -> None:
        _, envelope, place = left
        try:
            intent = effect.on[type(message)](fact_of(envelope, message))
        except Exception as error:  # noqa: BLE001 - as above
            node.note = f"effect {effect.name} raises {type(error).__name__}: {error}"
            return
        if intent is None:
            return
        domain = effect.source.domain
        owed = await self._evidence.owed(domain, effect.name, place.partition, envelope.number)
        seen = await self._evidence.number(domain, effect.name, place.topic, place.partition)
        if owed is not None:
            status = f"{owed.status}, {owed.attempts} attempts" + (f": {owed.error}" if owed.error else "")
        else:
            status = "not yet" if seen is None or seen < envelope.number else "ended"
        outside = Outside(effect.name, f"{intent.act} {fields(masked(intent.data))}".rstrip(), status)
        for name in effect.target.commands:  # which one depends on an answer that is not kept: its id does not
            command_id = derived(UUID(envelope.event_id), effect.name, name, envelope.aggregate_id, 0)
            if child := await self._command(domain, command_id, None, depth + 1):
                outside.commands.append(Link(f"{domain}: effect {effect.name}", child))
        node.effects.append(outside)


def _envelope(record: Any) -> EventEnvelope | None:
    try:
        envelope: EventEnvelope = decode_event(record.value)
        return envelope
    except (ValueError, TypeError):  # msgspec's errors are ValueErrors
        return None


def _payload(contract: type[Message] | None, raw: bytes) -> Any:
    try:
        told: Mapping[str, Any] = json.loads(raw)
    except ValueError:
        return MASK
    return masked(told, personal_fields(contract) if contract else ())


def _stored(record: Any) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)
