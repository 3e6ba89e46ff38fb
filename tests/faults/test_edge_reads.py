"""Read your own writes, while the worker that applies them dies and another takes over."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.edges import Edges, edges_of
from tests.faults.ground import Ground
from tests.faults.outside import until
from tests.faults.report import Figures

CLIENTS, WRITES = 8, 40
HANG_S = 400


async def session(edges: Edges, user: str, dice: random.Random) -> tuple[list[str], int]:
    """A client that writes and reads in turn, anywhere, and always passes its last token; its commands, and how often it was put off."""
    ids: list[str] = []
    put_off = 0
    for written in range(1, WRITES + 1):
        sent = await dice.choice(edges.all).award(user)
        assert sent.status_code == 202, sent.text
        ids.append(sent.json()["command_id"])
        reads = dice.randrange(3)
        while reads:
            read = await dice.choice(edges.all).balance(user, sent.json()["token"])
            if read.status_code == 200:
                assert read.json()["active"] == written, "older than its own write"
                reads -= 1
            else:
                assert (read.status_code, read.json()["code"]) == (409, "not_yet_applied")
                assert "retry-after" in read.headers
                put_off += 1
    return ids, put_off


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S15")
@pytest.mark.parametrize("seed", range(2))
async def test_a_client_sees_its_own_writes_in_order_through_a_failover(
    ground: Ground, tmp_path: Path, figures: Figures, seed: int
) -> None:
    """Or is told in time that it has to wait; never anything older."""
    await ground.worker()
    await ground.worker()
    await until(ground.shared, "both have partitions")
    async with edges_of(ground, tmp_path) as edges:
        await edges.start()
        await edges.start()
        async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as group:
            sessions = [
                group.create_task(session(edges, f"u{n}", random.Random(f"{seed} {n}"))) for n in range(CLIENTS)
            ]
            await until(lambda: written(ground, 20), "they are at it")
            dead, _ = await ground.decider()
            dead.kill()
            await until(ground.shared, "the other one has taken over")
            await ground.worker()
        results = [task.result() for task in sessions]
        ground.load.acknowledged |= {one for ids, _ in results for one in ids}
        await ground.settle()

    assert sum(put_off for _, put_off in results) > 0, "nobody noticed the failover"
    assert await ground.broken() == []
    figures.note(faults=1, commands=CLIENTS * WRITES)


async def written(ground: Ground, number: int) -> bool:
    """Whether so many commands were decided."""
    return bool((await ground.outside.rows("SELECT count(*) >= $1 FROM results", number))[0][0])
