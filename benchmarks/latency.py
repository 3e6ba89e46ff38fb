"""Command to view: award points over HTTP at a fixed rate, whatever comes back, and ask the view until it shows them.

The clock of a command starts at the moment it was due, not when it was sent, so a platform that stalls pays for everyone
who would have waited. The client shares the cores with what it measures, so it is one thread on raw sockets, which costs a tenth of a platform's part.
"""

import asyncio
import json
import select
import socket
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from statistics import quantiles
from urllib.parse import urlsplit

from benchmarks import instance, machine, results
from benchmarks.instance import Platform
from benchmarks.results import Result
from benchmarks.work import Work, WorkError

AMOUNT = 5
PATIENCE = 30.0  # s that a command may take
MOST = 512  # connections; what is due while all of them wait is sent when one is free, and its clock runs
READ = 65536  # bytes
_END, _LENGTH = b"\r\n\r\n", b"content-length: "


class LatencyError(WorkError):
    """A command was not accepted, or the view did not show it."""


@dataclass(frozen=True)
class Offer:
    """Open loop: `rate` commands a second for `seconds`, the first `warmup` seconds of them not counted."""

    rate: int = 300
    seconds: float = 20
    warmup: float = 3
    users: int = 200

    @property
    def commands(self) -> int:
        """All of them."""
        return round((self.warmup + self.seconds) * self.rate)


@dataclass
class Percentiles:
    """Milliseconds from the due time to the answer of the view that includes the command."""

    p50: float
    p95: float
    p99: float


class _Line:
    """A connection, with the command that is under way on it: first its POST, then the view."""

    __slots__ = ("bearer", "due", "held", "number", "socket", "user", "view")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""  # of an answer that has not come whole
        self.user = self.bearer = ""
        self.number = 0
        self.due = 0.0
        self.view = b""  # the request for it, once the command is accepted

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, request: bytes) -> None:
        self.socket.sendall(request)

    def answer(self) -> tuple[int, bytes] | None:
        """Status and body once they are there."""
        data = self.socket.recv(READ)
        if not data:
            raise LatencyError("The edge ended a connection under a request.")
        data = self.held + data
        body = data.find(_END) + len(_END)
        at = data.find(_LENGTH, 0, body)
        if body < len(_END) or at < 0 or len(data) < body + int(data[at + len(_LENGTH) : data.index(b"\r", at)]):
            self.held = data
            return None
        self.held = b""
        return int(data[9:12]), data[body:]


@dataclass
class Client:
    """Drives one edge as several users; `tokens` are bearer tokens that may award."""

    url: str
    tokens: list[str]
    offer: Offer
    awarded: dict[str, int] = field(default_factory=dict)

    async def measure(self, prefix: str) -> Percentiles:
        """One round on fresh users; raises LatencyError unless every command is accepted, seen and counted once."""
        taken = await asyncio.to_thread(self._offered, prefix)
        cut = quantiles((seconds * 1000 for seconds in taken[-round(self.offer.rate * self.offer.seconds) :]), n=100)
        return Percentiles(p50=cut[49], p95=cut[94], p99=cut[98])

    def _offered(self, prefix: str) -> list[float]:
        """What each command took, in their order."""
        self.awarded = defaultdict(int)
        self._taken = [0.0] * self.offer.commands
        self._idle: list[_Line] = []
        self._busy: set[_Line] = set()
        try:
            self._drive(prefix)
            self._verify(self._idle[0])
        finally:
            for line in (*self._idle, *self._busy):
                line.socket.close()
        return self._taken

    def _drive(self, prefix: str) -> None:
        offer, numbers = self.offer, count()
        start = time.perf_counter() + 0.1
        due, number = start, next(numbers)
        while number < offer.commands or self._busy:
            now = time.perf_counter()
            while due <= now and number < offer.commands and len(self._busy) < MOST:
                self._begin(number, f"{prefix}-{number % offer.users}", due)
                number = next(numbers)
                due = start + number / offer.rate
            if self._busy and now > PATIENCE + min(line.due for line in self._busy):
                raise LatencyError(f"A command was not seen within {PATIENCE:.0f} s.")
            left = due - time.perf_counter() if number < offer.commands else PATIENCE
            for line in select.select(self._busy, (), (), max(0.0, left))[0]:
                self._hear(line)

    def _begin(self, number: int, user: str, due: float) -> None:
        line = self._idle.pop() if self._idle else self._connected()
        self._busy.add(line)
        line.number, line.user, line.due, line.view = number, user, due, b""
        line.bearer = self.tokens[number % len(self.tokens)]
        body = json.dumps({"user_id": user, "amount": AMOUNT})
        line.ask(self._request("POST", "/v1/points/award_points", line.bearer, body))

    def _connected(self) -> _Line:
        parts = urlsplit(self.url)
        return _Line((parts.hostname or "", parts.port or 80))

    def _hear(self, line: _Line) -> None:
        if (answer := line.answer()) is None:
            return
        status, body = answer
        if not line.view:
            if status != HTTPStatus.ACCEPTED:
                raise LatencyError(f"award_points answered {status}: {body.decode()}")
            path = f"/v1/points/balance/{line.user}?after={json.loads(body)['token']}"
            line.view = self._request("GET", path, line.bearer)
        elif status == HTTPStatus.OK:
            self._taken[line.number] = time.perf_counter() - line.due
            self.awarded[line.user] += AMOUNT
            self._busy.remove(line)
            self._idle.append(line)
            return
        elif status != HTTPStatus.CONFLICT or b"not_yet_applied" not in body:
            raise LatencyError(f"the view answered {status}: {body.decode()}")
        line.ask(line.view)

    def _verify(self, line: _Line) -> None:
        for user, amount in self.awarded.items():
            line.ask(self._request("GET", f"/v1/points/balance/{user}", self.tokens[0]))
            while (answer := line.answer()) is None:
                pass
            if (active := json.loads(answer[1])["active"]) != amount:
                raise LatencyError(f"{user} was awarded {amount} and the view shows {active}")

    @staticmethod
    def _request(method: str, path: str, bearer: str, body: str = "") -> bytes:
        entity = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {bearer}\r\n{entity}\r\n{body}".encode()
        )


async def run(platform: Platform, options: Namespace) -> list[Result]:
    """All rounds at each rate."""
    found = []
    await Client(platform.url, platform.tokens, Offer(options.rate, 0.1, options.warm)).measure("warm")
    for rate in dict.fromkeys((options.rate, *options.more_rates)):
        client = Client(platform.url, platform.tokens, Offer(rate, options.seconds))
        percentiles: dict[str, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            taken = await client.measure(f"rate{rate}-{number}")
            print(f"round {number + 1}  command-to-view, {rate}/s  {taken}", flush=True)
            for name, value in vars(taken).items():
                percentiles[name].append(value)
        about = {"work": "command-to-view", "system": "caravan", "unit": "ms", "commit": machine.commit()}
        found += [
            results.summarise(values, digits=2, load=f"{rate} commands/s, {name}", **about)
            for name, values in percentiles.items()
        ]
    return found


def _rates(text: str) -> tuple[int, ...]:
    return tuple(int(rate) for rate in text.split(",") if rate)


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--more-rates", type=_rates, default=(100, 1000), help="offered besides --rate, with commas")
    parser.add_argument("--warm", type=float, default=20, help="s of commands before the first round on a new platform")


WORK = Work("command-to-view", instance.platform, run, _arguments)
