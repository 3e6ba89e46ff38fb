"""What the watching auditor knows, in the text format of Prometheus, served on one port."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from caravan.audit.look import Auditor, Look
from caravan.errors import BadInput, PortBusy

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_S = 5.0  # how long somebody may take to ask
REQUEST_BYTES = 8192
Labels = tuple[tuple[str, str], ...]


class Metric:
    """One metric: its name without prefix, kind, help, and the values by their labels."""

    def __init__(self, name: str, kind: str, words: str) -> None:
        """It has no value yet."""
        self.name, self.kind, self.words = f"caravan_audit_{name}", kind, words
        self.values: dict[Labels, float] = {}

    def set(self, value: float, **labels: str) -> None:
        """The value is this now."""
        self.values[tuple(labels.items())] = value

    def lines(self) -> Iterable[str]:
        """As Prometheus reads it."""
        yield f"# HELP {self.name} {_escaped(self.words, quotes=False)}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in sorted(self.values.items()):
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            yield f"{self.name}{{{told}}} {_number(value)}" if told else f"{self.name} {_number(value)}"


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


class Metrics:
    """The metrics of one auditor."""

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        self.findings = Metric("findings", "gauge", "What the last look found, by the name of the finding.")
        self.commands = Metric("commands_checked_total", "counter", "Records of command topics that were checked.")
        self.events = Metric("events_checked_total", "counter", "Records of event topics that were checked and folded.")
        self.rows = Metric("rows_compared_total", "counter", "Rows of Postgres that were compared with the fold.")
        self.looks = Metric(
            "looks_total", "counter", "Looks by how they ended: clean, broken (a promise is) or failed."
        )
        self.success = Metric(
            "last_success_timestamp_seconds", "gauge", "Unix time of the last look that came to its end."
        )
        self.seconds = Metric("look_duration_seconds", "gauge", "How long the last look took.")
        self.lag = Metric("lag_records", "gauge", "Records between an agent's positions and the ends of its topic.")
        self.waiting = Metric("outbox_events", "gauge", "Committed events that are not on their topic yet.")
        self.age = Metric("outbox_age_seconds", "gauge", "For how long at least the oldest of these has waited.")
        self.scratch = Metric("scratch_bytes", "gauge", "Size of the auditor's temporary files.")
        self._all = [one for one in vars(self).values() if isinstance(one, Metric)]
        self._read = 0
        self._outcomes: Counter[str] = Counter()

    def ended(self, auditor: Auditor, look: Look) -> None:
        """A look came to its end."""
        for labels in self.findings.values:
            self.findings.values[labels] = 0
        for (domain, check), count in look.findings.counts.items():
            self.findings.set(count, domain=domain, check=check)
        for name, read in auditor.domains.items():
            self.commands.set(read.commands_checked, domain=name)
            self.events.set(read.events_checked, domain=name)
            self.scratch.set(read.scratch.size, domain=name)
        for (domain, agent), lag in look.lags.items():
            self.lag.set(lag, domain=domain, agent=agent)
        for name, age in look.ages.items():
            self.waiting.set(look.waiting[name], domain=name)
            self.age.set(round(age, 3), domain=name)
        self._read += look.rows
        self.rows.set(self._read)
        self.success.set(round(time.time(), 3))
        self.seconds.set(round(look.seconds, 3))
        self.outcome("broken" if look.findings.broken else "clean")

    def outcome(self, word: str) -> None:
        """A look ended so."""
        self._outcomes[word] += 1
        self.looks.set(self._outcomes[word], outcome=word)

    def text(self) -> str:
        """All of them."""
        return "".join(f"{line}\n" for metric in self._all for line in metric.lines())

    @asynccontextmanager
    async def served(self, host: str, port: int) -> AsyncIterator[int]:
        """Answer `GET /metrics` while the block runs; gives the port. Raises PortBusy."""
        try:
            server = await asyncio.start_server(self._answer, host, port, limit=REQUEST_BYTES)
        except OSError as error:
            raise PortBusy(f"metrics cannot be served on {host}:{port}: {error}; choose another port") from error
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_S):
                asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
                ours = asked[0] in {b"GET", b"HEAD"} and asked[1].split(b"?")[0] == b"/metrics"
                body = self.text().encode() if ours else b"metrics are at /metrics\n"
                headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(body)), "Connection": "close"}
                writer.write(
                    _head("200 OK" if ours else "404 Not Found", headers) + (b"" if asked[0] == b"HEAD" else body)
                )
                await writer.drain()
        writer.close()


def _head(status: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def address_of(text: str) -> tuple[str, int]:
    """`9105` (on loopback) or `0.0.0.0:9105`; raises BadInput."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise BadInput(f"'{text}' is no port; write it as 9105 or 0.0.0.0:9105")
    return host.strip("[]") or "127.0.0.1", int(port)
