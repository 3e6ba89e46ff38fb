"""Broker, Postgres and platform of a run: its own in a new folder, unless CARAVAN_KAFKA and CARAVAN_POSTGRES name others."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from benchmarks import events
from benchmarks.systems import NAMESPACE, Place
from caravan.instance import Instance
from streams.kafka import KafkaUrl
from streams.settings import Settings
from topics.points import POINTS

LIVE = f"{NAMESPACE}live_"
CALLERS = 8
START = 180  # s, the first start on a machine downloads the broker
TAIL = 500  # characters of each log that are shown when it does not
GRACE = 15  # s to end after SIGTERM


class StartError(Exception):
    """The platform's own command did not start."""


@dataclass(frozen=True)
class Platform:
    """A running platform: its edge and that one's process, bearer tokens of admins, its database, what it was set up with."""

    url: str
    tokens: list[str]
    dsn: str
    edge: int
    settings: Settings


@asynccontextmanager
async def infrastructure(folder: Path) -> AsyncIterator[Place]:
    """A broker and a Postgres with nothing of an earlier run in them."""
    data = folder / "infra"
    if os.environ.get("CARAVAN_KAFKA") and os.environ.get("CARAVAN_POSTGRES"):
        async with _cleaned(_place(Instance(data).environment(os.environ), folder)) as place:
            await _caravan("migrate", environment=place.environment)
            yield place
    else:
        async with _running("infra", data, {}, "export "):
            place = _place(Instance(data).exports(), folder)
            await _caravan("migrate", environment=place.environment)
            yield place


def alone(folder: Path) -> AbstractAsyncContextManager[Place]:
    """The same for a work that must not find what others leave."""
    folder.mkdir(parents=True, exist_ok=True)
    return infrastructure(folder)


async def beside(place: Place, name: str) -> Place:
    """The same broker and Postgres, with topics and schemas of their own."""
    namespace = f"{NAMESPACE}{name}_"
    environment = {**place.environment, "CARAVAN_NAMESPACE": namespace}
    await _caravan("migrate", environment=environment)
    topic = f"{namespace}{POINTS.events_topic}"
    return replace(place, topic=topic, environment=environment, namespace=namespace)


@asynccontextmanager
async def platform(folder: Path) -> AsyncIterator[Platform]:
    """`caravan up` with its defaults."""
    data = folder / "platform"
    environment = {"CARAVAN_NAMESPACE": LIVE}
    async with _running("up", data, environment, "Caravan is ready"):
        instance = Instance(data)
        environment = instance.environment(os.environ)
        callers = [("--user", f"caller-{number}", "--role", "Admin") for number in range(CALLERS)]
        tokens = [await _caravan("token", *caller, environment=environment) for caller in callers]
        edge, _ = instance.run.children["edge"]
        settings = Settings.from_env({**environment, "CARAVAN_NAMESPACE": LIVE})
        yield Platform(instance.run.url, tokens, environment["CARAVAN_POSTGRES"], edge, settings)


def _place(exports: Mapping[str, str], folder: Path) -> Place:
    environment = {name: value for name, value in exports.items() if name.startswith("CARAVAN_")}
    environment["CARAVAN_NAMESPACE"] = NAMESPACE
    settings = Settings.from_env(environment)
    servers = ",".join(KafkaUrl.parse(settings.kafka).servers)
    topic = f"{NAMESPACE}{POINTS.events_topic}"
    return Place(servers, topic, settings.postgres, folder, environment, settings.signing_keys)


@asynccontextmanager
async def _cleaned(place: Place) -> AsyncIterator[Place]:
    await events.clean(place.servers, NAMESPACE)
    await _drop_schemas(place.dsn)
    yield place
    await events.clean(place.servers, NAMESPACE)
    await _drop_schemas(place.dsn)


async def _drop_schemas(dsn: str) -> None:
    db = await asyncpg.connect(dsn)
    try:
        for (name,) in await db.fetch("select nspname from pg_namespace where starts_with(nspname, $1)", NAMESPACE):
            await db.execute(f'drop schema "{name}" cascade')
    finally:
        await db.close()


@asynccontextmanager
async def _running(command: str, data: Path, environment: Mapping[str, str], ready: str) -> AsyncIterator[Process]:
    """A command of the platform in the foreground, from the line that says that it is ready."""
    arguments = ["-m", "caravan", command, "--data-dir", str(data)]
    env = {**os.environ, **environment}
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=env, stdout=PIPE, stderr=STDOUT)
    try:
        try:
            async with asyncio.timeout(START):
                await said(process, ready)
        except TimeoutError as error:
            raise StartError(f"caravan {command} is not ready after {START} s\n{_logs(data)}") from error
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), GRACE)


async def said(process: Process, ready: str) -> None:
    """Wait until the process prints a line with this in it; raises StartError when it ends before."""
    assert process.stdout is not None
    lines = []
    while line := (await process.stdout.readline()).decode():
        if ready in line:
            return
        lines.append(line)
    raise StartError("".join(lines))


def _logs(data: Path) -> str:
    files = sorted((data / "logs").glob("*.log"))
    return "\n".join(f"{file.name}: {file.read_text('utf-8', 'replace')[-TAIL:]}" for file in files)


async def _caravan(*arguments: str, environment: Mapping[str, str]) -> str:
    """Run a command of the platform to its end; returns what it printed."""
    command = [sys.executable, "-m", "caravan", *arguments]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment}, stdout=PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise StartError(f"caravan {arguments[0]} ended with {process.returncode}")
    return output.decode().strip()
