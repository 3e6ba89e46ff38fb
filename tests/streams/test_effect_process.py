"""Effects of a worker process that is killed between a call and its answer, with an outside behind a real socket; and its domain's changelog on Kafka."""

import asyncio
import importlib.util
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import asyncpg
import pytest

from caravan.embedded.process import Child
from streams.catalogue import Catalogue
from streams.clock import SystemClock, unix_ms
from streams.envelope import Signer
from streams.ids import uuid7
from streams.kafka import Kafka
from streams.producer import command_record, signed
from streams.reading import Reader
from streams.settings import Settings
from streams.testing import ADMIN
from tests.acceptance.children import environment

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
TOPIC = '''
"""Slips of paper that are sent by three kinds of post."""

from streams.contract import Command, Event, Name, Topic

SLIPS = Topic("slips", key="slip_id", partitions=1, changelog=True)


class WriteSlip(Command, topic=SLIPS, roles=("User",)):
    slip_id: Name


class NoteSlip(Command, topic=SLIPS, services=("slips",)):
    slip_id: Name
    post: Name
    status: Name


class SlipWritten(Event, topic=SLIPS):
    slip_id: Name


class SlipNoted(Event, topic=SLIPS):
    slip_id: Name
    post: Name
    status: Name
'''
AGENT = '''
"""Slips: written, sent by three kinds of post, noted."""

import os

import httpx
from msgspec.structs import replace

from streams.agent import Changelog, Decider
from streams.decision import ROOT, Intent, State
from streams.effect import Adapter, Effect, Passing
from streams.table import Table
from topics.slips import SLIPS, NoteSlip, SlipNoted, SlipWritten, WriteSlip


class Slip(State, frozen=True):
    noted: dict[str, str] = {}


class Post(Adapter):
    def __init__(self, name, repeatable=False):
        self.name, self.repeatable = name, repeatable
        self.client = httpx.AsyncClient(base_url=os.environ["POST_OFFICE"])

    async def perform(self, intent, key):
        response = await self.client.post(f"/{self.name}", json=intent.data, headers={"Idempotency-Key": key})
        if response.status_code == 503:
            raise Passing("The office is closed.")
        return response.raise_for_status().json()

    async def close(self):
        await self.client.aclose()


class Registered(Post):
    async def find(self, key):
        response = await self.client.get(f"/{self.name}/{key}")
        return None if response.status_code == 404 else response.raise_for_status().json()


def decide(state, command, case):
    if isinstance(command, WriteSlip):
        return [SlipWritten(slip_id=command.slip_id)]
    return [SlipNoted(slip_id=command.slip_id, post=command.post, status=command.status)]


def evolve(state, event):
    if isinstance(event, SlipWritten):
        return {ROOT: Slip()}
    return {ROOT: replace(state[ROOT], noted=state[ROOT].noted | {event.post: event.status})}


def by(name, adapter):
    return Effect(
        name,
        SLIPS,
        {SlipWritten: lambda fact: Intent("send", {"slip": fact.key})},
        adapter,
        lambda fact, reply: NoteSlip(slip_id=fact.key, post=name, status=reply.status),
        limit=1.0,
        backoff=(0.05, 1.0),
    )


DECIDER = Decider(SLIPS, Table("slips", {ROOT: Slip}), decide, evolve)
REGISTERED = by("registered", lambda settings: Registered("registered"))
REPEATED = by("repeated", lambda settings: Post("repeated", repeatable=True))
PLAIN = by("plain", lambda settings: Post("plain"))
KEPT = Changelog(DECIDER)
'''
POSTS = ("registered", "repeated", "plain")


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition of this process or of others."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not ((told := condition()) if not asyncio.iscoroutine(told := condition()) else await told):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"waited in vain: {what}")


class Office:
    """The outside: a small HTTP server that keeps one letter per key, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.sought: list[str] = []
        self.letters: dict[tuple[str, str], Any] = {}
        self.answers = asyncio.Event()
        self.closed = 0  # requests that are turned away
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answers.set()
        self._server.close()

    def counts(self) -> dict[str, list[int]]:
        """How often each letter was asked for, by the kind of post."""
        return {post: sorted(n for (name, _), n in self.asked.items() if name == post) for post in POSTS}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split()
                status, answer = await self._answer(method, path[1:], headers.get("idempotency-key", ""), body)
                data = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(data)) + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, key: str, body: bytes) -> tuple[int, Any]:
        if method == "GET":
            post, _, key = path.partition("/")
            self.sought.append(post)
            found = self.letters.get((post, key))
            return (200, found) if found else (404, {})
        if self.closed:
            self.closed -= 1
            return 503, {}
        self.asked[path, key] += 1
        letter = self.letters.setdefault((path, key), {"letter": len(self.letters), **json.loads(body)})
        await self.answers.wait()
        return 200, letter


class Platform:
    """The planted domain on the run's Kafka and Postgres."""

    def __init__(self, settings: Settings, folder: Path, office: Office) -> None:
        self.settings, self.folder = settings, folder
        for place, text in {
            "topics/__init__.py": "",
            "topics/slips.py": TOPIC,
            "agents/__init__.py": "",
            "agents/slips/__init__.py": "",
            "agents/slips/agent.py": AGENT,
        }.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_")}
        self.env = ours | environment(settings) | {"PYTHONPATH": str(ROOT), "POST_OFFICE": office.url}
        self.workers: list[Child] = []

    async def migrate(self) -> None:
        """Make the schema and the topics."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "caravan", "migrate", cwd=self.folder, env=self.env, stdout=-3, stderr=-1
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()

    async def worker(self) -> Child:
        """Another worker, ready. It takes the place of the one before at once."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        command = [sys.executable, "-m", "caravan", "worker", "--domains", "slips", "--instance", "only"]
        worker = Child(log.stem, command, log, env=self.env, cwd=self.folder)
        worker.start()
        self.workers.append(worker)
        await until(lambda: "worker ready" in log.read_text("utf-8", "replace"), "the worker is ready")
        return worker

    async def write(self, slip: str) -> None:
        """Send the command."""
        spec = importlib.util.spec_from_file_location("planted_slips", self.folder / "topics/slips.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        command = module.WriteSlip(slip_id=slip)
        key, value = command_record(command, command_id=uuid7(unix_ms()), issued_at=SystemClock().now(), actor=ADMIN)
        kafka, signer = Kafka(self.settings), Signer(self.settings.signing_keys)
        await kafka.publish("slips.commands", key, value, signed("slips.commands", key, value, signer))
        await kafka.stop()

    async def rows(self, query: str) -> list[Any]:
        """What the domain's schema has."""
        connection = await asyncpg.connect(self.settings.postgres)
        try:
            await connection.execute(f'SET search_path = "{self.settings.namespace}slips"')
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def noted(self, slip: str) -> dict[str, str]:
        """What came of a slip's letters."""
        rows = await self.rows("SELECT key, data FROM state")
        found: dict[str, str] = next((json.loads(data)["noted"] for key, data in rows if key == slip), {})
        return found


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with Office() as office:
        yield office


@pytest.fixture
async def platform(settings: Settings, tmp_path: Path, office: Office) -> AsyncIterator[Platform]:
    platform = Platform(settings, tmp_path, office)
    yield platform
    for worker in platform.workers:
        worker.stop(10)


async def test_a_worker_killed_between_a_call_and_its_answer_leaves_no_letter_lost_or_doubled(
    platform: Platform, office: Office
) -> None:
    await platform.migrate()
    first = await platform.worker()
    await platform.write("s1")
    await until(lambda: len(office.asked) == 3, "all letters were asked for")
    claims = await platform.rows("SELECT status, attempts, unknown FROM effects")
    assert claims == [("claimed", 1, False)] * 3, "a claim stands before the call"
    os.kill(first.pid, 9)
    first.reap(0)
    office.answers.set()
    second = await platform.worker()

    async def over() -> bool:
        parked = await platform.rows("SELECT agent, cause FROM parked WHERE cause <> 'held'")
        return parked == [("plain", "effect_unknown")] and len(await platform.noted("s1")) == 2

    await until(over, "what can be known is known")
    assert await platform.noted("s1") == {"registered": "done", "repeated": "done"}
    assert office.counts() == {"registered": [1], "repeated": [2], "plain": [1]}
    assert office.sought == ["registered"]
    assert await platform.rows("SELECT agent, status FROM effects") == [("plain", "parked")]

    office.closed = 4
    await platform.write("s2")

    async def sent() -> bool:
        return len(await platform.noted("s2")) == 3

    await until(sent, "a closed office opens again")
    assert await platform.noted("s2") == dict.fromkeys(POSTS, "done")
    assert (office.closed, len(office.letters)) == (0, 6)
    results = await platform.rows("SELECT actor, count(*) FROM results GROUP BY actor ORDER BY actor")
    assert results == [("service:slips", 5), ("user:admin", 2)]
    await changelog_holds(platform)
    second.ask()
    await until(lambda: second.ended() is not None, "it leaves")
    assert second.ended() == 0


async def changelog_holds(platform: Platform) -> None:
    """The compacted topic has the last state of every document; versions rise."""

    async def kept() -> bool:
        async with Reader(platform.settings) as reader:
            places = await reader.places(["slips.changelog"])
            records = [found.record async for found in reader.follow(dict.fromkeys(places, 0), live=False)]
        told = [(record.key.decode(), json.loads(record.value)) for record in records]
        last = {key: max((v for k, v in told if k == key), key=lambda v: v["version"]) for key, _ in told}
        rows = await platform.rows("SELECT key, version, data FROM state")
        return {k: (v["version"], v["data"]) for k, v in last.items()} == {k: (n, json.loads(d)) for k, n, d in rows}

    await until(kept, "the changelog has all states")
    async with Catalogue(platform.settings) as catalogue:
        topic = (await catalogue.actual())["slips.changelog"]
    assert (topic.partitions, topic.config["cleanup.policy"]) == (1, "compact")
