"""A worker that is told to end: in its time whatever hangs, and what it began is done or left to the next owner."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from streams.settings import Settings
from streams.worker import END_S
from tests.faults.ground import Ground, Worker
from tests.faults.infrastructure import Own
from tests.faults.load import Order
from tests.faults.outside import until
from tests.faults.planted import planted
from tests.faults.report import Figures
from tests.faults.test_watchdog import AMOUNT, HANGS, SPINS, VICTIM, load_hangs
from topics.points import AwardPoints

LATE = "with work under way; its next owner does it again"
SLACK_S = 5.0  # for a busy machine to start, schedule and end a process


async def told_to_end(worker: Worker) -> int | None:
    """Its status; it kept to its time."""
    began = time.monotonic()
    worker._child.ask()

    async def over() -> bool:
        return not worker.runs

    await until(over, f"it leaves:\n{worker.text}", END_S + SLACK_S)
    print(f"it took {time.monotonic() - began:.1f} s to leave")
    return worker._child.ended()


async def succeeded(ground: Ground, figures: Figures) -> None:
    """Another worker does what is left, and all is right."""
    await ground.worker()
    await ground.settle()
    assert await ground.broken() == []
    figures.note(faults=1, **await ground.account())


@asynccontextmanager
async def own(what: str, settings: Settings, folder: Path) -> AsyncIterator[tuple[Own, Ground]]:
    """A Kafka or a Postgres of this test alone."""
    with Own(what) as part:
        urls = {"kafka": part.url} if what == "kafka" else {"postgres": part.url, "postgres_read": part.url}
        async with Ground(replace(settings, **urls), folder) as ground:  # type: ignore[arg-type]
            yield part, ground


@pytest.mark.full
async def test_under_load_it_finishes_what_it_began(ground: Ground, figures: Figures) -> None:
    worker = await ground.worker()
    async with ground.load.steady(700):
        await ground.goes_on()
        assert await told_to_end(worker) == 0
        assert LATE not in worker.text
        rows = await ground.outside.rows("SELECT number, relayed FROM offsets WHERE topic = 'points.commands'")
        assert all(row["number"] == row["relayed"] for row in rows), "all that it committed is on the event topic"
        await ground.worker()
        await ground.goes_on()
    await ground.settle()
    assert await ground.broken() == []
    figures.note(faults=1, **await ground.account())


@pytest.mark.full
@pytest.mark.parametrize("what", ["kafka", "postgres"])
async def test_while_kafka_or_postgres_is_away(settings: Settings, tmp_path: Path, figures: Figures, what: str) -> None:
    async with own(what, settings, tmp_path) as (part, ground):
        worker = await ground.worker()
        async with ground.load.steady(701):
            await ground.goes_on()
            part.kill()
            await worker.said("Trying again" if what == "postgres" else "Unable connect to node")
            assert await told_to_end(worker) == 0
            await part.start()
        await succeeded(ground, figures)


@pytest.mark.full
async def test_while_postgres_is_frozen(settings: Settings, tmp_path: Path, figures: Figures) -> None:
    """Nothing refuses, and nothing answers."""
    async with own("postgres", settings, tmp_path) as (postgres, ground):
        worker = await ground.worker()
        async with ground.load.steady(702):
            await ground.goes_on()
            postgres.freeze()
            assert await told_to_end(worker) == 0
            assert LATE in worker.text
            postgres.thaw()
        await succeeded(ground, figures)


@pytest.mark.full
async def test_while_a_batch_waits_for_ever(ground: Ground, tmp_path: Path, figures: Figures) -> None:
    worker = ground.start_worker(code=planted(tmp_path / "code", load_hangs(1000)))
    await worker.said("worker ready: points")
    async with ground.load.steady(703):
        await ground.goes_on()
        await ground.load.send([Order(AwardPoints(user_id=VICTIM, amount=1))])
        await worker.said(HANGS)
        assert await told_to_end(worker) == 0
        assert LATE in worker.text
    await succeeded(ground, figures)


@pytest.mark.full
async def test_while_a_rule_hangs_it_ends_itself_and_shows_where(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    worker = ground.start_worker(code=planted(tmp_path / "code", SPINS))
    await worker.said("worker ready: points")
    async with ground.load.steady(704):
        await ground.goes_on()
    await ground.load.send([Order(AwardPoints(user_id=VICTIM, amount=AMOUNT))])
    await worker.said(HANGS)
    assert await told_to_end(worker) == 70
    assert f"told to end {END_S:.0f} s ago, and something still hangs" in worker.text
    assert 'agents/points/rules/__init__.py", line' in worker.text
    await succeeded(ground, figures)
