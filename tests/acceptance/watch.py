"""Looks at the platform from outside: its topics by a client of their own, its tables by SQL."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka import KafkaUrl
from streams.settings import Settings
from tests.acceptance.checker import LedgerRow, Observed
from tests.acceptance.model import Step
from topics.points import POINTS

COMMANDS, EVENTS = "points.commands", "points.events"
LATE_MS = 100  # how long a fetch waits for records


class AtWork(NamedTuple):
    """Process ids of workers."""

    published: set[int]
    """They have published commands that their position does not show."""
    waiting: set[int]
    """They have commands to decide."""


class Watch:
    """Follows both topics of points from their beginning, and reads the domain's schema."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened before it is entered."""
        client = KafkaUrl.parse(settings.kafka).client()
        self._consumer = AIOKafkaConsumer(**client, auto_offset_reset="earliest", enable_auto_commit=False)
        self._dsn, self._namespace = settings.postgres, settings.namespace
        self._db: Any = None
        self._ends: dict[tuple[str, int], int] = {}
        self._envelopes: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        """Open both."""
        await self._consumer.start()
        self._db = await self._connected()
        names = [self._namespace + topic for topic in (COMMANDS, EVENTS)]
        self._consumer.assign([TopicPartition(name, n) for name in names for n in range(POINTS.partitions)])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close both."""
        await self._consumer.stop()
        await self._db.close()

    async def catch_up(self) -> None:
        """Read both topics to where they end now."""
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

    async def positions(self) -> list[Any]:
        """Where every agent stands on every partition."""
        return list(await self._db.fetch("SELECT * FROM offsets"))

    @asynccontextmanager
    async def slowed(self, topic: str) -> AsyncIterator[None]:
        """Meanwhile Postgres lets nobody move a position on this topic: what is under way stays under way."""
        db = await self._connected()
        try:
            await db.execute("BEGIN")
            await db.execute("SELECT FROM offsets WHERE topic = $1 FOR UPDATE", topic)
            yield
        finally:
            await db.close()  # a worker that claims a partition may have ended it already

    async def at_work(self) -> AtWork:
        """Who is in the middle of something."""
        await self.catch_up()
        causes = {envelope["causation_id"] for _, envelope in self.envelopes(COMMANDS)}
        acted: defaultdict[int, int] = defaultdict(int)
        for partition, event in self.envelopes(EVENTS):
            if event["event_id"] in causes:
                acted[partition] = event["number"]
        seen = AtWork(set(), set())
        for row in await self.positions():
            pid = int(row["owner"].rpartition(":")[2])
            if row["topic"] == COMMANDS and row["next"] < self._ends[COMMANDS, row["partition"]]:
                seen.waiting.add(pid)
            if row["topic"] == EVENTS and row["number"] < acted[row["partition"]]:
                seen.published.add(pid)
        return seen

    async def drained(self) -> bool:
        """Whether every record was worked and nothing is left to send."""
        rows = await self.positions()
        await self.catch_up()
        done = all(row["next"] == self._ends[row["topic"], row["partition"]] for row in rows)
        return done and all(row["relayed"] == row["number"] for row in rows if row["topic"] == COMMANDS)

    async def duplicates(self) -> int:
        """How many records were dropped because their command was in the inbox."""
        return sum(row["duplicates"] for row in await self.positions() if row["topic"] == COMMANDS)

    async def parked(self) -> int:
        """How many records were parked."""
        return int(await self._db.fetchval("SELECT count(*) FROM parked"))

    async def observed(self) -> Observed:
        """Everything that the checker compares."""
        await self.catch_up()
        results = await self._db.fetch("SELECT command_id, status, code FROM results")
        balances = await self._db.fetch("SELECT user_id, available, held FROM balance")
        ledger: defaultdict[str, list[LedgerRow]] = defaultdict(list)
        for user, *row in await self._db.fetch(
            "SELECT user_id, seq, at, kind, debit, credit, amount, reference, note FROM ledger ORDER BY user_id, seq"
        ):
            ledger[user].append(tuple(row))
        return Observed(
            [step(envelope) for _, envelope in self.envelopes(COMMANDS)],
            {str(command_id): (status, code) for command_id, status, code in results},
            {user: (available, held) for user, available, held in balances},
            dict(ledger),
        )

    async def _connected(self) -> Any:
        return await asyncpg.connect(self._dsn, server_settings={"search_path": f'"{self._namespace}points"'})

    def _place(self, tp: TopicPartition) -> tuple[str, int]:
        return tp.topic.removeprefix(self._namespace), tp.partition


def step(envelope: dict[str, Any]) -> Step:
    """A command of the topic as the model takes it."""
    at = datetime.fromisoformat(envelope["issued_at"])
    return Step(envelope["command_id"], envelope["type"], at, envelope["payload"])
