"""The policy: events in, commands of its own domain out, acknowledged before its position moves.

It keeps no state. A re-run publishes the same commands under the same ids, and the decider's inbox drops them. Where its position was lost with Postgres it begins with the
first event, and those whose commands have a result by now are done; one that had begun with the next event once had begun where the first of them is.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from streams.agent import Policy
from streams.contract import Command, Event, Topic
from streams.envelope import MAX_HOPS, Actor, EventEnvelope, Signer
from streams.following import last_event, unseen
from streams.handler import Position, identity
from streams.holds import Holds, parked, words_of
from streams.ids import derived
from streams.log import Entry, Log
from streams.partitioner import partition_of
from streams.producer import TRACE, command_record, signed
from streams.recalling import demand_known
from streams.records import EventReader, EventRecord, Unfit
from streams.redriving import Again, Contents, Requests
from streams.sink import fact_of
from streams.store import BadData, Claim, Slot, Store, Work


class TooManyHops(RuntimeError):
    """A chain of policies is longer than any that makes sense."""


class Issued(NamedTuple):
    """A command that a policy makes of an event, under the id that it has on every run."""

    command: Command
    command_id: UUID


def issued(policy: Policy, cause: EventEnvelope, message: Event) -> Iterator[Issued]:
    """What the policy makes of an event that its `on` names: pure, so it may be asked at any time."""
    answer = policy.on[type(message)](fact_of(cause, message))
    nth: defaultdict[tuple[str, str], int] = defaultdict(int)
    for command in (answer,) if isinstance(answer, Command) else answer:
        # Policies of two domains may have one name, and commands too: with the domain each has ids of its own.
        name, key = f"{command.topic.domain}.{command.wire_name}", command.key
        yield Issued(command, derived(UUID(cause.event_id), policy.name, name, key, nth[name, key]))
        nth[name, key] += 1


def issue(event: EventRecord, command: Command, command_id: UUID, *, issued_at: datetime, signer: Signer) -> Entry:
    """The record of a command that a domain issues because of an event, as a service in its own name."""
    cause = event.envelope
    traced = (value.decode("ascii", "replace") for name, value in event.record.headers if name == TRACE)
    key, value = command_record(
        command,
        command_id=command_id,
        issued_at=issued_at,
        actor=Actor("service", command.topic.domain),
        correlation_id=UUID(cause.correlation_id),
        causation_id=UUID(cause.event_id),
        hops=cause.hops + 1,
    )
    return Entry(key, value, signed(command.topic.commands_topic, key, value, signer, next(traced, None)))


def demand_hops(cause: EventEnvelope) -> None:
    """Raise TooManyHops for an event at the end of too long a chain."""
    if cause.hops >= MAX_HOPS:
        raise TooManyHops(f"{MAX_HOPS} policies in a row: these events and commands go round in a loop.")


def cause_of(error: Exception) -> str:
    """Under what an event is parked because of which an author's function raised this."""
    return "too_many_hops" if isinstance(error, TooManyHops) else "rule_failed"


async def publish(log: Log, target: Topic, entries: Iterable[Entry]) -> None:
    """Append commands to the partitions of their keys, in order, and wait for the acknowledgements."""
    lanes: defaultdict[int, list[list[Entry]]] = defaultdict(list)
    for entry in entries:
        lanes[partition_of(entry.key, target.partitions)].append([entry])
    await asyncio.gather(*(log.append(target.commands_topic, n, groups) for n, groups in lanes.items()))


class Acting:
    """The handler of a policy on one partition of its source."""

    def __init__(
        self, policy: Policy, slot: Slot, *, store: Store, log: Log, signer: Signer, from_nothing: bool = False
    ) -> None:
        """Nothing happens before the first batch. With `from_nothing` a position that is not there was lost."""
        self.policy, self.slot = policy, slot
        self._from_nothing, self._begun, self._until = from_nothing, True, 0
        self._store, self._log, self._signer = store, log, signer
        self._reader = EventReader(policy.source, slot.partition, signer)
        self._holds = Holds(store, slot)
        self._requests = Requests(slot, self._holds, Contents.events(self._reader.read), store=store, signer=signer)

    async def begin(self, claim: Claim) -> None:
        """Learn whether any key waits, and what may have been done before. Raises Stop while the results of that are not known."""
        if self._from_nothing and self.policy.start == "now" and claim.number == 0:
            ports: Any = {"store": self._store, "log": self._log, "signer": self._signer}
            for n in range(self.policy.target.partitions):
                await demand_known(self.policy.target, n, **ports)
            last = await last_event(self._log, self._reader, *self.slot[2:])
            self._until = claim.relayed or (last.number if last else 0)
        self._begun = claim.number > 0 or not self._until
        self._requests.begin(claim)
        self._holds.begin(claim)

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Publish the commands of a batch and wait for their acknowledgement."""
        if not records:
            return await self._redrive(Work(at.next, at.next, at.number, at.last_id), careful)
        work = Work(at.next, records[-1].offset + 1, at.number, identity(records[-1]))
        events = await unseen(self._reader, records, work, self.policy.on)
        known = await self._known(events) if self._from_nothing else set[UUID]()
        if not self._begun:
            events = self._since_it_began(events, known, work, at.number)
        waiting = await self._holds.waiting(event.record.key for event in events)
        entries: list[Entry] = []
        for event in self._holds.passing(events, waiting, work):
            entries += self._run(event, work, known)
        await publish(self._log, self.policy.target, entries)
        work.published = len(entries)
        return work

    def due(self) -> float | None:
        """Nothing waits for its time; a request is due at once."""
        return 0.0 if self._requests.waiting else None

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """Park a record that the store refuses."""
        if record is None:
            work = Work(at.next, at.next, at.number, at.last_id)
            self._requests.park(fault, work)
            return work
        work = Work(at.next, record.offset + 1, at.number, identity(record))
        self._holds.park(work, record, "refused_by_store", str(fault))
        return work

    def asked(self) -> None:
        """An operator's request waits."""
        self._requests.waiting = True

    def committed(self, work: Work) -> None:
        """Nothing follows: the commands went first."""
        self._holds.committed(work)

    def forget(self) -> None:
        """Drop the held keys."""
        self._holds.forget()

    async def end(self) -> None:
        """Nothing runs."""

    async def _redrive(self, work: Work, careful: bool) -> Work:
        """Publish the commands of parked events, under the ids that they have on every run. Their numbers were seen already."""
        piece = await self._requests.take(careful)
        if piece is None:
            return work
        entries: list[Entry] = []

        def one(record: Again) -> None:
            try:
                event = self._reader.read(record)
            except Unfit as unfit:
                work.parked.append(parked(record, unfit.cause, str(unfit), holds=False))
                return
            if type(event.message) in self.policy.on:
                for passed in self._holds.passing([event], piece.behind, work):
                    entries.extend(self._run(passed, work))

        await self._requests.run(piece, work, one)
        await publish(self._log, self.policy.target, entries)
        work.published = len(entries)
        return work

    async def _known(self, events: Sequence[EventRecord]) -> set[UUID]:
        """Which of the commands of these events have a result."""
        ids = [command_id for event in events for command_id in self._ids(event)]
        return await self._store.known(self.slot, ids) if ids else set()

    def _ids(self, event: EventRecord) -> list[UUID]:
        assert event.message is not None  # `prepare` keeps those that `on` names
        with suppress(Exception):  # what policies raise is told where the event is run
            return [one.command_id for one in issued(self.policy, event.envelope, event.message)]
        return []

    def _since_it_began(
        self, events: Sequence[EventRecord], known: set[UUID], work: Work, number: int
    ) -> list[EventRecord]:
        """The events from the first one on of which commands are known; until then no number is seen, so that whoever goes on knows it."""
        first = next((n for n, event in enumerate(events) if not known.isdisjoint(self._ids(event))), None)
        new = next((n for n, event in enumerate(events) if event.envelope.number > self._until), len(events))
        self._begun = first is not None or work.number > self._until
        if not self._begun:
            work.number, work.relayed = number, self._until
        return list(events[new if first is None else min(first, new) :])

    def _run(self, event: EventRecord, work: Work, known: Collection[UUID] = ()) -> list[Entry]:
        try:
            return list(self._entries(event, known))
        except Exception as error:  # noqa: BLE001 - policies may raise anything
            self._holds.park(work, event.record, cause_of(error), words_of(error))
            return []

    def _entries(self, event: EventRecord, known: Collection[UUID]) -> Iterable[Entry]:
        envelope, message = event.envelope, event.message
        assert message is not None  # `prepare` keeps those that `on` names
        demand_hops(envelope)
        for command, command_id in issued(self.policy, envelope, message):
            entry = self._entry(event, command, command_id)
            if command_id not in known:
                yield entry

    def _entry(self, event: EventRecord, command: Command, command_id: UUID) -> Entry:
        if command.topic is not self.policy.target:
            raise ValueError(
                f"{command.wire_name} is no command of {self.policy.target.domain}: a policy gives commands of one domain."
            )
        return issue(event, command, command_id, issued_at=event.envelope.occurred_at, signer=self._signer)
