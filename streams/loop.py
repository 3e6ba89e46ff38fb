"""The batch loop: one task per agent and partition, from claim to commit.

What may go wrong and what each line prevents is told in docs/decisions. In short: the position lives in the store and moves
only in the transaction that holds the effects, under an epoch that each new owner raises; what is in memory is worth something only under
the epoch it was read in; every batch, not only the first, must begin where the last one ended.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from streams.claiming import checked
from streams.handler import DRAIN_S, Handler, Position, Stop
from streams.log import Feed, Log
from streams.pulse import Pulse
from streams.reason import Reason
from streams.store import BadData, Duplicate, Lost, Slot, Store, Unavailable, Work
from streams.waiting import Delivery, Waiting

log = logging.getLogger(__name__)

PARTS = 16  # of a batch that the store refuses, each of which is tried, and divided again if it is refused
CAREFUL = 64  # batches after a duplicate for which ids are looked up first
PATIENCE_S = (0.05, 5.0)  # first and longest pause between tries
HINT_S = 1.0  # between two positions told to Kafka
DEFER_S = 1.0  # how long a position that passed only records without effect may stay unwritten
STOPPED_S = 5.0  # how often a stopped partition looks whether it was mended
GROUP_S = 1.5  # how long one that lost its claim waits for a word of the group before it asks again
ASKED = 3  # times that nobody may answer before it claims without a word; what the group denies is not claimed


class Reassigned(Exception):
    """The group was rebalanced; the claim must be looked at again."""


class Partition:
    """One agent on one partition. `offer` is called by the transport, `run` is its task."""

    def __init__(
        self,
        slot: Slot,
        handler: Handler,
        *,
        store: Store,
        log: Log,
        feed: Feed,
        owner: str,
        start: Literal["earliest", "now", "kept"] = "earliest",
    ) -> None:
        """Nothing happens before `run`. `start` is where a position begins that nobody has had yet: `kept` is the first record that is still there."""
        self.slot = slot
        self._start = start
        self.handler = handler
        self.owner = owner
        self.claimed = asyncio.Event()
        self.pulse = Pulse()
        self.reason = Reason(store, slot)
        self._store, self._log, self._feed = store, log, feed
        self._queue = Waiting()
        self._wake = asyncio.Event()
        self._reassigned = self._leaving = self._was_due = False
        self._generation = -1
        self._epoch: int | None = None
        self._position = self._ahead = Position(0, 0)
        self._partitions: int | None = None
        self._sought: int | None = None
        self._careful = 0
        self._uncommitted: deque[Sequence[Any]] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._deferred: Work | None = None
        self._told = asyncio.Event()
        self._pause = PATIENCE_S[0]

    # -- called by the transport

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery; pauses the partition while enough of them wait."""
        self.pulse.arrive(delivery.last)
        if not self.claimed.is_set():
            return  # the claim ends with a seek, which delivers them again
        self._queue.put(delivery)
        if self._queue.full:
            self._feed.pause(self.slot)
        self._wake.set()

    def reassign(self) -> None:
        """A rebalance left this partition here, or the store was away and may be another one: its claim is looked at again before it goes on."""
        self._reassigned = True
        self._wake.set()

    def wake(self) -> None:
        """The clock was moved: what is due is to be looked at again."""
        self._wake.set()

    def leave(self) -> None:
        """Finish the batch under way and end."""
        self._leaving = True
        self._wake.set()

    def idle_at(self, offset: int) -> bool:
        """Whether everything below this offset is done and nothing is under way."""
        at_rest = self.claimed.is_set() and not self._uncommitted and self._ahead.next == offset
        due = self.handler.due() if at_rest else None
        return at_rest and (due is None or due > 0)

    # -- for whoever watches

    def owes(self, end: int) -> int | None:
        """How many records wait here, when the topic goes up to `end`; 0 when it is a claim or something due, None when it is nothing."""
        if not self.claimed.is_set():
            return 0
        if end > self._position.next:
            return end - self._position.next
        due = self.handler.due()
        return 0 if due is not None and due <= 0 else None

    @property
    def position(self) -> int | None:
        """The next offset to commit; None without a claim."""
        return self._position.next if self.claimed.is_set() else None

    @property
    def reached(self) -> tuple[int, bool]:
        """The last number that was taken up, and whether all that follows up to it stands in the store."""
        return self._ahead.number, self.claimed.is_set() and not self._uncommitted

    def stacks(self) -> str:
        """Where its tasks stand."""
        return self.pulse.stacks(self._committing)

    # -- the task

    async def run(self) -> None:
        """Own the partition and work it until `leave` or cancellation; passing errors, and errors of ours, are retried for ever."""
        self.pulse.follow()
        teller = asyncio.create_task(self._tell())
        try:
            while not self._leaving:
                try:
                    await self._own()
                    await self._consume()
                except Reassigned:
                    pass
                except Lost as lost:
                    log.info("%s: %s Claiming again.", self._name, lost)
                    await self._retreat()
                    await self._confirm()
                except (Unavailable, OSError) as passing:
                    self.pulse.beat()
                    log.warning("%s: %s Trying again in %.1f s.", self._name, passing, self._pause)
                    await self._retreat()
                except Stop as stop:
                    self.pulse.beat()
                    await self._stand_still(stop)
                except Exception as error:  # noqa: BLE001 - a bug must not end the partition without a word
                    self.pulse.beat()
                    await self._puzzle(error)
        finally:
            self.claimed.clear()
            await self._abandon()
            teller.cancel()
            await self.handler.end()

    async def _own(self) -> None:
        """Claim, check that store and log belong together, and have the transport deliver from the position on."""
        self._reassigned, held = False, self._epoch
        begin = 0 if self._start == "earliest" else (await self._log.bounds(*self.slot[2:]))[self._start == "now"]
        claim = await self._store.claim(self.slot, self.owner, held, begin)
        if claim.epoch != held:
            self.handler.forget()
        elif (claim.next, claim.number) != (self._position.next, self._position.number):
            raise Lost("What was committed last is not in the store any more.")
        self._epoch = claim.epoch
        self._position = self._ahead = Position(claim.next, claim.number, claim.last_id)
        self._partitions = await checked(self._log, self.slot, claim)
        await self.handler.begin(claim)
        await self.reason.claimed()
        self._queue.clear()
        self._generation = await self._feed.seek(self.slot, claim.next)
        self.claimed.set()
        self._feed.resume(self.slot)

    async def _consume(self) -> None:
        while True:
            try:
                records = await self._next()
                if records is None:
                    await self._write_position()
                    return
                await self._pipeline(records)
            except (Duplicate, BadData) as fault:
                await self._redo(fault)

    async def _pipeline(self, records: Sequence[Any]) -> None:
        """Prepare this batch while the one before it commits; its own transaction starts after that COMMIT returned."""
        self._uncommitted.append(records)
        work = await self.handler.prepare(records, self._ahead, self._careful > 0)
        self._careful = max(0, self._careful - 1)
        self._ahead = Position(work.next, work.number, work.last_id)
        await self._finish()
        if work.effect:
            self._deferred = None
            self._committing = asyncio.create_task(self._commit(work))
        else:
            self._deferred = work if records else self._deferred
            self._uncommitted.pop()
            self.handler.committed(work)

    async def _finish(self) -> None:
        """Wait for the commit under way; raises what it raised."""
        if self._committing is not None:
            try:
                await self._committing
            finally:
                self._committing = None
            await self.reason.committed()

    async def _write_position(self) -> None:
        """Write down a position that passed only records without effect; until then a successor reads them again."""
        await self._finish()
        if self._deferred is not None:
            work, self._deferred = self._deferred, None
            self._uncommitted.append(())
            await self._move(work)
            await self.reason.committed()

    async def _commit(self, work: Work) -> None:
        await self._move(work)
        self.handler.committed(work)

    async def _move(self, work: Work) -> None:
        if self._epoch is None:
            raise Lost("Not the owner.")
        work.partitions, work.expected = self._partitions, self._position.next
        await self._store.commit(self.slot, self._epoch, work)
        self._uncommitted.popleft()
        self._position = Position(work.next, work.number, work.last_id)
        self._pause = PATIENCE_S[0]
        self.pulse.move()
        self._told.set()

    async def _redo(self, fault: Exception) -> None:
        """Run what was not committed again, one batch after the other, looking ids up first and finding bad records."""
        log.info("%s: %s", self._name, fault)
        waiting = list(self._uncommitted)
        self._uncommitted.clear()
        self._committing = None
        self._careful = CAREFUL
        self._back()
        for n, records in enumerate(waiting):
            refused = n == 0 and len(records) > 1 and isinstance(fault, BadData)  # whole it need not be tried again
            await (self._divide(records) if refused else self._settle(records))

    async def _divide(self, records: Sequence[Any]) -> None:
        """Settle a refused batch part by part: the good ones wait for about one batch's work, whichever part is bad."""
        size = -(-len(records) // PARTS)
        for begin in range(0, len(records), size):
            await self._settle(records[begin : begin + size])

    async def _settle(self, records: Sequence[Any]) -> None:
        self._uncommitted.append(records)
        try:
            await self._commit(await self.handler.prepare(records, self._ahead, True))
            self._ahead = self._position
        except Duplicate as duplicate:
            raise Lost("An id came into the inbox from elsewhere.") from duplicate
        except BadData as fault:
            self._uncommitted.clear()
            self._back()
            if len(records) <= 1:
                self._uncommitted.append(records)
                await self._commit(self.handler.park(records[0] if records else None, self._ahead, fault))
                self._ahead = self._position
                return
            await self._divide(records)

    def _back(self) -> None:
        self.handler.forget()
        self._ahead = self._position
        self._deferred = None

    async def _next(self) -> Sequence[Any] | None:
        """The next batch from the position on, an empty one when something is due, or None to leave.

        Raises Reassigned, or what the commit under way raised.
        """
        while True:
            if self._leaving:
                return None
            if self._reassigned:
                await self._write_position()
                raise Reassigned
            if self._committing is not None and self._committing.done():
                await self._finish()
            if await self._due():
                return ()
            if self._queue:
                was_full = self._queue.full
                records, generation = self._queue.take()
                if was_full and not self._queue.full:
                    self._feed.resume(self.slot)
                if records and (records := await self._continue(records, generation)):
                    return records
                continue
            self._wake.clear()
            if not await self._awake():
                await self._write_position()

    async def _due(self) -> bool:
        """Whether something is due, and it is its turn: records go between two such batches. It is done with nothing else under way."""
        due = self.handler.due()
        self._was_due = due is not None and due <= 0 and not (self._was_due and self._queue)
        if self._was_due:
            await self._finish()
        return self._was_due

    async def _awake(self) -> bool:
        """Wait for a delivery or the end of the commit under way; False when something is due or a deferred position waited long enough."""
        waiters: set[asyncio.Task[Any]] = {asyncio.create_task(self._wake.wait())}
        if self._committing is not None:
            waiters.add(self._committing)
        try:
            limits = (DEFER_S if self._deferred is not None else None, self.handler.due())
            patience = min((limit for limit in limits if limit is not None), default=None)
            done, _ = await asyncio.wait(waiters, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            return bool(done)
        finally:
            for waiter in waiters - {self._committing}:
                waiter.cancel()

    async def _continue(self, records: Sequence[Any], generation: int) -> Sequence[Any]:
        """Those that follow on, none if they do not; a hole is never stepped over without looking."""
        expected = self._ahead.next
        if generation < self._generation:
            return ()
        if records[0].offset < expected and generation == self._generation:
            self._reassigned = True  # nobody sought: a client goes back when the log ends before its place
            return ()
        if records[-1].offset < expected:
            return ()
        if records[0].offset < expected:
            return [record for record in records if record.offset >= expected]
        if records[0].offset == expected:
            return records
        topic, partition = self.slot[2:]
        if generation > self._generation or self._sought != expected:
            self._generation = await self._feed.seek(self.slot, expected)
            self._sought = expected
            return ()
        start, _ = await self._log.bounds(topic, partition)
        if start > expected:
            raise Stop(f"Kafka begins at offset {start} and {expected} was not read yet: unread records were deleted.")
        if await self._log.read(topic, partition, expected) is not None:  # what was sought got lost on its way here
            self._generation = await self._feed.seek(self.slot, expected)
            return ()
        log.warning(
            "%s: no records from %d to %d (compacted, or control records)", self._name, expected, records[0].offset - 1
        )
        return records

    # -- the ends

    def _forget(self) -> None:
        """Everything in memory is worth nothing."""
        if self._committing is not None:
            self._committing.cancel()
            self._committing.add_done_callback(_retrieve)  # what it raised changes nothing any more
        self._committing = None
        self._uncommitted.clear()
        self._deferred = None
        self._epoch = None
        self.claimed.clear()
        if not self._leaving:  # else a new task of this process may have the partition already
            self._feed.pause(self.slot)
        self.handler.forget()

    async def _retreat(self) -> None:
        """Forget, and wait longer each time until a commit succeeds."""
        self._forget()
        pause, self._pause = self._pause, min(self._pause * 2, PATIENCE_S[1])
        await self._sleep(pause)

    async def _confirm(self) -> None:
        """After a loss: the group may not have told yet that another one has the partition; a claim now would take it away again."""
        unanswered = 0
        while unanswered < ASKED and not (self._leaving or self._reassigned):
            if (ours := await self._feed.holds(self.slot)) is True:
                return
            unanswered += ours is None
            await self._sleep(GROUP_S)  # a word of the group ends it

    async def _abandon(self) -> None:
        if self._committing is not None:
            with suppress(Exception):  # whatever it was: the next owner does it again
                async with asyncio.timeout(DRAIN_S):
                    await self._finish()

    async def _stand_still(self, stop: Stop) -> None:
        self._forget()
        if not self.reason.is_said(str(stop)):
            log.error("%s stopped: %s", self._name, stop)
            with suppress(Unavailable):
                await self.reason.say(str(stop))
        await self._sleep(STOPPED_S)

    async def _puzzle(self, error: Exception) -> None:
        """Tell an error of ours, once with where it comes from, and try again: it may have been a moment's."""
        another = await self.reason.puzzle(error, was_claimed=self.claimed.is_set())
        log.error(
            "%s: %r. Trying again in %.1f s.", self._name, error, self._pause, exc_info=error if another else None
        )
        await self._retreat()

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        if self._leaving:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # `wait_for` of 3.11 swallows a cancellation that comes with the wake
                await self._wake.wait()

    async def _tell(self) -> None:
        """Tell Kafka's tools now and then where we stand."""
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self._feed.hint(self.slot, self._position.next)
            except Exception as error:  # noqa: BLE001 - it is for tools alone
                log.debug("%s: hint: %r", self._name, error)
            await asyncio.sleep(HINT_S)

    @property
    def _name(self) -> str:
        return f"{self.slot.agent} {self.slot.topic}/{self.slot.partition}"


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
