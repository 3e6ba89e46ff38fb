"""A worker frozen for longer than the session time-out, which another one replaces, and then woken."""

from contextlib import AsyncExitStack

from tests.faults.ground import Ground, Worker
from tests.faults.outside import until


async def test_a_woken_worker_has_lost_its_claim(ground: Ground) -> None:
    """It freezes with a transaction open on one partition and COMMITs that do not end on the others."""
    for _ in range(2):
        ground.start_worker()
    await until(ground.shared, "both have partitions")
    async with ground.load.steady(400):
        await ground.goes_on()
        frozen, held = await ground.decider()
        other = next(worker for worker in ground.workers if worker is not frozen)
        before = await ground.epochs()
        async with AsyncExitStack() as stack:
            async with ground.held_at_begin(frozen, held[0]):
                await stack.enter_async_context(ground.held_in_commit(frozen))
                frozen.freeze()
            await until(lambda: all_of(ground, other), "the other has all")
            await ground.goes_on()
        epochs = await ground.epochs()
        assert all(epochs[n] > before[n] for n in held)
        frozen.thaw()
        await frozen.said("Another owner")  # the fence refused what it had in hand
        await until(ground.shared, "it takes part again")
        await ground.goes_on()
    await ground.settle()

    assert await ground.broken() == []


async def all_of(ground: Ground, worker: Worker) -> bool:
    """Whether it holds everything."""
    return await ground.owners() == {worker.pid}
