"""Workers that come and go without end, and batches that take long: positions never pass what is not done."""

import random

import pytest

from tests.faults.ground import Ground
from tests.faults.group import hints
from tests.faults.outside import COMMANDS, until
from tests.faults.report import Figures
from tests.faults.test_frozen import more_to_decide

COMINGS = 8
SEED = 3


@pytest.mark.full
@pytest.mark.scenario("S3")
@pytest.mark.timeout(400)  # s; each worker that is killed costs a session time-out
async def test_a_storm_of_rebalances(ground: Ground, figures: Figures) -> None:
    """Every few seconds one joins and leaves again, or is killed, while one stays."""
    dice = random.Random(SEED)
    await ground.worker()
    async with ground.load.steady(970):
        await ground.goes_on()
        for _ in range(COMINGS):
            guest = await ground.worker()
            if dice.random() < 0.3:
                guest.kill()
            else:
                assert await guest.leave() == 0
        await until(ground.shared, "the one that stayed has all")
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=2 * COMINGS, **await ground.account())
    assert await ground.broken() == []


@pytest.mark.full
@pytest.mark.scenario("S1")
@pytest.mark.timeout(400)  # s
async def test_workers_killed_at_any_moment(ground: Ground, figures: Figures) -> None:
    """Each under a name, so that its successor takes its partitions at once."""
    dice = random.Random(SEED)
    names = ["one", "two"]
    workers = {name: await ground.worker("--instance", name) for name in names}
    async with ground.load.steady(980):
        await until(ground.shared, "both have partitions")
        for _ in range(COMINGS):
            await ground.goes_on()
            name = dice.choice(names)
            await a_while(ground, dice.randrange(40))
            workers[name].kill()
            workers[name] = await ground.worker("--instance", name)
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=COMINGS, **await ground.account())
    assert await ground.broken() == []


@pytest.mark.scenario("S4")
@pytest.mark.full
async def test_a_slow_batch_holds_its_position_while_others_go_on(ground: Ground, figures: Figures) -> None:
    """Neither Postgres nor what Kafka was told moves past it, however much is behind it; then its worker is killed."""
    worker = await ground.worker("--instance", "one")
    async with ground.load.steady(990):
        await ground.goes_on()
        _, (slow, *others) = await ground.decider()
        async with ground.held_in_commit(worker, slow):
            before = await ground.positions()
            await more_to_decide(ground, slow)
            await until(lambda: passed(ground, before, others), "the others go on")
            told = (await hints(ground.settings, "points")).get((COMMANDS, slow), 0)
            assert told <= before[slow] == (await ground.positions())[slow]
            worker.kill()
        await ground.worker("--instance", "one")
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=2, **await ground.account())
    assert await ground.broken() == []


async def passed(ground: Ground, before: dict[int, int], partitions: list[int]) -> bool:
    """Whether all of these have moved."""
    now = await ground.positions()
    return all(now[n] > before[n] for n in partitions)


async def a_while(ground: Ground, commands: int) -> None:
    """Wait until so many more commands came in: a moment of which the worker knows nothing."""
    begin = sum((await ground.outside.ends(COMMANDS)).values())

    async def came() -> bool:
        return sum((await ground.outside.ends(COMMANDS)).values()) >= begin + commands

    await until(came, "commands come in")
