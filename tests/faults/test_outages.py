"""Kafka or Postgres dies under load, stays away for a while and comes back; the worker stays."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.faults.ground import Ground
from tests.faults.infrastructure import Own
from tests.faults.load import orders
from tests.faults.outside import until


@pytest.mark.req("SR030")
@pytest.mark.parametrize("end", [Own.stop, Own.kill], ids=["stopped", "killed"])
@pytest.mark.full
async def test_kafka_goes_in_mid_load_and_comes_back(
    settings: Settings, tmp_path: Path, end: Callable[[Own], None]
) -> None:
    with Own("kafka") as kafka:
        async with Ground(replace(settings, kafka=kafka.url), tmp_path) as ground:
            worker = await ground.worker()
            async with ground.load.steady(500):
                await ground.goes_on()
                async with ground.held_in_commit(worker):  # so that there are events to send while Kafka is away
                    end(kafka)
                refused = ground.load.refused

                async def again() -> bool:
                    return ground.load.refused > refused

                await until(again, "a command is not taken")
                await kafka.start()
                await ground.goes_on()
            await ground.settle()

            assert worker.runs
            assert await ground.broken() == []


async def test_postgres_dies_in_mid_load_and_comes_back(settings: Settings, tmp_path: Path) -> None:
    with Own("postgres") as postgres:
        async with Ground(replace(settings, postgres=postgres.url, postgres_read=postgres.url), tmp_path) as ground:
            worker = await ground.worker()
            async with ground.load.steady(600):
                await ground.goes_on()
                postgres.kill()
                await ground.load.send(orders(7, 1500))
                await worker.said("Trying again in 0.8 s")
                await postgres.start()
                await ground.goes_on()
            await ground.settle()

            assert worker.runs
            assert await ground.broken() == []
