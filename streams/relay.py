"""The relay: from the outbox to the event topic, in the order of the numbers, after the commit.

One chunk is in flight per partition; a chunk that failed begins again at its first event. So first appearances are in order, and readers drop
the numbers that they have seen.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from streams.envelope import Signer
from streams.log import Entry, Log
from streams.pulse import beat
from streams.store import Outgoing, Slot, Store, Unavailable

log = logging.getLogger(__name__)

CHUNK = 2000  # events, about, that are appended before the next look at the queue
BACKLOG = 20_000  # events that may wait before the partition takes no further batch
PATIENCE_S = (0.1, 5.0)  # first and longest pause between tries
GATHER_S = 0.02  # between two appends of a partition that is busy: everyone who reads the topic pays for each of them
BUSY_S = 0.2  # how long it is so after an append
IDLE_S = 1.0  # how long nothing was sent before the store is told how far Kafka is


class Relay:
    """Sends what one partition of a decider committed."""

    def __init__(self, slot: Slot, topic: str, *, store: Store, log: Log, signer: Signer) -> None:
        """`topic` is the event topic; nothing is sent before `start`."""
        self.sent = 0
        self._slot, self._topic = slot, topic
        self._store, self._log, self._signer = store, log, signer
        self._queue: deque[Outgoing] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._task: asyncio.Task[None] | None = None
        self._epoch, self._told = -1, 0
        self._behind = False  # whether an earlier owner's events may be unsent
        self._last = float("-inf")  # when something was sent

    def start(self, epoch: int, relayed: int) -> None:
        """Begin under this claim: first what an earlier owner left unsent, then what is offered."""
        self.stop()
        self.sent = self._told = relayed
        self._epoch, self._behind = epoch, True
        self._empty.clear()
        self._task = asyncio.create_task(self._run())

    @property
    def idle(self) -> bool:
        """Whether all that was offered, and all that was left, is sent."""
        return not (self._queue or self._behind)

    def stop(self) -> None:
        """Send nothing more; what is unsent stays in the outbox for the next owner."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._queue.clear()
        self._behind = False
        self._room.set()
        self._empty.set()

    def offer(self, rows: Sequence[Outgoing]) -> None:
        """Take committed events, in order."""
        self._queue.extend(rows)
        self._wake.set()
        if self._queue and self._task is not None:
            self._empty.clear()
        if len(self._queue) > BACKLOG:
            self._room.clear()

    async def room(self) -> None:
        """Wait until the backlog is small enough to take more."""
        await self._room.wait()

    async def drain(self, seconds: float) -> None:
        """Wait until all that was offered or left is sent, at most so long; the rest stays in the outbox for the next owner.

        The store is told how far Kafka is, so that the next owner does not send it again.
        """
        with suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
                await self._tell()

    async def _tell(self) -> None:
        if self._told < self.sent:
            sent = self.sent
            await self._store.sent(self._slot, self._epoch, sent)
            self._told = sent

    async def _run(self) -> None:
        pause = PATIENCE_S[0]
        while True:
            try:
                if self._behind:
                    await self._leftovers()
                elif self._queue:
                    await self._gather()
                    await self._send(self._chunk())
                elif self._told < self.sent and not await self._woken(IDLE_S):
                    await self._tell()
                elif self._told == self.sent:
                    await self._woken(None)
                pause = PATIENCE_S[0]
            except (Unavailable, OSError) as passing:
                beat()  # a batch that waits for room here is not stuck
                log.warning("%s/%d: %s; %d events wait", self._topic, self._slot.partition, passing, len(self._queue))
                await asyncio.sleep(pause)
                pause = min(pause * 2, PATIENCE_S[1])
            except Exception:  # an error of ours: it may have been a moment's
                log.exception("%s/%d: %d events wait", self._topic, self._slot.partition, len(self._queue))
                await asyncio.sleep(PATIENCE_S[1])

    async def _leftovers(self) -> None:
        """Send the next events that an earlier owner committed, until there are no more."""
        rows = await self._store.unsent(self._slot, self.sent, CHUNK)
        self._behind = len(rows) > 0
        await self._send(rows)

    async def _gather(self) -> None:
        """Where much is going on, wait for more, unless enough is there: all of a process until the same moment, so that they send together."""
        now = asyncio.get_running_loop().time()
        if now - self._last < BUSY_S and len(self._queue) < CHUNK:
            await asyncio.sleep(GATHER_S - now % GATHER_S)
        self._last = asyncio.get_running_loop().time()

    async def _woken(self, seconds: float | None) -> bool:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):  # not `wait_for`: see Partition._sleep
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _chunk(self) -> list[Outgoing]:
        """The next events that are not sent yet, whole commands."""
        rows: list[Outgoing] = []
        for row in self._queue:
            if row.number > self.sent:
                rows.append(row)
            if len(rows) >= CHUNK and not row.more:
                break
        return rows

    async def _send(self, rows: Sequence[Outgoing]) -> None:
        if rows:
            await self._log.append(self._topic, self._slot.partition, list(self._groups(rows)))
            self.sent = rows[-1].number
        while self._queue and self._queue[0].number <= self.sent:
            self._queue.popleft()
        if self.idle:
            self._empty.set()
        if len(self._queue) <= BACKLOG:
            self._room.set()

    def _groups(self, rows: Sequence[Outgoing]) -> Iterator[list[Entry]]:
        group: list[Entry] = []
        for row in rows:
            group.append(self._entry(row))
            if not row.more:
                yield group
                group = []
        if group:
            yield group

    def _entry(self, row: Outgoing) -> Entry:
        key = row.key.encode()
        headers = [self._signer.sign(self._topic, key, row.value)]
        if row.traceparent:
            headers.append(("traceparent", row.traceparent.encode()))
        return Entry(key, row.value, headers)
