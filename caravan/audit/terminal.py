"""`caravan audit`: one look, or with `--watch` one after the other, on a terminal or for programs."""

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from caravan.audit.finding import Finding
from caravan.audit.look import Auditor, Look
from caravan.audit.metrics import Metrics, address_of
from caravan.commands import known, seconds, settings
from caravan.decoded import printable
from caravan.errors import Problem
from caravan.tail import start_of
from streams.errors import CaravanError
from streams.settings import Settings

DRAW_S = 0.1  # between two pictures of how far it is


class Broken(Problem):
    """Something was found that breaks a promise."""


class NotLooked(Problem):
    """The audit could not look."""

    status = 2


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What was asked for. `every` is in seconds, None for one look; `metrics` where to serve them."""

    domains: Collection[str]
    since: int = 0
    every: float | None = None
    metrics: tuple[str, int] | None = None
    as_json: bool = False


def audit(
    folder: Path, domains: Collection[str], *, since: str | None, every: str | None, metrics: str | None, as_json: bool
) -> None:
    """Look, and print what was found. Raises Broken, and NotLooked when it could not."""
    known(list(domains))
    wishes = Wishes(
        domains,
        start_of(since) if since else 0,
        seconds(every) if every else None,
        address_of(metrics) if metrics else None,
        as_json,
    )
    try:
        found = asyncio.run(_audit(settings(folder), wishes))
    except (Problem, CaravanError) as error:
        raise NotLooked(f"could not look: {error}") from error
    if found:
        broken = [one for one in found if not one.harmless]
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise Broken(f"a promise is broken: {broken[0].domain} {broken[0].check} at {printable(broken[0].place)}{more}")


async def _audit(ours: Settings, wishes: Wishes) -> list[Finding]:
    """One look, and what it found if that breaks a promise; with `every` it does not end by itself."""
    progress = Progress()
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        if wishes.metrics is not None:
            port = await stack.enter_async_context(metrics.served(*wishes.metrics))
            print(f"metrics: http://{wishes.metrics[0]}:{port}/metrics", file=sys.stderr, flush=True)
        auditor = Auditor(ours, wishes.domains or None, since=wishes.since, progress=progress)
        await stack.enter_async_context(auditor)
        if wishes.every is not None:
            await watch(auditor, wishes, metrics, progress)
        look = await auditor.look()
        progress.clear()
        print(_json(auditor, look) if wishes.as_json else _report(auditor, look), flush=True)
    return list(look.findings) if look.findings.broken else []


async def watch(auditor: Auditor, wishes: Wishes, metrics: Metrics, progress: "Progress") -> None:
    """Look for ever; print what has come and what is gone since the look before."""
    before: set[Finding] | None = None
    assert wishes.every is not None
    while True:
        next_at = time.monotonic() + wishes.every
        try:
            look = await auditor.look()
        except CaravanError as error:
            metrics.outcome("failed")
            print(f"{_now()} could not look, and looks again: {error}", file=sys.stderr, flush=True)
        else:
            metrics.ended(auditor, look)
            progress.clear()
            found = set(look.findings)
            if wishes.as_json:
                print(_json(auditor, look), flush=True)
            elif before is None or found != before:
                print("\n".join(_news(before or set(), look, auditor)), flush=True)
            before = found
        await asyncio.sleep(max(0.0, next_at - time.monotonic()))


def _news(before: Collection[Finding], look: Look, auditor: Auditor) -> Iterator[str]:
    now = list(look.findings)
    yield f"{_now()} {_summary(auditor, look)}"
    yield from _grouped([one for one in now if one not in before])
    for gone in before:
        if gone not in now:
            yield f"no longer: {printable(str(gone))}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _report(auditor: Auditor, look: Look) -> str:
    return "\n".join((*_grouped(list(look.findings)), _summary(auditor, look)))


def _grouped(findings: Collection[Finding]) -> Iterator[str]:
    """Those of one name together, with what to do about them."""
    ordered = sorted(findings, key=lambda one: (one.harmless, one.domain, one.check))
    for (harmless, domain, check), group in groupby(ordered, key=lambda one: (one.harmless, one.domain, one.check)):
        same = list(group)
        yield f"{domain}: {check}" + (" (harmless)" if harmless else "")
        yield from (printable(f"  {one.place}: {one.words}") for one in same)
        for mend in sorted({one.mend for one in same}):
            yield f"  mend: {mend}"


def _summary(auditor: Auditor, look: Look) -> str:
    broken = sum(count for (_, check), count in look.findings.counts.items() if look.findings.breaks(check))
    harmless = look.findings.counts.total() - broken
    verdict = f"{broken} findings" if broken else "all promises hold"
    note = f" ({harmless} harmless)" if harmless else ""
    names = ", ".join(sorted(auditor.domains)) or "no domain that decides"
    return (
        f"{verdict}{note}: {names}; {auditor.read_commands} commands, {auditor.read_events} events, {look.rows} rows "
        f"in {look.seconds:.1f} s"
    )


def _json(auditor: Auditor, look: Look) -> str:
    counts = [
        {"domain": domain, "check": check, "count": count} for (domain, check), count in look.findings.counts.items()
    ]
    told: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "clean": not look.findings.broken,
        "findings": [dataclasses.asdict(one) for one in look.findings],
        "counts": counts,
        "commands": auditor.read_commands,
        "events": auditor.read_events,
        "rows": look.rows,
        "seconds": round(look.seconds, 3),
    }
    return json.dumps(told, ensure_ascii=False)


class Progress:
    """Says on a terminal what is being read."""

    def __init__(self) -> None:
        """Nothing is said yet."""
        self._drawn = 0.0
        self._on = sys.stderr.isatty()

    def __call__(self, what: str, done: int, whole: int) -> None:
        """So much of it is read."""
        if self._on and time.monotonic() - self._drawn > DRAW_S:
            self._drawn = time.monotonic()
            print(f"\r\033[K{what}: {done} of {whole}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave an empty line."""
        if self._on and self._drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
