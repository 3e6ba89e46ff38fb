"""What differs between a replay and the live tables, in words that a person can review; personal values are masked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from caravan.decoded import fields
from sinks.postgres.differing import Compared, Moment, Pair
from sinks.postgres.replay import STATE, TIMERS
from streams.agent import Folds
from streams.personal import masked
from streams.shard import space_of
from streams.table import OtherRules, Table

CORE = {
    STATE: Compared(STATE, ("key", "version", "at", "rules", "data"), ("key",)),
    TIMERS: Compared(TIMERS, ("key", "partition", "due"), ("key",)),
}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """A row that is not the same: `missing` and `extra` are told of the live table."""

    table: str
    kind: str
    key: str
    words: str

    def __str__(self) -> str:
        """In a line."""
        return f"{self.kind} {self.key}: {self.words}"


@dataclass
class Result:
    """A table as it was compared; of what differs the first rows are `shown`."""

    table: str
    rows: int = 0
    live: int = 0
    missing: int = 0
    extra: int = 0
    changed: int = 0
    lost: bool = False
    kept: int = 0
    shown: list[Difference] = field(default_factory=list)

    @property
    def differing(self) -> int:
        """Rows that are not the same."""
        return self.missing + self.extra + self.changed


class Comparison:
    """Compares table after table; `diff` is the mark of everything that differs."""

    def __init__(self, agents: Sequence[Folds], show: int) -> None:
        """Nothing is compared yet; of each table the first `show` differences are told."""
        self.results: list[Result] = []
        self._tables = {_space(agent): agent.table for agent in agents if agent.table is not None}
        self._show = show
        self._digest = blake2b(digest_size=6)

    @property
    def differing(self) -> int:
        """Rows that are not the same, of all tables."""
        return sum(result.differing for result in self.results)

    @property
    def rows(self) -> int:
        """Rows of the replay."""
        return sum(result.rows for result in self.results)

    @property
    def lost(self) -> tuple[str, ...]:
        """Tables that are not there."""
        return tuple(result.table for result in self.results if result.lost)

    @property
    def diff(self) -> str | None:
        """A short name for just these differences; None when there are none."""
        return self._digest.hexdigest() if self.differing else None

    async def add(self, moment: Moment, table: Compared, result: Result) -> None:
        """Compare a table."""
        self.results.append(result)
        result.rows, result.live, ranges = await moment.counts(table)
        if ranges:
            async for pair in moment.pairs(table, ranges):
                self._take(table, result, pair)

    def _take(self, table: Compared, result: Result, pair: Pair) -> None:
        ours, theirs = pair.replayed, pair.live
        if table.name == STATE:
            ours, theirs = self._document(ours), self._document(theirs)
        if ours == theirs:
            return
        self._digest.update(msgspec.json.encode((table.name, pair.key, ours, theirs)))
        kind = "missing" if theirs is None else "extra" if ours is None else "changed"
        setattr(result, kind, getattr(result, kind) + 1)
        if len(result.shown) < self._show:
            key = " ".join(str(part) for part in masked(list(pair.key))) if len(table.key) < len(table.columns) else ""
            result.shown.append(Difference(table.name, kind, key, _words(kind, ours, theirs, table.key)))

    def _document(self, row: Row | None) -> Row | None:
        """A document by its fields, as today's rules would write it."""
        if row is None:
            return None
        name, table = self._of(str(row["key"]))
        data = str(row["data"])
        try:
            if table is not None and row["rules"] != str(table.version):
                data = msgspec.json.encode(table.decode(name.partition("/")[2], data, int(str(row["rules"])))).decode()
            opened = json.loads(data)
        except (ValueError, OtherRules):
            opened = {"data": "not readable"}
        return {
            "key": row["key"],
            "version": row["version"],
            "at": row["at"],
            **(opened if isinstance(opened, dict) else {"data": opened}),
        }

    def _of(self, key: str) -> tuple[str, Table | None]:
        """The key as the rules know it, and whose document it is: those of projections have keys of their own."""
        for space, table in self._tables.items():
            if space and key.startswith(space):
                return key.removeprefix(space), table
        return key, self._tables.get("")


def _space(agent: Folds) -> str:
    return "" if agent.name == agent.target.domain else space_of(agent.name)


def _words(kind: str, ours: Row | None, theirs: Row | None, key: Sequence[str]) -> str:
    if ours is None or theirs is None:
        row = ours or theirs or {}
        told = fields(masked({name: value for name, value in row.items() if name not in key}))
        return f"the events make {told}" if kind == "missing" else f"no event makes {told}"
    is_, be = masked(theirs), masked(ours)
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{name} is {_word(is_.get(name))}, the events make {_word(be.get(name))}" for name in names)


def _word(value: Any) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
