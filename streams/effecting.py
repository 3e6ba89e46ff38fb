"""The effect: events become calls that are owed, in the transaction of the position; then each is claimed, made, answered and told.

A call is claimed in a committed transaction before it is made, so whoever finds a claim whose time has run out knows that it may have been done. What came of it is
written down at once by the one who made it, even after the partition has gone elsewhere, unless somebody has acted on the call since. Only then does its command go
out, under an id that is the same on every run, and the call is forgotten with the next transaction.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec

from streams.acting import cause_of, demand_hops, issue, publish
from streams.calling import Caller
from streams.clock import Clock
from streams.effect import Adapter, Effect, Reply
from streams.envelope import Signer, decode_event
from streams.following import unseen
from streams.handler import DRAIN_S, Position, identity
from streams.holds import Holds, parked, words_of
from streams.ids import derived
from streams.log import Entry, Log
from streams.personal import Sealed
from streams.recalling import Past, Recall
from streams.records import EventReader, EventRecord, Unfit
from streams.redriving import Again, Contents, Piece, Requests
from streams.shard import microseconds, moment
from streams.sink import fact_of
from streams.store import BadData, Call, Claim, Parked, Slot, Store, Unavailable, Work

log = logging.getLogger(__name__)

LOOK = 64  # calls that are looked at in one turn, beside those under way
GRACE_S = 2.0  # between the latest start of a claimed call and what its claim allows; clocks of two machines may differ by less
PATIENCE_S = (0.1, 5.0)  # first and longest pause between tries to write an answer down
FORGOTTEN = "Postgres was behind its topics, and no result tells whether this was done. Find out: skip it if it was done, redrive it if it was not."


def _unmarked(value: object) -> str:
    """A sealed text as the text it is, for JSON."""
    if isinstance(value, Sealed):
        return str(value)
    raise NotImplementedError(f"an intent is plain data, and {type(value).__name__} is not")


_encode = msgspec.json.Encoder(enc_hook=_unmarked).encode


class Effecting:
    """The handler of an effect on one partition of its source. `wake` is called when there is something to do: set it to the partition's."""

    def __init__(
        self, effect: Effect, adapter: Adapter, slot: Slot, *, store: Store, log: Log, signer: Signer, clock: Clock
    ) -> None:
        """Nothing is called before the first claim of the partition."""
        self.effect, self.adapter, self.slot = effect, adapter, slot
        self.wake: Callable[[], None] = lambda: None
        self._store, self._log, self._signer, self._clock = store, log, signer, clock
        self._reader = EventReader(effect.source, slot.partition, signer)
        self._holds = Holds(store, slot)
        self._requests = Requests(slot, self._holds, Contents.events(self._reader.read), store=store, signer=signer)
        self._caller = Caller(effect, adapter, clock)
        self._past = Past(effect, slot, store=store, log=log, signer=signer)
        self._epoch = -1
        self._running: dict[int, asyncio.Task[None]] = {}
        self._look = False
        self._next: int | None = None
        self._latest = 0.0  # monotonic time until which claimed calls may be made
        self._taken: list[Call] = []
        self._unmade: dict[int, Call] = {}

    # -- the loop's protocol

    async def begin(self, claim: Claim) -> None:
        """Look at what is owed under this claim. Raises Stop or Unavailable while its domain does not know yet what was done."""
        await self._past.begin(claim)
        self._epoch = claim.epoch
        self._requests.begin(claim)
        self._holds.begin(claim)
        self._look = True

    async def prepare(self, records: Sequence[Any], at: Position, careful: bool) -> Work:
        """Take events in, or do what is due: what operators ask for, tell what was answered, and claim calls."""
        if records:
            return await self._take(records, Work(at.next, records[-1].offset + 1, at.number, identity(records[-1])))
        work = Work(at.next, at.next, at.number, at.last_id)
        if (piece := await self._requests.take(careful)) is not None:
            return await self._redrive(piece, work)
        return await self._turn(work, 1 if careful else LOOK)

    def due(self) -> float | None:
        """Seconds until a call is due that may be made; a request is due at once."""
        if self._look or self._requests.waiting:
            return 0.0
        if self._next is None or len(self._running) >= self.effect.parallel:
            return None
        return (moment(self._next) - self._clock.now()).total_seconds()

    def park(self, record: Any, at: Position, fault: BadData) -> Work:
        """Park an event, or else the call looked at last, that the store refuses."""
        if record is not None:
            work = Work(at.next, record.offset + 1, self._reader.read(record).envelope.number, identity(record))
            self._holds.park(work, record, "refused_by_store", str(fault))
            return work
        work = Work(at.next, at.next, at.number, at.last_id)
        if self._requests.piece is not None:
            self._requests.park(fault, work)
            return work
        for call in self._taken:
            self._park(call, "refused_by_store", str(fault), work)
        return work

    def asked(self) -> None:
        """An operator's request waits."""
        self._requests.waiting = True

    def committed(self, work: Work) -> None:
        """Make the calls that were claimed."""
        self._holds.committed(work)
        self._look = self._look or bool(work.calls)
        for call in work.calls:
            if call.status == "claimed":
                self._unmade.pop(call.number, None)
                self._start(call)

    def forget(self) -> None:
        """Drop held keys. Calls under way go on: they were claimed, and what comes of them is a fact whoever is the owner."""
        self._holds.forget()
        self._look = True

    async def end(self) -> None:
        """Wait for the calls under way, as far as time allows; the rest may or may not be done, and their next owner will see to that."""
        tasks = list(self._running.values())
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return not self._running

    # -- events become calls

    async def _take(self, records: Sequence[Any], work: Work) -> Work:
        first = work.number
        events = await unseen(self._reader, records, work, self.effect.on)
        past = await self._past.recall(events, work.number)
        if not self._past.begun:
            work.number = first
        waiting = await self._holds.waiting(event.record.key for event in events)
        for event in self._holds.passing(events, waiting, work):
            recall = past.get(event.envelope.number)
            if recall != "done" or self.adapter.forgets:
                self._owe(event, work, recall)
        return work

    def _owe(self, event: EventRecord, work: Work, recall: Recall | None = None) -> None:
        envelope, message, record = event.envelope, event.message, event.record
        assert message is not None  # `_take` keeps those that `on` names
        try:
            demand_hops(envelope)
            intent = self.effect.on[type(message)](fact_of(envelope, message))
            asked = None if intent is None else _encode(intent).decode()
        except Exception as error:  # noqa: BLE001 - an author's function may raise anything
            self._holds.park(work, record, cause_of(error), words_of(error))
            return
        if asked is None:
            return
        headers = [(name, bytes(value)) for name, value in record.headers]
        now = microseconds(self._clock.now())
        call = Call(envelope.number, record.offset, record.key, record.value, headers, asked, now)
        if recall is None:
            work.calls.append(call)
        elif self._may_ask():
            work.calls.append(call._replace(unknown=True))
        else:
            self._park(call._replace(unknown=True), "effect_unknown", FORGOTTEN, work)

    def _may_ask(self) -> bool:
        """Whether a call of which nothing is known any more may go on: to a look-up, or to a second call where few are made a second time."""
        return self.adapter.finds or (self.adapter.repeatable and self.effect.result is not None)

    # -- what operators ask for

    async def _redrive(self, piece: Piece, work: Work) -> Work:
        """Parked calls wait to be made again and parked events become calls; of a skipped call nothing is owed any more."""
        records = [*piece.records, *([piece.first] if piece.first is not None and piece.act else [])]
        numbers = {number for record in records if (number := _number(record)) is not None}
        calls = {call.offset: call for call in await self._store.calls_of(self.slot, numbers)}
        causes = {record.offset: record.cause for record in records}
        if piece.first is not None and piece.act == "edit" and piece.first.offset in calls:
            self._requests.refuse(piece, "A call that is owed is as the rules made it: redrive it or skip it.", work)
            return work

        def one(record: Again) -> None:
            if record.offset in calls:
                work.calls.append(self._resumed(calls[record.offset], causes[record.offset]))
                return
            try:
                event = self._reader.read(record)
            except Unfit as unfit:
                work.parked.append(parked(record, unfit.cause, str(unfit), holds=False))
                return
            if type(event.message) in self.effect.on:
                for passed in self._holds.passing([event], piece.behind, work):
                    self._owe(passed, work)

        def skip(record: Again) -> None:
            if (call := calls.get(record.offset)) is not None:
                work.calls.append(call._replace(status="done"))

        await self._requests.run(piece, work, one, skip)
        return work

    def _resumed(self, call: Call, cause: str) -> Call:
        """A parked call as it goes on. One whose answer is not told is not made again; where an outcome is not known, the operator has found out by now
        that it was not done, unless the adapter can find out or a second call does no harm.
        """
        now = microseconds(self._clock.now())
        if call.outcome is not None and not cause.startswith("effect_"):
            return call._replace(status="answered", due=now)
        unknown = call.unknown and (self.adapter.finds or self.adapter.repeatable)
        return call._replace(status="waiting", due=now, unknown=unknown, attempts=0, outcome=None, error=None)

    # -- calls that are due

    async def _turn(self, work: Work, limit: int) -> Work:
        self._look = False
        now = microseconds(self._clock.now())
        self._latest = time.monotonic() + GRACE_S
        due = await self._due(now)
        self._taken = due[:limit]
        entries: list[Entry] = []
        room = self.effect.parallel - len(self._running)
        for call in self._taken:
            if call.status == "answered":
                entries += self._tell(call, work)
            elif room > 0:
                room -= 1
                work.calls.append(self._claimed(call, now))
        await publish(self._log, self.effect.target, entries)
        return work

    async def _due(self, now: int) -> list[Call]:
        """The calls whose time has come, but those under way here."""
        running = {*self._running}
        listed = await self._store.owed(self.slot, LOOK + len(running))
        unmade, self._unmade = self._unmade, {}
        calls = [self._read(call, unmade, now) for call in listed if call.number not in running]
        self._next = next((call.due for call in calls if call.due > now), None)
        return [call for call in calls if call.due <= now]

    def _read(self, call: Call, unmade: Mapping[int, Call], now: int) -> Call:
        """A call as it is known here: one claimed in a transaction that got no answer was not made; one whose claim has run out perhaps was."""
        if call.status != "claimed":
            return call
        mine = unmade.get(call.number)
        if mine is not None and (mine.epoch, mine.attempts) == (call.epoch, call.attempts):
            return call._replace(status="waiting", attempts=call.attempts - 1, due=now)
        return call._replace(unknown=True)

    def _claimed(self, call: Call, now: int) -> Call:
        """The claim lasts as long as the attempt may, with a look-up before the call where an earlier one may have been done."""
        seconds = self.effect.limit * (2 if call.unknown else 1) + 2 * GRACE_S
        claimed = call._replace(
            status="claimed", attempts=call.attempts + 1, epoch=self._epoch, due=now + int(seconds * 1_000_000)
        )
        self._unmade[call.number] = claimed
        return claimed

    def _tell(self, call: Call, work: Work) -> list[Entry]:
        """What follows from an answer: its command, and the call is done; or it is parked."""
        reply = msgspec.json.decode(call.outcome or "", type=Reply)
        if reply.status == "unknown" or (self.effect.result is None and reply.status != "done"):
            self._park(call, f"effect_{reply.status}", reply.error, work)
            return []
        try:
            entries = self._command(call, reply)
        except Exception as error:  # noqa: BLE001 - an author's function may raise anything
            self._park(call, "rule_failed", words_of(error), work)
            return []
        work.calls.append(call._replace(status="done"))
        return entries

    def _command(self, call: Call, reply: Reply) -> list[Entry]:
        if self.effect.result is None:
            return []
        envelope = decode_event(call.value)
        message = self.effect.source.events[envelope.type].read(envelope.schema_version, bytes(envelope.payload))
        command = self.effect.result(fact_of(envelope, message), reply)
        if command is None:
            return []
        if command.topic is not self.effect.target:
            raise ValueError(f"{command.wire_name} is no command of {self.effect.target.domain}, whose effect this is.")
        name, event_id = command.wire_name, UUID(envelope.event_id)
        command_id = derived(event_id, self.effect.name, name, command.key, 0)
        event = EventRecord(call, envelope, message)
        return [issue(event, command, command_id, issued_at=reply.at, signer=self._signer)]

    def _park(self, call: Call, cause: str, error: str, work: Work) -> None:
        log.warning("%s %s/%d: call of event %d parked: %s", *self.slot[1:], call.number, cause)
        self._holds.park(work, call, cause, error)
        work.calls.append(call._replace(status="parked"))

    # -- a call

    def _start(self, call: Call) -> None:
        task = asyncio.create_task(self._make(call, self._latest), name=f"{self.slot.agent}/{call.number}")
        self._running[call.number] = task
        task.add_done_callback(lambda task: self._ended(call, task))

    def _ended(self, call: Call, task: asyncio.Task[None]) -> None:
        del self._running[call.number]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: what came of event %d is lost", self.slot.agent, call.number, exc_info=error)
        self._look = True
        self.wake()

    async def _make(self, call: Call, latest: float) -> None:
        """Make a claimed call, and write down what came of it."""
        await self._write(await self._caller.make(call, latest))

    async def _write(self, call: Call) -> None:
        pause = PATIENCE_S[0]
        while True:
            try:
                if not await self._store.answer(self.slot, call):
                    log.warning("%s: somebody else has acted on the call of event %d", self.slot.agent, call.number)
                return
            except (Unavailable, OSError) as passing:
                log.warning("%s: %s; the answer of event %d waits", self.slot.agent, passing, call.number)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PATIENCE_S[1])


def _number(record: Parked) -> int | None:
    """The number of a parked event, as far as it speaks."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return decode_event(record.value or b"").number
    return None
