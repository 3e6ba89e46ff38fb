"""A domain seen from outside: the records of its topics and the rows of its schema, and nothing that a worker says."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.agent import Decider, agents_of
from streams.contract import Topic
from streams.kafka import KafkaUrl
from streams.settings import Settings
from topics.points import POINTS

COMMANDS, EVENTS = POINTS.commands_topic, POINTS.events_topic
PARTITIONS = range(POINTS.partitions)
LATE_MS = 100  # how long a fetch waits for records
POLL_S = 0.05
PATIENCE_S = 60
AWAY = (OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Outside:
    """Follows both topics from their beginning, and asks Postgres."""

    def __init__(self, settings: Settings, topic: Topic = POINTS) -> None:
        """Nothing is opened before it is entered."""
        self.topic = topic
        self._settings = settings
        self._schema = f"{settings.namespace}{topic.domain}"
        self._db: Any = None
        self._consumer = AIOKafkaConsumer(
            **KafkaUrl.parse(settings.kafka).client(), auto_offset_reset="none", enable_auto_commit=False
        )
        self._records: defaultdict[tuple[str, int], list[Any]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        """Open both."""
        await self._consumer.start()
        names = (self._settings.namespace + topic for topic in (self.topic.commands_topic, self.topic.events_topic))
        self._consumer.assign([TopicPartition(name, n) for name in names for n in range(self.topic.partitions)])
        await self._consumer.seek_to_beginning()
        self._db = await asyncpg.create_pool(
            self._settings.postgres, min_size=0, max_size=6, server_settings={"search_path": f'"{self._schema}"'}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close both."""
        await self._consumer.stop()
        self._db.terminate()

    async def rows(self, query: str, *args: Any) -> list[Any]:
        """What Postgres answers."""
        return list(await self._db.fetch(query, *args))

    async def execute(self, statement: str) -> None:
        """Change something in Postgres behind the workers' backs."""
        await self._db.execute(statement)

    @property
    def pool(self) -> Any:
        """Connections of our own, for locks."""
        return self._db

    async def offsets(self, topic: str) -> dict[int, Any]:
        """Partition -> where the agent of this topic stands."""
        rows = await self.rows("SELECT * FROM offsets WHERE topic = $1", topic)
        return {row["partition"]: row for row in rows}

    async def ends(self, topic: str) -> dict[int, int]:
        """Partition -> where the topic ends now."""
        tps = [tp for tp in self._consumer.assignment() if self._place(tp)[0] == topic]
        return {tp.partition: end for tp, end in (await self._consumer.end_offsets(tps)).items()}

    async def read_on(self) -> None:
        """Read both topics to where they end now."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await self._consumer.getmany(timeout_ms=LATE_MS)).items():
                self._records[self._place(tp)] += records

    def records(self, topic: str, partition: int) -> list[Any]:
        """What was read, in the order of offsets."""
        return self._records[topic, partition]

    def all_records(self) -> dict[tuple[str, int], list[Any]]:
        """What was read by topic and partition."""
        return dict(self._records)

    def last_number(self, partition: int) -> int:
        """The number of the event that came last, 0 before there is one."""
        found = self._records[self.topic.events_topic, partition]
        return int(json.loads(found[-1].value)["number"]) if found else 0

    async def standing(self) -> list[Any]:
        """Where every agent of the domain stands."""
        return await self.rows("SELECT * FROM offsets")

    def _place(self, tp: TopicPartition) -> tuple[str, int]:
        return tp.topic.removeprefix(self._settings.namespace), tp.partition


async def settled(*domains: Outside) -> bool:
    """Whether every record was worked and every event is on its topic; False while Kafka or Postgres is away."""
    try:
        standing = [(one, row) for one in domains for row in await one.standing()]
        for one in domains:
            await one.read_on()
    except AWAY:
        return False
    # The positions were read before the ends: where they are equal, nothing came in between.
    next_of = {(one.topic.domain, row["agent"], row["topic"], row["partition"]): row["next"] for one, row in standing}
    ends = {place: len(found) for one in domains for place, found in one.all_records().items()}
    reached = [
        next_of.get((one.topic.domain, agent, *place), 0) == end
        for one in domains
        for agent, topic in readers(one.topic.domain)
        for place, end in ends.items()
        if place[0] == topic
    ]
    told = [
        one.last_number(row["partition"]) >= row["number"]
        for one, row in standing
        if row["topic"] == one.topic.commands_topic
    ]
    return all(reached) and all(told)


def readers(domain: str) -> Iterator[tuple[str, str]]:
    """The agents of a domain, each with its topic."""
    for agent in agents_of(domain):
        yield agent.name, agent.topic.commands_topic if isinstance(agent, Decider) else agent.source.events_topic


async def until(condition: Callable[[], Awaitable[object]], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait until it holds."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - it comes true in other processes
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise AssertionError(f"still not after {seconds:.0f} s: {what}") from error
