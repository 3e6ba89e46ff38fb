"""Postgres ends the sessions of a worker in the midst of its work."""

import pytest

from streams.waiting import RECORDS
from tests.faults.ground import Ground, Worker
from tests.faults.report import Figures

TIMES = 5
BATCHES = 2  # how many a partition has taken when its first one fails


@pytest.mark.scenario("S6")
async def test_sessions_ended_again_and_again_lose_and_double_nothing(ground: Ground, figures: Figures) -> None:
    worker = await ground.worker()
    async with ground.load.steady(200):
        for _ in range(TIMES):
            await ground.goes_on()
            await end_sessions(ground, worker)
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=TIMES, **await ground.account())
    assert worker.runs
    assert "ing again" in worker.text
    assert await ground.broken() == []


@pytest.mark.full
async def test_what_was_fetched_ahead_is_read_again(ground: Ground) -> None:
    """The first of several full batches fails; the worker goes back over all that it had."""
    await ground.load.heap("u1", BATCHES * RECORDS)
    worker = ground.start_worker()
    async with ground.held_in_commit(worker):
        await end_sessions(ground, worker)
    await ground.settle()

    assert worker.runs
    assert await ground.broken() == []


async def end_sessions(ground: Ground, worker: Worker) -> None:
    """All that the worker has in Postgres."""
    assert await ground.outside.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", worker.session
    )
