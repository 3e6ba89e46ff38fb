"""A primary and replicas that lag, fail over and are asked in any order: what an edge reads from, made up, in virtual time.

Commands stand in a log, a decider applies them on the primary in order, replicas have some beginning of what the primary committed.
After a failover a replica is the primary: what it had not is applied again, as from Kafka, and connections of before are dead.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sinks.postgres.moves import Moves, message
from sinks.postgres.reader import Stand
from streams.partitioner import partition_of
from streams.store import Unavailable

DOMAIN, PARTITIONS, SERVERS = "lab", 2, 3
USERS = tuple(f"u{n}" for n in range(4))
SLOWEST_S = 0.02  # that one query may take


@dataclass(frozen=True)
class Version:
    """What stands after a commit: next offsets, and how often each user was written."""

    next: Mapping[int, int]
    counts: Mapping[str, int]


@dataclass
class World:
    """The log and the servers; server 0 is the first primary."""

    chance: random.Random
    log: dict[int, list[str]] = field(default_factory=lambda: {n: [] for n in range(PARTITIONS)})
    versions: list[Version] = field(default_factory=lambda: [Version(dict.fromkeys(range(PARTITIONS), 0), {})])
    at: list[int] = field(default_factory=lambda: [0] * SERVERS)  # the version that each server has
    lives: list[int] = field(default_factory=lambda: [0] * SERVERS)  # raised where connections end
    primary: int = 0
    edges: list["Store"] = field(default_factory=list)

    def send(self, user: str) -> tuple[int, int, int]:
        """Kafka takes a command: partition and offset, and how often the user is then written."""
        partition = partition_of(user.encode(), PARTITIONS)
        self.log[partition].append(user)
        return partition, len(self.log[partition]) - 1, self.log[partition].count(user)

    def written(self, user: str) -> int:
        """How often commands wrote it, applied or not."""
        return sum(log.count(user) for log in self.log.values())

    def happen(self, what: str, which: int) -> None:
        """One of three things."""
        if what == "apply":
            self.apply(which % PARTITIONS, 1 + which // PARTITIONS)
        elif what == "replicate":
            self.replicate(which % SERVERS, 1 + which // SERVERS)
        else:
            self.fail_over()

    def apply(self, partition: int, most: int) -> None:
        """The decider commits the next of a partition, and tells edges, some of which do not hear it."""
        now = self.versions[-1]
        begin = now.next[partition]
        taken = self.log[partition][begin : begin + most]
        if taken:
            counts = {user: now.counts.get(user, 0) + taken.count(user) for user in taken}
            reached = begin + len(taken)
            self.versions.append(Version({**now.next, partition: reached}, {**now.counts, **counts}))
            self.at[self.primary] = len(self.versions) - 1
            told = message((DOMAIN, DOMAIN, partition), reached, set(taken))
            for edge in self.edges:
                if self.chance.random() < 0.8:
                    edge.moves.heard(told)

    def replicate(self, server: int, most: int) -> None:
        """A replica has some more."""
        self.at[server] = min(self.at[server] + most, len(self.versions) - 1)

    def fail_over(self) -> None:
        """The primary is lost. Another server takes its place, and what was ahead of it is put back."""
        self.primary = (self.primary + 1) % SERVERS
        del self.versions[self.at[self.primary] + 1 :]
        for server in range(SERVERS):
            if (
                server == self.primary
                or self.at[server] >= len(self.versions)
                or server == (self.primary - 1) % SERVERS
            ):
                self.lives[server] += 1
            self.at[server] = min(self.at[server], len(self.versions) - 1)
        for edge in self.edges:
            edge.moves.unheard()

    def settle(self) -> None:
        """Everything is applied and everywhere."""
        for partition in range(PARTITIONS):
            self.apply(partition, len(self.log[partition]))
        self.at = [len(self.versions) - 1] * SERVERS


class Store:
    """What one edge has of Postgres: connections to the primary, or to some of its replicas."""

    alive = True

    def __init__(self, world: World, reads_from: Collection[int] | None) -> None:
        """Read from these servers, any of them for each connection; None: from whatever is the primary."""
        self.moves = Moves()
        self._world, self._from = world, reads_from
        world.edges.append(self)

    @asynccontextmanager
    async def db(self, _domain: str) -> AsyncIterator["Connection"]:
        """A connection to one server."""
        world = self._world
        server = world.primary if self._from is None else world.chance.choice(sorted(self._from))
        yield Connection(world, server)


class Connection:
    """Asks one server as long as it lives; each question takes a while, and is answered from what stands somewhere within."""

    def __init__(self, world: World, server: int) -> None:
        """As the server lives now."""
        self._world, self._server, self._life = world, server, world.lives[server]

    async def _asked(self) -> Version:
        world = self._world
        await asyncio.sleep(world.chance.uniform(0, SLOWEST_S))
        if world.lives[self._server] != self._life:
            raise Unavailable("the server has gone")
        found = world.versions[world.at[self._server]]
        await asyncio.sleep(world.chance.uniform(0, SLOWEST_S))
        return found

    async def stand(self, partition: int, _offset: int) -> Stand:
        """As `Reader` tells it."""
        return Stand((await self._asked()).next[partition], parked=False)

    async def positions(self, partitions: Collection[int]) -> dict[int, int]:
        """As `Reader` tells it."""
        found = await self._asked()
        return {partition: found.next[partition] for partition in partitions}

    async def stands(self) -> Any:
        """As `Reader` tells it."""
        return sorted((await self._asked()).next.items())

    async def view(self, function: Any, given: Mapping[str, Any]) -> Any:
        """What the view finds."""
        return await function(self, **given)

    async def fetchval(self, _query: str, user: str) -> int | None:
        """How often a user was written; None for never."""
        return (await self._asked()).counts.get(user)
