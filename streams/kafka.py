"""Kafka as the platform's log, on aiokafka: topics as declared, reading single records, appending in order."""

import asyncio
import ssl
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.codec import lz4_encode
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams import quiet
from streams.contract import Topic
from streams.errors import CaravanError, SettingsError
from streams.log import MAX_GROUP, MAX_MESSAGE, Entry
from streams.publishing import ANSWER_S, Publisher
from streams.settings import Settings

METADATA_S = 0.05  # until a broker is asked again about a new topic
SEEN_S = 15.0  # how long brokers may take to know one
APPEND_S = 15  # how long one record batch may take
PUBLISH = "publish"  # the producer of single records
FETCH_MS = 300  # how long a fetch of what surely is there may take before it is asked for again
LEVEL = 1  # of lz4; aiokafka's own is 9, which takes ten times as long for a tenth of the bytes
_ENTRY_OVERHEAD = 128  # bytes, generous: lengths, varints, attributes and headers of a record in a batch

vars(sys.modules[DefaultRecordBatchBuilder.__module__])["lz4_encode"] = partial(lz4_encode, level=LEVEL)


@dataclass(frozen=True)
class KafkaUrl:
    """`kafka://[user:password@]host:port[,host:port][?security=SASL_SSL&mechanism=SCRAM-SHA-512&cafile=...]`, read."""

    servers: tuple[str, ...]
    security: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    cafile: str | None = None

    @classmethod
    def parse(cls, url: str) -> "KafkaUrl":
        """Raises SettingsError."""
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        user, _, password = login.partition(":")
        if parts.scheme != "kafka" or not hosts or set(query) - {"security", "mechanism", "cafile"}:
            raise SettingsError(
                "CARAVAN_KAFKA: write kafka://[user:password@]host:port[,host:port]"
                "[?security=SASL_SSL&mechanism=SCRAM-SHA-512&cafile=FILE]"
            )
        security = query.get("security", "SASL_PLAINTEXT" if login else "PLAINTEXT").upper()
        if security not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
            raise SettingsError("CARAVAN_KAFKA: security is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
        mechanism = query.get("mechanism", "PLAIN").upper()
        if mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            raise SettingsError("CARAVAN_KAFKA: mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")
        if security.startswith("SASL") and not (user and password):
            raise SettingsError(f"CARAVAN_KAFKA: {security} needs user:password@ before the hosts.")
        return cls(
            tuple(host if ":" in host else f"{host}:9092" for host in hosts.split(",")),
            security,
            mechanism,
            unquote(user) or None,
            unquote(password) or None,
            query.get("cafile"),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context where the security asks for one; raises SettingsError for an unreadable cafile."""
        if "SSL" not in self.security:
            return None
        try:
            return ssl.create_default_context(cafile=self.cafile)
        except OSError as error:
            raise SettingsError(f"CARAVAN_KAFKA: cafile {self.cafile} cannot be read: {error}.") from error

    def client(self) -> dict[str, Any]:
        """Arguments for any aiokafka client."""
        return {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.security,
            "ssl_context": self.ssl_context(),
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.user,
            "sasl_plain_password": self.password,
        }


class Kafka:
    """The log of one process: a producer, a reader of single records and an admin client, each started when first used."""

    def __init__(self, settings: Settings) -> None:
        """Take the URL and the namespace of `settings`; connects to nothing yet."""
        quiet.calm("aiokafka")  # it writes a hundred lines a second while Kafka is away
        self._client = KafkaUrl.parse(settings.kafka).client()
        self._namespace = settings.namespace
        self._producers: dict[str, AIOKafkaProducer] = {}
        self._readers: dict[str, AIOKafkaConsumer] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._admin: AIOKafkaAdminClient | None = None
        self._publisher = Publisher(partial(self._producer, PUBLISH), partial(self._drop, PUBLISH))
        self._starting = asyncio.Lock()
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Connect the edge's producer; raises CaravanError when Kafka is away."""
        try:
            await self._producer(PUBLISH)
        except OSError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> CaravanError:
        told = str(error) or "no answer in time"
        return CaravanError(f"Kafka is away at {', '.join(self._client['bootstrap_servers'])}: {told}")

    async def stop(self) -> None:
        """Close every client; what was acknowledged stays."""
        await self._publisher.stop()
        for client in (*self._producers.values(), *self._readers.values()):
            with suppress(KafkaError, asyncio.TimeoutError, OSError):
                await asyncio.wait_for(client.stop(), 3)
        if ending := set(self._ending):
            _, late = await asyncio.wait(ending, timeout=3)
            for task in late:
                task.cancel()
        if self._admin is not None:
            await self._admin.close()
        self._producers, self._readers, self._admin = {}, {}, None

    # -- topics

    async def declare(self, topics: Collection[Topic]) -> list[str]:
        """Create the topics that are missing, as declared, and return their names once they can be described.

        Retention is unlimited: the platform itself deletes what is behind its positions. Commands carry the broker's
        time. Raises CaravanError.
        """
        wanted = {self._namespace + name: told for name, told in declared(topics).items()}
        made: list[str] = []
        try:
            async with asyncio.timeout(SEEN_S):
                admin = await self._administrator()
                while missing := await self._missing(admin, wanted):
                    # the controller makes topics; the broker that is asked hears of them, and of others' new ones, a little later
                    made += await self._create(admin, [topic for topic in missing if topic.name not in made])
                    await asyncio.sleep(METADATA_S)
        except (KafkaError, OSError) as error:
            raise self._away(error) from error
        return made

    async def _missing(self, admin: Any, wanted: Mapping[str, tuple[int, Mapping[str, str]]]) -> list[NewTopic]:
        """Those that the broker that answers does not know yet. Raises CaravanError for another partition count."""
        described = await admin.describe_topics()
        there = {told["topic"]: len(told["partitions"]) for told in described if not told["error_code"]}
        for name, (count, _) in wanted.items():
            if (actual := there.get(name, count)) != count:
                raise CaravanError(
                    f"Topic {name} has {actual} partitions and its contract says {count}: the count is fixed for the life "
                    "of a topic. Put the old count back into the contract."
                )
        # -1 with an empty assignment is the broker's default replication
        return [
            NewTopic(name, count, -1, {}, dict(config)) for name, (count, config) in wanted.items() if name not in there
        ]

    async def _create(self, admin: Any, topics: list[NewTopic]) -> list[str]:
        """The names that were made, not those that others made meanwhile; raises CaravanError."""
        answer = await admin.create_topics(topics) if topics else None
        made = []
        for name, code, *rest in answer.topic_errors if answer else ():
            if not code:
                made.append(name)
            elif for_code(code) is not TopicAlreadyExistsError:
                raise CaravanError(f"Topic {name} could not be created: {for_code(code).__name__} {rest}")
        return made

    async def alive(self) -> bool:
        """Whether a broker answers within 2 s."""
        try:
            async with asyncio.timeout(2):
                producer = await self._producer(PUBLISH)
                await producer.client.fetch_all_metadata()  # a round trip: a frozen broker keeps its connections
                return True
        except (KafkaError, OSError):
            return False

    # -- reading

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset that is there, and the one that the next record will get. Raises OSError while Kafka is away."""
        tp = TopicPartition(self._namespace + topic, partition)
        reader = await self._reader("bounds")  # is assigned nothing: an assignment makes a client forget other topics
        try:
            start = await reader.beginning_offsets([tp])
            end = await reader.end_offsets([tp])
        except (TimeoutError, KafkaError) as error:
            raise OSError(f"{topic} {partition}: {error!r}") from error
        return start[tp], end[tp]

    async def ends(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset of the next record of each topic and partition, by one question. Raises OSError while Kafka is away."""
        named = {(topic, partition): TopicPartition(self._namespace + topic, partition) for topic, partition in places}
        reader = await self._reader("bounds")
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await reader.end_offsets([*named.values()])
        except (TimeoutError, KafkaError) as error:
            raise OSError(f"ends of topics: {error!r}") from error
        return {place: found[tp] for place, tp in named.items()}

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has, 0 when there is none. Raises OSError while Kafka is away."""
        try:
            admin = await self._administrator()
            described = await admin.describe_topics([self._namespace + topic])
        except KafkaError as error:
            raise OSError(repr(error)) from error
        return len(described[0]["partitions"]) if not described[0]["error_code"] else 0

    async def read(self, topic: str, partition: int, offset: int) -> Any | None:
        """The record at this offset, None when there is none. Raises OSError while Kafka is away."""
        start, end = await self.bounds(topic, partition)
        if not start <= offset < end:
            return None
        tp = TopicPartition(self._namespace + topic, partition)
        async with self._reading:
            reader = await self._reader("records")
            try:
                reader.assign([tp])
                reader.seek(tp, offset)
                async with asyncio.timeout(ANSWER_S):
                    record = await reader.getone(tp)
            except (TimeoutError, KafkaError) as error:
                raise OSError(f"{topic} {partition} at {offset}: {error!r}") from error
        return record if record.offset == offset else None

    async def read_on(self, topic: str, partition: int, offset: int) -> list[Any]:
        """Some of the records from this offset on, what one fetch brings. Raises OSError while Kafka is away."""
        start, end = await self.bounds(topic, partition)
        if not start <= offset < end:
            return []
        tp = TopicPartition(self._namespace + topic, partition)
        async with self._reading:
            reader = await self._reader("records")
            try:
                reader.assign([tp])
                reader.seek(tp, offset)
                async with asyncio.timeout(ANSWER_S):
                    while not (found := await reader.getmany(tp, timeout_ms=FETCH_MS)):
                        pass
            except (TimeoutError, KafkaError) as error:
                raise OSError(f"{topic} {partition} from {offset} on: {error!r}") from error
        return list(found[tp])

    # -- writing

    async def append(self, topic: str, partition: int, groups: Sequence[Sequence[Entry]]) -> None:
        """Append in order, one record batch in flight; a group never comes apart.

        Raises OSError when part of it may be missing. The producer is then replaced: after one error that cannot be retried an idempotent
        producer refuses its partition for ever.
        """
        lane = topic  # a producer a topic, so that a failure touches no other domain
        producer = await self._producer(lane)
        try:
            for batch in _batches(producer, groups):
                async with asyncio.timeout(APPEND_S):
                    await (await producer.send_batch(batch, self._namespace + topic, partition=partition))
        except (TimeoutError, KafkaError) as error:
            self._drop(lane, producer)
            raise OSError(f"{topic} {partition}: {error!r}") from error

    async def publish(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> tuple[int, int]:
        """Append one record to the partition of its key and wait for all replicas; (partition, offset).

        Raises NotSent when it surely was not sent, SendUnknown when it may have been; both within 5 s.
        """
        return await self._publisher.publish(self._namespace + topic, key, value, headers)

    # -- clients

    async def _producer(self, lane: str) -> AIOKafkaProducer:
        async with self._starting:
            if (producer := self._producers.get(lane)) is None:
                producer = AIOKafkaProducer(
                    **self._client,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_batch_size=MAX_GROUP,
                    max_request_size=MAX_MESSAGE,
                    request_timeout_ms=10_000,
                    compression_type=None if lane == PUBLISH else "lz4",
                )
                await self._started(producer)
                self._producers[lane] = producer
            return producer

    async def _reader(self, purpose: str) -> AIOKafkaConsumer:
        async with self._starting:
            if (reader := self._readers.get(purpose)) is None:
                reader = AIOKafkaConsumer(**self._client, enable_auto_commit=False, request_timeout_ms=10_000)
                await self._started(reader)
                self._readers[purpose] = reader
            return reader

    async def _administrator(self) -> AIOKafkaAdminClient:
        async with self._starting:
            if self._admin is None:
                admin = AIOKafkaAdminClient(**self._client, request_timeout_ms=10_000)
                await self._started(admin)
                self._admin = admin
            return self._admin

    @staticmethod
    async def _started(client: Any) -> None:
        """Start a client; one that cannot is closed again, since aiokafka warns of clients left open."""
        try:
            await client.start()
        except BaseException as error:
            with suppress(Exception):
                await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
            if isinstance(error, KafkaError):
                raise OSError(repr(error)) from error
            raise

    def _drop(self, lane: str, producer: Any) -> None:
        """Have the next one take a new producer. This one ends when what other partitions gave it is sent or given up."""
        if self._producers.get(lane) is producer:
            del self._producers[lane]
            task = asyncio.create_task(self._ended(producer))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    @staticmethod
    async def _ended(producer: Any) -> None:
        with suppress(KafkaError, asyncio.TimeoutError, OSError):
            await producer.stop()


def declared(topics: Collection[Topic]) -> dict[str, tuple[int, dict[str, str]]]:
    """The topics, without namespace, that contracts want: their partitions and their configuration."""
    every = {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": str(MAX_MESSAGE)}
    wanted = {}
    for topic in topics:
        wanted[topic.commands_topic] = (topic.partitions, every | {"message.timestamp.type": "LogAppendTime"})
        wanted[topic.events_topic] = (topic.partitions, every)
        if topic.changelog:
            wanted[topic.changelog_topic] = (topic.partitions, every | {"cleanup.policy": "compact"})
    return wanted


def _batches(producer: AIOKafkaProducer, groups: Sequence[Sequence[Entry]]) -> Iterable[Any]:
    batch = producer.create_batch()
    for group in groups:
        alone = len(group) == 1  # then whether it has room is told by the batch itself
        if not alone and batch.record_count() and batch.size() + group_size(group) > MAX_GROUP:
            yield batch
            batch = producer.create_batch()
        for key, value, headers in group:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is not None:
                continue
            if not alone or not batch.record_count():
                raise OSError(f"the events of one command are above {MAX_GROUP} bytes")
            yield batch
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None, headers=headers)
    yield batch


def group_size(group: Sequence[Entry]) -> int:
    """Bytes that a command's events take in a record batch, at most."""
    return sum(len(e.key) + len(e.value) + sum(len(h[1]) for h in e.headers) + _ENTRY_OVERHEAD for e in group)
