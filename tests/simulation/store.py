"""The store in memory behind a wire: calls come late or not at all, answers get lost, transactions hold locks while their client stands still."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from streams.memory import MemoryStore
from streams.store import BadData, Claim, Lost, Slot, Unavailable, Work
from tests.simulation.scheduler import Process, process

if TYPE_CHECKING:
    from tests.simulation.world import World

QUICK_S = 0.004  # longest trip when nothing is wrong
SLOW_S = 4.0
WAIT_S = 1.0  # how long a claimer waits for a transaction before it ends it
UNSTORABLE = "event-unstorable"
"""A value that the store refuses, as Postgres does with what a CHECK forbids."""


class Transaction:
    """One that holds the row of a slot."""

    def __init__(self, client: Process | None) -> None:
        """It is open."""
        self.client = client
        self.ended = False
        self.committing = False


class SimStore:
    """Fills the port Store."""

    def __init__(self, world: "World", inner: MemoryStore) -> None:
        """Put the wire before a store."""
        self.world, self.inner = world, inner
        self.away = False
        self._locks: dict[Slot, Transaction] = {}
        self._waiting: dict[Slot, list[asyncio.Future[None]]] = {}

    def __getattr__(self, name: str) -> Any:
        """Every other method of the port: there, done, and back."""
        call = getattr(self.inner, name)

        async def through(*args: Any, **named: Any) -> Any:
            await self._there()
            answer = at_once(call(*args, **named))
            await self._back()
            return answer

        return through

    async def claim(self, slot: Slot, owner: str, held: int | None, begin: int = 0) -> Claim:
        """Wait for whoever holds the row, and end them when it takes too long."""
        await self._there()
        patience = asyncio.get_running_loop().time() + WAIT_S
        while (holder := self._locks.get(slot)) is not None:
            try:
                async with asyncio.timeout_at(patience):
                    await self._released(slot)
            except TimeoutError:
                if not holder.committing and self._locks.get(slot) is holder:
                    self.world.faults.note("blocker ended")
                    self._end(slot, holder)
                patience += WAIT_S
        claim: Claim = at_once(self.inner.claim(slot, owner, held, begin))
        await self._back()
        return claim

    async def commit(self, slot: Slot, epoch: int, work: Work) -> None:
        """BEGIN locks the row; some trips; COMMIT, whose answer may not come."""
        await self._there()
        while slot in self._locks:
            await self._released(slot)
        transaction = self._locks[slot] = Transaction(process())
        try:
            for _ in range(self.world.dice.randrange(3)):
                await self.world.trip(QUICK_S)
            self._demand_open(transaction)
        except BaseException:
            self._end(slot, transaction)
            raise
        transaction.committing = True
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        fault = self.world.faults.strikes("commit cut off", "commit unanswered")
        late = self.world.dice.random() * (SLOW_S if fault and self.world.faults.dice.random() < 0.3 else QUICK_S)
        self.world.outside(late, self._commit, slot, transaction, (epoch, work), answer, fault)
        await answer

    def disconnect(self, gone: Process) -> None:
        """A process has died: what it had open is rolled back, but for a COMMIT that is on its way."""
        for slot, holder in [*self._locks.items()]:
            if holder.client is gone and not holder.committing:
                self._end(slot, holder)

    def has_open(self, client: Process) -> bool:
        """Whether a process holds a row and has not said COMMIT."""
        return any(holder.client is client and not holder.committing for holder in self._locks.values())

    # -- inside

    def _commit(
        self,
        slot: Slot,
        transaction: Transaction,
        what: tuple[int, Work],
        answer: asyncio.Future[None],
        fault: str | None,
    ) -> None:
        error: Exception | None = None
        if fault != "commit cut off":
            try:
                if not self.world.faults.mended:
                    _demand_storable(what[1])
                at_once(self.inner.commit(slot, *what))
            except (BadData, Lost) as refused:
                error = refused
                if isinstance(refused, Lost):
                    self.world.faults.note("zombie refused")
            except Exception as other:  # noqa: BLE001 - handed to the client
                error = other
        self._end(slot, transaction)
        if fault or self.away:
            error = Lost("The COMMIT got no answer.")
        self.world.outside(self.world.dice.random() * QUICK_S, _answer, answer, error)

    def _demand_open(self, transaction: Transaction) -> None:
        if transaction.ended or self.away:
            raise Unavailable("57P01: the connection was ended")
        if self.world.faults.strikes("commit rolled back"):
            raise Unavailable("40P01: deadlock detected")

    async def _there(self) -> None:
        slow = self.world.faults.strikes("store slow")
        await self.world.trip(SLOW_S if slow else QUICK_S)
        if self.away or self.world.faults.strikes("store failed"):
            raise Unavailable("Postgres is away")

    async def _back(self) -> None:
        await self.world.trip(QUICK_S)
        if self.world.faults.strikes("store unanswered"):
            raise Unavailable("Postgres did not answer")

    async def _released(self, slot: Slot) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(slot, []).append(waiter)
        await waiter

    def _end(self, slot: Slot, transaction: Transaction) -> None:
        transaction.ended = True
        if self._locks.get(slot) is transaction:
            del self._locks[slot]
            for waiter in self._waiting.pop(slot, ()):
                _answer(waiter, None)


def at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """What a call answers that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the store in memory waits for something")


def _answer(waiter: asyncio.Future[None], error: Exception | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)


def _demand_storable(work: Work) -> None:
    for rows in work.rows.values():
        if any(UNSTORABLE in row for row in rows):
            raise BadData("23514: the row violates a CHECK")
