"""The edge's throughput: `caravan api` beside what FastAPI gives by hand, one uvicorn process each, in turn, under the same load.

Closed loop: each of 64 connections sends its next request when it has its answer, so the server is as busy as it can be. Besides the rate, the processor
time of a request is told, which does not depend on who else shares the cores.
"""

import asyncio
import os
import sys
from argparse import ArgumentParser, Namespace
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks import instance, machine, processor, results
from benchmarks.generator import Ask, Plan, Report
from benchmarks.results import Result
from benchmarks.systems import Place
from benchmarks.work import Work, WorkError, chosen, in_turn
from caravan.commands import signed_token
from caravan.instance import free_ports
from streams.settings import Settings
from topics.points import POINTS

AMOUNT = 5  # points of each award
USERS = 1000  # who are asked about, and who ask
ADMINS = 64
CONNECTIONS = 64
VALID_S = 3600  # of tokens
START_S = 60
GRACE_S = 15
SERVER, BROKER, DATABASE = "server", "kafka", "postgres"
HELLO, TUTORIAL, OURS = "fastapi-hello", "fastapi-tutorial", "caravan"


class EdgeError(WorkError):
    """A server did not start, answered wrongly, or a command that it accepted is not in Kafka."""


@dataclass(frozen=True)
class Server:
    """One uvicorn process and what it is asked."""

    system: str
    port: int
    asks: Sequence[Ask]
    topic: str | None = None  # without namespace, in which there must be a record for each good answer


@dataclass(frozen=True)
class Taken:
    """What one round gave: good answers a second, and processor microseconds of each by who spent them."""

    rate: float
    cost: Mapping[str, float]
    generator: float  # its share of a core


def request(method: str, path: str, token: str | None = None, body: str = "", more: str = "") -> str:
    """A request as it goes over the wire."""
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    entity = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: edge\r\n{bearer}{entity}{more}\r\n{body}"


def award(user: str, token: str) -> Ask:
    """A command for `user`, by an Admin."""
    body = f'{{"user_id": "{user}", "amount": {AMOUNT}}}'
    text = request("POST", "/v1/points/award_points", token, body)
    return Ask("command", text, HTTPStatus.ACCEPTED, '{"command_id":"')


def view(user: str, token: str) -> Ask:
    """The balance of `user`, asked by that one."""
    text = request("GET", f"/v1/points/balance/{user}", token)
    return Ask("view", text, HTTPStatus.OK, f'{{"user_id":"{user}",')


def user(number: int) -> str:
    """A user's id."""
    return f"bench-user-{number:06}"


def tokens(settings: Settings, role: str, names: Sequence[str]) -> list[str]:
    """Bearer tokens of these callers."""
    return [signed_token(settings, name, role, VALID_S) for name in names]


def _commands(settings: Settings, port: int, peer: int) -> list[Server]:
    admins = tokens(settings, "Admin", [f"admin-{number}" for number in range(ADMINS)])
    ours = [award(user(number), admins[number % ADMINS]) for number in range(USERS)]
    body = f'{{"user_id": "{user(0)}", "amount": {AMOUNT}}}'
    theirs = [Ask("command", request("POST", "/awards", None, body), HTTPStatus.ACCEPTED, '{"partition":')]
    return [
        Server(OURS, port, ours, POINTS.commands_topic),
        Server(TUTORIAL, peer, theirs, TUTORIAL),
        _hello(peer),
    ]


def _views(settings: Settings, port: int, peer: int) -> list[Server]:
    names = [user(number) for number in range(USERS)]
    ours = [view(name, token) for name, token in zip(names, tokens(settings, "User", names), strict=True)]
    theirs = [
        Ask("view", request("GET", f"/balance/{name}"), HTTPStatus.OK, f'{{"user_id":"{name}",') for name in names
    ]
    return [Server(OURS, port, ours), Server(TUTORIAL, peer, theirs), _hello(peer)]


def _hello(port: int) -> Server:
    return Server(HELLO, port, [Ask("hello", request("GET", "/hello"), HTTPStatus.OK, '{"message":"hello"}')])


def shipped(port: int) -> Sequence[str]:
    """The shipped edge."""
    return ("-m", "caravan", "api", "--port", str(port))


def _peer(place: Place, port: int) -> Sequence[str]:
    dsn = f"{place.dsn}{'&' if '?' in place.dsn else '?'}options=-csearch_path%3D{place.namespace}points"
    return ("-m", "benchmarks.peers.fastapi_routes", str(port), place.servers, f"{place.namespace}{TUTORIAL}", dsn)


@asynccontextmanager
async def serving(port: int, arguments: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """A server, from its first answer on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **environment}, stdout=DEVNULL
    )
    try:
        async with asyncio.timeout(START_S):
            while not await _answers(port):
                if process.returncode is not None:
                    raise EdgeError(f"{' '.join(arguments[:3])} ended with {process.returncode}")
                await asyncio.sleep(0.1)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), GRACE_S)


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(request("GET", "/ready", None, "", "Connection: close\r\n").encode())
    status = (await reader.read(12))[9:]
    writer.transport.abort()
    return status in (b"200", b"404")  # the peer has no such route


async def drive(plan: Plan, pids: Mapping[str, Sequence[int]]) -> tuple[Report, dict[str, float]]:
    """Run the generator; what it reports, and the processor seconds that others spent between its `begin` and its `end`."""
    command = (sys.executable, "-m", "benchmarks.generator")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 26)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(plan))
    process.stdin.close()
    looks = []
    for _ in ("begin", "end"):
        await process.stdout.readline()
        looks.append({name: processor.spent(those) for name, those in pids.items()})
    report = msgspec.json.decode(await process.stdout.readline(), type=Report)
    await process.wait()
    return report, {name: looks[1][name] - looks[0][name] for name in pids}


async def ends(servers: str, topic: str) -> int:
    """How many records the topic has got, over all partitions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    try:
        parts = [TopicPartition(topic, part) for part in range(POINTS.partitions)]
        return sum((await consumer.end_offsets(parts)).values())
    finally:
        await consumer.stop()


async def measure(server: Server, place: Place, pids: Mapping[str, Sequence[int]], seconds: float) -> Taken:
    """One round; raises EdgeError unless every answer is right and every accepted command in Kafka."""
    topic = f"{place.namespace}{server.topic}"
    before = await ends(place.servers, topic) if server.topic else 0
    plan = Plan([server.port], CONNECTIONS, min(2.0, seconds / 2), seconds, list(server.asks))
    report, spent = await drive(plan, pids)
    ((name, kind),) = report.kinds.items()
    if set(kind.statuses) != {str(server.asks[0].status)} or kind.wrong or report.unsent:
        raise EdgeError(f"{server.system} {name}: {dict(kind.statuses)}, {kind.wrong} wrong, {report.unsent} unsent")
    if server.topic and (there := await ends(place.servers, topic) - before) != kind.good:
        raise EdgeError(f"{server.system}: {kind.good} were accepted and {there} are in Kafka")
    cost = {who: used / kind.counted * 1e6 for who, used in spent.items()}
    return Taken(kind.counted / report.seconds, cost, report.processor)


async def _run(
    work: str, place: Place, options: Namespace, servers: Callable[[Settings, int, int], list[Server]]
) -> list[Result]:
    settings = Settings.from_env(place.environment)
    await filled(place)
    await _created(place.servers, f"{place.namespace}{TUTORIAL}")
    port, peer = free_ports(2)
    figures: dict[str, list[Taken]] = defaultdict(list)
    async with AsyncExitStack() as running:
        one = await running.enter_async_context(serving(port, shipped(port), place.environment))
        other = await running.enter_async_context(serving(peer, _peer(place, peer), place.environment))
        shared = {BROKER: broker(place), DATABASE: processor.listening(urlsplit(place.dsn).port or 5432)}
        entered = chosen(servers(settings, port, peer), options.systems, lambda server: server.system)
        for number, server in in_turn(options.rounds, entered):
            pid = one.pid if server.port == port else other.pid
            taken = await measure(server, place, {SERVER: [pid], **shared}, options.edge_seconds)
            costs = ", ".join(f"{who} {cost:.0f}" for who, cost in taken.cost.items())
            print(
                f"round {number}  {work}, {server.system}  {taken.rate:.0f}/s; us of processor a request: {costs}; "
                f"generator at {taken.generator:.0%} of a core",
                flush=True,
            )
            figures[server.system].append(taken)
    return [result for system, taken in figures.items() for result in _told(work, system, taken)]


def _told(work: str, system: str, taken: list[Taken]) -> list[Result]:
    about = {"work": work, "system": system, "commit": machine.commit()}
    load = f"closed loop, {CONNECTIONS} connections, 1 process"
    costs = results.summarise(
        [one.cost[SERVER] for one in taken], digits=1, load=f"{load}, processor of the server", unit="us", **about
    )
    rates = results.summarise([one.rate for one in taken], digits=0, load=load, unit="requests/s", **about)
    return [rates, costs]


def broker(place: Place) -> list[int]:
    """Its process."""
    return processor.listening(int(place.servers.split(",")[0].rpartition(":")[2]))


async def filled(place: Place) -> None:
    """Balances to ask about."""
    db = await asyncpg.connect(place.dsn)
    try:
        await db.execute(
            f"""INSERT INTO "{place.namespace}points".balance (user_id, available, held)
            SELECT 'bench-user-' || to_char(n, 'FM000000'), n * 5, 0 FROM generate_series(0, {USERS - 1}) AS n
            ON CONFLICT DO NOTHING"""
        )
        await db.execute(f'VACUUM ANALYZE "{place.namespace}points".balance')
    finally:
        await db.close()


async def _created(servers: str, topic: str) -> None:
    """The tutorial's topic, as ours have it; nothing if it is there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, POINTS.partitions, -1, {})])
    finally:
        await admin.close()


async def commands(place: Place, options: Namespace) -> list[Result]:
    """Commands accepted."""
    return await _run("edge-commands", place, options, _commands)


async def views(place: Place, options: Namespace) -> list[Result]:
    """Views answered."""
    return await _run("edge-views", place, options, _views)


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--edge-seconds", type=float, default=6, help="a round of the edge's works, warm-up aside")


COMMANDS = Work("edge-commands", instance.infrastructure, commands, _arguments)
VIEWS = Work("edge-views", instance.infrastructure, views)
