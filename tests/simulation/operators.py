"""Operators: they redrive and skip what is parked, while everything goes on and once what was wrong is mended."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from streams.store import Parked, Request, Slot
from tests.simulation.orders import LONERS
from tests.simulation.store import at_once

if TYPE_CHECKING:
    from tests.simulation.world import World

LOOKS = 15  # while faults happen
PAUSE_S = 6.0  # longest between two looks
ROUNDS = 8  # in which all is redriven in the end


class Operators:
    """Those who may ask for parked records; the owners of the partitions act."""

    def __init__(self, world: "World") -> None:
        """Nothing is asked."""
        self.world, self.dice = world, world.dice
        self._asked = 0

    async def run(self) -> None:
        """Ask for something now and then."""
        for _ in range(LOOKS):
            await asyncio.sleep(self.dice.random() * PAUSE_S)
            if parked := [*self._parked()]:
                slot, record = self.dice.choice(parked)
                lone = (record.key or b"").decode("utf-8", "replace").startswith((*LONERS, "odd-"))
                may_skip = slot.agent == slot.domain and (lone or not record.holds)
                if kind := self.world.faults.strikes("redriven", "skipped" if may_skip else "redriven"):
                    self.ask(slot, record, "skip" if kind == "skipped" else "redrive")

    async def redrive_all(self) -> None:
        """What was wrong is mended: nothing that holds a key stays parked."""
        for _ in range(ROUNDS):
            first: dict[tuple[Slot, bytes | None], Parked] = {}
            for slot, record in self._parked():
                if record.holds:
                    first.setdefault((slot, record.key), record)
            if not first:
                return
            for (slot, _), record in first.items():
                self.ask(slot, record, "redrive")
            await asyncio.sleep(PAUSE_S)

    def ask(self, slot: Slot, record: Parked, action: Literal["redrive", "skip"]) -> None:
        """Write a request, and wake whoever may be the owner."""
        self._asked += 1
        request = Request(UUID(int=self._asked), record.offset, action, by="operator")
        at_once(self.world.memory.ask(slot, request))
        for worker in self.world.workers:
            for app in worker.apps:
                for partition, _ in app.working.values():
                    if partition.slot == slot:
                        delay = self.dice.random() * 0.1
                        context = worker.process.context
                        self.world.loop.call_later(delay, partition.handler.asked, context=context)
                        self.world.loop.call_later(delay, partition.wake, context=context)

    def _parked(self) -> Iterator[tuple[Slot, Parked]]:
        for domain in self.world.topics:
            for (slot, _), record in sorted(self.world.memory.schemas[domain].parked.items()):
                yield slot, record
