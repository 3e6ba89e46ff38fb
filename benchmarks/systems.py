"""The systems that do the projection, each a process started from outside and watched through Postgres alone.

All of them make the same two tables, by the domain's own migrations: a ledger row per award and the balance of each user.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import asyncpg

from benchmarks import java, python
from streams import discover

NAMESPACE = "bench_"
PEER = f"{NAMESPACE}peer"
POSITION = "create table position (partition int primary key, next bigint not null);"


@dataclass(frozen=True)
class Place:
    """Where a round happens: the broker, the topic that everyone reads, the database, a folder that is new each round, the platform's namespace.

    `environment` is what the platform's own processes need to find all this, `keys` what they sign with.
    """

    servers: str
    topic: str
    dsn: str
    folder: Path
    environment: Mapping[str, str]
    keys: tuple[tuple[str, bytes], ...]
    namespace: str = NAMESPACE


class System(ABC):
    """One way to turn the topic into rows. Of those with one name, which are variants of it, the fastest is reported."""

    name: str
    variant: str = ""
    processes: int = 1
    schema: str
    """Where its tables are."""
    share: int = 1
    """One event in so many is enough for the slow ones."""

    @property
    def title(self) -> str:
        """Name and variant."""
        return f"{self.name}, {self.variant}" if self.variant else self.name

    @abstractmethod
    async def prepare(self, db: asyncpg.Connection) -> None:
        """Leave nothing of an earlier round."""

    @abstractmethod
    def command(self, place: Place, number: int) -> list[str]:
        """What to start as one of the `processes`, counted from 0; it runs until SIGTERM."""

    def environment(self, place: Place) -> Mapping[str, str]:
        """What the process is told beside its arguments."""
        return {}


class Caravan(System):
    """The shipped worker, which rebuilds the domain from its topic beside the live tables; as one process or more, which share the
    partitions as the threads of Kafka Streams do.
    """

    name = "caravan"

    def __init__(self, processes: int, namespace: str = NAMESPACE) -> None:
        self.schema = f"{namespace}points_shadow"
        self.processes = processes
        self.variant = f"{processes} worker{'s' * (processes > 1)}"

    async def prepare(self, db: asyncpg.Connection) -> None:
        await db.execute(f"drop schema if exists {self.schema} cascade")

    def command(self, place: Place, number: int) -> list[str]:
        return [sys.executable, "-m", "caravan", "worker", "--rebuild", "points"]

    def environment(self, place: Place) -> Mapping[str, str]:
        return place.environment


class Peer(System):
    """A program of `benchmarks/peers`."""

    schema = PEER

    async def prepare(self, db: asyncpg.Connection) -> None:
        tables = "".join(sql for _, sql in discover.migrations("points"))
        await db.execute(f"drop schema if exists {PEER} cascade; create schema {PEER}")
        await db.execute(f"set search_path = {PEER}; {tables}; {POSITION} reset search_path")


class PythonPeer(Peer):
    """A Python program, in the peers' own environment, as one process or more."""

    def __init__(self, name: str, program: str, processes: int = 1, *, share: int = 1) -> None:
        self.name = name
        self.share = share
        self.processes = processes
        self.variant = f"{processes} process{'es' * (processes > 1)}"
        self._program = str(python.PEERS / program)

    async def prepare(self, db: asyncpg.Connection) -> None:
        python.interpreter()
        await super().prepare(db)

    def command(self, place: Place, number: int) -> list[str]:
        dsn = f"{place.dsn}?{urlencode({'search_path': PEER})}"
        group = f"{NAMESPACE}{place.folder.name}"
        arguments = [place.servers, place.topic, dsn, group, str(place.folder), str(number), str(self.processes)]
        return [python.interpreter(), self._program, *arguments]


class KafkaStreams(Peer):
    """Kafka Streams under one processing guarantee, with a number of stream threads."""

    def __init__(self, name: str, guarantee: str, threads: int) -> None:
        self.name = name
        self.variant = f"{threads} thread{'s' * (threads > 1)}"
        self._arguments = [guarantee, str(threads)]
        self._java = java.compiled()

    def command(self, place: Place, number: int) -> list[str]:
        state = str(place.folder / f"{NAMESPACE}{place.folder.name}")
        return [*self._java, place.servers, place.topic, _jdbc(place.dsn), *self._arguments, state]


GUARANTEES = {"kafka-streams-eos": "exactly_once_v2", "kafka-streams-alos": "at_least_once"}


def systems(namespace: str = NAMESPACE) -> list[System]:
    """All of them, in the order of the first round, each in the variant that was the fastest whenever they were compared."""
    return [
        Caravan(2, namespace),
        *(KafkaStreams(name, guarantee, 2) for name, guarantee in GUARANTEES.items()),
        PythonPeer("bare-loop", "bare_loop.py"),
        PythonPeer("bare-loop-2", "bare_loop.py", 2),
        PythonPeer("postgres", "postgres_alone.py", 2),
        PythonPeer("quix", "quix_sink.py", share=5),
        PythonPeer("faststream", "faststream_batch.py", 2),
        PythonPeer("faust", "faust_tutorial.py", share=80),
    ]


def slower(namespace: str = NAMESPACE) -> list[System]:
    """The other variants, for those who compare them again."""
    return [
        Caravan(1, namespace),
        *(KafkaStreams(name, guarantee, 1) for name, guarantee in GUARANTEES.items()),
        PythonPeer("postgres", "postgres_alone.py"),
        PythonPeer("quix", "quix_sink.py", 2, share=5),
        PythonPeer("faststream", "faststream_batch.py"),
        PythonPeer("faust", "faust_tutorial.py", 2, share=80),
    ]


def _jdbc(dsn: str) -> str:
    parts = urlsplit(dsn)
    options = {"user": parts.username, "password": parts.password or "", "currentSchema": PEER}
    address = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
    return f"jdbc:postgresql://{address}?{urlencode(options)}&reWriteBatchedInserts=true"
