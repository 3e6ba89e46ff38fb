"""Domains that are added beside a platform with history; and everything built again from the topics alone by real processes, with an outside that counts."""

import asyncio
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from caravan.embedded.process import Child
from streams.clock import SystemClock, unix_ms
from streams.envelope import Actor, Signer
from streams.ids import uuid7
from streams.kafka import Kafka
from streams.partitioner import partition_of
from streams.producer import command_record, signed
from streams.reading import Place, Reader
from streams.settings import Settings
from tests.acceptance.children import environment
from tests.streams.test_effect_process import ROOT, Office, until

PARTITIONS = 2
USER = Actor("user", "u1", "User")
PARCELS = '''
"""Parcels of customers."""

from streams.contract import Command, Event, Name, Topic

PARCELS = Topic("parcels", key="customer", partitions=2)


class SendParcel(Command, topic=PARCELS, roles=("User",)):
    customer: Name
    day: Name
    weight: int


class NoteParcel(Command, topic=PARCELS, services=("parcels",)):
    customer: Name
    post: Name
    status: Name


class ParcelSent(Event, topic=PARCELS):
    customer: Name
    day: Name
    weight: int


class ParcelNoted(Event, topic=PARCELS):
    customer: Name
    post: Name
    status: Name
'''
PARCELS_AGENT = '''
"""Parcels: sent by two kinds of post, one of which can be asked what became of a parcel."""

import os

import httpx

from streams.agent import Decider
from streams.decision import ROOT, Intent, Refuse, State
from streams.effect import Adapter, Effect
from streams.table import Table
from topics.parcels import PARCELS, NoteParcel, ParcelNoted, ParcelSent, SendParcel


class Customer(State, frozen=True):
    sent: int = 0
    noted: int = 0


class Post(Adapter):
    def __init__(self, name):
        self.name = name
        self.client = httpx.AsyncClient(base_url=os.environ["POST_OFFICE"], timeout=60)

    async def perform(self, intent, key):
        response = await self.client.post(f"/{self.name}", json=intent.data, headers={"Idempotency-Key": key})
        return response.raise_for_status().json()

    async def close(self):
        await self.client.aclose()


class Registered(Post):
    async def find(self, key):
        response = await self.client.get(f"/{self.name}/{key}")
        return None if response.status_code == 404 else response.raise_for_status().json()


def decide(state, command, case):
    if isinstance(command, NoteParcel):
        return [ParcelNoted(customer=command.customer, post=command.post, status=command.status)]
    if command.weight > 30:
        return Refuse("too_heavy", 422)
    return [ParcelSent(customer=command.customer, day=command.day, weight=command.weight)]


def evolve(state, event):
    root = state[ROOT]
    return {ROOT: Customer(root.sent + isinstance(event, ParcelSent), root.noted + isinstance(event, ParcelNoted))}


def by(name, adapter, start):
    return Effect(
        name,
        PARCELS,
        {ParcelSent: lambda fact: Intent("send", {"customer": fact.key})},
        adapter,
        lambda fact, reply: NoteParcel(customer=fact.key, post=name, status=reply.status),
        limit=60.0,
        start=start,
    )


DECIDER = Decider(PARCELS, Table("parcels", {ROOT: Customer}), decide, evolve)
REGISTERED = by("registered", lambda settings: Registered("registered"), "earliest")
PLAIN = by("plain", lambda settings: Post("plain"), "now")
'''
REPORT = '''
"""What was sent on which day; nobody sends it commands."""

from streams.contract import Topic

REPORT = Topic("report", key="customer", partitions=1)
'''
REPORT_SINK = '''
"""A row for each day of a customer."""

from typing import NamedTuple

from streams.sink import rows


@rows("days", key=("customer", "day"))
class DayRow(NamedTuple):
    customer: str
    day: str
    parcels: int
    weight: int


@rows("noted")
class NotedRow(NamedTuple):
    customer: str
    post: str
'''
REPORT_AGENT = '''
"""The report: parcels by day, and what the posts noted."""

from agents.report.sink import DayRow, NotedRow
from streams.agent import Projection
from streams.decision import State
from streams.table import Table
from topics.parcels import PARCELS, ParcelNoted, ParcelSent
from topics.report import REPORT


class Day(State, frozen=True):
    parcels: int = 0
    weight: int = 0


def reads(event):
    return [f"day/{event.day}"] if isinstance(event, ParcelSent) else []


def evolve(state, event):
    if not isinstance(event, ParcelSent):
        return {}
    day = state[f"day/{event.day}"]
    return {f"day/{event.day}": Day(day.parcels + 1, day.weight + event.weight)}


def project(fact, state):
    if isinstance(fact.event, ParcelSent):
        day = state[f"day/{fact.event.day}"]
        yield DayRow(fact.key, fact.event.day, day.parcels, day.weight)


def note(fact, state):
    if isinstance(fact.event, ParcelNoted):
        yield NotedRow(fact.key, fact.event.post)


BY_DAY = Projection("by_day", PARCELS, REPORT, project, Table("report", {"": State, "day": Day}), evolve, reads)
NOTES = Projection("notes", PARCELS, REPORT, note)
'''
REPORT_SCHEMA = """
CREATE TABLE days (customer text, day text, parcels bigint NOT NULL, weight bigint NOT NULL, PRIMARY KEY (customer, day));
CREATE TABLE noted (customer text NOT NULL, post text NOT NULL);
"""
REWARDS = '''
"""A point for each parcel."""

from streams.contract import Command, Event, Name, Topic

REWARDS = Topic("rewards", key="customer", partitions=2)


class Reward(Command, topic=REWARDS, services=("rewards",)):
    customer: Name


class Rewarded(Event, topic=REWARDS):
    customer: Name
'''
REWARDS_AGENT = '''
"""Rewards: parcels -> rewards."""

from streams.agent import Decider, Policy
from streams.decision import ROOT, State
from streams.table import Table
from topics.parcels import PARCELS, ParcelSent
from topics.rewards import REWARDS, Reward, Rewarded


class Rewards(State, frozen=True):
    points: int = 0


DECIDER = Decider(
    REWARDS,
    Table("rewards", {ROOT: Rewards}),
    lambda state, command, case: [Rewarded(customer=command.customer)],
    lambda state, event: {ROOT: Rewards(state[ROOT].points + 1)},
)
FOR_PARCELS = Policy("for_parcels", PARCELS, REWARDS, {ParcelSent: lambda fact: Reward(customer=fact.key)})
'''
AT_FIRST = {
    "topics/__init__.py": "",
    "agents/__init__.py": "",
    "topics/parcels.py": PARCELS,
    "agents/parcels/__init__.py": "",
    "agents/parcels/agent.py": PARCELS_AGENT,
}
ADDED = {
    "topics/report.py": REPORT,
    "agents/report/__init__.py": "",
    "agents/report/sink.py": REPORT_SINK,
    "agents/report/agent.py": REPORT_AGENT,
    "agents/report/schema/0001_days.sql": REPORT_SCHEMA,
    "topics/rewards.py": REWARDS,
    "agents/rewards/__init__.py": "",
    "agents/rewards/agent.py": REWARDS_AGENT,
}
DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")
NOT_BUILT = {"offsets", "outbox", "parked", "requests", "effects", "migrations"}
"""Where agents stand, what is to be sent, what waits for operators and what they asked for; and what the schema is."""
OF_WRITING = "replaces"  # the column that tells how a document was written, not what it says
Row = tuple[str, str, int]


class Platform:
    """Domains in a folder of their own, on the run's Kafka and Postgres."""

    def __init__(self, settings: Settings, folder: Path, office: Office) -> None:
        self.settings, self.folder = settings, folder
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_")}
        self.env = ours | environment(settings) | {"PYTHONPATH": str(ROOT), "POST_OFFICE": office.url}
        self.workers: list[Child] = []
        self.sent: list[Row] = []
        self.ids: list[UUID] = []
        self._kafka, self._signer = Kafka(settings), Signer(settings.signing_keys)
        self._module = ModuleType("parcels")
        exec(PARCELS, vars(self._module))  # the same text that the workers read

    async def add(self, code: dict[str, str]) -> None:
        """Write code, and make the schemas and topics that it wants."""
        for place, text in code.items():
            path = self.folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        status, words = await self.caravan("migrate")
        assert status == 0, words

    async def caravan(self, *arguments: str) -> tuple[int, str]:
        """Run the command to its end; status, and all that it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "caravan", *arguments, cwd=self.folder, env=self.env, stdout=-1, stderr=-2
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    def start(self, **more: str) -> Child:
        """Another worker of all domains."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = Child(log.stem, [sys.executable, "-m", "caravan", "worker"], log, env=self.env | more, cwd=self.folder)
        worker.start()
        self.workers.append(worker)
        return worker

    async def ready(self, worker: Child) -> None:
        """It has claimed all that it was given."""
        await until(lambda: "worker ready" in worker.log.read_text("utf-8", "replace"), "the worker is ready")

    async def end(self) -> None:
        """All workers leave."""
        for worker in self.workers:
            worker.ask()
        await until(lambda: all(worker.ended() is not None for worker in self.workers), "workers leave")
        self.workers.clear()

    async def send(self, *rows: Row) -> None:
        """Commands to send parcels, as an edge puts them on the topic."""
        for customer, day, weight in rows:
            command = self._module.SendParcel(customer=customer, day=day, weight=weight)
            at = SystemClock().now()
            self.ids.append(uuid7(unix_ms()))
            key, value = command_record(command, command_id=self.ids[-1], issued_at=at, actor=USER)
            await self._kafka.publish(
                "parcels.commands", key, value, signed("parcels.commands", key, value, self._signer)
            )
        self.sent += rows

    async def rows(self, query: str, *args: Any) -> list[Any]:
        """What Postgres says."""
        connection = await asyncpg.connect(self.settings.postgres)
        try:
            return [tuple(row) for row in await connection.fetch(query.replace("@", self.settings.namespace), *args)]
        finally:
            await connection.close()

    async def drop(self) -> None:
        """All that Postgres has of the platform is gone; new schemas are empty."""
        names = await self.rows("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, '@')")
        for (name,) in names:
            await self.rows(f'DROP SCHEMA "{name}" CASCADE')
        status, words = await self.caravan("migrate")
        assert status == 0, words

    async def settled(self) -> bool:
        """Whether every agent stands at the end of its topic, and no call is under way."""
        found = []
        for domain in DOMAINS:
            offsets = await self.rows(f'SELECT topic, partition, next, agent FROM "@{domain}".offsets')
            found += [(Place(topic, partition), at) for topic, partition, at, _ in offsets]
            if {agent for *_, agent in offsets} != AGENTS[domain]:
                return False
        async with Reader(self.settings) as reader:
            ends = {place: end for place, (_, end) in (await reader.bounds([place for place, _ in found])).items()}
        owed = await self.rows("SELECT FROM \"@parcels\".effects WHERE status <> 'parked'")
        return not owed and all(at == ends[place] for place, at in found)

    async def tables(self) -> dict[str, Counter[str]]:
        """What the rows of all schemas say, by schema and table."""
        found: dict[str, Counter[str]] = {}
        for domain in DOMAINS:
            names = await self.rows(_TABLES, f"{self.settings.namespace}{domain}")
            for (name,) in names:
                if name not in NOT_BUILT:
                    rows = await self.rows(f'SELECT to_jsonb(t)::text FROM "@{domain}".{name} t')
                    said = ({k: v for k, v in json.loads(row).items() if k != OF_WRITING} for (row,) in rows)
                    found[f"{domain}.{name}"] = Counter(json.dumps(row, sort_keys=True) for row in said)
        return found


DOMAINS = ("parcels", "report", "rewards")
AGENTS = {
    "parcels": {"parcels", "registered", "plain"},
    "report": {"by_day", "notes"},
    "rewards": {"rewards", "for_parcels"},
}
_TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""


def parcels(name: str, count: int) -> list[Row]:
    """Parcels of five customers, some too heavy."""
    return [(f"{name}{n % 5}", DAYS[n % 3], 1 + n * 7 % 33) for n in range(count)]


def model(sent: Sequence[Row]) -> tuple[list[Any], dict[str, int]]:
    """The rows of the report, and the points of each customer."""
    days: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for customer, day, weight in sent:
        if weight <= 30:
            days[customer, day].append(weight)
    points = Counter(customer for customer, _, weight in sent if weight <= 30)
    return sorted((*at, len(all_), sum(all_)) for at, all_ in days.items()), dict(points)


async def shown(platform: Platform) -> tuple[list[Any], dict[str, int]]:
    """The same, as Postgres has it."""
    days = await platform.rows('SELECT customer, day, parcels, weight FROM "@report".days')
    points = await platform.rows('SELECT key, data FROM "@rewards".state')
    return sorted(days), {key: json.loads(data)["points"] for key, data in points}


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with Office() as office:
        office.answers.set()
        yield office


@pytest.fixture
async def platform(settings: Settings, tmp_path: Path, office: Office) -> AsyncIterator[Platform]:
    platform = Platform(settings, tmp_path, office)
    yield platform
    for worker in platform.workers:
        worker.stop(10)
    await platform._kafka.stop()


async def decided(platform: Platform, count: int) -> bool:
    """Whether there are so many results of parcels that users sent."""
    found = await platform.rows("SELECT count(*) FROM \"@parcels\".results WHERE actor = 'user:u1'")
    return bool(found[0][0] == count)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.req("SR073")
@pytest.mark.req("SR110")
async def test_new_domains_take_up_the_history_and_all_is_built_again_from_the_topics(
    platform: Platform, office: Office
) -> None:
    await platform.add(AT_FIRST)
    await platform.ready(platform.start())
    await platform.send(*parcels("c", 60))
    await until(lambda: decided(platform, 60), "there is a history")
    await platform.end()

    await platform.add(ADDED)  # a service that shows and one that acts, both from the first event on
    platform.start()
    await platform.send(*parcels("d", 20))
    await until(platform.settled, "they are where the topics end")
    assert await shown(platform) == model(platform.sent)
    status, words = await platform.caravan("audit")
    assert status == 0, words
    status, words = await platform.caravan("explain", str(platform.ids[0]))
    assert "report.days" in words, words

    before, asked = await platform.tables(), office.asked.copy()
    assert set(office.asked.values()) == {1}
    office.answers.clear()
    flying = next(f"flying{n}" for n in range(99) if partition_of(f"flying{n}".encode(), PARTITIONS) == 1)
    await platform.send((flying, DAYS[0], 1))
    await until(lambda: len(office.asked) == len(asked) + 2, "its calls are under way")
    os.kill(platform.workers[0].pid, 9)
    platform.workers.pop().reap(0)
    office.answers.set()
    await platform.send((flying, DAYS[1], 2), ("late", DAYS[2], 3))  # nobody decides them before all is lost
    made = office.asked.copy()

    await platform.drop()
    for _ in range(2):
        platform.start(CARAVAN_EMPTY_POSTGRES="rebuild")
    await until(
        lambda: decided(platform, 83),
        "what was not decided is decided",
    )
    await until(platform.settled, "all is built again")

    await until(lambda: shared(platform), "each has some")
    after = await platform.tables()
    for name, rows in before.items():
        told = after[name] & rows if name.endswith(".results") else without(after[name], flying, "late")
        assert told == rows, name
    assert await shown(platform) == model(platform.sent)
    assert {letter: n for letter, n in office.asked.items() if letter in made} == made, "no call was made twice"
    assert len(office.asked) == len(made) + 3, "those of the late one, and of the other where nothing is in doubt"
    parked = await platform.rows(
        "SELECT agent, convert_from(key, 'UTF8'), cause FROM \"@parcels\".parked WHERE cause <> 'held'"
    )
    assert parked == [("plain", flying, "effect_unknown")]
    await damage_is_seen(platform)


async def shared(platform: Platform) -> bool:
    """Whether two workers have partitions."""
    return len(await platform.rows('SELECT DISTINCT owner FROM "@parcels".offsets')) == 2


async def damage_is_seen(platform: Platform) -> None:
    """What is changed behind a projection's back is found by the auditor, in rows and in documents."""
    status, words = await platform.caravan("audit")
    assert status == 0, words
    await platform.rows("UPDATE \"@report\".days SET weight = weight + 1 WHERE customer = 'c1' AND day = $1", DAYS[0])
    await platform.rows('DELETE FROM "@report".state WHERE key = $1', f"/by_day/d2/day/{DAYS[2]}")
    status, words = await platform.caravan("audit", "--json")
    found = {
        (one["check"], one["domain"])
        for one in json.loads(next(line for line in words.splitlines() if line.startswith("{")))["findings"]
    }
    assert (status, found) == (1, {("row_changed", "report"), ("document_missing", "report")})


def without(rows: Counter[str], *customers: str) -> Counter[str]:
    """Rows that are not of these."""
    return Counter({row: n for row, n in rows.items() if not any(customer in row for customer in customers)})
