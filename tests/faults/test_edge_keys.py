"""One Idempotency-Key is one command and one answer, whatever happens to the edges that are asked."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.edges import EdgeProcess, Edges, edges_of, until_taken
from tests.faults.ground import Ground
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, until
from tests.faults.proxy import wires
from tests.faults.report import Figures

USER, KEY = "key-holder-1", "the-key-of-this-test"
Moment = Callable[[Ground, Edges], Awaitable[tuple[EdgeProcess, asyncio.Task[httpx.Response]]]]


@asynccontextmanager
async def interrupted(ground: Ground, edges: Edges, moment: str) -> AsyncIterator[tuple[EdgeProcess, Any]]:
    """An edge that is held at this moment of a command with the key, and the answer that its client waits for."""
    async with wires(ground.settings.kafka) as kafka, wires(ground.settings.postgres) as postgres:
        edge = await edges.start(settings=replace(ground.settings, kafka=kafka.url, postgres=postgres.url))
        line, words = (postgres.one, KEY) if moment == "row" else (kafka.one, USER)
        line.hold_answer_to(words.encode())
        waiting = asyncio.create_task(edge.award(USER, 1, KEY))
        await line.held.wait()
        await until(lambda: keys(ground), "the key is in Postgres")
        if moment != "row":
            await until(lambda: records(ground), "the record is in Kafka")
        if moment == "acknowledged":
            async with ground.outside.pool.acquire() as connection, connection.transaction():
                await connection.execute(f'SELECT FROM "{ground.settings.namespace}edge".idempotency FOR UPDATE')
                line.heal()
                await until(lambda: blocked(ground), "the edge has Kafka's answer and waits for the row")
                yield edge, waiting
        else:
            yield edge, waiting
        waiting.cancel()
        with suppress(asyncio.CancelledError, httpx.TransportError):
            await waiting


async def keys(ground: Ground) -> list[Any]:
    """The Idempotency-Keys that are known."""
    return await ground.outside.rows(f'SELECT * FROM "{ground.settings.namespace}edge".idempotency')


async def records(ground: Ground) -> list[str]:
    """Ids of the commands in Kafka, as often as they are there."""
    await ground.outside.read_on()
    found = [record for n in PARTITIONS for record in ground.outside.records(COMMANDS, n)]
    return [json.loads(record.value)["command_id"] for record in found]


async def blocked(ground: Ground) -> bool:
    """Whether an edge waits for a lock."""
    query = "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = $1 AND NOT granted"
    return bool(await ground.outside.rows(query, f"{ground.settings.namespace}edge"))


async def effects(ground: Ground) -> Counter[str]:
    """Command -> how often its award was an event."""
    await ground.outside.read_on()
    found = [json.loads(record.value) for n in PARTITIONS for record in ground.outside.records(EVENTS, n)]
    return Counter(event["command_id"] for event in found if event["type"] == "points_awarded")


async def available(ground: Ground) -> int:
    """What all users have."""
    rows = await ground.outside.rows("SELECT sum(available) FROM balance WHERE user_id NOT LIKE 'system:%'")
    return int(rows[0][0])


@pytest.mark.scenario("S9")
@pytest.mark.parametrize(
    "moment",
    ["sent", pytest.param("row", marks=pytest.mark.full), pytest.param("acknowledged", marks=pytest.mark.full)],
)
async def test_an_edge_that_is_killed_over_a_command_leaves_one_command(
    ground: Ground, tmp_path: Path, figures: Figures, moment: str
) -> None:
    """Its row is written; or Kafka has it; or Kafka has said so. Another edge takes it on within its lease."""
    await ground.worker()
    async with edges_of(ground, tmp_path) as edges:
        other = await edges.start()
        async with interrupted(ground, edges, moment) as (edge, _):
            edge.kill()
        found, codes = await until_taken(other, USER, KEY)
        again = await asyncio.gather(*(other.award(USER, 1, KEY) for _ in range(5)))
        wrong = await other.award(USER, 2, KEY)
        ground.load.acknowledged.add(found["command_id"])
        await ground.settle()

    assert set(codes) <= {"in_progress"}
    assert [(answer.status_code, answer.json()) for answer in again] == [(202, found)] * 5
    assert (wrong.status_code, wrong.json()["code"]) == (422, "idempotency_key_reused")
    sent = await records(ground)
    assert set(sent) == {found["command_id"]}
    # an UPDATE that waited may be done, or not, when Postgres sees that the edge has gone
    assert len(sent) in {"row": {1}, "sent": {2}, "acknowledged": {1, 2}}[moment]
    assert await effects(ground) == {found["command_id"]: 1}
    assert await available(ground) == 1
    assert await ground.broken() == []
    figures.note(faults=1, commands=1)


@pytest.mark.full
@pytest.mark.scenario("S9")
async def test_an_edge_that_was_frozen_over_a_command_says_what_the_other_said(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    """It wakes when all is done, and publishes the record once more."""
    await ground.worker()
    async with edges_of(ground, tmp_path) as edges:
        other = await edges.start()
        async with interrupted(ground, edges, "row") as (edge, waiting):
            edge.freeze()
            found, _ = await until_taken(other, USER, KEY)
            await ground.settle()
            edge.thaw()
            # the answer to its INSERT is still held: it gives up, and the client tries again
            late = await waiting
        assert late.status_code == 503
        again, _ = await until_taken(other, USER, KEY)
        ground.load.acknowledged.add(found["command_id"])
        await ground.settle()

    assert again == found
    assert await effects(ground) == {found["command_id"]: 1}
    assert await available(ground) == 1
    assert await ground.broken() == []
    figures.note(faults=1, commands=1)


PASSING = {"in_progress", "outcome_unknown", "kafka_unavailable", "postgres_unavailable", "not_ready"}
KEYS, KILLS, AT_ONCE = 120, 4, 3


async def insist(edges: Edges, number: int, dice: random.Random) -> list[Any]:
    """Send one command to edges by chance, several times at once and again, until all were accepted; the answers."""

    async def once() -> Any:
        while True:
            edge = dice.choice(edges.all[-2:])
            with suppress(httpx.TransportError):
                answer = await edge.award(f"u{number % 40}", 1 + number, f"key-{number}")
                if answer.status_code == 202:
                    return answer.json()
                assert answer.json()["code"] in PASSING
            await asyncio.sleep(dice.uniform(0.01, 0.2))

    first = await asyncio.gather(*(once() for _ in range(AT_ONCE)))
    return [*first, await once()]


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S9")
async def test_clients_that_insist_while_edges_are_killed_get_one_effect_and_one_answer(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    """Two edges at a time; each is killed in the midst of it, and another one takes its place."""
    await ground.worker()
    dice = random.Random(9)
    room = asyncio.Semaphore(20)

    async def client(number: int) -> list[Any]:
        async with room:
            return await insist(edges, number, random.Random(number))

    async with edges_of(ground, tmp_path) as edges:
        await edges.start()
        await edges.start()
        clients = [asyncio.create_task(client(number)) for number in range(KEYS)]
        for kill in range(KILLS):
            share = KEYS * (kill + 1) // (KILLS + 1)
            await until(partial(done, clients, share), "the clients go on")
            dice.choice(edges.all[-2:]).kill()
            survivor = next(edge for edge in edges.all[-2:] if edge.runs)
            await edges.start()
            edges.all.remove(survivor)
            edges.all.insert(len(edges.all) - 1, survivor)
        async with asyncio.timeout(400):
            answers = await asyncio.gather(*clients)
        ids = {found[0]["command_id"] for found in answers}
        ground.load.acknowledged |= ids
        await ground.settle()

    for found in answers:
        assert found == [found[0]] * (AT_ONCE + 1)
    assert len(ids) == KEYS
    counts = await effects(ground)
    assert counts == dict.fromkeys(ids, 1)
    assert await available(ground) == sum(1 + number for number in range(KEYS))
    assert await ground.broken() == []
    figures.note(faults=KILLS, commands=KEYS, lost=len(ids - counts.keys()), doubled=0)


async def done(tasks: list[asyncio.Task[Any]], number: int) -> bool:
    """Whether so many have ended."""
    return sum(task.done() for task in tasks) >= number
