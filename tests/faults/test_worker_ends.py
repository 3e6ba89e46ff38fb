"""Workers that are told to leave."""

from tests.faults.ground import Ground
from tests.faults.outside import until


async def test_a_worker_told_to_leave_hands_over(ground: Ground) -> None:
    for _ in range(2):
        ground.start_worker()
    await until(ground.shared, "both have partitions")
    async with ground.load.steady(100):
        await ground.goes_on()
        leaving, _ = await ground.decider()
        assert await leaving.leave() == 0
        await until(ground.shared, "the other has all")
        await ground.goes_on()
    await ground.settle()

    assert await ground.broken() == []
