"""Random faults done to a whole platform for as long as one likes: `make soak`, or `python -m tests.faults.soak --minutes 30 --seed 7`.

Three brokers, a Postgres, three workers and two edges of its own, and eight clients. Each round has a namespace and a seed; when its load is over,
everything heals and settles, and its history is checked. The program ends with 1 when anything was found, and keeps that round's history.
"""

import argparse
import asyncio
import random
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path

from examples.generate import Line
from examples.journeys import Journeys
from streams.settings import Settings
from tests.faults.cluster import Cluster
from tests.faults.infrastructure import Own
from tests.faults.injuries import INJURIES, Injury, Patient
from tests.faults.platform import Platform, running
from tests.faults.proxy import Proxy, wires
from tests.faults.report import Figures

ROUND_S = 150.0
CHUNK = 200  # lines
TILLS = 400  # vouchers that are shown in the end
PAUSES_S = (0.5, 5.0)  # between two faults
SCENARIOS = ["S1", "S2", "S3", "S6", "S7", "S8", "S9", "S10", "S15", "S18"]


@dataclass
class Total:
    """What all rounds came to."""

    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    """Requests by what came of them, and commands on the topics."""
    findings: list[str] = field(default_factory=list)
    pause_s: float = 0.0

    def found(self, name: str) -> int:
        """How many findings have this name."""
        return sum(one.startswith(f"{name}:") for one in self.findings)


class Soak:
    """Rounds on one infrastructure."""

    def __init__(self, cluster: Cluster, postgres: Own, folder: Path, seed: int) -> None:
        """`folder` keeps what is found."""
        self.total = Total()
        self._cluster, self._postgres, self._folder = cluster, postgres, folder
        self._deck: list[Injury] = []
        self._seed = seed

    async def run(self, seconds: float) -> None:
        """Rounds until the time is over."""
        end = time.monotonic() + seconds
        async with AsyncExitStack() as stack:
            kafka = await stack.enter_async_context(wires(self._cluster.url))
            postgres = await stack.enter_async_context(wires(self._postgres.url))
            for seed in count(self._seed):
                left = end - time.monotonic()
                await self._round(
                    seed, min(ROUND_S, max(left, 30.0)), (kafka.url, postgres.url), (kafka.proxies, postgres.proxies)
                )
                if time.monotonic() >= end or self.total.findings:
                    return

    async def _round(
        self, seed: int, seconds: float, urls: tuple[str, str], proxies: tuple[Sequence[Proxy], Sequence[Proxy]]
    ) -> None:
        folder = self._folder / str(seed)
        folder.mkdir(parents=True)
        direct = settings_of(self._cluster.url, self._postgres.url, seed)
        ways = replace(direct, kafka=urls[0], postgres=urls[1], postgres_read=urls[1])
        dice = random.Random(seed)
        print(f"seed {seed}: {seconds:.0f} s", flush=True)
        async with running(direct, ways, folder, seed, workers=3) as platform:
            patient = Patient(platform, self._cluster, self._postgres, *proxies, dice)
            faults = Counter[str]()
            try:
                begin = time.time()
                tills = await self._load(platform, patient, faults, seconds)
                span = begin, time.time()
                await self._finish(platform, tills)
                findings = await platform.wrong()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding, and the history is kept
                span, findings = (0.0, 0.0), ["stopped: " + "".join(traceback.format_exception(error))]
        self._sum(platform, faults, findings, span)
        if not findings:
            shutil.rmtree(folder)

    async def _load(self, platform: Platform, patient: Patient, faults: Counter[str], seconds: float) -> list[Line]:
        """Clients speak and faults happen; both are over when this returns. The lines are for later."""
        acts = Journeys(patient.dice.randrange(2**32), sets=2)
        opening = [line for campaign in acts.campaigns for line in acts._opening(campaign)]
        await platform.crowd.send(opening)
        over = asyncio.Event()
        hurting = asyncio.create_task(self._hurt(patient, faults, over))
        end, lines = time.monotonic() + seconds, iter(acts)
        try:
            while time.monotonic() < end and not hurting.done():
                await platform.crowd.send(list(islice(lines, CHUNK)))
        finally:
            over.set()
            await hurting
        return [line for sold in acts.bought[:TILLS] for line in acts._till(*sold)]

    async def _hurt(self, patient: Patient, faults: Counter[str], over: asyncio.Event) -> None:
        while not over.is_set():
            if not self._deck:
                self._deck = patient.dice.sample(INJURIES, len(INJURIES))
            injury = self._deck.pop()
            faults[injury.__name__] += 1
            begin = time.monotonic()
            await injury(patient)
            print(f"  {injury.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
            await asyncio.sleep(patient.dice.uniform(*PAUSES_S))

    async def _finish(self, platform: Platform, tills: Sequence[Line]) -> None:
        """Everything settles, vouchers are shown, and it settles again."""
        await platform.crowd.finished()
        await platform.settle()
        await platform.crowd.send(await platform.codes(tills))
        await platform.crowd.finished()
        await platform.settle()

    def _sum(
        self, platform: Platform, faults: Counter[str], findings: Sequence[str], span: tuple[float, float]
    ) -> None:
        total = self.total
        total.faults += faults
        total.findings += findings
        total.counts.update(platform.crowd.counts)
        total.counts["commands"] += sum(one["kind"] == "record" for one in platform.history.seen)
        total.pause_s = max(total.pause_s, pause := platform.pause(span))
        print(
            f"  {platform.crowd.counts}, {faults.total()} faults, longest pause {pause:.1f} s, {len(findings)} findings",
            flush=True,
        )


def settings_of(kafka: str, postgres: str, seed: int) -> Settings:
    """A namespace of the round's own."""
    return Settings(
        kafka=kafka,
        postgres=postgres,
        postgres_read=postgres,
        namespace=f"soak{seed}_",
        signing_keys=(("k1", secrets.token_bytes(32)),),
        jwt_secret=secrets.token_hex(32),
    )


def main() -> None:
    """Run it, print what it came to, and end with 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of the first round; the next has the next one"
    )
    parser.add_argument("--folder", type=Path, default=None, help="where histories of rounds with findings are kept")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="caravan-soak-"))
    with Cluster() as cluster, Own("postgres") as postgres:
        soak = Soak(cluster, postgres, folder, given.seed)
        asyncio.run(soak.run(given.minutes * 60))
    total = soak.total
    for name, number in sorted(total.faults.items()):
        print(f"{number:6} {name}")
    print(f"{dict(total.counts)}")
    print("\n".join(total.findings[:50]))
    test = f"--minutes {given.minutes:g} --seed {given.seed}"
    Figures(SCENARIOS, test).note(
        faults=total.faults.total(),
        commands=total.counts["commands"],
        lost=total.found("lost"),
        doubled=total.found("doubled"),
        pause_s=total.pause_s,
    )
    if total.findings:
        sys.exit(f"{len(total.findings)} findings; the history is in {folder}")


if __name__ == "__main__":
    main()
