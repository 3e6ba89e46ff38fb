"""Load that is hard to bear: one key takes nearly all, Postgres stutters, clocks of those who publish are wrong."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.clock import BOUND
from streams.settings import Settings
from tests.faults.ground import Ground
from tests.faults.infrastructure import Own
from tests.faults.load import USERS, awards, orders
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS
from tests.faults.report import Figures

HOT, OTHERS = 90, 10  # of a hundred commands
TOTAL = 6000
MEMORY = 500 << 20  # bytes of a worker
PULSES = 8
HOUR = timedelta(hours=1)
MOMENT = timedelta(milliseconds=1)  # what times of brokers are rounded to


@pytest.mark.full
@pytest.mark.scenario("S18")
async def test_a_hot_key_does_not_starve_the_others(ground: Ground, figures: Figures) -> None:
    """Nine of ten commands are one user's; what others gave is done when its turn comes, not when the heap is done."""
    worker = await ground.worker()
    others = [user for user in USERS if user != "u1"]
    mixed = [*awards(["u1"], HOT), *awards(others, OTHERS)] * (TOTAL // (HOT + OTHERS))
    await ground.load.send(mixed)
    await ground.settle()

    figures.note(faults=1, **await ground.account())
    assert psutil.Process(worker.pid).memory_info().rss < MEMORY
    assert shares(ground) == {"u1": TOTAL * HOT // 100, "others": TOTAL * OTHERS // 100}
    assert await ground.broken() == []


def shares(ground: Ground) -> Counter[str]:
    """How many events are about the hot key, and how many about others."""
    keys = (record.key for n in PARTITIONS for record in ground.outside.records(EVENTS, n))
    return Counter("u1" if key == b"u1" else "others" for key in keys)


@pytest.mark.full
@pytest.mark.scenario("S18")
async def test_a_postgres_that_stutters(settings: Settings, tmp_path: Path, figures: Figures) -> None:
    """All of it stands still again and again, as with a disk that is too slow."""
    with Own("postgres") as postgres:
        async with Ground(replace(settings, postgres=postgres.url, postgres_read=postgres.url), tmp_path) as ground:
            worker = await ground.worker()
            async with ground.load.steady(1020):
                for _ in range(PULSES):
                    await ground.goes_on()
                    postgres.freeze()
                    try:
                        await ground.load.send(orders(8, 300))
                    finally:
                        postgres.thaw()
                await ground.goes_on()
            await ground.settle()

            figures.note(faults=PULSES, **await ground.account())
            assert worker.runs
            assert await ground.broken() == []


@pytest.mark.scenario("S18")
async def test_an_hour_that_is_wrong_is_held_to_the_brokers_time(ground: Ground, figures: Figures) -> None:
    """Publishers' clocks are an hour behind or ahead; an event is off the broker's time by no more than a bound, and no key's time goes back."""
    ground.start_worker()
    for skew, user in product((-HOUR, timedelta(), HOUR, -HOUR), ("u1", "u2", "u3")):
        await ground.load.send(awards([user], 5), skew=skew)
    await ground.settle()

    figures.note(faults=45, **await ground.account())
    off = [off_the_broker(ground, n, record) for n in PARTITIONS for record in ground.outside.records(EVENTS, n)]
    assert len(off) == 60
    assert BOUND / 2 < max(off) <= BOUND + MOMENT
    assert -BOUND - MOMENT <= min(off) < -BOUND / 2
    assert await ground.broken() == []


def off_the_broker(ground: Ground, partition: int, record: Any) -> timedelta:
    """How far an event's time is ahead of the time at which the broker took its command."""
    event = json.loads(record.value)
    taken = ground.outside.records(COMMANDS, partition)[event["source"]["offset"]].timestamp
    return datetime.fromisoformat(event["occurred_at"]) - datetime.fromtimestamp(taken / 1000, UTC)
