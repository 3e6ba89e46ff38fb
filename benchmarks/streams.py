"""Live streams: open many on one edge, let them be idle, then change their keys at a fixed rate.

A change counts from the notice that a worker gives after its commit, heard here on a connection of our own, to the arrival of
the state that shows it; and from the moment its command was due.
"""

import asyncio
import gc
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from statistics import quantiles
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import orjson
import psutil

from benchmarks import instance, machine, results
from benchmarks.instance import LIVE, Platform
from benchmarks.results import Result
from benchmarks.work import Work, WorkError
from caravan.commands import signed_token
from sinks.postgres.moves import mark

AMOUNT = 1
VALID_S = 3600  # of bearer tokens
BEGIN_S = 120  # for all streams to show their first state
ARRIVE_S = 60  # for the last states after the last change
AT_ONCE = 50  # streams that begin at a time
PATIENCE = aiohttp.ClientTimeout(total=30)
MEANING = {
    "p50": ("commit to arrival, p50", "ms"),
    "p99": ("commit to arrival, p99", "ms"),
    "post_p50": ("POST to arrival, p50", "ms"),
    "post_p99": ("POST to arrival, p99", "ms"),
    "kib": ("memory of the edge per stream", "KiB"),
    "idle": ("edge while nothing changes", "% of a core"),
    "busy": ("edge while they change", "% of a core"),
}


class StreamsError(WorkError):
    """A stream did not begin or ended, a command was not accepted, or a state did not arrive."""


@dataclass(frozen=True)
class Load:
    """`streams` streams of `keys` users, idle for `idle` seconds; then changes of the keys in turn, `rate` a second for `seconds`."""

    streams: int = 1000
    keys: int = 1000
    rate: int = 100
    seconds: float = 20
    idle: float = 10


@dataclass
class Figures:
    """What `MEANING` says."""

    p50: float
    p99: float
    post_p50: float
    post_p99: float
    kib: float
    idle: float
    busy: float


@dataclass
class Seen:
    """When a key's n-th change was due, and when a worker told of it."""

    due: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)


class Stream(asyncio.Protocol):
    """One open stream: notes when a balance is first shown."""

    def __init__(self, request: bytes) -> None:
        """Ask `request`."""
        self._request, self._rest = request, b""
        self.shown: dict[int, float] = {}
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.newest = asyncio.Event()
        self.wanted = -1
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = transport
        transport.write(self._request)  # type: ignore[attr-defined]  # it is one of a socket

    def data_received(self, data: bytes) -> None:
        """Note what is shown."""
        now = time.perf_counter()
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            if (begin := block.find(b"data: ")) >= 0:
                told = orjson.loads(block[begin + 6 :].split(b"\n", 1)[0])
                self.shown.setdefault(told["active"] if told else 0, now)
                if not self.began.done():
                    self.began.set_result(None)
        if self.wanted in self.shown:
            self.newest.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """It should not."""
        if not self.began.done():
            self.began.set_exception(StreamsError(f"a stream ended: {exc or self._rest.decode(errors='replace')}"))


class Client:
    """Opens streams and changes what they show, on keys of its own in each round."""

    def __init__(self, platform: Platform, load: Load) -> None:
        """Nothing is open."""
        self._platform, self._load = platform, load
        self._edge = psutil.Process(platform.edge)
        self._seen: dict[str, Seen] = {}
        self._by_mark: dict[str, str] = {}

    async def measure(self, prefix: str) -> Figures:
        """One round; raises StreamsError unless every stream shows every key's newest state."""
        load = self._load
        users = [f"{prefix}-{number}" for number in range(load.keys)]
        self._seen = {user: Seen() for user in users}
        self._by_mark = {mark(user): user for user in users}
        listener = await asyncpg.connect(self._platform.dsn)
        await listener.add_listener(f"{LIVE}caravan", self._heard)
        empty = self._memory()
        streams: list[tuple[str, Stream]] = []
        try:
            await self._begin(users, streams)
            gc.collect()
            gc.freeze()
            idle = await self._busy(asyncio.sleep(load.idle))
            changed = await self._busy(self._change(users))
            await self._arrived(streams)
            kib = (self._memory() - empty) / load.streams / 1024
        finally:
            for _, stream in streams:
                if stream.transport is not None:
                    stream.transport.close()
            await listener.close()
        return self._figures(streams, kib, idle, changed)

    async def _begin(self, users: Sequence[str], streams: list[tuple[str, Stream]]) -> None:
        host, _, port = urlsplit(self._platform.url).netloc.partition(":")
        loop = asyncio.get_running_loop()

        async def begin(number: int) -> None:
            user = users[number % len(users)]
            bearer = signed_token(self._platform.settings, user, "User", VALID_S)
            head = (
                f"GET /v1/points/balance/{user}/live HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\n\r\n"
            )
            _, stream = await loop.create_connection(lambda: Stream(head.encode()), host, int(port))
            streams.append((user, stream))
            await stream.began

        async with asyncio.timeout(BEGIN_S):
            for first in range(0, self._load.streams, AT_ONCE):
                numbers = range(first, min(first + AT_ONCE, self._load.streams))
                await asyncio.gather(*map(begin, numbers))

    async def _change(self, users: Sequence[str]) -> None:
        bearer = {"Authorization": f"Bearer {signed_token(self._platform.settings, 'root', 'Admin', VALID_S)}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._platform.url, connector=connector, timeout=PATIENCE) as session:

            async def one(user: str) -> None:
                command = {"user_id": user, "amount": AMOUNT}
                async with session.post("/v1/points/award_points", json=command, headers=bearer) as answer:
                    if answer.status != HTTPStatus.ACCEPTED:
                        raise StreamsError(f"award_points answered {answer.status}: {await answer.text()}")

            start = time.perf_counter() + 0.1
            async with asyncio.TaskGroup() as group:
                for index in range(round(self._load.seconds * self._load.rate)):
                    user, due = users[index % len(users)], start + index / self._load.rate
                    await asyncio.sleep(due - time.perf_counter())
                    self._seen[user].due.append(due)
                    group.create_task(one(user))

    async def _arrived(self, streams: Sequence[tuple[str, Stream]]) -> None:
        for user, stream in streams:
            stream.wanted = len(self._seen[user].due) * AMOUNT
            stream.data_received(b"")
            try:
                async with asyncio.timeout(ARRIVE_S):
                    await stream.newest.wait()
            except TimeoutError:
                raise StreamsError(f"{user} was not shown {stream.wanted}, but {max(stream.shown)}") from None

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        now = time.perf_counter()
        domain, agent, _, _, *marks = str(payload).split(":")
        for name in marks[0].split(",") if marks and domain == agent else ():
            if name in self._by_mark:
                self._seen[self._by_mark[name]].told.append(now)

    def _figures(self, streams: Sequence[tuple[str, Stream]], kib: float, idle: float, busy: float) -> Figures:
        told, due = [], []
        for user, stream in streams:
            seen = self._seen[user]
            for number, begun in enumerate(seen.due, 1):
                # A state that stands for several is the arrival of all of them.
                at = min(when for amount, when in stream.shown.items() if amount >= number * AMOUNT)
                due.append((at - begun) * 1000)
                if len(seen.told) == len(seen.due):  # else one notice stood for several commits' changes
                    told.append((at - seen.told[number - 1]) * 1000)
        of_told, of_due = quantiles(told, n=100), quantiles(due, n=100)
        return Figures(of_told[49], of_told[98], of_due[49], of_due[98], kib, idle, busy)

    def _memory(self) -> int:
        return int(self._edge.memory_info().rss)

    async def _busy(self, work: Awaitable[None]) -> float:
        """How much of a core the edge used meanwhile."""
        before, start = self._edge.cpu_times(), time.perf_counter()
        await work
        after, seconds = self._edge.cpu_times(), time.perf_counter() - start
        return 100 * (after.user + after.system - before.user - before.system) / seconds


def arguments(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--streams", type=int, default=1000, help="that are open in live-streams")
    parser.add_argument("--changes", type=int, default=100, help="a second of what they show")


async def run(platform: Platform, options: Namespace) -> list[Result]:
    """Each stream on a key of its own, then fifty on each."""
    found = []
    for keys in (options.streams, max(1, options.streams // 50)):
        load = Load(options.streams, keys, options.changes, options.seconds)
        figures: dict[str, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            taken = await Client(platform, load).measure(f"keys{keys}-{number}")
            print(f"round {number + 1}  live-streams  {keys} keys  {taken}", flush=True)
            for name, value in vars(taken).items():
                figures[name].append(value)
        words = f"{load.streams} streams of {keys} keys, {load.rate} changes/s"
        about = {"work": "live-streams", "system": "caravan", "commit": machine.commit()}
        found += [
            results.summarise(figures[name], digits=2, load=f"{words}, {text}", unit=unit, **about)
            for name, (text, unit) in MEANING.items()
        ]
    return found


WORK = Work("live-streams", instance.platform, run, arguments)
