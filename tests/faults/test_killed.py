"""Workers killed with work in flight: in a COMMIT whose answer nobody gets, and between a commit and what follows from it."""

from collections import Counter

import pytest

from tests.faults.ground import Ground, Worker
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, until
from tests.faults.report import Figures


@pytest.mark.scenario("S1")
@pytest.mark.scenario("S10")
async def test_a_killed_worker_loses_and_doubles_nothing(ground: Ground, figures: Figures) -> None:
    worker = await ground.worker("--instance", "one")
    async with ground.load.steady(300):
        await ground.goes_on()
        async with ground.held_in_commit(worker):
            worker.kill()
        worker = await ground.worker("--instance", "one")
        await ground.goes_on()
        await until(lambda: froze_unmarked(ground, worker), "events are on the topic and not marked as sent")
        worker.kill()
        await ground.worker("--instance", "one")
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=2, **await ground.account())
    assert repeats(ground) > 0
    assert await ground.broken() == []


async def froze_unmarked(ground: Ground, worker: Worker) -> bool:
    """Freeze the worker; whether Kafka has events of which Postgres does not know that; if not, the worker goes on."""
    worker.freeze()
    await ground.outside.read_on()
    rows = (await ground.outside.offsets(COMMANDS)).items()
    if any(ground.outside.last_number(n) > row["relayed"] for n, row in rows):
        return True
    worker.thaw()
    return False


def repeats(ground: Ground) -> int:
    """How many events came once more."""
    ids = Counter(record.value for n in PARTITIONS for record in ground.outside.records(EVENTS, n))
    return ids.total() - len(ids)
