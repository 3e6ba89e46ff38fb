"""A worker frozen for longer than the session time-out, which another one replaces, and then woken."""

import pytest

from tests.faults.ground import Ground
from tests.faults.outside import until


@pytest.mark.req("SR030")
async def test_a_woken_worker_has_lost_its_claim(ground: Ground) -> None:
    """It freezes inside a transaction on one partition, with fetched and decided batches on the others."""
    for _ in range(2):
        ground.start_worker()
    await until(ground.shared, "both have partitions")
    async with ground.load.steady(400):
        await ground.goes_on()
        frozen, held = await ground.decider()
        before = await ground.epochs()
        async with ground.held_in_commit(frozen, held[0]):
            frozen.freeze()
        other = next(worker for worker in ground.workers if worker is not frozen)

        async def replaced() -> bool:
            return await ground.owners() == {other.pid}

        await until(replaced, "the other has all")
        await ground.goes_on()
        assert all((await ground.epochs())[n] > before[n] for n in held)
        frozen.thaw()
        await frozen.said("ing again")  # "Claiming again" or "Trying again": what it had in hand was refused
        await until(ground.shared, "it takes part again")
        await ground.goes_on()
    await ground.settle()

    assert await ground.broken() == []
