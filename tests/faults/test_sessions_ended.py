"""Postgres ends the sessions of a worker in the midst of its work."""

from tests.faults.ground import Ground

TIMES = 5


async def test_sessions_ended_again_and_again_lose_and_double_nothing(ground: Ground) -> None:
    worker = await ground.worker()
    async with ground.load.steady(200):
        for _ in range(TIMES):
            await ground.goes_on()
            ended = await ground.outside.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", worker.session
            )
            assert ended
        await ground.goes_on()
    await ground.settle()

    assert worker.runs
    assert "Trying again" in worker.text or "Claiming again" in worker.text
    assert await ground.broken() == []
