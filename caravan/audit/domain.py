"""One domain under audit: what its topics have said so far, folded by the shipped code into a scratch file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from caravan.audit.finding import Findings
from caravan.audit.projected import Projected
from caravan.audit.scratch import Scratch
from caravan.audit.written import Written
from streams.acting import issued
from streams.agent import Decider, Folds, Policy
from streams.contract import Topic, UnknownVersion, UpcastFailed
from streams.decision import ROOT, State
from streams.envelope import Signer, body_hash, decode_command
from streams.folding import fold
from streams.handler import identity
from streams.records import CORE_EVENTS, EventReader, EventRecord, Unfit
from streams.results import ACCEPTED, result_of, settled_of
from streams.shard import Shard, documents_of
from streams.sink import Rows
from streams.store import Outgoing, Result, Settled, Stored, Work
from streams.table import Table

RESULTS, DOCUMENTS, TIMERS = "results", "state", "timers"  # the tables of the core that follow from the events
NOTHING = Table("nothing", {ROOT: State})
_encode = msgspec.json.Encoder().encode


class Appeared(NamedTuple):
    """An event that was on the topic, or in the outbox, for the first time; `unread` says why its contract does not take it."""

    event: EventRecord
    unread: str | None = None


class Last(NamedTuple):
    """An event as it is found again."""

    number: int
    offset: int
    identity: str


class Message(NamedTuple):
    """An outbox row in the shape of a record, signed as the relay signs it. It stands on no topic."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    offset: int = -1
    timestamp: int = 0


@dataclass
class Reached:
    """How far a partition was read: the next offsets, the last number on the topic and the last one that was folded.

    `first_command` is the first offset that was looked at; `whole` is whether the topic still has its first event; `beyond` is an event (number, offset) above what Postgres knew.
    """

    commands: int = 0
    first_command: int = 0
    events: int = 0
    on_topic: int = 0
    folded: int = 0
    whole: bool = True
    beyond: tuple[int, int] | None = None
    group: list[Appeared] = field(default_factory=list)


class Domain:
    """Takes the records of a domain's topics partition by partition, in order, and keeps what must follow from them."""

    def __init__(self, topic: Topic, decider: Decider | None, signer: Signer, tables: dict[Rows, Written]) -> None:
        """Nothing is read yet. `tables` are those of the views that can be compared; without a decider all that is there follows from events of others."""
        self.name, self.topic, self.decider = topic.domain, topic, decider
        self.tables = tables
        self.scratch = Scratch()
        self.lasting = Findings()  # what the topics told wrongly, which stays so
        self.reached = {n: Reached() for n in range(topic.partitions)}
        self.listeners: list[
            tuple[Policy, Domain]
        ] = []  # policies of these events, with the domain for which they speak
        self.begun: dict[tuple[str, int], int | None] = {}  # where policies that began late were first seen at work
        self.commands_checked = self.events_checked = 0
        self._signer = signer
        self._signed = signer.checker(topic.commands_topic)
        self._readers = {n: EventReader(topic, n, signer) for n in self.reached}
        self.projections: list[Projected] = []
        self.unseen: tuple[str, ...] = ()  # spaces of projections that began late: nobody knows from which event on
        self._shard = self._documents(0)
        self._shard.close()

    def close(self) -> None:
        """Delete the scratch file."""
        self.scratch.close()

    def _documents(self, partition: int) -> Shard:
        """Those of the decider in memory."""
        return (
            Shard(NOTHING, partition)
            if self.decider is None
            else Shard(self.decider.table, partition, self.decider.timer)
        )

    def table_of(self, document: str) -> tuple[Table, str]:
        """Whose document it is, and its key there."""
        for one in self.projections:
            if one.table is not None and document.startswith(one.space):
                return one.table, document.removeprefix(one.space)
        return (self.decider.table if self.decider else NOTHING), document

    # -- commands

    def take_commands(self, partition: int, records: Sequence[Any]) -> None:
        """Take records of the command topic. One without a valid signature or envelope has no id."""
        self.scratch.db.executemany(
            'INSERT OR IGNORE INTO command (partition, "offset", id, hash, identity) VALUES (?, ?, ?, ?, ?)',
            [(partition, record.offset, *self._said(record), identity(record)) for record in records],
        )
        self.reached[partition].commands = records[-1].offset + 1
        self.commands_checked += len(records)

    def _said(self, record: Any) -> tuple[str | None, str | None]:
        if not self._signed(record):
            return None, None
        try:
            envelope = decode_command(record.value)
        except (ValueError, TypeError):  # msgspec's errors are ValueErrors; a record may be without a value
            return None, None
        return str(envelope.command_id), body_hash(envelope.payload)

    # -- events

    def begin(self, partition: int) -> None:
        """Take this partition's events from now on, until `end`: the documents in memory are those of one partition."""
        self._shard = self._documents(partition)

    def end(self, partition: int) -> None:
        """What the last command left is whole, since its events are one batch; give the memory back."""
        at = self.reached[partition]
        self._tell(at.group)
        at.group = []
        self._shard.close()

    def take_events(self, partition: int, records: Sequence[Any], limit: int) -> bool:
        """Take records of the event topic up to the number `limit`; whether that was all of them."""
        at = self.reached[partition]
        at.beyond = None
        appeared: list[Appeared] = []
        digests: dict[int, tuple[str, int]] = {}
        for record in records:
            try:
                envelope = self._readers[partition].envelope(record)
            except Unfit as unfit:
                self.lasting.add("event_foreign", self.name, self._place(partition, record.offset), str(unfit))
                continue
            if (number := envelope.number) > limit:
                at.beyond = number, record.offset
                break
            told = identity(record)
            if number > at.on_topic:
                self._follow(at, partition, number, record.offset)
                at.on_topic = number
                digests[number] = told, record.offset
                appeared.append(self._read(EventRecord(record, envelope, None)))
            else:
                before = digests.get(number) or self.known(partition, number)
                self._repeat(before, partition, number, told, record.offset)
        at.events = at.beyond[1] if at.beyond else records[-1].offset + 1
        self.events_checked += len(records)
        self._write_events(partition, digests)
        self._derive(partition, appeared)
        self._fold(at, [one for one in appeared if one.event.envelope.number > at.folded])
        return at.beyond is None

    def take_outbox(self, partition: int, rows: Sequence[Outgoing]) -> None:
        """Take what is committed and not on the topic yet: it is as true as what is."""
        at = self.reached[partition]
        ahead, digests = [], {}
        for row in rows:
            if row.number > at.folded:
                key = row.key.encode()
                message = Message(key, row.value, [self._signer.sign(self.topic.events_topic, key, row.value)])
                try:
                    envelope = self._readers[partition].envelope(message)
                except Unfit as unfit:
                    place = f"{self.name}.outbox partition {partition} number {row.number}"
                    self.lasting.add("outbox_differs", self.name, place, str(unfit))
                    continue
                ahead.append(self._read(EventRecord(message, envelope, None)))
                digests[row.number] = identity(message), -1
        self._write_events(partition, digests)
        self._fold(at, ahead)

    def _place(self, partition: int, offset: int) -> str:
        return f"{self.topic.events_topic} {partition}:{offset}"

    def _read(self, event: EventRecord) -> Appeared:
        """The message of an event whose signature and envelope are good."""
        kind = self.topic.events.get(event.envelope.type)
        if event.envelope.type in CORE_EVENTS:
            return Appeared(event)
        if kind is None:
            return Appeared(event, f"{event.envelope.type} is unknown to this code")
        try:
            message = kind.read(event.envelope.schema_version, bytes(event.envelope.payload))
            return Appeared(EventRecord(event.record, event.envelope, message))
        except (UnknownVersion, UpcastFailed) as error:
            return Appeared(event, str(error))
        except ValueError as error:
            return Appeared(event, f"{event.envelope.type}: its contract does not take it: {error}")

    def _follow(self, at: Reached, partition: int, number: int, offset: int) -> None:
        """Numbers have no gaps, save before the first that is kept."""
        if at.on_topic == 0 and number > 1 and not at.whole:
            return
        if missing := number - at.on_topic - 1:
            words = (
                f"numbers {at.on_topic + 1} to {number - 1} never came"
                if missing > 1
                else f"number {number - 1} never came"
            )
            self.lasting.add(
                "event_missing",
                self.name,
                self._place(partition, offset),
                f"{words} before number {number}",
                count=missing,
            )

    def _repeat(self, before: tuple[str, int] | None, partition: int, number: int, told: str, offset: int) -> None:
        """A number came once more: harmless with the same bytes."""
        place = self._place(partition, offset)
        if before is None:
            self.lasting.add("event_disordered", self.name, place, f"number {number} comes behind a later one")
        elif before[0] != told:
            words = f"number {number} was something else at offset {before[1]}"
            self.lasting.add("event_rewritten", self.name, place, words)
        else:
            words = f"number {number} once more, as at offset {before[1]}"
            self.lasting.add("event_repeated", self.name, place, words)

    def _write_events(self, partition: int, digests: dict[int, tuple[str, int]]) -> None:
        """Remember what each number said. What was in the outbox before must have come as it was."""
        at = self.reached[partition]
        for number, (digest, offset) in digests.items():
            before = self.known(partition, number) if number <= at.folded else None
            if before is not None and before[0] != digest:
                words = f"number {number} was something else in the outbox"
                self.lasting.add("event_rewritten", self.name, self._place(partition, offset), words)
        self.scratch.db.executemany(
            "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?)",
            [(partition, number, offset, digest) for number, (digest, offset) in digests.items()],
        )

    # -- what was read

    def known(self, partition: int, number: int) -> tuple[str, int] | None:
        """What tells the bytes of an event that was read, and its offset."""
        query = 'SELECT identity, "offset" FROM event WHERE partition = ? AND number = ?'
        found = self.scratch.all(query, partition, number)
        return found[0] if found else None

    def last_before(self, partition: int, offset: int) -> Last | None:
        """The last event that stands before an offset."""
        query = 'SELECT number, "offset", identity FROM event WHERE partition = ? AND "offset" BETWEEN 0 AND ? ORDER BY number DESC LIMIT 1'
        found = self.scratch.all(query, partition, offset - 1)
        return Last(*found[0]) if found else None

    def command_at(self, partition: int, offset: int) -> str | None:
        """What tells the bytes of a command that was read."""
        query = 'SELECT identity FROM command WHERE partition = ? AND "offset" = ?'
        found = self.scratch.all(query, partition, offset)
        return found[0][0] if found else None

    # -- what follows

    def _derive(self, partition: int, appeared: Sequence[Appeared]) -> None:
        """The commands that policies make of events, under the ids that they have on every run."""
        topic = self.topic.events_topic
        for policy, domain in self.listeners:
            rows: list[tuple[Any, ...]] = []
            for event, _ in appeared:
                if event.message is not None and type(event.message) in policy.on:
                    record, number = event.record, event.envelope.number
                    try:
                        made = list(issued(policy, event.envelope, event.message))
                    except Exception:  # noqa: BLE001, S112 - policies may raise anything, and the event is parked then
                        continue
                    rows += [
                        (
                            policy.name,
                            topic,
                            partition,
                            record.offset,
                            number,
                            str(i),
                            c.wire_name,
                            c.key,
                            record.timestamp,
                        )
                        for c, i in made
                    ]
            domain.scratch.db.executemany("INSERT INTO derived VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _fold(self, at: Reached, fresh: Sequence[Appeared]) -> None:
        """Documents, rows and timers by the rules; results by the envelopes."""
        if not fresh:
            return
        self._shard.trim()
        self.load(self._shard, self.decider, [one.event for one in fresh])
        work = Work(0, 0, 0, None)
        for one in fresh:
            event = one.event
            try:
                if one.unread:
                    raise ValueError(one.unread)  # noqa: TRY301 - told as what the rules raise
                assert self.decider is not None  # or else there would be no events
                fold(self.decider, self._shard, event, work)
            except Exception as error:  # noqa: BLE001 - rules may raise anything
                place = self._place(event.envelope.source.partition, event.record.offset)
                words = f"number {event.envelope.number}: {type(error).__name__}: {error}"
                self.lasting.add("fold_failed", self.name, place, words)
            if at.group and at.group[-1].event.envelope.command_id != event.envelope.command_id:
                self._tell(at.group)
                at.group = []
            at.group.append(one)
        at.folded = fresh[-1].event.envelope.number
        self.write(self._shard, work)

    def load(self, shard: Shard, agent: Folds | None, events: Sequence[EventRecord]) -> None:
        """Have the documents of these events in memory, as they stand in the scratch file."""
        if agent is None:
            return
        wanted = documents_of(agent.reads, [(e.message.key, e.message) for e in events if e.message])
        if missing := shard.missing(wanted):
            found = self.scratch.those(DOCUMENTS, [shard.space + key for key in missing])
            shard.fill(missing, {key: _stored(key, value, shard.table.version) for key, value in found.items()})

    def write(self, shard: Shard | None, work: Work) -> None:
        """Take what was folded into the scratch file."""
        put = self.scratch.put
        if shard is not None:
            put(DOCUMENTS, [(one.key, document(one.version, one.at, one.data)) for one in shard.take()])
            shard.committed()
            timers, partition = shard.take_timers(), shard.partition
            self.scratch.drop(TIMERS, [key for key, due in timers.items() if due is None])
            put(TIMERS, [(key, timer(partition, due)) for key, due in timers.items() if due is not None])
        for kind, rows in work.rows.items():
            if (written := self.tables.get(kind)) is not None:
                put(kind.name, map(written, rows), adds=not written.unique)

    def _tell(self, group: Sequence[Appeared]) -> None:
        """The result of the command that left these events, and of the one that it settles."""
        if not group:
            return
        first, last = group[0].event.envelope, group[-1].event.envelope
        outcome = last.outcome or ACCEPTED
        told = ((e.envelope.event_id, e.envelope.type) for e, _ in group if e.envelope.type not in CORE_EVENTS)
        result = result_of(UUID(first.command_id), outcome, told, first.actor, first.source)
        self.scratch.put(RESULTS, [result_row(result)])
        if outcome.settles is not None:
            self._settle(settled_of(outcome))
        marked = self.scratch.db.execute(
            'UPDATE command SET told = 1 WHERE partition = ? AND "offset" = ? AND id = ? AND hash = ?',
            (result.partition, result.offset, str(result.command_id), result.hash),
        )
        if not marked.rowcount and result.offset >= 0:
            self.scratch.db.execute(
                "INSERT INTO orphan VALUES (?, ?, ?)", (result.partition, result.offset, str(result.command_id))
            )

    def _settle(self, settled: Settled) -> None:
        key = str(settled.command_id)
        if (value := self.scratch.get(RESULTS, key)) is not None and value.startswith('["pending",'):
            rest = msgspec.json.decode(value)[3:]
            self.scratch.put(RESULTS, [(key, _encode([settled.status, settled.code, settled.details, *rest]).decode())])


def document(version: int, at: int, data: str) -> str:
    """A document as text."""
    return _encode([version, at, data]).decode()


def timer(partition: int, due: int) -> str:
    """A timer as text."""
    return f"[{partition},{due}]"


def result_row(result: Result) -> tuple[str, str]:
    """A result as text."""
    return str(result.command_id), _encode(result[1:]).decode()


def _stored(key: str, value: str, rules: int) -> Stored:
    version, at, data = msgspec.json.decode(value)
    return Stored(key, version, version, rules, at, data)
