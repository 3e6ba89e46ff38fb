"""How parked records and requests are told to a person at a terminal."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from api.parked_json import advice
from caravan.decoded import fields, named, printable
from sinks.postgres.parked import FOLLOWER, Count, Line, Record, Request
from streams.inspection import decoded, difference

PIPE = 200  # characters of a line where there is no terminal
DUMP = 4096  # bytes of a value that nobody can decode
NAMES = {"redrive": "redriven", "skip": "skipped", "edit": "edited"}


def listing(lines: Sequence[tuple[str, Line]], counts: Sequence[tuple[str, Count]], *, followers: bool) -> str:
    """The table, and below it how many there are."""
    if not counts:
        return "nothing is parked that this means"
    table = Table(box=None, pad_edge=False)
    for column in ("domain", "agent", "place", "key", "cause", "type", "attempts", "waiting", "since"):
        right = column in {"attempts", "waiting"}
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis" if column == "key" else "fold",
        )
    for domain, line in lines:
        kind, key = printable(line.type or "?"), "" if line.key is None else printable(line.key)
        waiting = str(line.behind) if line.holds and line.cause != FOLLOWER else ""
        since = when(line.parked_at)
        table.add_row(
            domain, line.place.agent, str(line.place), key, line.cause, kind, str(line.attempts), waiting, since
        )
    console = Console(width=None if sys.stdout.isatty() else PIPE, markup=False, highlight=False)
    with console.capture() as shown:
        console.print(table)
        console.print(f"\n{_total(len(lines), counts, followers=followers)}", soft_wrap=True)
    return "\n".join(line.rstrip() for line in shown.get().rstrip().splitlines()).lstrip("\n")


def _total(shown: int, counts: Sequence[tuple[str, Count]], *, followers: bool) -> str:
    causes = Counter[str]()
    for _, count in counts:
        causes[count.cause] += count.records
    waiting = causes.pop(FOLLOWER, 0)
    first = causes.total()
    told = f"{first} parked" + (
        f" ({', '.join(f'{cause} {n}' for cause, n in causes.most_common())})" if causes else ""
    )
    if waiting:
        told += f", {waiting} more wait behind them"
    if (left := first + (waiting if followers else 0) - shown) > 0:
        told += f"; {left} are not shown: narrow it down, or --limit {shown + left}"
    return told


def shown(domain: str, record: Record, history: Sequence[Request], options: str = "") -> str:
    """A record, whole; `options` tell it from others at its place."""
    line = record.line
    told = decoded(line.place.topic, record.value)
    attempts = f"{line.attempts} attempt{'' if line.attempts == 1 else 's'}"
    tried = f", the last at {when(line.tried_at)}" if line.attempts > 1 else ""
    agent = line.place.agent if line.place.agent == domain else f"{line.place.agent} of {domain}"
    rows = [("parked", f"{line.place} by {agent}")]
    rows += [("cause", f"{line.cause}; {attempts}{tried}; since {when(line.parked_at)}")]
    rows += [("key", _key(record))]
    if told is not None:
        rows += [("message", f"{printable(told.type)} {told.id} by {printable(named(told.actor))}, of {when(told.at)}")]
        rows += [("payload", printable(fields(told.payload) or "{}"))]
    else:
        rows += [("value", _dump(record.value))]
    rows += [("header", f"{printable(name)}: {printable(value)}") for name, value in record.headers]
    rows += [("error", "\n".join(printable(part) for part in record.error.rstrip().splitlines()))]
    rows += [("history", _event(request)) for request in history]
    rows += [("next", advice(record)), ("", _commands(record, options))]
    return _rows(rows)


def gone(domain: str, history: Sequence[Request]) -> str:
    """A record that is not parked any more: what it said, and what was done about it."""
    last = history[-1]
    told = decoded(last.place.topic, last.value)
    rows = [("was", f"{last.place} of {domain}; it is not parked any more")]
    if told is not None:
        rows += [("message", f"{printable(told.type)} {told.id} by {printable(named(told.actor))}, of {when(told.at)}")]
        rows += [("payload", printable(fields(told.payload) or "{}"))]
    return _rows([*rows, *(("history", _event(request)) for request in history)])


def gone_since(domain: str, history: Sequence[Request]) -> str:
    """The same in one line."""
    if not history:
        return "it is not parked; what is: caravan parked list"
    return f"{history[-1].place} of {domain} is not parked any more: {_event(history[-1])}"


def changes(found: Sequence[tuple[str, Any, Any]]) -> str:
    """What an edit changes, a line each for before and after."""
    lines = []
    for name, before, after in found:
        lines += [f"- {name}: {_value(before)}"] if before is not None else []
        lines += [f"+ {name}: {_value(after)}"] if after is not None else []
    return "\n".join(lines) or "the bytes change, and not what they say"


def many(counts: Sequence[tuple[str, Count]], behind: int) -> str:
    """What would be redriven."""
    total = sum(count.records for _, count in counts)
    lines = [f"  {domain}: {count.records} of agent {count.agent} with cause {count.cause}" for domain, count in counts]
    follow = f", with {behind} more that wait{'s' if behind == 1 else ''} behind them" if behind else ""
    return "\n".join([f"{total} parked record{'' if total == 1 else 's'}{follow}:", *lines])


def outcomes(requests: Sequence[tuple[str, Request]], most: int = 20) -> str:
    """What became of requests: each, or where they are many how often what came."""
    if len(requests) <= most:
        return "\n".join(f"{one.place}: {_outcome(one)}" for _, one in requests)
    told = Counter(_outcome(one) for _, one in requests)
    return "\n".join(f"{count} times: {words}" for words, count in told.most_common(most))


def when(at: datetime) -> str:
    """UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _outcome(request: Request) -> str:
    told = printable(request.outcome or NAMES.get(request.action, request.action))
    return f"refused: {told}" if request.status == "refused" else told


def _event(request: Request) -> str:
    """Who did what when, and what came of it."""
    reason = f' because "{printable(request.reason)}"' if request.reason else ""
    edits = difference(request.place.topic, request.value, request.edited) if request.value and request.edited else []
    edited = "".join(f" {name} {_value(before)} -> {_value(after)}," for name, before, after in edits).rstrip(",")
    asked = f"{request.action}{edited} by {printable(request.by)} at {when(request.asked_at)}{reason}"
    if request.status == "waiting":
        return f"{asked}: waits for the partition's owner"
    return f"{asked}: {_outcome(request)}"


def _key(record: Record) -> str:
    line = record.line
    key = "none" if line.key is None else printable(line.key) or "empty"
    if not line.holds:
        return f"{key}, which does not wait on it"
    if line.cause == FOLLOWER:
        return f"{key}; it waits behind {record.front or 'an earlier one'}"
    count = str(line.behind or "no")
    return f"{key}, on which {count} later record{' waits' if line.behind == 1 else 's wait'}"


def _commands(record: Record, options: str) -> str:
    """The lines to type."""
    if record.front is not None:
        return f"caravan parked show {record.front}{options}"
    place = f"{record.line.place}{options}"
    lines = [f"caravan parked redrive {place}"]
    if decoded(record.line.place.topic, record.value) is not None:
        lines += [f'caravan parked edit {place} --payload \'{{"FIELD": VALUE}}\' --reason "…"']
    return "\n".join([*lines, f'caravan parked skip {place} --reason "…"'])


def _dump(value: bytes | None) -> str:
    """Bytes for the eye: as text where they are, else in hex."""
    if value is None:
        return "none (a null)"
    cut, more = value[:DUMP], f"\n… {len(value) - DUMP} bytes more: --raw" if len(value) > DUMP else ""
    try:
        text = cut.decode("utf-8", "strict" if not more else "ignore")
    except UnicodeDecodeError:
        return _hex(cut) + more
    escaped = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return f'"{escaped}"{more}'


def _hex(raw: bytes) -> str:
    rows = []
    for start in range(0, len(raw), 16):
        part = raw[start : start + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        rows.append(f"{start:06x}  {part.hex(' '):<47}  {seen}")
    return "\n".join(rows)


def _value(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False, default=str))


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    wide = max(len(name) for name, _ in rows)
    lines = []
    for name, words in rows:
        first, *rest = words.split("\n")
        lines += [f"{name:<{wide}}  {first}".rstrip(), *(f"{'':<{wide}}  {line}".rstrip() for line in rest)]
    return "\n".join(lines)
