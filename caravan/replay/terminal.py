"""`caravan replay`: on a terminal, in a log, or as lines of JSON."""

import json
import logging
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from caravan.commands import known as known_domains
from caravan.commands import settings
from caravan.decoded import printable
from caravan.errors import BadInput, Problem
from caravan.replay import words
from caravan.replay.code import tables
from caravan.replay.plan import plan
from caravan.replay.run import Progress, Replay, Wishes
from caravan.tail import EARLIEST, start_of
from streams import collector
from streams.errors import CaravanError
from streams.reading import Place, Reader
from streams.settings import Settings

LINE_S = 5.0  # between two lines of progress in a log
DRAW_S = 0.2  # and on a terminal
_OFFSETS = re.compile(r"[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*")


class Differs(Problem):
    """The replay is not what the live tables are."""


class NotReplayed(Problem):
    """The replay could not be done, or what was asked for does not fit it."""

    status = 2


@dataclass(frozen=True)
class Asked:
    """What the command line says. `action` is build, plan, swap, swap_back, abort or status."""

    action: str = "build"
    views: str | None = None
    start: str | None = None
    rate: float | None = None
    accept: str | None = None
    show: int = 20
    as_json: bool = False


class Job(NamedTuple):
    """What an action works with; `tables` are those that were named."""

    settings: Settings
    folder: Path
    domain: str
    tables: tuple[str, ...] | None
    asked: Asked

    def replay(self, wishes: Wishes | None = None) -> Replay:
        """The replay, telling how far it is."""
        return Replay(
            self.settings,
            self.domain,
            wishes or Wishes(rate=self.asked.rate),
            Show(self.domain, as_json=self.asked.as_json),
        )


def replay(folder: Path, domain: str, asked: Asked) -> None:
    """Do it. Raises Differs, and NotReplayed when it could not."""
    import uvloop

    known_domains([domain])
    chosen = _tables(domain, asked)
    ours = settings(folder)
    for name, level in (
        ("streams", logging.ERROR),
        ("aiokafka", logging.CRITICAL),
    ):  # what stops the replay is told by itself
        logging.getLogger(name).setLevel(level)
    collector.tune()
    try:
        uvloop.run(_ACTIONS[asked.action](Job(ours, folder, domain, chosen, asked)))
    except (Problem, CaravanError) as error:
        if isinstance(error, Differs | BadInput):
            raise
        raise NotReplayed(str(error)) from error


def _tables(domain: str, asked: Asked) -> tuple[str, ...] | None:
    """The tables that are asked for; raises BadInput."""
    there = tables(domain)
    chosen = None if asked.views is None else tuple(dict.fromkeys(name.strip() for name in asked.views.split(",")))
    if unknown := [name for name in chosen or () if name not in there]:
        raise BadInput(
            f"there is no table '{unknown[0]}' in the views of {domain}; there are: {', '.join(sorted(there)) or 'none'}"
        )
    if asked.start not in (None, EARLIEST):
        wrong = [name for name in (there if chosen is None else chosen) if not there[name]]
        if chosen is None or wrong:
            fit = ", ".join(sorted(name for name, appended in there.items() if appended)) or "there is none here"
            raise BadInput(
                f"--from is for views that are only appended to, named by --views ({fit}); the others need all events: leave --from out"
            )
    return chosen


async def _since(job: Job) -> dict[str, int]:
    """Topic and partition -> the offset from which on rows are written."""
    start = job.asked.start
    if start is None or start == EARLIEST:
        return {}
    topics = sorted({agent.source.events_topic for agent in job.replay().agents})
    async with Reader(job.settings) as reader:
        places = await reader.places(topics)
        if not _OFFSETS.fullmatch(start):
            found = await reader.since(places, _start(start))
            return {f"{place.topic}/{place.partition}": at for place, at in found.items()}
    told = {int(n): int(at) for n, at in (part.split(":") for part in start.split(","))}
    if len(topics) > 1:
        raise BadInput(f"{job.domain} is made of {', '.join(topics)}, so offsets do not say which; give --from a time")
    if unknown := [n for n in told if Place(topics[0], n) not in places]:
        raise BadInput(f"{topics[0]} has no partition {unknown[0]}; it has {len(places)}")
    return {f"{place.topic}/{place.partition}": told.get(place.partition, 0) for place in places}


def _start(text: str) -> int:
    try:
        return start_of(text)
    except BadInput:
        raise BadInput(
            f"'{text}' is no place to begin; write earliest, a time as 2026-01-31T13:30 (UTC), 10m ago, or offsets as 0:1200,1:980"
        ) from None


async def _build(job: Job) -> None:
    asked, domain = job.asked, job.domain
    wishes = Wishes(job.tables, asked.start, await _since(job), asked.rate, asked.show)
    async with job.replay(wishes) as run:
        comparison = await run.build()
    told = words.report(domain, comparison)
    print(json.dumps(words.told(domain, comparison)) if asked.as_json else "\n".join(map(printable, told)))
    if comparison.diff is not None:
        raise Differs(
            f"{domain}: {words.differ(comparison.differing)} (diff {comparison.diff}); see more with --show 1000; "
            f"accept with: caravan replay {domain} --swap --accept-diff {comparison.diff}; give it up with: --abort"
        )


async def _swap(job: Job) -> None:
    async with job.replay() as run:
        known = await (run.swap(job.asked.accept) if job.asked.action == "swap" else run.swap_back())
    told = words.swapped if job.asked.action == "swap" else words.swapped_back
    print(json.dumps({"domain": job.domain, **asdict(known)}) if job.asked.as_json else told(job.domain, known))


async def _abort(job: Job) -> None:
    async with job.replay() as run:
        known = await run.abort()
    told = {"domain": job.domain, "dropped": known.state}
    print(json.dumps(told) if job.asked.as_json else words.dropped(job.domain, known))


async def _status(job: Job) -> None:
    async with job.replay().beside as beside:
        known, runs = await beside.known(), await beside.is_run()
    told = None if known is None else {"domain": job.domain, "running": runs, **asdict(known)}
    print(json.dumps(told) if job.asked.as_json else words.state(job.domain, known, runs=runs))


async def _plan(job: Job) -> None:
    run, since = job.replay(), await _since(job)
    async with run.beside as beside:
        told = await plan(job.settings, run.agents, beside, job.tables, job.folder)
    for place in told["events"]:
        if (at := since.get(f"{place['topic']}/{place['partition']}")) is not None:
            place["rows_from"] = at
    print(json.dumps(told) if job.asked.as_json else "\n".join(words.planned(told)))


_ACTIONS = {"build": _build, "plan": _plan, "swap": _swap, "swap_back": _swap, "abort": _abort, "status": _status}


class Show:
    """Tells how far it is: one line that changes on a terminal, lines in a log, JSON for programs."""

    def __init__(self, domain: str, *, as_json: bool) -> None:
        """Nothing is told yet."""
        self._domain, self._json = domain, as_json
        self._tty = sys.stderr.isatty() and not as_json
        self._told_at, self._doing, self._drawn = 0.0, "", False

    def __call__(self, at: Progress | None) -> None:
        """So far it is; None when it has ended."""
        if at is None:
            self._clear()
        else:
            self._tell(at)

    def _tell(self, at: Progress) -> None:
        now = time.monotonic()
        fresh = at.doing != self._doing
        if not fresh and now - self._told_at < (DRAW_S if self._tty else LINE_S):
            return
        self._told_at, self._doing = now, at.doing
        if self._json:
            print(json.dumps({"domain": self._domain, **at._asdict(), "rate": round(at.rate)}), flush=True)
        elif self._tty:
            self._drawn = True
            print(f"\r\033[K{self._domain}: {words.line(at)}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{self._domain}: {words.line(at)}", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
