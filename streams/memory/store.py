"""A store in memory."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID

from streams.store import (
    HELD,
    BadData,
    Call,
    Claim,
    Duplicate,
    Lost,
    Outgoing,
    Parked,
    Queue,
    Request,
    Result,
    Slot,
    Stored,
    Work,
    fitting,
)

_STORABLE = re.compile(r"[^\x00\ud800-\udfff]*")  # text that Postgres takes


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
class Asked:
    """The row of a request."""

    request: Request
    status: str = "waiting"
    outcome: str | None = None
    record: Parked | None = None


@dataclass
class _Schema:
    """What one domain has stored."""

    places: dict[Slot, _Place] = field(default_factory=lambda: defaultdict(_Place))
    states: dict[str, Stored] = field(default_factory=dict)
    results: dict[UUID, Result] = field(default_factory=dict)
    outbox: dict[tuple[int, int], Outgoing] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    parked: dict[tuple[Slot, int], Parked] = field(default_factory=dict)
    requests: dict[tuple[Slot, UUID], Asked] = field(default_factory=dict)
    timers: dict[str, tuple[int, int]] = field(default_factory=dict)  # document to (partition, time)
    calls: dict[tuple[Slot, int], Call] = field(default_factory=dict)


class MemoryStore:
    """A store in memory, with the store's laws: fence, inbox, versions of documents, all or nothing."""

    def __init__(self) -> None:
        """Empty."""
        self.schemas: defaultdict[str, _Schema] = defaultdict(_Schema)

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def claim(self, slot: Slot, owner: str, held: int | None, begin: int = 0) -> Claim:
        """Become the owner: a new epoch, unless the row still shows the epoch `held`."""
        place = self.schemas[slot.domain].places.setdefault(slot, _Place(next=begin))
        if place.epoch != held:
            place.epoch += 1
        place.owner = owner
        holds = any(parked.holds for (at, _), parked in self.schemas[slot.domain].parked.items() if at == slot)
        asked = bool(await self.asked(slot, 1))
        return Claim(
            place.next, place.epoch, place.number, place.relayed, place.last_id, place.partitions, holds, asked
        )

    async def standing(self, slot: Slot) -> tuple[int, int]:
        """Where an agent stands."""
        place = self.schemas[slot.domain].places.get(slot)
        return (place.next, place.number) if place else (0, 0)

    async def doubt(self, slots: Collection[Slot], number: int) -> None:
        """What these effects asked for because of events up to `number` is not known here."""
        for slot in slots:
            schema = self.schemas[slot.domain]
            place = schema.places.setdefault(slot, _Place())
            place.relayed, place.epoch = max(place.relayed, number), place.epoch + 1
            if place.number == 0:
                place.next, place.last_id = 0, None
            for at, call in schema.calls.items():
                if at[0].agent == slot.agent and call.status == "waiting":
                    schema.calls[at] = call._replace(unknown=True)

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

    async def asked(self, slot: Slot, limit: int) -> list[Request]:
        """The requests that wait, first asked first."""
        requests = self.schemas[slot.domain].requests.items()
        return [row.request for (at, _), row in requests if at == slot and row.status == "waiting"][:limit]

    async def ask(self, slot: Slot, request: Request) -> None:
        """Write a request, unless there is one of this id."""
        self.schemas[slot.domain].requests.setdefault((slot, request.id), Asked(request))

    async def parked(self, slot: Slot, offset: int) -> Parked | None:
        """The record of this offset, if it is parked."""
        return self.schemas[slot.domain].parked.get((slot, offset))

    async def queue(self, slot: Slot, key: bytes, limit: int) -> Queue:
        """The first records that hold this key."""
        parked = self.schemas[slot.domain].parked.items()
        found = sorted((p for (at, _), p in parked if at == slot and p.holds and p.key == key), key=lambda p: p.place)
        count = fitting([len(p.value or b"") for p in found], limit)
        return Queue(found[:count], count < len(found))

    async def timers(self, slot: Slot, limit: int) -> list[tuple[str, int]]:
        """The first documents of this partition to be due."""
        timers = self.schemas[slot.domain].timers.items()
        return sorted(((key, due) for key, (at, due) in timers if at == slot.partition), key=lambda t: t[::-1])[:limit]

    async def owed(self, slot: Slot, limit: int) -> list[Call]:
        """The first call of each key, earliest due first."""
        first: dict[bytes, Call] = {}
        for (at, _), call in sorted(self.schemas[slot.domain].calls.items(), key=lambda item: item[1].number):
            if at == slot:
                first.setdefault(call.key, call)
        found = [call for call in first.values() if call.status != "parked"]
        return sorted(found, key=lambda call: (call.due, call.number))[:limit]

    async def calls_of(self, slot: Slot, numbers: Collection[int]) -> list[Call]:
        """The calls of these events."""
        calls = self.schemas[slot.domain].calls
        return [calls[slot, number] for number in numbers if (slot, number) in calls]

    async def answer(self, slot: Slot, call: Call) -> bool:
        """Write down what came of a claimed call."""
        calls = self.schemas[slot.domain].calls
        there = calls.get((slot, call.number))
        if there is None or (there.status, there.epoch, there.attempts) != ("claimed", call.epoch, call.attempts):
            return False
        calls[slot, call.number] = call
        return True

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
        if any(
            (row := schema.requests.get((slot, acted.id))) is None or row.status != "waiting" for acted in work.acted
        ):
            raise Lost("A request was acted on by another owner.")
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
        _park(schema, slot, work)
        for key, due in work.timers.items():
            schema.timers.pop(key, None)
            if due is not None:
                schema.timers[key] = slot.partition, due
        for call in work.calls:
            schema.calls[slot, call.number] = call
            if call.status == "done":
                del schema.calls[slot, call.number]
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


def _park(schema: _Schema, slot: Slot, work: Work) -> None:
    for parked in work.parked:
        there = schema.parked.setdefault((slot, parked.offset), parked)
        if parked.cause != HELD or not there.holds:
            schema.parked[slot, parked.offset] = parked
    for offset in work.unparked:
        schema.parked.pop((slot, offset), None)
    for acted in work.acted:
        row = schema.requests[slot, acted.id]
        row.status, row.outcome, row.record = acted.status, acted.outcome, acted.record or row.record
        key = row.record.key if row.record else None
        row.request = row.request._replace(begun=row.record is not None, ran=acted.ran, key=key)
