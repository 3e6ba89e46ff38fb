"""Tables of Postgres beside what follows from the topics: by ranges first, and row by row where a range differs."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from caravan.audit.domain import DOCUMENTS, RESULTS, TIMERS, Domain, document, timer
from caravan.audit.finding import Findings
from caravan.audit.scratch import RANGES, Sums, range_of
from caravan.decoded import fields
from sinks.postgres.audit import Snapshot
from streams.personal import masked
from streams.table import OtherRules

CLOSE = 64  # ranges that are looked at row by row, at most
RESULT = ("status", "code", "details", "events", "hash", "actor", "partition", "offset")
Stream = Callable[[], AsyncIterator[Sequence[tuple[str, str]]]]
"""Begins to read a table of Postgres anew: key and value as text."""


class Difference(NamedTuple):
    """A row that is not as it should be; None where there is none."""

    key: str
    expected: str | None
    found: str | None

    @property
    def kind(self) -> str:
        """In a word."""
        if self.found is None:
            return "missing"
        return "extra" if self.expected is None else "changed"


async def differences(domain: Domain, name: str, stream: Stream) -> tuple[list[Difference], int]:
    """The rows that differ in the first of the ranges that do, and how many ranges these are."""
    actual = Sums.empty()
    async for rows in stream():
        actual.add(rows)
    ranges = domain.scratch.sums(name).differing(actual)
    if not ranges:
        return [], 0
    close = frozenset(ranges[:CLOSE])
    found: defaultdict[str, list[str]] = defaultdict(list)
    async for rows in stream():
        for key, value in rows:
            if range_of(key) in close:
                found[key].append(value)
    differing = []
    for key, value, count in domain.scratch.within(name, close):
        have = found.pop(key, [])
        differing += [Difference(key, value, one) for one in have[:count] if one != value]
        differing += [Difference(key, value, None)] * (count - len(have))
        differing += [Difference(key, None, one) for one in have[count:]]
    differing += [Difference(key, None, one) for key, rest in found.items() for one in rest]
    return differing, len(ranges)


async def compare(domain: Domain, snapshot: Snapshot, findings: Findings) -> int:
    """Everything that follows from the events; how many rows of Postgres were read."""
    told = _Told(domain, findings)
    core = (
        (RESULTS, _results(domain, snapshot), told.result),
        (DOCUMENTS, _documents(domain, snapshot), told.document),
        (TIMERS, _timers(domain, snapshot), told.timer),
    )
    views = [(kind.name, _view(domain, snapshot, kind), told.of_view(kind)) for kind in domain.tables]
    count = _Count()
    for name, stream, tell in (*core, *views):
        found, ranges = await differences(domain, name, count.of(stream))
        for difference in found:
            tell(difference)
        if ranges > CLOSE:
            told.rest(name, ranges)
    return count.rows


class _Count:
    """Counts what is read."""

    def __init__(self) -> None:
        self.rows = 0

    def of(self, stream: Stream) -> Stream:
        async def counted() -> AsyncIterator[Sequence[tuple[str, str]]]:
            async for rows in stream():
                self.rows += len(rows)
                yield rows

        return counted


def _results(domain: Domain, snapshot: Snapshot) -> Stream:
    async def rows() -> AsyncIterator[Sequence[tuple[str, str]]]:
        async for found in snapshot.rows(domain.name, RESULTS, ("command_id", *RESULT)):
            yield [(str(row[0]), msgspec.json.encode(row[1:]).decode()) for row in map(tuple, found)]

    return rows


def _documents(domain: Domain, snapshot: Snapshot) -> Stream:
    def as_now(key: str, rules: int, data: str) -> str:
        """A document of other rules is compared as these would write it."""
        table, own = domain.table_of(key)
        if rules == table.version:
            return data
        try:
            return msgspec.json.encode(table.decode(own.partition("/")[2], data, rules)).decode()
        except (ValueError, OtherRules):
            return data

    async def rows() -> AsyncIterator[Sequence[tuple[str, str]]]:
        async for found in snapshot.rows(domain.name, DOCUMENTS, ("key", "version", "at", "rules", "data")):
            yield [
                (key, document(version, at, as_now(key, rules, data)))
                for key, version, at, rules, data in found
                if not key.startswith(domain.unseen)
            ]

    return rows


def _timers(domain: Domain, snapshot: Snapshot) -> Stream:
    async def rows() -> AsyncIterator[Sequence[tuple[str, str]]]:
        async for found in snapshot.rows(domain.name, TIMERS, ("key", "partition", "due")):
            yield [(key, timer(partition, due)) for key, partition, due in found]

    return rows


def _view(domain: Domain, snapshot: Snapshot, kind: Any) -> Stream:
    written = domain.tables[kind]

    async def rows() -> AsyncIterator[Sequence[tuple[str, str]]]:
        async for found in snapshot.rows(domain.name, kind.name, written.columns):
            yield [written(row) for row in found]

    return rows


class _Told:
    """Puts differences into words; personal values are masked."""

    def __init__(self, domain: Domain, findings: Findings) -> None:
        self._domain, self._findings = domain, findings

    def result(self, one: Difference) -> None:
        kind = one.kind
        if kind == "missing":
            words = "its events are on the topic and it has no row in `results`"
        elif kind == "extra":
            kind, words = "without_events", f"it has a result and left no event: {_brief(RESULT, one.found)}"
        else:
            words = _changes(_by_name(RESULT, one.expected), _by_name(RESULT, one.found))
        source = one.expected or one.found
        assert source is not None
        partition, offset = json.loads(source)[6:8]
        topic = self._domain.topic.commands_topic
        place = f"{topic} {partition}:{offset}" if offset >= 0 else f"{topic} a timer of partition {partition}"
        self._add(f"result_{kind}", place, f"command {one.key}: {words}")

    def document(self, one: Difference) -> None:
        names = ("version", "at", "data")
        expected, found = (_opened(_by_name(names, text)) for text in (one.expected, one.found))
        self._tell("document", f"state {one.key}", one.kind, expected, found)

    def timer(self, one: Difference) -> None:
        names = ("partition", "due")
        if one.kind == "missing" and self._parked(one.key):
            return
        self._tell("timer", f"timers {one.key}", one.kind, _by_name(names, one.expected), _by_name(names, one.found))

    def _parked(self, document: str) -> bool:
        """Whether a timer of this key was taken off the list, since its command was parked."""
        key = document.partition("/")[0].encode()
        query = 'SELECT 1 FROM aside WHERE agent = ? AND "offset" < 0 AND key = ? LIMIT 1'
        return bool(self._domain.scratch.all(query, self._domain.name, key))

    def of_view(self, kind: Any) -> Callable[[Difference], None]:
        written = self._domain.tables[kind]

        def tell(one: Difference) -> None:
            expected, found = (None if text is None else written.shown(text) for text in (one.expected, one.found))
            key = " ".join(map(str, json.loads(one.key)))
            self._tell("row", f"{kind.name} {key}", one.kind, expected, found)

        return tell

    def rest(self, name: str, ranges: int) -> None:
        check = {RESULTS: "result_changed", DOCUMENTS: "document_changed", TIMERS: "timer_changed"}.get(
            name, "row_changed"
        )
        words = f"{ranges} of {RANGES} ranges of keys differ; the rows of {CLOSE} of them are told"
        self._add(check, name, words, count=ranges - CLOSE)

    def _tell(self, what: str, place: str, kind: str, expected: Any, found: Any) -> None:
        if kind == "missing":
            words = f"the events make {fields(masked(expected))}, and it is not there"
        elif kind == "extra":
            words = f"no event made {fields(masked(found))}"
        else:
            words = _changes(expected, found)
        self._add(f"{what}_{kind}", place, words)

    def _add(self, check: str, place: str, words: str, count: int = 1) -> None:
        self._findings.add(check, self._domain.name, place, words, count=count)


def _by_name(names: Sequence[str], text: str | None) -> dict[str, Any] | None:
    return None if text is None else dict(zip(names, json.loads(text), strict=True))


def _opened(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """A document by its fields."""
    if found is None:
        return None
    try:
        data = json.loads(found.pop("data"))
    except ValueError:
        data = {"data": "not JSON"}
    return {**found, **(data if isinstance(data, dict) else {"data": data})}


def _brief(names: Sequence[str], text: str | None) -> str:
    found = _by_name(names, text) or {}
    return fields({name: found[name] for name in ("status", "code", "events")})


def _changes(expected: Any, found: Any) -> str:
    """What is, and what the events make, of the columns that differ."""
    is_, be = masked(found), masked(expected)
    names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    told = [f"{name} is {_word(is_.get(name))} and the events make {_word(be.get(name))}" for name in names]
    return "; ".join(told)


def _word(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
