"""The topics that there are, beside those that contracts declare. For operators' tools."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError, for_code

from streams.contract import Topic
from streams.errors import CaravanError
from streams.kafka import Kafka, KafkaUrl
from streams.reading import Place, Reader, answered
from streams.settings import Settings

GONE_S = 15.0  # how long brokers may take to forget a deleted topic


class Actual(NamedTuple):
    """A topic as the broker has it; `records` counts what is there."""

    partitions: int
    config: Mapping[str, str]
    records: int


class Copies(NamedTuple):
    """On how many brokers each partition of a topic stands, at least, 0 where that is not told, and its configuration; None where we may not read it."""

    brokers: int
    config: Mapping[str, str] | None


class Catalogue:
    """Use it with `async with`; topics are named without namespace. Raises CaravanError while Kafka is away."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet."""
        self._settings, self._prefix = settings, settings.namespace
        self._url = KafkaUrl.parse(settings.kafka)
        self._admin: Any = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._admin = AIOKafkaAdminClient(**self._url.client(), request_timeout_ms=10_000)
        try:
            await answered(self._url, self._admin.start())
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self._admin.close()

    async def names(self) -> dict[str, int]:
        """The topics of this namespace, with their numbers of partitions."""
        described = await answered(self._url, self._admin.describe_topics())
        return {
            told["topic"].removeprefix(self._prefix): len(told["partitions"])
            for told in described
            if told["topic"].startswith(self._prefix) and not told["is_internal"] and not told["error_code"]
        }

    async def actual(self) -> dict[str, Actual]:
        """The topics of this namespace as they are."""
        if not (own := await self.names()):
            return {}
        configs = await self._configs(list(own))
        async with Reader(self._settings) as reader:
            bounds = await reader.bounds([Place(name, n) for name, count in own.items() for n in range(count)])
        records = dict.fromkeys(own, 0)
        for place, (start, end) in bounds.items():
            records[place.topic] += end - start
        return {name: Actual(count, configs.get(name, {}), records[name]) for name, count in own.items()}

    async def copies(self, names: Collection[str]) -> dict[str, Copies]:
        """How safely these topics are kept; of one that there is not yet, how the brokers would make it."""
        described = await answered(self._url, self._admin.describe_topics())
        there = {told["topic"].removeprefix(self._prefix): told for told in described if not told["error_code"]}
        own = [name for name in names if self._prefix + name in {told["topic"] for told in there.values()}]
        configs = await self._configs(own)
        usual = await self._usual()
        return {
            name: Copies(min(len(part["replicas"]) for part in there[name]["partitions"]), configs.get(name))
            if name in own
            else Copies(int((usual or {}).get("default.replication.factor", 0)), usual)
            for name in names
        }

    async def _usual(self) -> dict[str, str] | None:
        """What a broker gives to topics that say nothing else."""
        brokers = await answered(self._url, self._admin.describe_cluster())
        asked = ConfigResource(ConfigResourceType.BROKER, str(brokers["brokers"][0]["node_id"]))
        answers = await answered(self._url, self._admin.describe_configs([asked]))
        found = [entries for answer in answers for code, _, _, _, entries in answer.resources if not code]
        return {entry[0]: entry[1] for entry in found[0]} if found else None

    async def _configs(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        asked = [ConfigResource(ConfigResourceType.TOPIC, self._prefix + name) for name in names]
        answers = await answered(self._url, self._admin.describe_configs(asked)) if asked else []
        return {
            name.removeprefix(self._prefix): {entry[0]: entry[1] for entry in entries}
            for answer in answers
            for code, _, _, name, entries in answer.resources
            if not code
        }

    async def busy(self, groups: Collection[str]) -> list[str]:
        """Those groups, named without namespace, that have members."""
        found = []
        for group in groups:  # one by one: the client reads an answer about several wrongly
            (told,) = await answered(self._url, self._admin.describe_consumer_groups([self._prefix + group]))
            if any(entry[5] for entry in told.groups):
                found.append(f"group {self._prefix}{group}")
        return found

    async def create(self, topics: Collection[Topic]) -> list[str]:
        """Make what contracts declare and is missing; returns the whole names."""
        kafka = Kafka(self._settings)
        try:
            return await kafka.declare(topics)
        finally:
            await kafka.stop()

    async def delete(self, names: Collection[str]) -> None:
        """Delete those topics with all their records; returns once the broker no longer lists them."""
        answer = await answered(self._url, self._admin.delete_topics([self._prefix + name for name in names]))
        for name, code, *_ in answer.topic_error_codes:
            if code and for_code(code) is not UnknownTopicOrPartitionError:
                raise CaravanError(f"Topic {name} could not be deleted: {for_code(code).__name__}.")
        with suppress(TimeoutError):  # deleted it is; what comes next may still see it
            async with asyncio.timeout(GONE_S):
                while set(names) & set(await self.names()):  # noqa: ASYNC110 - the broker that answers hears of it a little later
                    await asyncio.sleep(0.05)
