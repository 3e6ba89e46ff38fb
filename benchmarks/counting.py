"""Domains that keep nothing but state: written into a folder, as many and with as many partitions as is asked, and run by the shipped commands.

`python -m benchmarks.counting FOLDER worker` is `caravan worker` where only these domains are. Each has a projection that counts its events by key:
documents and no rows.
"""

import asyncio
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks import events
from streams import ids
from streams.envelope import Actor, EventEnvelope, Signer, Source, body_hash, encode
from streams.partitioner import partition_of

CONTRACT = """
from typing import Annotated
from pydantic import Field
from streams.contract import Event, Name, Topic

TOPIC = Topic("{domain}", key="name", partitions={partitions})

class Counted(Event, topic=TOPIC):
    name: Name
    amount: Annotated[int, Field(strict=True, ge=1)]
"""
AGENT = """
from streams.agent import Projection, no_rows
from streams.decision import ROOT, State
from streams.table import Table
from topics.{domain} import TOPIC

class Total(State, frozen=True, omit_defaults=True):
    times: int = 0
    amount: int = 0

def evolve(state, event):
    total = state[ROOT]
    return {{ROOT: Total(total.times + 1, total.amount + event.amount)}}

TOTALS = Projection("totals", TOPIC, TOPIC, no_rows, Table("totals", {{ROOT: Total}}), evolve)
"""
AGENT_NAME = "totals"
ACTOR = Actor("user", "bench", "Admin")


@dataclass(frozen=True)
class Shape:
    """Which domains there are."""

    domains: int
    partitions: int

    @property
    def names(self) -> list[str]:
        """Of the domains."""
        return [f"counting{number:02}" for number in range(self.domains)]


def write_sources(folder: Path, shape: Shape) -> None:
    """Make the domains' code."""
    for name in shape.names:
        text = {"domain": name, "partitions": shape.partitions}
        for file, source in (
            (f"topics/{name}.py", CONTRACT),
            (f"agents/{name}/__init__.py", ""),
            (f"agents/{name}/agent.py", AGENT),
        ):
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.format(**text), "utf-8")


async def write_events(
    servers: str, namespace: str, domain: str, load: events.Load, partitions: int, signer: Signer
) -> None:
    """Fill a domain's topic of events, which is empty; numbers and sequences as the platform gives them."""
    topic = f"{domain}.events"
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, compression_type="lz4", max_batch_size=events.BATCH, acks="all"
    )
    await producer.start()
    try:
        batches, sent = [producer.create_batch() for _ in range(partitions)], []
        for partition, at, key, value in _records(domain, load, partitions):
            headers = [signer.sign(topic, key, value)]
            record = {"timestamp": at, "key": key, "value": value, "headers": headers}
            if batches[partition].append(**record) is None:
                full, batches[partition] = batches[partition], producer.create_batch()
                sent.append(await producer.send_batch(full, namespace + topic, partition=partition))
                batches[partition].append(**record)
        sent += [await producer.send_batch(batch, namespace + topic, partition=n) for n, batch in enumerate(batches)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def _records(domain: str, load: events.Load, partitions: int) -> Iterator[tuple[int, int, bytes, bytes]]:
    chance, numbers, seqs = random.Random(load.seed), [0] * partitions, dict[str, int]()
    for index in range(load.events):
        name, amount = f"k{chance.randrange(load.users)}", chance.randrange(1, 100)
        key = name.encode()
        partition = partition_of(key, partitions)
        numbers[partition] += 1
        seqs[name] = seqs.get(name, 0) + 1
        at = load.start + timedelta(milliseconds=index)
        payload = msgspec.json.encode({"name": name, "amount": amount})
        command = ids.derived(
            UUID(int=int(at.timestamp() * 1000) << 80), "benchmark", "count", name, numbers[partition]
        )
        envelope = EventEnvelope(
            event_id=str(ids.derived(command, domain, "counted", name, 0)),
            type="counted",
            schema_version=1,
            occurred_at=at,
            domain=domain,
            aggregate_id=name,
            aggregate_seq=seqs[name],
            actor=ACTOR,
            command_id=str(command),
            correlation_id=str(command),
            causation_id=str(command),
            number=numbers[partition],
            source=Source(partition, numbers[partition] - 1, body_hash(payload)),
            payload=msgspec.Raw(payload),
        )
        yield partition, int(at.timestamp() * 1000), key, encode(envelope)


def main() -> None:
    """Run a command of the platform with the domains of a folder in the place of the shipped ones."""
    import agents
    import topics
    from caravan.__main__ import main as caravan

    folder = Path(sys.argv.pop(1))
    topics.__path__[:] = [str(folder / "topics")]
    agents.__path__[:] = [str(folder / "agents")]
    caravan()


if __name__ == "__main__":
    main()
