"""Looks at the platform from outside: its topics by a client of their own, its tables by SQL."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.contract import Topic
from streams.kafka import KafkaUrl
from streams.settings import Settings
from tests.acceptance.left import Left, look
from tests.acceptance.model import Step

LATE_MS = 100  # how long a fetch waits for records
TABLES = (
    "points.ledger",
    "points.balance",
    "points.expiring",
    "identity.profile",
    "identity.login",
    "promotions.campaign",
    "promotions.voucher",
)


class AtWork(NamedTuple):
    """Process ids of workers."""

    published: set[int]
    """They have published commands because of events that their position does not show."""
    waiting: set[int]
    """They have commands to decide."""


class Watch:
    """Follows the topics of these domains from their beginning, and reads their schemas."""

    def __init__(self, settings: Settings, topics: Sequence[Topic]) -> None:
        """Nothing is opened before it is entered."""
        client = KafkaUrl.parse(settings.kafka).client()
        self.domains = [topic.domain for topic in topics]
        self._consumer = AIOKafkaConsumer(**client, auto_offset_reset="earliest", enable_auto_commit=False)
        self._dsn, self._namespace = settings.postgres, settings.namespace
        self._places = [
            TopicPartition(settings.namespace + name, number)
            for topic in topics
            for name in (topic.commands_topic, topic.events_topic)
            for number in range(topic.partitions)
        ]
        self._db: Any = None
        self._ends: dict[tuple[str, int], int] = {}
        self._envelopes: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        """Open both."""
        await self._consumer.start()
        self._db = await asyncpg.connect(self._dsn)
        self._consumer.assign(self._places)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close both."""
        await self._consumer.stop()
        await self._db.close()

    async def catch_up(self) -> None:
        """Read the topics to where they end now."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await self._consumer.getmany(timeout_ms=LATE_MS)).items():
                self._envelopes[self._place(tp)] += [json.loads(record.value) for record in records]
        self._ends = {self._place(tp): end for tp, end in ends.items()}

    def envelopes(self, topic: str) -> Iterable[tuple[int, dict[str, Any]]]:
        """(partition, envelope) of every record read, each partition in its order."""
        for (name, partition), found in sorted(self._envelopes.items()):
            if name == topic:
                yield from ((partition, envelope) for envelope in found)

    def sent(self) -> set[str]:
        """The commands that clients gave."""
        topics = (f"{domain}.commands" for domain in self.domains)
        return {
            e["command_id"] for topic in topics for _, e in self.envelopes(topic) if e["actor"]["type"] != "service"
        }

    async def rows(self, name: str) -> list[Any]:
        """The rows of `<domain>.<table>`."""
        return list(await self._db.fetch(f"SELECT * FROM {self._table(name)}"))

    async def positions(self) -> list[tuple[str, Any]]:
        """Where every agent stands on every partition, with its domain."""
        return [(domain, row) for domain in self.domains for row in await self.rows(f"{domain}.offsets")]

    @asynccontextmanager
    async def slowed(self, topic: str) -> AsyncIterator[None]:
        """Meanwhile Postgres lets nobody move a position on this topic: what is under way stays under way."""
        db = await asyncpg.connect(self._dsn)
        try:
            await db.execute("BEGIN")
            for domain in self.domains:
                table = self._table(f"{domain}.offsets")
                await db.execute(f"SELECT FROM {table} WHERE topic = $1 FOR UPDATE", topic)
            yield
        finally:
            db.terminate()  # a worker that claims a partition may have ended it already

    async def at_work(self, events: str, commands: str) -> AtWork:
        """Who is in the middle of acting on these events, and who of deciding these commands."""
        await self.catch_up()
        seen = AtWork(set(), set())
        acted = {domain: self._acted(domain, events) for domain in self.domains}
        for domain, row in await self.positions():
            pid = int(row["owner"].rpartition(":")[2])
            if row["topic"] == commands and row["next"] < self._ends[commands, row["partition"]]:
                seen.waiting.add(pid)
            if row["topic"] == events and row["number"] < acted[domain][row["partition"]]:
                seen.published.add(pid)
        return seen

    def _acted(self, domain: str, events: str) -> dict[int, int]:
        """Partition -> the number of the last event that made this domain publish a command."""
        causes = {envelope["causation_id"] for _, envelope in self.envelopes(f"{domain}.commands")}
        acted: defaultdict[int, int] = defaultdict(int)
        for partition, event in self.envelopes(events):
            if event["event_id"] in causes:
                acted[partition] = event["number"]
        return acted

    async def drained(self) -> bool:
        """Whether every record was worked, nothing is left to send and no timer is due by the platform's clock."""
        rows = [
            (domain, row) for domain, row in await self.positions() if row["topic"].partition(".")[0] in self.domains
        ]
        await self.catch_up()
        done = all(row["next"] == self._ends[row["topic"], row["partition"]] for _, row in rows)
        relayed = all(row["relayed"] == row["number"] for domain, row in rows if row["topic"] == f"{domain}.commands")
        return done and relayed and not any([await self._due(domain) for domain in self.domains])

    async def _due(self, domain: str) -> bool:
        now = int((await self.now()).timestamp() * 1_000_000)
        query = f"SELECT count(*) FROM {self._table(f'{domain}.timers')} WHERE due <= $1"
        return bool(await self._db.fetchval(query, now))

    async def now(self) -> datetime:
        """The platform's time."""
        clock = self._table("edge.clock")
        now: datetime = await self._db.fetchval(f"SELECT now() + coalesce((SELECT ahead FROM {clock}), '0')")
        return now

    async def duplicates(self) -> int:
        """How many records were dropped because their command was in the inbox."""
        return sum(row["duplicates"] for domain, row in await self.positions() if row["topic"] == f"{domain}.commands")

    async def left(self, moved: datetime) -> Left:
        """Everything that the checkers compare; the clock was moved for the first time at `moved`."""
        await self.catch_up()
        rows = {name: [dict(row) for row in await self.rows(name)] for name in TABLES}
        results = {}
        for domain in self.domains:
            rows[f"{domain}.parked"] = [dict(row) for row in await self.rows(f"{domain}.parked")]
            found = await self.rows(f"{domain}.results")
            results[domain] = {str(row["command_id"]): (row["status"], row["code"]) for row in found}
        return look(self.domains, self._envelopes, results, rows, moved=moved, at=await self.now())

    def _table(self, name: str) -> str:
        domain, table = name.split(".")
        return f'"{self._namespace}{domain}"."{table}"'

    def _place(self, tp: TopicPartition) -> tuple[str, int]:
        return tp.topic.removeprefix(self._namespace), tp.partition


def step(envelope: dict[str, Any]) -> Step:
    """A command of the topic as the model takes it."""
    at = datetime.fromisoformat(envelope["issued_at"])
    return Step(envelope["command_id"], envelope["type"], at, envelope["payload"])
