"""One suite for the port `streams.log.Log`, over the broker in memory and Kafka; and what only Kafka can show."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from streams.clock import VirtualClock
from streams.contract import Topic
from streams.errors import CaravanError, SettingsError
from streams.kafka import Kafka, KafkaUrl
from streams.log import MAX_GROUP, Entry
from streams.memory import MemoryBroker
from streams.partitioner import partition_of
from streams.settings import Settings
from tests.streams.tally import TALLY

EVENTS, COMMANDS = TALLY.events_topic, TALLY.commands_topic


@pytest.fixture
async def kafka(settings: Settings) -> AsyncIterator[Kafka]:
    """Kafka with the topics of a tiny domain."""
    kafka = Kafka(settings)
    await kafka.declare([TALLY])
    yield kafka
    await kafka.stop()


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator[Any]:
    """A client that looks from outside."""
    admin = AIOKafkaAdminClient(**KafkaUrl.parse(settings.kafka).client())
    await admin.start()
    yield admin
    await admin.close()


@pytest.fixture(params=["memory", "kafka"])
def log(request: pytest.FixtureRequest) -> Any:
    """Each of the logs in turn."""
    if request.param == "memory":
        return MemoryBroker(VirtualClock(), {COMMANDS: 2, EVENTS: 2})
    return request.getfixturevalue("kafka")


def entry(n: int, size: int = 1) -> Entry:
    return Entry(b"k%d" % n, b"%d:" % n + b"v" * size, [("caravan-sig", b"s%d" % n), ("traceparent", b"t")])


async def everything(log: Any, topic: str, partition: int) -> list[Any]:
    start, end = await log.bounds(topic, partition)
    return [await log.read(topic, partition, offset) for offset in range(start, end)]


async def test_a_new_topic_is_empty(log: Any) -> None:
    assert await log.partitions(EVENTS) == 2
    assert await log.bounds(EVENTS, 0) == (0, 0)
    assert await log.read(EVENTS, 0, 0) is None


async def test_a_topic_that_is_not_there_has_no_partitions(log: Any) -> None:
    assert await log.partitions("nowhere.events") == 0


async def test_what_is_appended_stands_in_order_as_it_was(log: Any) -> None:
    await log.append(EVENTS, 1, [[entry(0)], [entry(1), entry(2)], [entry(3)]])
    await log.append(EVENTS, 1, [[entry(4)]])
    assert await log.bounds(EVENTS, 1) == (0, 5)
    assert await log.bounds(EVENTS, 0) == (0, 0)
    records = await everything(log, EVENTS, 1)
    assert [(r.offset, r.partition, r.key, r.value, list(r.headers)) for r in records] == [
        (n, 1, *entry(n)) for n in range(5)
    ]
    assert await log.read(EVENTS, 1, 5) is None


async def test_many_large_groups_keep_their_order(log: Any) -> None:
    groups = [[entry(3 * n + m, 60_000) for m in range(3)] for n in range(8)]
    await log.append(EVENTS, 0, groups)
    records = await everything(log, EVENTS, 0)
    assert [record.key for record in records] == [b"k%d" % n for n in range(24)]


async def test_a_published_record_goes_where_its_key_lives(log: Any) -> None:
    for n in range(6):
        key = b"user%d" % n
        partition, offset = await log.publish(COMMANDS, key, b"value", [("caravan-sig", b"s")])
        assert partition == partition_of(key, 2)
        record = await log.read(COMMANDS, partition, offset)
        assert (record.key, record.value, list(record.headers)) == (key, b"value", [("caravan-sig", b"s")])
        assert record.timestamp > 1_600_000_000_000


@pytest.mark.parametrize(
    ("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_the_partitioner_is_that_of_java(key: bytes, hashed: int) -> None:
    assert partition_of(key, 12) == (hashed & 0x7FFFFFFF) % 12


async def test_appends_at_once_to_several_partitions(log: Any) -> None:
    await asyncio.gather(*(log.append(EVENTS, n % 2, [[entry(n)]]) for n in range(20)))
    assert [(await log.bounds(EVENTS, partition))[1] for partition in (0, 1)] == [10, 10]


# -- Kafka


async def test_a_group_is_one_record_batch(kafka: Any, admin: Any, settings: Settings) -> None:
    """Large groups do not share a batch where they do not fit, and never come apart."""
    await kafka.append(EVENTS, 0, [[entry(n, 150_000) for n in range(4)] for _ in range(3)])
    first = [record.offset for record in await everything(kafka, EVENTS, 0)]
    assert first == list(range(12))


async def test_a_group_that_no_batch_holds_is_refused_and_poisons_nothing(kafka: Any) -> None:
    with pytest.raises(OSError, match=f"above {MAX_GROUP} bytes"):
        await kafka.append(EVENTS, 0, [[entry(0, MAX_GROUP), entry(1)]])
    await kafka.append(EVENTS, 0, [[entry(2)]])
    assert [record.key for record in await everything(kafka, EVENTS, 0)] == [b"k2"]


async def test_a_record_that_the_broker_refuses_poisons_nothing(kafka: Any, admin: Any, namespace: str) -> None:
    """An idempotent producer refuses its partition for ever after such an error: it is replaced."""
    await kafka.append(EVENTS, 0, [[entry(0)]])
    narrow = ConfigResource(ConfigResourceType.TOPIC, namespace + EVENTS, configs={"max.message.bytes": "2000"})
    await admin.alter_configs([narrow])
    noise = random.Random(1).randbytes(50_000)

    async def until_refused() -> None:
        """Until every part of the broker has heard of the limit."""
        async with asyncio.timeout(60):
            while True:
                await kafka.append(EVENTS, 0, [[Entry(b"large", noise, [])]])

    with pytest.raises(OSError, match="MessageSizeTooLarge"):
        await until_refused()
    _, end = await kafka.bounds(EVENTS, 0)
    await kafka.append(EVENTS, 0, [[entry(1)]])
    await kafka.append(EVENTS, 1, [[entry(2)]])
    assert (await kafka.read(EVENTS, 0, end)).key == b"k1"
    assert (await kafka.read(EVENTS, 1, 0)).key == b"k2"


async def test_below_the_log_start_there_is_nothing_to_read(kafka: Any, admin: Any, namespace: str) -> None:
    await kafka.append(EVENTS, 0, [[entry(n)] for n in range(5)])
    await admin.delete_records({TopicPartition(namespace + EVENTS, 0): RecordsToDelete(before_offset=3)})
    assert await kafka.bounds(EVENTS, 0) == (3, 5)
    assert await kafka.read(EVENTS, 0, 2) is None
    assert (await kafka.read(EVENTS, 0, 3)).key == b"k3"


@pytest.mark.req("SR073")
async def test_topics_are_made_as_declared(settings: Settings, admin: Any) -> None:
    kafka = Kafka(settings)
    topic = Topic("declared", key="id", partitions=3)
    names = [f"{settings.namespace}declared.{kind}" for kind in ("commands", "events")]
    assert sorted(await kafka.declare([topic])) == names
    assert await kafka.declare([topic]) == []
    described = await admin.describe_topics(names)
    assert [len(one["partitions"]) for one in described] == [3, 3]
    configs = await described_configs(admin, names)
    for name in names:
        assert (configs[name]["retention.ms"], configs[name]["retention.bytes"]) == ("-1", "-1")
        assert configs[name]["cleanup.policy"] == "delete"
        assert configs[name]["max.message.bytes"] == "1048576"
    assert configs[names[0]]["message.timestamp.type"] == "LogAppendTime"
    await kafka.stop()


async def described_configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {one[3]: {entry[0]: entry[1] for entry in one[4]} for answer in answers for one in answer.resources}


@pytest.mark.req("SR073")
async def test_a_changed_partition_count_is_refused_with_the_mend(settings: Settings, kafka: Kafka) -> None:
    with pytest.raises(
        CaravanError, match=r"tally.commands has 2 partitions and its contract says 3.*Put the old count back"
    ):
        await kafka.declare([Topic("tally", key="account", partitions=3)])


async def test_a_count_is_checked_though_the_broker_does_not_know_the_topic_yet(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    administrator = await kafka._administrator()
    describe = administrator.describe_topics

    async def first_nothing() -> Any:
        monkeypatch.setattr(administrator, "describe_topics", describe)
        return []

    monkeypatch.setattr(administrator, "describe_topics", first_nothing)
    with pytest.raises(CaravanError, match=r"tally.commands has 2 partitions and its contract says 3"):
        await kafka.declare([Topic("tally", key="account", partitions=3)])


async def test_topics_are_told_as_made_once_the_broker_describes_them(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller makes them before every broker knows of it."""
    administrator = await kafka._administrator()
    describe = administrator.describe_topics
    late: list[list[Any]] = [[], [], []]

    async def lagging() -> Any:
        return late.pop() if late else await describe()

    monkeypatch.setattr(administrator, "describe_topics", lagging)
    assert sorted(await kafka.declare([Topic("lagging", key="id")])) == [
        f"{kafka._namespace}lagging.{kind}" for kind in ("commands", "events")
    ]
    assert late == []


async def test_partitions_added_from_outside_are_seen(kafka: Any, admin: Any, namespace: str) -> None:
    await admin.create_partitions({namespace + EVENTS: NewPartitions(4)})
    async with asyncio.timeout(20):
        while await kafka.partitions(EVENTS) != 4:  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.01)


async def test_declaring_at_once_makes_each_topic_once(settings: Settings) -> None:
    topic = Topic("raced", key="id", partitions=2)
    logs = [Kafka(settings) for _ in range(3)]
    await asyncio.gather(*(log.declare([topic]) for log in logs))
    assert await logs[0].partitions("raced.events") == 2
    await asyncio.gather(*(log.stop() for log in logs))


async def test_a_topic_that_cannot_be_made_is_told(settings: Settings) -> None:
    kafka = Kafka(settings)
    with pytest.raises(CaravanError, match="could not be created"):
        await kafka.declare([Topic("not a name!", key="id")])
    await kafka.stop()


async def test_kafka_away_is_told_in_words(settings: Settings, free_port: int) -> None:
    away = Kafka(Settings(f"kafka://127.0.0.1:{free_port}", settings.postgres, settings.signing_keys))
    assert not await away.alive()
    with pytest.raises(CaravanError, match=r"Kafka is away at 127\.0\.0\.1"):
        await away.start()
    with pytest.raises(OSError, match=r".+"):
        await away.bounds(EVENTS, 0)
    with pytest.raises(OSError, match=r".+"):
        await away.append(EVENTS, 0, [[entry(1)]])
    with pytest.raises(CaravanError, match=r".+"):
        await away.publish(COMMANDS, b"k", b"v", [])
    with pytest.raises(CaravanError, match=r"Kafka is away"):
        await away.declare([TALLY])
    await away.stop()


async def test_kafka_that_answers_is_alive(kafka: Any) -> None:
    assert await kafka.alive()
    await kafka.start()


# -- its URL


def test_the_url_in_full() -> None:
    url = KafkaUrl.parse("kafka://us%40er:p%3Aw@h1,h2:9093?security=SASL_SSL&mechanism=SCRAM-SHA-512&cafile=/ca.pem")
    assert url == KafkaUrl(("h1:9092", "h2:9093"), "SASL_SSL", "SCRAM-SHA-512", "us@er", "p:w", "/ca.pem")
    assert "p:w" not in repr(url)


@pytest.mark.parametrize(
    ("text", "security"),
    [
        ("kafka://h", "PLAINTEXT"),
        ("kafka://u:p@h", "SASL_PLAINTEXT"),
        ("kafka://h?security=ssl", "SSL"),
        ("kafka://u:p@h?security=sasl_ssl", "SASL_SSL"),
    ],
)
def test_security_follows_from_the_url(text: str, security: str) -> None:
    assert KafkaUrl.parse(text).security == security


def test_a_client_is_told_everything() -> None:
    client = KafkaUrl.parse("kafka://u:p@h:1?security=SASL_SSL&mechanism=SCRAM-SHA-256").client()
    assert isinstance(client.pop("ssl_context"), ssl.SSLContext)
    assert client == {
        "bootstrap_servers": ["h:1"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }
    assert KafkaUrl.parse("kafka://h").ssl_context() is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h:9092",
        "http://h:9092",
        "kafka://",
        "kafka://u:p@",
        "kafka://h?colour=red",
        "kafka://h?security=TLS",
        "kafka://u:p@h?mechanism=MD5",
        "kafka://h?security=SASL_SSL",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="CARAVAN_KAFKA"):
        KafkaUrl.parse(text)


def test_an_authority_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"cafile /nowhere/ca\.pem"):
        KafkaUrl.parse("kafka://h?security=SSL&cafile=/nowhere/ca.pem").client()
