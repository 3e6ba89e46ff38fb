"""Read your own writes, while workers die, the replica that views are read from lags, and it takes the primary's place."""

import asyncio
import random
import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from streams.settings import Settings
from tests.faults.edges import Edges, edges_of, until_taken
from tests.faults.ground import Ground
from tests.faults.infrastructure import Own
from tests.faults.outside import until
from tests.faults.proxy import wires
from tests.faults.replica import Replica
from tests.faults.report import Figures

CLIENTS, WRITES = 8, 40
HANG_S = 400
GONE_BACK = re.compile(r"position: .* went back from .*")  # what a replica had not is done again


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


async def reader(edges: Edges, user: str, dice: random.Random, writes: int) -> tuple[list[str], int]:
    """As `session`, and patient: it repeats what fails, with its key. A key may be lost with the primary, so it may have written more."""
    ids: list[str] = []
    put_off = 0
    for written in range(1, writes + 1):
        taken, codes = await until_taken(edges.all[0], user, f"{user}-{written}")
        ids.append(taken["command_id"])
        put_off += len(codes)
        reads = 2
        while reads:
            try:
                read = await dice.choice(edges.all).balance(user, taken["token"])
            except httpx.TransportError:
                continue
            if read.status_code == 200:
                assert read.json()["active"] >= written, "older than its own write"
                reads -= 1
            else:
                assert read.json()["code"] in {"not_yet_applied", "postgres_unavailable"}, read.text
                put_off += 1
    return ids, put_off


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.scenario("S15")
async def test_a_replica_that_lags_and_then_takes_over_answers_nothing_older(
    settings: Settings, tmp_path: Path, figures: Figures
) -> None:
    """A real one: held back, then cut off while the primary goes on, and made the primary when that is killed; a worker is killed, too."""
    writes = 16
    with Own("postgres") as primary:
        async with wires(primary.url) as front, wires(primary.url) as link:
            ours = replace(settings, postgres=front.url, postgres_read=front.url)
            with Replica(
                primary, link.one.port
            ) as replica:  # it outlives the ground, which ends on what is then the primary
                async with Ground(ours, tmp_path) as ground, edges_of(ground, tmp_path) as edges:
                    await ground.worker()
                    await replica.start()
                    await edges.start()
                    await edges.start(settings=replace(ours, postgres_read=replica.url))
                    async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as group:
                        readers = [
                            group.create_task(reader(edges, f"u{n}", random.Random(n), writes)) for n in range(CLIENTS)
                        ]
                        await until(lambda: written(ground, CLIENTS * 4), "they are at it")
                        await replica.hold()
                        await until(lambda: behind(ground, replica, 3), "the replica is behind")
                        dead, _ = await ground.decider()
                        dead.kill()
                        await replica.go_on()
                        await ground.worker()
                        await until(lambda: written(ground, CLIENTS * 10), "they go on")
                        link.one.black_hole()
                        await until(lambda: behind(ground, replica, 3), "something is lost with the primary")
                        primary.kill()
                        await replica.promote()
                        front.one.leads_to = replica.port
                        front.one.cut()
                    results = [task.result() for task in readers]
                    ground.load.acknowledged |= {one for ids, _ in results for one in ids}
                    await ground.settle()
                    found = await ground.broken()
                    assert [one for one in found if not GONE_BACK.fullmatch(one)] == []
    assert sum(put_off for _, put_off in results) > 0, "nobody noticed"
    figures.note(faults=3, commands=CLIENTS * writes)


async def behind(ground: Ground, replica: Replica, number: int) -> bool:
    """Whether the replica lacks so many results."""
    count = "SELECT count(*) FROM results"
    ahead = int((await ground.outside.rows(count))[0][0])
    return ahead >= number + int(await replica.ask(f'SELECT count(*) FROM "{ground.settings.namespace}points".results'))
