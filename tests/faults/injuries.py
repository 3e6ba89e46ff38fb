"""Faults that are done to a platform, each with its end: when one returns, nothing is broken any more but what heals by itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.cluster import Cluster
from tests.faults.infrastructure import Own
from tests.faults.outside import AWAY
from tests.faults.platform import READY_S, Platform
from tests.faults.proxy import Proxy

LASTS_S = (0.5, 8.0)
LONG_S = (11.0, 16.0)  # longer than the session time-out


@dataclass
class Patient:
    """What faults are done to."""

    platform: Platform
    cluster: Cluster
    postgres: Own
    kafka_ways: Sequence[Proxy]
    postgres_ways: Sequence[Proxy]
    dice: random.Random

    async def while_it_lasts(self, between: tuple[float, float] = LASTS_S) -> None:
        """Wait as long as the dice say."""
        await asyncio.sleep(self.dice.uniform(*between))


Injury = Callable[[Patient], Awaitable[None]]


async def worker_killed(patient: Patient) -> None:
    """It comes back under its name, at once or when its session has ended."""
    platform = patient.platform
    name = patient.dice.choice(sorted(platform.workers))
    platform.workers[name].kill()
    if patient.dice.random() < 0.3:
        await patient.while_it_lasts(LONG_S)
    await platform.start_worker(name).said("worker ready", READY_S)


async def worker_frozen(patient: Patient) -> None:
    """For longer than its session, or shorter."""
    worker = patient.dice.choice(list(patient.platform.workers.values()))
    worker.freeze()
    await patient.while_it_lasts(patient.dice.choice((LASTS_S, LONG_S)))
    worker.thaw()


async def worker_restarted(patient: Patient) -> None:
    """As an operator does."""
    name = patient.dice.choice(sorted(patient.platform.workers))
    await asyncio.to_thread(patient.platform.workers[name].stop)
    await patient.platform.start_worker(name).said("worker ready", READY_S)


async def edge_killed(patient: Patient) -> None:
    """Its clients go to the other one."""
    port = patient.dice.choice(sorted(patient.platform.edges))
    patient.platform.edges[port].kill()
    await patient.while_it_lasts()
    patient.platform.start_edge(port)
    await patient.platform.ready()


async def edge_frozen(patient: Patient) -> None:
    """Its clients hang up after 5 s."""
    edge = patient.dice.choice(list(patient.platform.edges.values()))
    edge.freeze()
    await patient.while_it_lasts()
    edge.thaw()


async def leader_killed(patient: Patient) -> None:
    """The broker that takes the commands of some partition."""
    domain = patient.dice.choice(sorted(patient.platform.domains.values(), key=lambda one: one.topic.domain))
    topic = patient.platform.settings.namespace + domain.topic.commands_topic
    broker = await patient.cluster.leader(topic, patient.dice.randrange(domain.topic.partitions))
    broker.kill()
    await patient.while_it_lasts()
    await broker.again()


async def coordinator_killed(patient: Patient) -> None:
    """The broker that leads a group's partition of __consumer_offsets."""
    domain = patient.dice.choice(sorted(patient.platform.domains))
    broker = await patient.cluster.coordinator(patient.platform.settings.namespace + domain)
    broker.kill()
    await patient.while_it_lasts()
    await broker.again()


async def broker_frozen(patient: Patient) -> None:
    """For so long that its replicas leave the in-sync sets, or shorter."""
    broker = patient.dice.choice(patient.cluster.brokers)
    broker.freeze()
    await patient.while_it_lasts(patient.dice.choice((LASTS_S, LONG_S)))
    broker.thaw()


async def two_brokers_killed(patient: Patient) -> None:
    """Nothing can be acknowledged then."""
    brokers = patient.dice.sample(patient.cluster.brokers, 2)
    for broker in brokers:
        broker.kill()
    await patient.while_it_lasts()
    for broker in brokers:
        broker.start()
    for broker in brokers:
        await asyncio.to_thread(broker.wait)


async def postgres_killed(patient: Patient) -> None:
    """It recovers from its log."""
    patient.postgres.kill()
    await patient.while_it_lasts()
    await patient.postgres.start()


async def postgres_frozen(patient: Patient) -> None:
    """As a disk that answers nobody."""
    patient.postgres.freeze()
    await patient.while_it_lasts()
    patient.postgres.thaw()


async def sessions_ended(patient: Patient) -> None:
    """All sessions of all but ourselves."""
    ours = patient.platform.domains["points"]
    with suppress(*AWAY):
        await ours.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE $1 AND pid <> pg_backend_pid()",
            f"{patient.platform.settings.namespace}%",
        )


async def commit_unanswered(patient: Patient) -> None:
    """The connection is cut after the COMMIT was sent and before its answer came."""
    (proxy,) = patient.postgres_ways
    proxy.hold_answer_to(b"COMMIT")
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await proxy.held.wait()
            await asyncio.sleep(patient.dice.uniform(0, 0.2))
    proxy.cut_held()
    proxy.heal()


async def postgres_cut(patient: Patient) -> None:
    """All connections to Postgres are reset."""
    await _net(patient, patient.postgres_ways, [Proxy.cut])


async def postgres_hung(patient: Patient) -> None:
    """Nothing comes through, or nothing in one direction."""
    await _net(patient, patient.postgres_ways, HANGS)


async def kafka_cut(patient: Patient) -> None:
    """All connections to the brokers are reset."""
    await _net(patient, patient.kafka_ways, [Proxy.cut])


async def kafka_hung(patient: Patient) -> None:
    """Nothing comes through to one broker or to all, or nothing in one direction."""
    ways = patient.dice.choice((patient.kafka_ways, [patient.dice.choice(patient.kafka_ways)]))
    await _net(patient, ways, HANGS)


async def lines_slow(patient: Patient) -> None:
    """Everything takes longer, and unevenly so."""
    ways = (*patient.kafka_ways, *patient.postgres_ways)
    for proxy in ways:
        proxy.delay(0.02, jitter=0.02)
    await patient.while_it_lasts()
    for proxy in ways:
        proxy.heal()


HANGS: list[Callable[[Proxy], None]] = [
    Proxy.black_hole,
    lambda proxy: proxy.black_hole("up"),
    lambda proxy: proxy.black_hole("down"),
]


async def _net(patient: Patient, ways: Sequence[Proxy], kinds: Sequence[Callable[[Proxy], None]]) -> None:
    """Break the way, for a while for new connections too; then heal it, with or without a cut of what hung."""
    kind, cut = patient.dice.choice(kinds), patient.dice.random() < 0.5
    for proxy in ways:
        kind(proxy)
        if cut:
            proxy.refuse()
    await patient.while_it_lasts()
    for proxy in ways:
        if cut:
            proxy.cut()
        proxy.heal()
        await proxy.start()


INJURIES: tuple[Injury, ...] = (
    worker_killed,
    worker_frozen,
    worker_restarted,
    edge_killed,
    edge_frozen,
    leader_killed,
    coordinator_killed,
    broker_frozen,
    two_brokers_killed,
    postgres_killed,
    postgres_frozen,
    sessions_ended,
    commit_unanswered,
    postgres_cut,
    postgres_hung,
    kafka_cut,
    kafka_hung,
    lines_slow,
)
