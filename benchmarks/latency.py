"""Command to view: award points over HTTP at a fixed rate, whatever comes back, and ask the view until it shows them.

The clock of a command starts at the moment it was due, not when it was sent, so a platform that stalls pays for everyone
who would have waited.
"""

import asyncio
import gc
import time
from argparse import Namespace
from collections import defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from statistics import quantiles

import aiohttp

from benchmarks import instance, machine, results
from benchmarks.instance import Platform
from benchmarks.results import Result
from benchmarks.work import Work, WorkError

AMOUNT = 5
PATIENCE = aiohttp.ClientTimeout(total=10)


class LatencyError(WorkError):
    """A command was not accepted, or the view did not show it."""


@dataclass(frozen=True)
class Offer:
    """Open loop: `rate` commands a second for `seconds`, the first `warmup` seconds of them not counted."""

    rate: int = 300
    seconds: float = 20
    warmup: float = 3
    users: int = 200


@dataclass
class Percentiles:
    """Milliseconds from the due time to the answer of the view that includes the command."""

    p50: float
    p95: float
    p99: float


@dataclass
class Client:
    """Drives one edge as several users; `tokens` are bearer tokens that may award."""

    url: str
    tokens: list[str]
    offer: Offer
    awarded: dict[str, int] = field(default_factory=dict)

    async def measure(self, prefix: str) -> Percentiles:
        """One round on fresh users; raises LatencyError unless every command is accepted, seen and counted once."""
        self.awarded = {}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self.url, connector=connector, timeout=PATIENCE) as session:
            gc.collect()
            gc.freeze()
            taken = await self._offer_all(session, prefix)
            await self._verify(session)
        cut = quantiles((seconds * 1000 for seconds in taken), n=100)
        return Percentiles(p50=cut[49], p95=cut[94], p99=cut[98])

    async def _offer_all(self, session: aiohttp.ClientSession, prefix: str) -> list[float]:
        offer = self.offer
        start = time.perf_counter() + 0.1
        tasks = []
        for index in range(round((offer.warmup + offer.seconds) * offer.rate)):
            due = start + index / offer.rate
            await asyncio.sleep(due - time.perf_counter())
            tasks.append(asyncio.create_task(self._one(session, index, f"{prefix}-{index % offer.users}", due)))
        taken = await asyncio.gather(*tasks)
        return taken[round(offer.warmup * offer.rate) :]

    async def _one(self, session: aiohttp.ClientSession, index: int, user: str, due: float) -> float:
        bearer = {"Authorization": f"Bearer {self.tokens[index % len(self.tokens)]}"}
        command = {"user_id": user, "amount": AMOUNT}
        async with session.post("/v1/points/award_points", json=command, headers=bearer) as answer:
            if answer.status != HTTPStatus.ACCEPTED:
                raise LatencyError(f"award_points answered {answer.status}: {await answer.text()}")
            token = (await answer.json())["token"]
        view = f"/v1/points/balance/{user}"
        while True:
            async with session.get(view, params={"after": token}, headers=bearer) as answer:
                text = await answer.text()
            if answer.status == HTTPStatus.OK:
                self.awarded[user] = self.awarded.get(user, 0) + AMOUNT
                return time.perf_counter() - due
            if answer.status != HTTPStatus.CONFLICT or "not_yet_applied" not in text:
                raise LatencyError(f"the view answered {answer.status}: {text}")

    async def _verify(self, session: aiohttp.ClientSession) -> None:
        bearer = {"Authorization": f"Bearer {self.tokens[0]}"}
        for user, amount in self.awarded.items():
            async with session.get(f"/v1/points/balance/{user}", headers=bearer) as answer:
                active = (await answer.json())["active"]
            if active != amount:
                raise LatencyError(f"{user} was awarded {amount} and the view shows {active}")


async def run(platform: Platform, options: Namespace) -> list[Result]:
    """All rounds."""
    client = Client(platform.url, platform.tokens, Offer(options.rate, options.seconds))
    percentiles: dict[str, list[float]] = defaultdict(list)
    for number in range(options.rounds):
        taken = await client.measure(f"round{number}")
        print(f"round {number + 1}  command-to-view  {taken}", flush=True)
        for name, value in vars(taken).items():
            percentiles[name].append(value)
    about = {"work": "command-to-view", "system": "caravan", "unit": "ms", "commit": machine.commit()}
    return [
        results.summarise(values, digits=2, load=f"{options.rate} commands/s, {name}", **about)
        for name, values in percentiles.items()
    ]


WORK = Work("command-to-view", instance.platform, run)
