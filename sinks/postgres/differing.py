"""Two schemas beside each other, as of one moment: each table by ranges of its keys first, and row by row where a range differs."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

from sinks.postgres.audit import away
from sinks.postgres.exchange import parked_timers
from sinks.postgres.faults import DRIVER
from sinks.postgres.migrations import connect
from sinks.postgres.names import quoted
from sinks.postgres.replay import TIMERS, Beside
from streams.errors import CaravanError

RANGES = 4096
CHUNK = 2000  # rows that are fetched at a time
_CLOSE_S = 3.0


class Compared(NamedTuple):
    """A table as it is compared: by these columns, the rows told apart by these of them."""

    name: str
    columns: Sequence[str]
    key: Sequence[str]


class Counts(NamedTuple):
    """Rows of the replay, rows of the live table, and the ranges of keys that are not the same."""

    rows: int
    live: int
    ranges: Sequence[int]


class Pair(NamedTuple):
    """Rows of one key that differ, columns as text: of the replay and of the live table, None where there is none."""

    key: Sequence[str | None]
    replayed: Mapping[str, str | None] | None
    live: Mapping[str, str | None] | None


class Moment:
    """Both schemas at one moment: `begin` it while the domain's positions are held, from then on they need not be. Use it with `async with`."""

    def __init__(self, beside: Beside, connection: Any) -> None:
        """Call `begin`."""
        self._beside, self._connection = beside, connection

    @classmethod
    async def begin(cls, beside: Beside) -> Self:
        """It is now."""
        connection = await connect(beside.dsn)
        with away():
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL jit = off; SELECT 1")
        return cls(beside, connection)

    async def __aenter__(self) -> Self:
        """It is that of `begin`."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End it; what was taken over stands if all went well."""
        try:
            if kind is None:
                with away():
                    await self._connection.execute("COMMIT")
        finally:
            with suppress(TimeoutError, *DRIVER):
                await self._connection.close(timeout=_CLOSE_S)

    async def take_over(self, table: str, columns: Sequence[str], key: Sequence[str]) -> int:
        """Put live rows into the replay's table whose keys it has not; how many."""
        names = ", ".join(map(quoted, columns))
        same = " AND ".join(f"s.{quoted(name)} = l.{quoted(name)}" for name in key)
        live, shadow = self._table(self._beside.live, table), self._table(self._beside.shadow, table)
        with away():
            done: str = await self._connection.execute(
                f"INSERT INTO {shadow} ({names}) SELECT {names} FROM {live} l WHERE NOT EXISTS (SELECT FROM {shadow} s WHERE {same})"
            )
        return int(done.rpartition(" ")[2])

    async def counts(self, table: Compared) -> Counts:
        """By ranges of keys: rows, and the sums of their hashes."""
        shadow, live = [await self._sums(table, schema) for schema in (self._beside.shadow, self._beside.live)]
        differing = sorted(at for at in shadow.keys() | live.keys() if shadow.get(at) != live.get(at))
        return Counts(sum(n for n, _ in shadow.values()), sum(n for n, _ in live.values()), differing)

    async def pairs(self, table: Compared, ranges: Collection[int]) -> AsyncIterator[Pair]:
        """The rows that differ in these ranges, in the order of their keys as text."""
        replayed, live = (self._rows(table, schema) for schema in (self._beside.shadow, self._beside.live))
        grouped = (
            "SELECT k, v, count(*) AS n FROM ({}) r WHERE hashtextextended(k::text, 0) & {} = ANY($1) GROUP BY k, v"
        )
        query = (
            f"WITH a AS ({grouped.format(replayed, RANGES - 1)}), b AS ({grouped.format(live, RANGES - 1)}) "
            "SELECT k, a.v, b.v, coalesce(a.n, 0), coalesce(b.n, 0) FROM a FULL JOIN b USING (k) "
            'WHERE a.v IS DISTINCT FROM b.v OR a.n IS DISTINCT FROM b.n ORDER BY k::text COLLATE "C"'
        )
        with away():
            cursor = await self._connection.cursor(query, list(ranges))
            while rows := await cursor.fetch(CHUNK):
                for row in rows:
                    yield _pair(table.columns, *row)

    async def _sums(self, table: Compared, schema: str) -> dict[int, tuple[int, int]]:
        query = (
            f"SELECT hashtextextended(k::text, 0) & {RANGES - 1} AS at, count(*), sum(hashtextextended(v::text, 0)) "
            f"FROM ({self._rows(table, schema)}) r GROUP BY 1"
        )
        with away():
            return {at: (n, hashes) for at, n, hashes in await self._connection.fetch(query)}

    def _rows(self, table: Compared, schema: str) -> str:
        """The rows as key and values, all as text."""
        key, values = (
            "ARRAY[" + ", ".join(f"t.{quoted(name)}::text" for name in names) + "]"
            for names in (table.key, table.columns)
        )
        query = f"SELECT {key} AS k, {values} AS v FROM {self._table(schema, table.name)} t"
        if table.name == TIMERS:  # one that was parked is on no list
            query += f" WHERE NOT {parked_timers(self._beside.live, self._beside.domain)}"
        return query

    @staticmethod
    def _table(schema: str, table: str) -> str:
        return f"{quoted(schema)}.{quoted(table)}"


def _pair(
    columns: Sequence[str],
    key: Sequence[str],
    ours: Sequence[str] | None,
    theirs: Sequence[str] | None,
    more: int,
    less: int,
) -> Pair:
    """Equal rows may stand beside each other where nothing tells them apart: there may be too many of one then."""
    replayed = None if ours is None or (ours == theirs and more < less) else dict(zip(columns, ours, strict=True))
    live = None if theirs is None or (ours == theirs and more > less) else dict(zip(columns, theirs, strict=True))
    return Pair(key, replayed, live)


def demand_key(table: str, key: Collection[str]) -> None:
    """Raise CaravanError for a table of which older rows could not be told from those that are made."""
    if not key:
        raise CaravanError(
            f"{table} has no primary key, so its older rows cannot be told from those of the replay; replay it from earliest"
        )
