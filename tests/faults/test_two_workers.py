"""Two workers share a domain evenly; one joins, leaves and restarts under load, and nothing is lost or doubled."""

import time
from itertools import pairwise

import pytest

from streams.app import HEARTBEAT_S, SESSION_S
from tests.faults.ground import Ground, Worker
from tests.faults.group import Group, group_of
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, until
from tests.faults.report import Figures

REBALANCING = "because it is rebalancing"  # what a member logs when the broker tells it so


@pytest.mark.req("SR056")
@pytest.mark.scenario("S3")
async def test_the_second_worker_takes_its_share_under_load_and_hands_it_over_when_it_leaves(
    ground: Ground, figures: Figures
) -> None:
    first = await ground.worker()
    async with ground.load.steady(800):
        await ground.goes_on()
        alone = await ground.epochs()
        second = await ground.worker()
        await until(lambda: holds_half(ground, second), "the second has half of the commands and half of the events")
        await ground.goes_on()
        shared = await ground.epochs()
        moved = await held(ground, second, COMMANDS)
        assert shared == {n: epoch + (n in moved) for n, epoch in alone.items()}, "a partition moved without need"

        told = time.time()
        assert await second.leave() == 0
        left = await stable(ground)
        assert len(left.shares) == 1, "it did not leave the group"
        await until(lambda: holds_all(ground, first), "the first has all")
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=2, **await ground.account())
    assert await ground.broken() == []
    assert await ground.epochs() == {n: epoch + (n in moved) for n, epoch in shared.items()}
    still = {n: longest_silence(ground, n, told) for n in PARTITIONS}
    print(f"hand-over: {max(still[n] for n in moved):.2f} s without an event; partitions that stayed: {still}")
    assert max(still.values()) < SESSION_S - 2 * HEARTBEAT_S, "somebody waited for the end of a session"


@pytest.mark.full
async def test_a_named_worker_restarts_without_a_rebalance(ground: Ground) -> None:
    one = ground.start_worker("--instance", "one")
    two = ground.start_worker("--instance", "two")
    for worker in (one, two):
        await worker.said("worker ready: points")
    await until(ground.shared, "both have partitions")
    async with ground.load.steady(850):
        await ground.goes_on()
        before, epochs = await stable(ground), await ground.epochs()
        rebalanced, mine = two.text.count(REBALANCING), await held(ground, one, COMMANDS)

        assert await one.leave() == 0
        one = await ground.worker("--instance", "one")
        await ground.goes_on()

        after = await stable(ground)
        assert after.round == before.round
        assert sorted(after.shares.values(), key=str) == sorted(before.shares.values(), key=str)
        assert len(after.shares.keys() & before.shares.keys()) == 1, "the other one is the member that it was"
        assert two.text.count(REBALANCING) == rebalanced
        assert await held(ground, one, COMMANDS) == mine
        assert await ground.epochs() == {n: epoch + (n in mine) for n, epoch in epochs.items()}
    await ground.settle()

    assert await ground.broken() == []


async def stable(ground: Ground) -> Group:
    """The group once it is not rebalancing."""
    found: list[Group] = []

    async def is_stable() -> bool:
        found.extend(group for group in [await group_of(ground.settings, "points")] if group)
        return bool(found)

    await until(is_stable, "the group is stable")
    return found[0]


async def held(ground: Ground, worker: Worker, topic: str) -> set[int]:
    """Partitions of the topic of which Postgres says that this worker owns them."""
    rows = await ground.outside.offsets(topic)
    return {n for n, row in rows.items() if row["owner"].endswith(f":{worker.pid}")}


async def holds_half(ground: Ground, worker: Worker) -> bool:
    """The same half of both topics."""
    commands, events = [await held(ground, worker, topic) for topic in (COMMANDS, EVENTS)]
    return commands == events and 2 * len(commands) == len(PARTITIONS)


async def holds_all(ground: Ground, worker: Worker) -> bool:
    """Both topics whole."""
    return all([await held(ground, worker, topic) == {*PARTITIONS} for topic in (COMMANDS, EVENTS)])


def longest_silence(ground: Ground, partition: int, since: float) -> float:
    """Seconds, at most, between two events of the partition from then on, by the time at which they were written."""
    times = [record.timestamp / 1000 for record in ground.outside.records(EVENTS, partition)]
    return max((b - a for a, b in pairwise(times) if b >= since), default=0.0)
