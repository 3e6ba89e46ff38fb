"""The decider: commands in, and in one transaction out: results, events, state and rows."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from streams.agent import Decider
from streams.clock import Clock, bounded
from streams.consulting import Consulting
from streams.decision import Case, Refuse, State
from streams.envelope import Signer, Source, body_hash
from streams.following import last_event
from streams.handler import DRAIN_S, Position, Stop, identity
from streams.holds import Holds, parked, words_of
from streams.judging import facts_of, judged, refused
from streams.log import Log
from streams.outgoing import TooLarge, outgoing
from streams.pulse import breathe
from streams.records import CommandReader, CommandRecord, EventReader, Unfit
from streams.redriving import REFUSED, Again, Contents, Piece, Requests
from streams.relay import Relay
from streams.restoring import Restoring
from streams.results import actor_name, result_of, settled_of
from streams.shard import Shard, documents_of, evolved, moment
from streams.sink import Rows, rows_of
from streams.store import HELD, BadData, Claim, Lost, Parked, Slot, Store, Stored, Work
from streams.timing import FIRE, Due, Timers

log = logging.getLogger(__name__)

CHUNK = 128  # commands that are read and then run, between two chances for everything else on this loop
RECENT = 50_000  # ids of committed commands that are remembered, so that quick repeats cost nothing


class Deciding:
    """The handler of a decider on one partition."""

    def __init__(
        self,
        decider: Decider,
        slot: Slot,
        *,
        store: Store,
        log: Log,
        signer: Signer,
        clock: Clock,
        from_nothing: bool = False,
        effects: Collection[str] = (),
    ) -> None:
        """Nothing is read before `begin`. With `from_nothing` an empty store is built from the events that there are.

        `effects` are those of the domain, which are told of events that the store had forgotten.
        """
        self.decider, self.slot = decider, slot
        self.shard = Shard(decider.table, slot.partition, decider.timer)
        self.timers = Timers(decider, slot, store=store, clock=clock)
        self.relay = Relay(slot, decider.topic.events_topic, store=store, log=log, signer=signer)
        self._store, self._log, self._signer, self._clock = store, log, signer, clock
        self._reader = CommandReader(decider.topic, slot.partition, signer, clock)
        self._told = EventReader(decider.topic, slot.partition, signer)
        self._restoring = Restoring(decider, slot, self.shard, store=store, log=log, signer=signer)
        self._from_nothing, self._effects = from_nothing, effects
        self._reread = self._at = 0  # commands below were sent before a restore; where reading stands
        self._epoch = -1
        self._holds = Holds(store, slot)
        self._requests = Requests(
            slot, self._holds, Contents.commands(self._read_again), store=store, signer=signer, ahead=self._ahead
        )
        self._consulting = Consulting(decider, slot, store=store)
        self._recent: dict[int, None] = {}
        self._fired: dict[UUID, Due] = {}

    # -- the loop's protocol

    async def begin(self, claim: Claim) -> None:
        """Send what an earlier owner left unsent. Where Kafka has events that Postgres does not know they are taken over first, or Stop says why not."""
        self._requests.begin(claim)
        if claim.epoch == self._epoch:
            return
        await self._check(claim)
        await self._consulting.begin(self._log, self._signer)
        self._epoch, self._at = claim.epoch, claim.next
        self._holds.begin(claim)
        await self.timers.begin()
        self.relay.start(claim.epoch, claim.relayed)

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Decide a batch, or what is due."""
        await self.relay.room()
        self.shard.trim()
        careful = careful or at.next < self._reread
        if records:
            self._fired, self._at = {}, records[-1].offset + 1
            work = Work(at.next, records[-1].offset + 1, at.number, identity(records[-1]))
            return await self._work(records, work, careful)
        work = Work(at.next, at.next, at.number, at.last_id)
        if (piece := await self._requests.take(careful)) is not None:
            return await self._redrive(piece, work)
        return await self._run_rest(await self._due(work, careful), work, careful, None)

    def due(self) -> float | None:
        """Seconds until a timer runs out, none while a request waits; after a restore what was sent before it comes first."""
        if self._at < self._reread:
            return None
        return 0.0 if self._requests.waiting else self.timers.wait()

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """Park a record, or else the redriven one or the timer, whose rows the store refuses."""
        work = Work(at.next, at.next, at.number, at.last_id, relayed=self.relay.sent)
        self.shard.take()
        if record is None and self._requests.piece is not None:
            self._requests.park(fault, work)
            return work
        if record is None:
            (fired,) = self._fired.values()
            command = fired.command
            work.timers = {fired.document: None}
        else:
            command = self._reader.read(record)
            work.next, work.last_id = record.offset + 1, identity(record)
        work.parked.append(self._parked(command, REFUSED, str(fault), work))
        self._holds.add(command.record.key)
        return work

    def asked(self) -> None:
        """An operator's request waits."""
        self._requests.waiting = True

    def committed(self, work: Work) -> None:
        """Relay the events; remember the ids."""
        self.shard.committed()
        self._holds.committed(work)
        self.timers.heard(work.timers.values())
        self.relay.offer(work.outbox)
        for result in work.results:
            self._recent[result.command_id.int] = None
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    def forget(self) -> None:
        """Drop documents, held keys and recent ids. The relay goes on: what it has is committed."""
        self.shard.clear()
        self._holds.forget()
        self._recent.clear()
        self._epoch = -1

    async def end(self) -> None:
        """Send what is committed, as far as time allows."""
        await self.relay.drain(DRAIN_S)
        self.relay.stop()
        self.shard.close()

    # -- its steps

    async def _check(self, claim: Claim) -> None:
        """Events that Kafka has and Postgres does not know would be decided a second time; raises Lost once it knows them."""
        topic, partition = self.decider.topic.events_topic, self.slot.partition
        start, end = await self._log.bounds(topic, partition)
        if end == start and claim.relayed > 0:
            raise Stop(
                f"{topic} is empty and Postgres has relayed up to number {claim.relayed}: the topic was wiped. Restore Kafka, "
                "or reset both."
            )
        last = await last_event(self._log, self._told, topic, partition, (start, end))
        number = last.number if last else 0
        if last is not None and last.source.offset >= claim.next:
            await self._look_back()  # a takeover was broken off before its commands were read again
        if number > claim.number:
            if claim.number == 0 and not self._from_nothing:
                raise Stop(
                    f"{topic} goes up to number {number} and Postgres knows none of it: Postgres was wiped, or CARAVAN_POSTGRES names "
                    "another one. Restore a backup; or build it anew from all events with CARAVAN_EMPTY_POSTGRES=rebuild; or reset both."
                )
            await self._look_back()
            await self._store.doubt([self.slot._replace(agent=name, topic=topic) for name in self._effects], number)
            taken = await self._restoring.close(claim, number)
            raise Lost(f"Postgres was {taken} events behind {topic}.")  # the claim is of another time now

    async def _look_back(self) -> None:
        """Commands that are there now come before timers, and their ids are looked up."""
        self._reread = (await self._log.bounds(*self.slot[2:]))[1]

    async def _work(self, records: Sequence[Any], work: Work, careful: bool) -> Work:
        """Read and run a few commands at a time, while they are in the processor's cache; from the first for which the store is asked, all are read before."""
        waiting = await self._holds.waiting(record.key for record in records)
        seen: set[int] = set()
        rest: list[CommandRecord] = []
        for begin in range(0, len(records), CHUNK):
            await breathe()
            commands = self._fresh(self._read(records[begin : begin + CHUNK], work), seen, work)
            if rest or careful or self._missing(commands) or self._consulting.asked(commands):
                rest += commands
            else:
                self._run_all(commands, waiting, work)
        return await self._run_rest(rest, work, careful, waiting)

    async def _run_rest(
        self, commands: list[CommandRecord], work: Work, careful: bool, waiting: Collection[bytes] | None
    ) -> Work:
        """Ask the store for what these need, then run them."""
        if careful and commands:
            commands = await self._unknown(commands, work)
        await self._load(commands)
        if waiting is None:
            waiting = await self._holds.waiting(command.record.key for command in commands)
        for begin in range(0, len(commands), CHUNK):
            await breathe()
            self._run_all(commands[begin : begin + CHUNK], waiting, work)
        return self._whole(work)

    def _read(self, records: Sequence[Any], work: Work) -> list[CommandRecord]:
        commands = []
        for record in records:
            try:
                commands.append(self._reader.read(record))
            except Unfit as unfit:
                work.parked.append(self._timed(parked(record, unfit.cause, str(unfit), holds=False)))
        return commands

    def _fresh(self, commands: list[CommandRecord], seen: set[int], work: Work) -> list[CommandRecord]:
        """Those whose id was not seen in this batch, nor lately."""
        recent = self._recent
        fresh = []
        for command in commands:
            command_id = command.envelope.command_id.int  # a number is looked up in a third of the time
            if command_id in seen or command_id in recent:
                work.duplicates += 1
            else:
                seen.add(command_id)
                fresh.append(command)
        return fresh

    async def _unknown(self, commands: list[CommandRecord], work: Work) -> list[CommandRecord]:
        """Those whose id is not in the inbox."""
        known = await self._store.known(self.slot, [command.envelope.command_id for command in commands])
        unknown = [command for command in commands if command.envelope.command_id not in known]
        work.duplicates += len(commands) - len(unknown)
        return unknown

    async def _due(self, work: Work, careful: bool) -> list[CommandRecord]:
        """The commands of the timers that have run out; one that is parked or was run already is taken off the list."""
        taken = await self.timers.take(self.shard, 1 if careful else FIRE)
        self.shard.set({fired.document: None for fired in taken})
        self._fired = {fired.command.envelope.command_id: fired for fired in taken}
        return self._fresh([fired.command for fired in taken], set(), work)

    def _missing(self, commands: Sequence[CommandRecord]) -> set[str]:
        """The documents that these need and that are not in memory."""
        wanted = documents_of(self.decider.reads, [(c.envelope.aggregate_id, c.message) for c in commands])
        wanted.update(fired.document for fired in self._fired.values())
        return self.shard.missing(wanted)

    async def _load(self, commands: Sequence[CommandRecord]) -> None:
        await self._consulting.load(commands)
        if missing := self._missing(commands):
            self.shard.fill(missing, await self._store.load(self.slot, missing))

    def _run_all(self, commands: Sequence[CommandRecord], waiting: Collection[bytes], work: Work) -> None:
        """Run those whose keys do not wait, and park the others behind what they wait for."""
        for command in commands:
            key = command.record.key
            if key in waiting or key in self._holds:
                work.parked.append(self._parked(command, HELD, "An earlier record of this key is parked.", work))
            else:
                self._run(command, work)

    def _run(self, command: CommandRecord, work: Work) -> None:
        """Run the rules on one command; whatever they raise parks it and holds its key, and nothing else."""
        try:
            self._decide(command, work)
        except Exception as error:  # noqa: BLE001 - rules may raise anything
            log.warning("%s %s parked: %r", command.envelope.type, command.envelope.command_id, error)
            cause = "too_large" if isinstance(error, TooLarge) else "rule_failed"
            work.parked.append(self._parked(command, cause, words_of(error), work))
            self._holds.add(command.record.key)

    def _decide(self, command: CommandRecord, work: Work) -> None:
        """Decide, evolve and project; only what has come out whole goes into the shard and the work."""
        decider, envelope, message = self.decider, command.envelope, command.message
        key = message.key
        fired = self._fired.get(envelope.command_id) if self._fired else None
        if fired is not None and fired.again and not self.timers.stands(self.shard, fired):
            return  # what ran before it has moved or ended its timer
        root = self.shard.root(key)
        now = max(root.at, bounded(envelope.issued_at, command.record.timestamp, self._clock))
        states = self.shard.states(key, decider.reads(message))
        case = Case(now, str(envelope.command_id), self._consulting.of(message), envelope.actor)
        events, outcome = judged(decider, command, states, case)
        facts = facts_of(command, case, events, root.version)
        changes: list[tuple[int, Mapping[str, State]]] = []
        changed: dict[str, State] = {}
        rows: list[tuple[Rows, Any]] = []
        for fact in facts:
            change = evolved(decider.evolve, states, fact.event)
            changes.append((fact.seq, change))
            changed.update(change)
            rows += rows_of(decider.project(fact, states))
        dues = self.shard.dues(key, changed)
        if fired is not None:
            self.shard.demand_moved(fired.document, fired.due, states)
        source = self._source(command)
        told = outgoing(command, case, source, facts, outcome, root.version, work.number)
        names = [(fact.event_id, fact.event.wire_name) for fact in facts]
        result = result_of(envelope.command_id, outcome, names, envelope.actor, source)
        # nothing below this line raises
        for seq, change in changes:
            self.shard.put(key, change, seq, now)
        if dues:
            self.shard.set(dues)
        for kind, row in rows:
            work.rows[kind].append(row)
        work.number = told[-1].number
        work.outbox += told
        work.results.append(result)
        if outcome.settles is not None:
            work.settled.append(settled_of(outcome))

    def _source(self, command: CommandRecord) -> Source:
        return Source(self.slot.partition, command.record.offset, body_hash(command.envelope.payload))

    def _parked(self, command: CommandRecord, cause: str, error: str, work: Work) -> Parked:
        envelope, record = command.envelope, command.record
        whole = parked(
            record, cause, error, holds=True, command_id=envelope.command_id, actor=actor_name(envelope.actor)
        )
        return self._timed(whole._replace(before=work.expected if record.offset < 0 else None))

    def _timed(self, record: Parked) -> Parked:
        """With the time on the platform's clock, which may be moved before the record is run again."""
        return record._replace(timestamp=record.timestamp + self._ahead())

    def _ahead(self) -> int:
        return int(self._clock.offset.total_seconds() * 1000)

    def _whole(self, work: Work) -> Work:
        work.states, work.timers = self.shard.take(), self.shard.take_timers()
        work.relayed = self.relay.sent
        return work

    # -- what operators ask for

    async def _redrive(self, piece: Piece, work: Work) -> Work:
        """Run parked commands as if they had come just now; one that has its result already is dropped."""
        commands = await self._read_parked(piece)
        there = [command for command in commands.values() if not isinstance(command, Unfit)]
        known = await self._store.known(self.slot, [command.envelope.command_id for command in there])
        await self._load(there)
        roots = await self._store.load(self.slot, [c.message.key for c in there]) if piece.act == "skip" else {}

        def one(record: Again) -> None:
            command = commands[record.offset]
            if isinstance(command, Unfit):
                work.parked.append(parked(record, command.cause, str(command), holds=False))
            elif command.envelope.command_id in known:
                work.duplicates += 1
            elif command.record.key in piece.behind:
                work.parked.append(self._parked(command, HELD, "An earlier record of this key is parked.", work))
            else:
                known.add(command.envelope.command_id)
                self._run(command, work)

        def skip(record: Again) -> None:
            command = commands[record.offset]
            if not isinstance(command, Unfit) and command.envelope.command_id not in known:
                known.add(command.envelope.command_id)
                self._skip(command, roots.get(command.message.key), work)

        await self._requests.run(piece, work, one, skip)
        return self._whole(work)

    async def _read_parked(self, piece: Piece) -> dict[int, CommandRecord | Unfit]:
        found: dict[int, CommandRecord | Unfit] = {}
        self._fired = {}
        skipped = [piece.first] if piece.first is not None and piece.act == "skip" else []
        for n, record in enumerate([*skipped, *piece.records]):
            if n % CHUNK == 0:
                await breathe()
            try:
                found[record.offset] = self._read_again(self._requests.again(record))
            except Unfit as unfit:
                found[record.offset] = unfit
        return found

    def _read_again(self, record: Again) -> CommandRecord:
        """A parked record, or a parked timer, whose offset is no topic's; raises Unfit."""
        if record.offset >= 0:
            return self._reader.read(record)
        due = self.timers.parked(record)
        self._fired[due.command.envelope.command_id] = due
        return due.command

    def _skip(self, command: CommandRecord, root: Stored | None, work: Work) -> None:
        """The command's one result is that it was skipped. The rules are not asked, nor the document read: either may be why it is parked."""
        now = bounded(command.envelope.issued_at, command.record.timestamp, self._clock)
        version = root.version if root else 0
        case = Case(max(now, moment(root.at if root else 0)), str(command.envelope.command_id))
        outcome, source = refused(Refuse("skipped")), self._source(command)
        told = outgoing(command, case, source, (), outcome, version, work.number)
        work.number = told[-1].number
        work.outbox += told
        work.results.append(result_of(command.envelope.command_id, outcome, (), command.envelope.actor, source))
