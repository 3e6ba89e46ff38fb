"""The edge under load: an open loop, so that whoever stalls pays for everybody who would have come meanwhile, up to twice what it can do.

Edges as `caravan up` runs one (`caravan api`), one worker, broker and Postgres on this machine. What can be done is measured first, as fast as answers come; then
a part of that is offered at fixed times, and twice as much. At the end every command that was answered with 202 must have had its effect once, and no other.
"""

import asyncio
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import asyncpg

from benchmarks import edge, instance, machine, processor, results
from benchmarks.edge import AMOUNT, BROKER, DATABASE, SERVER, EdgeError
from benchmarks.generator import Ask, Plan, Report
from benchmarks.results import Result
from benchmarks.systems import Place
from benchmarks.work import Work
from caravan.instance import free_ports
from streams.settings import Settings

WORKER = "worker"
PARTS = (SERVER, WORKER, BROKER, DATABASE)
MIXES = {"90 % views, 10 % commands": 10, "commands only": 1}  # one in so many is a command
SHARES = ((0.5, 64), (0.5, 512), (0.8, 64), (0.8, 512), (2.0, 512), (2.0, 2048))  # of the capacity, and connections
WARM_S = 1.0
SETTLE_S = 120  # for the worker to catch up
LOOK_S, QUIET_S = 0.2, 3.0  # between two looks; and while there may come what nobody knows of
WANTED = 10_000  # requests a second whose cores are told


@dataclass
class Point:
    """What one offer came to."""

    mix: str
    processes: int
    connections: int
    offered: float  # a second; 0: as fast as answers come
    report: Report
    cost: dict[str, float] = field(default_factory=dict)  # processor microseconds a good answer, by part

    @property
    def good(self) -> float:
        """Good answers a second."""
        return sum(kind.counted for kind in self.report.kinds.values()) / self.report.seconds

    @property
    def refused(self) -> int:
        """Answers that say in time that nothing was done."""
        return sum(kind.statuses.get("503", 0) for kind in self.report.kinds.values())

    @property
    def failed(self) -> int:
        """Everything else that is no good answer; what found no connection in its time counts too."""
        told = sum(sum(kind.statuses.values()) - kind.counted for kind in self.report.kinds.values())
        return told - self.refused + self.report.unsent

    def latency(self, percent: float) -> float:
        """Milliseconds of good answers, from the time at which they were due."""
        every = sorted(one for kind in self.report.kinds.values() for one in kind.latencies)
        return every[min(len(every) - 1, int(len(every) * percent / 100))] * 1000 if every else float("nan")

    def row(self) -> str:
        """A row of the table."""
        offered = f"{self.offered:.0f}" if self.offered else "closed loop"
        figures = " | ".join(f"{self.latency(percent):.1f}" for percent in (50, 95, 99))
        return (
            f"| {self.mix} | {self.processes} | {self.connections} | {offered} | {self.good:.0f} | {figures} | "
            f"{self.refused} | {self.failed} |"
        )


HEAD = """| mix | edges | connections | offered/s | good/s | p50 ms | p95 ms | p99 ms | 503 | failed |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


def _asks(settings: Settings, every: int) -> list[Ask]:
    """One command in `every` asks, the others views; 1 for commands alone."""
    users = [edge.user(number) for number in range(edge.USERS)]
    own = edge.tokens(settings, "User", users)
    admins = edge.tokens(settings, "Admin", [f"admin-{number}" for number in range(edge.ADMINS)])
    return [
        edge.award(user, admins[number % edge.ADMINS]) if number % every == 0 else edge.view(user, own[number])
        for number, user in enumerate(users)
    ]


@dataclass(frozen=True)
class Stand:
    """What has been done so far, by the tables."""

    results: int
    points: int

    @classmethod
    async def read(cls, place: Place) -> "Stand":
        """As it is now."""
        db = await asyncpg.connect(place.dsn)
        try:
            schema = f'"{place.namespace}points"'
            # one statement, so one snapshot
            (row,) = await db.fetch(
                f"""SELECT (SELECT count(*) FROM {schema}.results),
                (SELECT coalesce(sum(available), 0)::bigint FROM {schema}.balance) AS points"""
            )
            return cls(*row.values())
        finally:
            await db.close()


async def _settled(place: Place, before: Stand, accepted: int, unknown: int) -> None:
    """Wait for the effects of what was accepted; raises EdgeError unless there are those, once, and no others than of what nobody knew of."""
    until = asyncio.get_running_loop().time() + SETTLE_S
    done, seen = 0, -1
    while done < accepted or (unknown and done != seen):
        if asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(QUIET_S if unknown else LOOK_S)
        now = await Stand.read(place)
        seen, done = done, now.results - before.results
        if now.points - before.points != done * AMOUNT:
            raise EdgeError(f"{done} commands had results and gave {now.points - before.points} points")
    if not accepted <= done <= accepted + unknown:
        raise EdgeError(f"{accepted} commands were accepted, of {unknown} nobody knew, and {done} had effects")


class Field:
    """The processes of a run: edges at ports, and who else works."""

    def __init__(self, place: Place, ports: Sequence[int], pids: dict[str, list[int]], seconds: float) -> None:
        """They run."""
        self.place, self.ports, self.pids, self.seconds = place, ports, pids, seconds
        self.settings = Settings.from_env(place.environment)

    async def point(self, mix: str, connections: int, rate: float = 0) -> Point:
        """Offer, and wait until all that was accepted has its effect; raises EdgeError when something is wrong or missing."""
        before = await Stand.read(self.place)
        plan = Plan([*self.ports], connections, WARM_S, self.seconds, _asks(self.settings, MIXES[mix]), rate)
        report, spent = await edge.drive(plan, self.pids)
        if wrong := sum(kind.wrong for kind in report.kinds.values()):
            raise EdgeError(f"{mix}: {wrong} answers were wrong")
        commands = report.kinds["command"]
        await _settled(self.place, before, commands.good, commands.unknown)
        found = Point(mix, len(self.ports), connections, rate, report)
        answers = found.good * report.seconds
        found.cost = {part: used / answers * 1e6 for part, used in spent.items()} if answers else {}
        return found


@asynccontextmanager
async def _field(place: Place, edges: int, seconds: float) -> AsyncIterator[Field]:
    ports = free_ports(edges)
    async with AsyncExitStack() as running:
        servers = [
            await running.enter_async_context(edge.serving(port, edge.shipped(port), place.environment))
            for port in ports
        ]
        worker = await running.enter_async_context(_working(place))
        pids = {
            SERVER: [one.pid for one in servers],
            WORKER: [worker],
            BROKER: edge.broker(place),
            DATABASE: processor.listening(urlsplit(place.dsn).port or 5432),
        }
        yield Field(place, ports, pids, seconds)


@asynccontextmanager
async def _working(place: Place) -> AsyncIterator[int]:
    """`caravan worker points`."""
    command = (sys.executable, "-m", "caravan", "worker", "--domains", "points")
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **place.environment}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), edge.GRACE_S)


async def run(place: Place, options: Namespace) -> list[Result]:
    """Every mix with every number of edges."""
    points: list[Point] = []
    print(HEAD, flush=True)
    for edges in options.edges:
        async with _field(place, edges, options.load_seconds) as there:
            # The worker has begun, and there is every balance that is asked about.
            await there.point("commands only", 64, 1.2 * edge.USERS / (WARM_S + options.load_seconds))
            for mix in MIXES:
                capacity = await there.point(mix, 64)
                offers = [(share * capacity.good, count) for share, count in SHARES]
                for one in [capacity, *[await there.point(mix, count, rate) for rate, count in offers]]:
                    print(one.row(), flush=True)
                    points.append(one)
                print(_cores(capacity), flush=True)
    return [result for point in points for result in _told(point)]


def _cores(point: Point) -> str:
    """What the processes of one machine spend on a request, and the cores that many requests need."""
    told = ", ".join(f"{part} {point.cost[part]:.0f}" for part in PARTS)
    cores = sum(point.cost.values()) * WANTED / 1e6
    return f"{point.mix}, {point.processes} edges: us of processor a request: {told}; cores for {WANTED}/s: {cores:.1f}"


def _told(point: Point) -> list[Result]:
    about = {"work": "load", "system": "caravan", "commit": machine.commit()}
    offered = f"{point.offered:.0f}/s offered" if point.offered else "closed loop"
    load = f"{point.mix}, {point.processes} edges, {point.connections} connections, {offered}"
    good = results.summarise([point.good], digits=0, load=f"{load}, good", unit="requests/s", **about)
    late = [
        results.summarise([point.latency(percent)], digits=1, load=f"{load}, p{percent}", unit="ms", **about)
        for percent in (50, 95, 99)
    ]
    return [good, *late]


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--load-seconds", type=float, default=5, help="an offer of the work load, warm-up aside")
    parser.add_argument(
        "--edges", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2], help="numbers of edges"
    )


WORK = Work("load", instance.alone, run, _arguments)
