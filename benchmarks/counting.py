"""Domains that keep nothing but state: written into a folder, as many and with as many partitions as is asked, and run by the shipped commands.

`python -m benchmarks.counting FOLDER worker` is `caravan worker` where only these domains are. Each has a projection that counts its events by key:
documents and no rows.
"""

import asyncio
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

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


class Record(NamedTuple):
    """As it is appended."""

    partition: int
    at: int
    key: bytes
    value: bytes
    signature: tuple[str, bytes]


class Filling:
    """A topic of events about to be filled: all is packed before `send`, which then takes no more than the broker needs."""

    def __init__(self, servers: str, topic: str) -> None:
        """Nothing is connected before `start`."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=servers, compression_type="lz4", max_batch_size=events.BATCH, acks="all"
        )
        self._topic = topic
        self._full: list[tuple[int, BatchBuilder]] = []

    async def start(self, records: Iterable[Record]) -> None:
        """Connect, and pack the records."""
        await self._producer.start()
        open_ones: dict[int, BatchBuilder] = {}
        for record in records:
            batch = open_ones.setdefault(record.partition, self._producer.create_batch())
            if not _appended(batch, record):
                self._full.append((record.partition, batch))
                batch = open_ones[record.partition] = self._producer.create_batch()
                _appended(batch, record)
        self._full += open_ones.items()
        for _, batch in self._full:
            batch.close()

    async def send(self) -> None:
        """Append all; returns when the broker has them."""
        sent = [await self._producer.send_batch(batch, self._topic, partition=p) for p, batch in self._full]
        await asyncio.gather(*sent)

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()


def _appended(batch: BatchBuilder, record: Record) -> bool:
    done = batch.append(timestamp=record.at, key=record.key, value=record.value, headers=[record.signature])
    return done is not None


def records(domain: str, load: events.Load, partitions: int, signer: Signer) -> Iterator[Record]:
    """A domain's events, with numbers and sequences as the platform gives them."""
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
        value = encode(envelope)
        signature = signer.sign(f"{domain}.events", key, value)
        yield Record(partition, int(at.timestamp() * 1000), key, value, signature)


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
