"""A replay in words."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from caravan.replay.compare import Comparison, Result
from caravan.replay.run import Progress
from sinks.postgres.replay import Known


def line(at: Progress) -> str:
    """How far it is."""
    part = f"{100 * at.folded // at.whole}% " if at.whole else ""
    rest = f", {at.behind:,} behind live".replace(",", " ").replace("  ", ", ", 1) if at.behind else ", level with live"
    eta = f", {_time(at.behind / at.rate)} to go" if at.rate > 1 and at.behind else ""
    return (
        f"{at.doing} {part}{_number(at.folded)} of {_number(at.whole)} events, {_number(round(at.rate))}/s{eta}{rest}"
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def many(count: int, what: str) -> str:
    """So many of something."""
    return f"{_number(count)} {what}{'' if count == 1 else 's'}"


def differ(count: int) -> str:
    """That so many rows do."""
    return f"{many(count, 'row')} differ{'s' if count == 1 else ''}"


def report(domain: str, comparison: Comparison) -> Iterator[str]:
    """What was compared."""
    wide = max((len(result.table) for result in comparison.results), default=0)
    for result in comparison.results:
        yield f"  {result.table:<{wide}}  {_verdict(result)}"
        yield from (f"    {one}" for one in result.shown)
        if (more := result.differing - len(result.shown)) > 0:
            yield f"    and {_number(more)} more"
    if comparison.diff is None:
        lost = f"; {', '.join(comparison.lost)} is lost, and put in place by the swap" if comparison.lost else ""
        yield f"{domain}: the replay and the live tables are equal{lost}. Swap them: caravan replay {domain} --swap; or end: caravan replay {domain} --abort"


def _verdict(result: Result) -> str:
    if result.lost:
        return "is not there; the replay has it"
    kept = f" ({many(result.kept, 'older row')} taken over)" if result.kept else ""
    if not result.differing:
        return f"{many(result.rows, 'row')}{kept}, equal"
    parts = [
        f"{_number(n)} {word}"
        for n, word in ((result.missing, "missing"), (result.extra, "extra"), (result.changed, "changed"))
        if n
    ]
    return f"{many(result.live, 'row')}, the replay has {_number(result.rows)}{kept}: {', '.join(parts)}"


def told(domain: str, comparison: Comparison) -> dict[str, Any]:
    """The same for programs."""
    return {
        "domain": domain,
        "equal": comparison.diff is None,
        "diff": comparison.diff,
        "differing": comparison.differing,
        "tables": [{**asdict(result), "differing": result.differing} for result in comparison.results],
    }


def state(domain: str, known: Known | None, *, runs: bool) -> str:
    """Where a replay stands."""
    if known is None:
        return f"{domain}: there is no replay"
    what = "all views, documents and timers" if known.whole else ", ".join(known.tables)
    words = {
        "building": "is being built" if runs else "is half built; the same command goes on",
        "compared": "is built and equal"
        if known.diff is None
        else f"is built; {differ(known.differing)} (diff {known.diff})",
        "swapped": f"is swapped in since {known.swapped_at}; --swap-back or --abort (which is: done)",
        "back": f"was swapped back at {known.swapped_at}; --swap or --abort",
    }[known.state]
    compared = f", compared {known.compared_at}" if known.compared_at else ""
    return f"{domain}: a replay of {what} from {known.asked}, begun {known.begun_at}{compared}, {words}{'; a process works on it' if runs else ''}"


def planned(told: dict[str, Any]) -> Iterator[str]:
    """What would be done."""
    records = sum(place["records"] for place in told["events"])
    yield f"{told['domain']}: {many(records, 'record')} would be folded by {', '.join(told['agents'])} into the schema {told['schema']}, beside the live tables"
    for place in told["events"]:
        since = f", rows from offset {place['rows_from']} on" if "rows_from" in place else ""
        yield f"  {place['topic']}/{place['partition']}  {many(place['records'], 'record')}{since}"
    yield "tables:"
    wide = max((len(one["table"]) for one in told["tables"]), default=0)
    for one in told["tables"]:
        how = "is lost" if one["lost"] else f"about {many(one['rows'], 'row')}, {_bytes(one['bytes'])}"
        yield f"  {one['table']:<{wide}}  {how}{', only appended to' if one['append_only'] else ''}"
    free = f" of {_bytes(told['disk_free'])} that are free" if told["disk_free"] is not None else ""
    yield f"disk wanted in Postgres: about {_bytes(told['disk_wanted'])}{free}"
    yield "not built anew:"
    yield from (f"  {words}" for words in told["not_rebuilt"])


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def swapped(domain: str, known: Known) -> str:
    """What a swap did."""
    put = f" ({', '.join(known.lost)} was lost and is there again)" if known.lost else ""
    back = "" if known.lost else f" Exchange them again: caravan replay {domain} --swap-back."
    return f"{domain}: swapped in: {_what(known)}{put}; those from before stand beside.{back} Done, drop them: caravan replay {domain} --abort"


def swapped_back(domain: str, known: Known) -> str:
    """What a swap back did."""
    return (
        f"{domain}: as before the swap again, and kept up to now: {_what(known)}. "
        f"Exchange them again: caravan replay {domain} --swap. Drop what was built: caravan replay {domain} --abort"
    )


def dropped(domain: str, known: Known) -> str:
    """What an abort did."""
    told = {
        "swapped": "the tables from before the swap are dropped; the replay is done",
        "back": "what the replay had built is dropped; the live tables are those from before the swap",
    }.get(known.state, "what the replay had built is dropped; the live tables were not touched")
    return f"{domain}: {told}"


def _what(known: Known) -> str:
    return ", ".join((*known.tables, *(("documents", "timers") if known.whole else ())))
