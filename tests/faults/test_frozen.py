"""A worker frozen for longer than the session time-out, which another one replaces, and then woken."""

from contextlib import AsyncExitStack

import pytest

from tests.faults.ground import Ground, Worker
from tests.faults.outside import COMMANDS, until
from tests.faults.report import Figures

BEHIND = 50  # commands


@pytest.mark.scenario("S2")
async def test_a_woken_worker_has_lost_its_claim(ground: Ground, figures: Figures) -> None:
    """It freezes with a transaction open on one partition, in a COMMIT that does not end on another, and on a third in one
    that does, with the next batch in its hand.
    """
    frozen = await ground.worker()
    async with ground.load.steady(400):
        await ground.goes_on()
        _, held = await ground.decider()
        before = await ground.epochs()
        async with AsyncExitStack() as stack:
            async with ground.held_at_begin(frozen, held[0]):
                await stack.enter_async_context(ground.held_in_commit(frozen, held[1]))
                async with ground.held_in_commit(frozen, held[2]):
                    await more_to_decide(ground, held[2])
                    frozen.freeze()
            other = ground.start_worker()
            await until(lambda: all_of(ground, other), "the other has all")
            await ground.goes_on()
        epochs = await ground.epochs()
        assert all(epochs[n] > before[n] for n in held)
        frozen.thaw()
        await frozen.said("Another owner holds this partition")
        await until(ground.shared, "it takes part again")
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=1, **await ground.account())
    assert await ground.broken() == []


async def all_of(ground: Ground, worker: Worker) -> bool:
    """Whether it holds everything."""
    return await ground.owners() == {worker.pid}


async def more_to_decide(ground: Ground, partition: int) -> None:
    """Wait until many commands have come in behind those that are being committed."""
    end = (await ground.outside.ends(COMMANDS))[partition] + BEHIND

    async def came() -> bool:
        return (await ground.outside.ends(COMMANDS))[partition] >= end

    await until(came, "more commands came in")
