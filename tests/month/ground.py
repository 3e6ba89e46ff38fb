"""The platform of a month: workers on a clock that we move, fed through the topics, and asked what its tables show once all is done."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import ValidationError

from sinks.postgres import clock, migrate
from sinks.postgres.names import quoted, schema_of
from streams import discover
from streams.agent import Decider, agents_of
from streams.contract import Command
from streams.envelope import Actor, Signer
from streams.kafka import Kafka, KafkaUrl
from streams.partitioner import partition_of
from streams.personal import blind_fields, blinded, personal_fields
from streams.producer import command_record, signed
from streams.settings import Settings
from tests.faults.ground import ROOT, Worker
from tests.standins import StandIns

READY_S = 180.0
SETTLE_S = 600.0
LOOK_S = 0.03
FOLLOW_S = 0.35  # every worker looks at the clock ten times a second
GUEST = Actor("guest", "", "Guest")
SECRET = b"of a month"
Line = Mapping[str, Any]


class Ground:
    """Use it with `async with`; `sent` counts the lines by what became of them here."""

    def __init__(self, settings: Settings, folder: Path, workers: int) -> None:
        """Nothing runs yet; `settings` have the virtual clock."""
        assert settings.clock == "virtual"
        self.settings, self._folder, self._count = settings, folder, workers
        self._standins = StandIns(Signer(settings.signing_keys), settings.namespace)
        self._signer = Signer(settings.signing_keys)
        self._ahead = timedelta()
        self._told: dict[str, Any] = {}
        self.refused: set[str] = set()
        self.workers: dict[str, Worker] = {}
        self.started = 0
        self.domains = {name: agents_of(name) for name in discover.domains()}
        self._stack = AsyncExitStack()
        self._db: Any = None

    async def __aenter__(self) -> Self:
        """Migrated, declared, with workers that are ready."""
        await migrate(self.settings.postgres, self.settings.namespace)
        kafka = Kafka(self.settings)
        await kafka.declare([discover.topic(domain) for domain in self.domains])
        await kafka.stop()
        client = KafkaUrl.parse(self.settings.kafka).client()
        self._producer = AIOKafkaProducer(**client, compression_type="lz4", linger_ms=5, max_batch_size=1 << 18)
        self._consumer = AIOKafkaConsumer(**client, auto_offset_reset="none", enable_auto_commit=False)
        for part in (self._producer, self._consumer):
            await part.start()
            self._stack.push_async_callback(part.stop)
        self._db = await asyncpg.connect(self.settings.postgres)
        self._stack.push_async_callback(self._db.close)
        for number in range(self._count):
            self.start_worker(f"worker-{number}")
        for worker in self.workers.values():
            await worker.said("worker ready", READY_S)
        return self

    def start_worker(self, name: str) -> Worker:
        """Start a worker for all domains, or another one in the place of one that is gone."""
        self.started += 1
        log = self._folder / f"{self.started}-{name}.log"
        worker = self.workers[name] = Worker(self.settings, log, ROOT, ("worker", "--instance", name))
        self._stack.callback(worker.stop)
        return worker

    def now(self) -> datetime:
        """What time it is on the platform."""
        return datetime.now(UTC) + self._ahead

    async def __aexit__(self, *_: object) -> None:
        """End everything."""
        await self._stack.aclose()

    # -- what goes in

    async def move(self, to: datetime) -> None:
        """Have it be this time, and what is due by then be done."""
        by = to - self.now()
        self._ahead = await clock.advance(self.settings.postgres, self.settings.namespace, by)
        await asyncio.sleep(FOLLOW_S)
        await self.settle()

    async def send(self, lines: Sequence[Line]) -> None:
        """Put a wave onto the topics, in order; what the contracts refuse is noted and not sent. Returns when all is done."""
        codes = await self._codes(lines)
        for line in lines:
            if "event" in line:
                await self._tell(line)
            elif (found := self._command(line, codes)) is None:
                self.refused.add(line["id"])
            else:
                await self._publish(line, *found)
        await self._producer.flush()
        await self.settle()

    async def _tell(self, line: Line) -> None:
        """A line that comes again is the same record."""
        record = self._told.get(line["id"])
        if record is None:
            domain, name = line["event"].split(".")
            event = discover.topic(domain).events[name].model_validate_json(json.dumps(line["data"]))
            at = datetime.fromisoformat(line["at"])
            record = self._told[line["id"]] = self._standins.record(event, at, UUID(line["id"]))
        await self._producer.send(
            record.topic, record.value, record.key, partition=record.partition, headers=record.headers
        )

    def _command(self, line: Line, codes: Mapping[tuple[str, str], str]) -> tuple[Command, Actor] | None:
        """What the edge makes of it: judged by the contract and by who it is from, personal texts sealed, logins hashed."""
        domain, name = line["command"].split(".")
        contract, data, who = discover.topic(domain).commands[name], dict(line["data"]), line["as"]
        if isinstance(shown := data.get("code"), dict):
            data["code"] = codes.get((data["campaign_id"], shown["voucher"]), f"{shown['voucher']}-NONE")
        actor = Actor("user", who["user"], who["role"]) if who else GUEST
        try:
            command = contract.model_validate_json(json.dumps(data), strict=True)
        except ValidationError:
            return None
        if not command.may_be_issued_by(actor):
            return None
        told = json.loads(command.to_json())
        for field, filled in blind_fields(contract).items():
            if told.get(filled.source):
                told[field] = blinded(told[filled.source], filled.kind, SECRET)
        for field in personal_fields(contract):
            if told.get(field):
                told[field] = f"enc1.{blinded(command.key, 'subject', SECRET)}.{blinded(told[field], field, SECRET)}"
        return contract.from_topic(json.dumps(told).encode()), actor

    async def _publish(self, line: Line, command: Command, actor: Actor) -> None:
        topic = command.topic
        at = datetime.fromisoformat(line["at"])
        key, value = command_record(command, command_id=UUID(line["id"]), issued_at=at, actor=actor)
        partition, headers = partition_of(key, topic.partitions), signed(topic.commands_topic, key, value, self._signer)
        name = self.settings.namespace + topic.commands_topic
        await self._producer.send(name, value, key, partition=partition, headers=headers)

    async def _codes(self, lines: Iterable[Line]) -> dict[tuple[str, str], str]:
        """The codes that the owners of vouchers see."""
        shown = [line["data"] for line in lines if isinstance(line.get("data", {}).get("code"), dict)]
        rows = await self._db.fetch(
            f"SELECT campaign_id, voucher_id, code FROM {self._schema('promotions')}.voucher"
            " WHERE voucher_id = ANY($1::text[]) AND code IS NOT NULL",
            [data["code"]["voucher"] for data in shown],
        )
        return {(row["campaign_id"], row["voucher_id"]): row["code"] for row in rows}

    # -- what it did

    async def settle(self) -> None:
        """Wait until every record was worked, every event is on its topic, and nothing is due."""
        async with asyncio.timeout(SETTLE_S):
            while not await self._settled():  # noqa: ASYNC110 - it comes true in other processes
                await asyncio.sleep(LOOK_S)

    async def _settled(self) -> bool:
        positions = await self._positions()
        due = int(self.now().timestamp() * 1_000_000)
        if await self._db.fetchval(self._over("SELECT 1 FROM {}.timers WHERE due <= " + str(due)) + " LIMIT 1"):
            return False
        ends = await self.ends()  # asked for later: where they are equal, nothing came in between
        for topic, agent, domain in self._readers():
            source = discover.topic(topic.partition(".")[0])
            for partition in range(source.partitions):
                at = positions.get((domain, agent, topic, partition))
                if (at["next"] if at else 0) != ends[topic, partition]:
                    return False
                if (
                    at and at["told"] > ends[source.events_topic, partition]
                ):  # numbers begin with 1, and nobody dies here
                    return False
        return True

    async def _positions(self) -> dict[Any, Any]:
        columns = "agent, topic, partition, next, CASE WHEN agent = '{0}' THEN number ELSE 0 END AS told"
        query = self._over(f"SELECT '{{0}}' AS domain, {columns} FROM {{}}.offsets")
        return {(r["domain"], r["agent"], r["topic"], r["partition"]): r for r in await self._db.fetch(query)}

    async def ends(self) -> dict[tuple[str, int], int]:
        """Where the topics end now."""
        topics = [discover.topic(domain) for domain in self.domains]
        names = [(name, n) for t in topics for name in (t.commands_topic, t.events_topic) for n in range(t.partitions)]
        parts = {TopicPartition(self.settings.namespace + name, n): (name, n) for name, n in names}
        return {parts[part]: end for part, end in (await self._consumer.end_offsets(list(parts))).items()}

    def _readers(self) -> Iterator[tuple[str, str, str]]:
        """Topic, agent and domain of everybody who reads."""
        for domain, agents in self.domains.items():
            for agent in agents:
                source = agent.topic.commands_topic if isinstance(agent, Decider) else agent.source.events_topic
                yield source, agent.name, domain

    async def events(self) -> int:
        """How many were told."""
        positions = await self._positions()
        return sum(row["told"] for row in positions.values())

    async def parked(self) -> list[str]:
        """What could not be processed; nothing should be."""
        query = self._over("SELECT '{0}' AS domain, agent, cause, error, key FROM {}.parked")
        return [str(dict(row)) for row in await self._db.fetch(f"{query} LIMIT 20")]

    async def outcomes(self) -> dict[str, tuple[str, str | None]]:
        """What became of commands by id, of those that got this far."""
        query = self._over("SELECT command_id, status, code FROM {}.results")
        return {str(row["command_id"]): (row["status"], row["code"]) for row in await self._db.fetch(query)}

    async def rows(self, domain: str, query: str, *, beside: bool = False) -> list[tuple[Any, ...]]:
        """What a domain's tables hold, or those of a replay beside them."""
        path = f"{self._schema(domain, '_shadow' if beside else '')}"
        async with self._db.transaction():
            await self._db.execute(f"SET LOCAL search_path = {path}")
            return [tuple(row) for row in await self._db.fetch(query)]

    def _schema(self, domain: str, more: str = "") -> str:
        return quoted(schema_of(self.settings.namespace, domain) + more)

    def _over(self, query: str) -> str:
        """The query in every domain that has agents; {0} is its name, {} its schema."""
        found = [name for name, agents in self.domains.items() if agents]
        return " UNION ALL ".join(query.replace("{0}", name).replace("{}", self._schema(name)) for name in found)
