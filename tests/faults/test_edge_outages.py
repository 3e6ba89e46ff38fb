"""Kafka, Postgres or the client goes away under requests: in time an answer that is true, and nothing is left behind."""

import asyncio
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.kafka import KafkaUrl
from tests.faults.edges import ADMIN, AWARD, EdgeProcess, edges_of, until_taken
from tests.faults.ground import Ground
from tests.faults.outside import COMMANDS, until
from tests.faults.proxy import Proxy, wires
from tests.faults.report import Figures
from tests.faults.test_edge_keys import available, blocked, effects

GUARD_S = 15  # each answer is promised within 5 s; the machine may be busy
CLIENTS = 12
UNKNOWN, AWAY = "outcome_unknown", "kafka_unavailable"


async def asked(edge: EdgeProcess, number: int) -> httpx.Response:
    """A command with a key of its own."""
    async with asyncio.timeout(GUARD_S):
        return await edge.award(f"u{number % 40}", 1, f"key-{number}")


async def cut(line: Proxy) -> None:
    """Kafka is stopped."""
    line.refuse()
    line.cut()


async def frozen(line: Proxy) -> None:
    """Kafka keeps its connections and says nothing."""
    line.black_hole()


async def mute(line: Proxy) -> None:
    """Kafka hears, and cannot be heard."""
    line.black_hole("down")


@pytest.mark.full
@pytest.mark.scenario("S8")
@pytest.mark.parametrize("fault", [cut, frozen, mute])
async def test_without_kafka_an_answer_is_never_a_false_202(
    ground: Ground, tmp_path: Path, figures: Figures, fault: Any
) -> None:
    """503 in time; where nobody knows it says so, with the id, and a repeat with the key settles it."""
    await ground.worker()
    async with wires(ground.settings.kafka) as kafka, edges_of(ground, tmp_path) as edges:
        edge = await edges.start(settings=replace(ground.settings, kafka=kafka.url))
        taken = {0: (await asked(edge, 0)).json()["command_id"]}
        await fault(kafka.one)
        answers = await asyncio.gather(*(asked(edge, 1 + n) for n in range(CLIENTS)))
        told = {n: answer.json() for n, answer in enumerate(answers, 1)}
        assert {answer.status_code for answer in answers} == {503}
        assert {one["code"] for one in told.values()} <= {UNKNOWN, AWAY}
        assert all(("command_id" in one) == (one["code"] == UNKNOWN) for one in told.values())
        assert (await edge.balance("u0")).status_code in {200, 404}
        await until(lambda: ready(edge, 503), "it says that it is not ready")
        kafka.one.heal()
        await kafka.one.start()
        await until(lambda: ready(edge, 200), "it is ready again")
        for n, one in told.items():
            found, _ = await until_taken(edge, f"u{n}", f"key-{n}")
            assert found["command_id"] == one.get("command_id", found["command_id"])
            taken[n] = found["command_id"]
        ground.load.acknowledged |= set(taken.values())
        await ground.settle()

    assert await effects(ground) == dict.fromkeys(taken.values(), 1)
    assert await available(ground) == 1 + CLIENTS
    assert await ground.broken() == []
    figures.note(faults=1, commands=1 + CLIENTS)


async def ready(edge: EdgeProcess, status: int) -> bool:
    """Whether it answers so."""
    return (await edge.client.get("/ready")).status_code == status


async def configure(ground: Ground, **config: str) -> None:
    """Change the command topic under the edge; nothing given puts it back."""
    name = ground.settings.namespace + COMMANDS
    client = AIOKafkaAdminClient(**KafkaUrl.parse(ground.settings.kafka).client())
    await client.start()
    as_declared = {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}
    entries = as_declared | {key.replace("_", "."): value for key, value in config.items()}
    await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, entries)])
    await client.close()


LIMIT, ROUNDS = 3000, 15


@pytest.mark.full
@pytest.mark.scenario("S8")
async def test_what_kafka_refuses_for_ever_poisons_nothing(ground: Ground, tmp_path: Path, figures: Figures) -> None:
    """Records that are too large among others on the same partition: the others are taken, and each has its effect once."""
    await ground.worker()
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start()
        await configure(ground, max_message_bytes=str(LIMIT))
        await until(lambda: too_large(edge), "Kafka refuses what is large")
        taken = []
        for number in range(ROUNDS):
            large = [asyncio.create_task(too_large(edge)) for _ in range(3)]
            found, codes = await until_taken(edge, "u1", f"key-{number}")
            assert set(codes) <= {UNKNOWN, "in_progress"}
            assert all(await asyncio.gather(*large))
            taken.append(found["command_id"])
        calm = [await asked(edge, 100 + n) for n in range(CLIENTS)]
        assert {answer.status_code for answer in calm[1:]} == {202}
        taken += [answer.json()["command_id"] for answer in calm[1:]]
        ground.load.acknowledged |= set(taken)
        await ground.settle()

    counts = await effects(ground)
    assert {one: counts[one] for one in taken} == dict.fromkeys(taken, 1)
    assert await ground.broken() == []
    figures.note(faults=3 * ROUNDS, commands=len(taken))


async def too_large(edge: EdgeProcess) -> bool:
    """Whether a command of u1 that is above the topic's limit is not taken."""
    body = {"user_id": "u1", "transfer_id": "t", "to": "u2", "amount": 1, "note": "\N{GRINNING FACE}" * 1000}
    answer = await edge.client.post("/v1/points/transfer_points", json=body, headers=edge.by("u1"))
    assert answer.status_code in {202, 503}, answer.text
    return answer.status_code == 503


HANGING = 100


@pytest.mark.scenario("S8")
async def test_a_hundred_clients_that_hang_up_take_no_connection_with_them(ground: Ground, tmp_path: Path) -> None:
    """Their queries end in Postgres while the lock that these wait for is still held; the pool serves the next."""
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start()
        head = (
            f"GET /v1/points/balance/u1 HTTP/1.1\r\nHost: x\r\nAuthorization: {edge.by('u1')['Authorization']}\r\n\r\n"
        )
        async with ground.outside.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE balance IN ACCESS EXCLUSIVE MODE")
            clients = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(HANGING)]
            for client in clients:
                client.sendall(head.encode())
            await until(lambda: blocked(ground), "their queries wait")
            for client in clients:
                client.close()
            await until(lambda: nobody_waits(ground), "no query waits any more")
        answers = await asyncio.gather(*(edge.balance("u1") for _ in range(40)))
        assert {answer.status_code for answer in answers} == {404}
        assert "Traceback" not in edge.text


async def nobody_waits(ground: Ground) -> bool:
    """Whether no edge waits for a lock."""
    return not await blocked(ground)


async def test_an_edge_that_ends_answers_what_runs_and_takes_nothing_new(ground: Ground, tmp_path: Path) -> None:
    """A command that Kafka has not acknowledged is answered when it has; who waits for more is told what there is."""
    async with wires(ground.settings.kafka) as kafka, edges_of(ground, tmp_path) as edges:
        edge = await edges.start(settings=replace(ground.settings, kafka=kafka.url))
        first = await edge.award("u1")
        waiting = asyncio.create_task(edge.award("u1", Prefer="wait=30"))
        reading = asyncio.create_task(edge.balance("u1", first.json()["token"]))
        await until(lambda: sent(ground, 2), "the second is in Kafka")
        kafka.one.hold_answer_to(b"key-holder-2")
        running = asyncio.create_task(edge.award("key-holder-2"))
        await kafka.one.held.wait()
        edge.ask()
        answers = await asyncio.gather(waiting, reading)
        assert [answer.status_code for answer in answers] == [202, 409]
        await until(lambda: refuses(edge), "it takes no connection")
        kafka.one.heal()
        assert (await running).status_code == 202
        assert await edge.ended() in {0, -15}
        assert "Traceback" not in edge.text
    assert await sent(ground, 3)


async def sent(ground: Ground, number: int) -> bool:
    """Whether so many commands are in Kafka."""
    return sum((await ground.outside.ends(COMMANDS)).values()) >= number


async def refuses(edge: EdgeProcess) -> bool:
    """Whether nobody listens."""
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", edge.port)) != 0


@pytest.mark.full
@pytest.mark.scenario("S8")
@pytest.mark.parametrize("fault", [cut, frozen])
async def test_without_postgres_nothing_is_taken_and_all_comes_back(
    ground: Ground, tmp_path: Path, figures: Figures, fault: Any
) -> None:
    """Views and commands are 503 in time, with a key and without: what could not be followed to its result is not taken."""
    async with wires(ground.settings.postgres) as postgres, edges_of(ground, tmp_path) as edges:
        dsn = postgres.url
        edge = await edges.start(settings=replace(ground.settings, postgres=dsn, postgres_read=dsn))
        await fault(postgres.one)
        await until(lambda: ready(edge, 503), "it says that it is not ready")
        async with asyncio.timeout(GUARD_S):
            answers = await asyncio.gather(
                *(edge.balance(f"u{n}") for n in range(40)),
                *(edge.award("u1", 1, f"key-{n}") for n in range(CLIENTS)),
                edge.client.post(AWARD, json={"user_id": "u1", "amount": 1}, headers=edge.by(ADMIN)),
            )
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "postgres_unavailable")}
        assert not await sent(ground, 1)
        postgres.one.heal()
        await postgres.one.start()
        await until(lambda: ready(edge, 200), "it is ready again")
        assert (await edge.award("u1", 1, "key-0")).status_code == 202
        assert (await edge.balance("u1")).status_code == 404
    figures.note(faults=1, commands=1)
