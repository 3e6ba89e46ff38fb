"""`python -m benchmarks`: measure works, print a line a round, print the tables; a whole run is saved in `results/latest.json`."""

import argparse
import asyncio
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks import (
    decider,
    edge,
    instance,
    latency,
    load,
    loads,
    machine,
    projection,
    replay,
    report,
    results,
    scaling,
    starting,
    streams,
    subscribing,
    takeover,
)
from benchmarks.results import Result
from benchmarks.work import Work, WorkError, names

WORKS: tuple[Work, ...] = (  # in this order; a line each
    projection.WORK,
    subscribing.WORK,
    decider.WORK,
    edge.COMMANDS,
    edge.VIEWS,
    latency.WORK,
    replay.WORK,
    takeover.WORK,
    starting.START,
    starting.UP,
)
APART: tuple[Work, ...] = (  # measured when they are named
    streams.WORK,
    scaling.WORK,
    load.WORK,
)


def main() -> None:
    """Parse the arguments and run what they name; only a whole run is saved, or one that is to be merged into the saved one."""
    parser = _parser()
    options = parser.parse_args()
    if unknown := {*options.works} - {*_names_of((*WORKS, *APART))}:
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    header, found, failed = asyncio.run(_run(options))
    header["commands"] = [
        shlex.join(["make", "bench", *([f"ARGS={shlex.join(sys.argv[1:])}"] if sys.argv[1:] else [])])
    ]
    whole = {*options.works} == {*_names_of(WORKS)} and not options.systems
    if whole or options.merge:
        measured = {*options.works} if whole else {*options.works} - {*failed} if not options.systems else set()
        results.save(*results.merged(results.load(), (header, found), measured))
        from benchmarks import charts  # matplotlib is slow to import

        charts.draw(results.load()[1])
    if found:
        print(report.render(header, found))
    if failed:
        sys.exit(f"benchmarks: failed: {', '.join(failed)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    every = ",".join(_names_of((*WORKS, *APART)))
    parser.add_argument(
        "--works",
        type=names,
        default=_names_of(WORKS),
        help=f"some of {every}; without it all but the last {len(APART)}",
    )
    parser.add_argument("--systems", type=names, default=(), help="some of the systems, where a work has several")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--merge", action="store_true", help="put what was measured into the saved results")
    parser.add_argument("--rate", type=int, default=300, help="commands a second that are offered")
    parser.add_argument("--seconds", type=float, default=12, help="for how long, beside the warm-up")
    loads.arguments(parser)
    for work in (*WORKS, *APART):
        work.arguments(parser)
    return parser


def _names_of(works: Iterable[Work]) -> tuple[str, ...]:
    return tuple(work.name for work in works)


async def _run(options: argparse.Namespace) -> tuple[dict[str, Any], list[Result], list[str]]:
    """The header, what was found, and the names of the works that failed."""
    header: dict[str, Any] = {}
    found: list[Result] = []
    failed: list[str] = []
    works = [work for work in (*WORKS, *APART) if work.name in options.works]
    with tempfile.TemporaryDirectory(prefix="caravan-bench-", ignore_cleanup_errors=True) as folder:
        for group in _groups(works):
            try:
                async with group[0].needs(Path(folder) / group[0].name) as where:
                    header = header or await machine.describe(getattr(where, "dsn", None))
                    for work in group:
                        found += await _measure(work, where, options, failed)
            except Exception as error:  # noqa: BLE001 - whatever it was, the other works go on
                _tell(f"{', '.join(_names_of(group))}: what they need did not start or end", error)
                failed += [name for name in _names_of(group) if name not in failed]
    return header, found, failed


def _groups(works: list[Work]) -> Iterator[list[Work]]:
    """Works that follow each other share a broker and a Postgres; everything else is started anew for each."""
    for _, group in groupby(works, lambda work: work.needs is instance.infrastructure or work.name):
        yield list(group)


async def _measure(work: Work, where: Any, options: argparse.Namespace, failed: list[str]) -> list[Result]:
    print(f"# {work.name}", flush=True)
    began = time.perf_counter()
    try:
        return await work.measure(where, options)
    except Exception as error:  # noqa: BLE001 - a work that fails must not take the others with it
        _tell(work.name, error)
        failed.append(work.name)
        return error.found if isinstance(error, WorkError) else []
    finally:
        print(f"# {work.name}: {time.perf_counter() - began:.0f} s", flush=True)


def _tell(what: str, error: Exception) -> None:
    known = isinstance(error, WorkError | instance.StartError)
    reason = str(error) if known else "".join(traceback.format_exception(error))
    print(f"benchmarks: {what}: {reason}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
