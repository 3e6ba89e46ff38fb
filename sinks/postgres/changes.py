"""What a batch changes, as statements: one for everything while it is little, one a table when it is much.

A small batch costs its round trips, a large one its rows; so few rows of several tables go as one WITH, each part of which is one `Change`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from sinks.postgres.names import quoted
from streams.store import Lost

FEW = 64  # rows up to which a statement with arrays is cheaper than a COPY, and tables share one


_PARAMETER = re.compile(r"\$(\d+)")


class Change(NamedTuple):
    """A part of a batch on one table. With `lost` just so many `rows` must be changed, and it says why they were not."""

    table: str
    sql: str
    parameters: Sequence[Any]
    rows: int
    lost: str | None = None

    @property
    def is_small(self) -> bool:
        """Whether it may share a statement."""
        return self.rows <= FEW


def source(columns: Sequence[str], types: Sequence[str]) -> str:
    """One row for each place of the arrays, one array a column."""
    return ", ".join(
        f"unnest(${n}::{kind}[]) AS {quoted(column)}"
        for n, (column, kind) in enumerate(zip(columns, types, strict=True), 1)
    )


def insert(into: str, columns: Sequence[str], types: Sequence[str]) -> str:
    """Rows that are new."""
    return f"INSERT INTO {into} ({names(columns)}) SELECT {source(columns, types)}"


def put(into: str, columns: Sequence[str], types: Sequence[str], key: int, guard: str = "") -> str:
    """Rows of which there is one a key, the first `key` columns; `guard` says which of those that are there change (they are `r`, the new ones `n`)."""
    same = " AND ".join(f"r.{quoted(c)} = n.{quoted(c)}" for c in columns[:key])
    change = ", ".join(f"{quoted(c)} = n.{quoted(c)}" for c in columns[key:])
    matched = f"WHEN MATCHED{guard} THEN UPDATE SET {change} " if change else ""
    new = ", ".join(f"n.{quoted(c)}" for c in columns)
    return (
        f"MERGE INTO {into} AS r USING (SELECT {source(columns, types)}) AS n ON {same} "
        f"{matched}WHEN NOT MATCHED THEN INSERT ({names(columns)}) VALUES ({new})"
    )


async def apply(connection: Any, changes: Iterable[Change]) -> None:
    """Make them in the transaction that is open, in as few round trips as it takes. Raises Lost."""
    for group in _groups(changes):
        if len(group) == 1:
            await _alone(connection, group[0])
        else:
            await _together(connection, group)


def names(columns: Sequence[str]) -> str:
    """Columns as SQL."""
    return ", ".join(map(quoted, columns))


def _groups(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Small ones that follow each other go together; of one statement each part sees the tables as they were, so none changes a table twice."""
    group: list[Change] = []
    for change in changes:
        if group and not (change.is_small and group[-1].is_small and change.table not in {c.table for c in group}):
            yield group
            group = []
        group.append(change)
    if group:
        yield group


async def _alone(connection: Any, change: Change) -> None:
    done: str = await connection.execute(change.sql, *change.parameters)
    _demand(change, int(done.rpartition(" ")[2]))


async def _together(connection: Any, group: Sequence[Change]) -> None:
    """One statement; its row tells of those that may be lost how many rows they changed."""
    sql = _joined(tuple((change.sql, len(change.parameters), bool(change.lost)) for change in group))
    row = await connection.fetchrow(sql, *chain.from_iterable(change.parameters for change in group))
    for change, done in zip((change for change in group if change.lost), row, strict=True):
        _demand(change, done)


@lru_cache(1024)
def _joined(parts: Sequence[tuple[str, int, bool]]) -> str:
    """Statements with their numbers of parameters, as one; its row counts the rows of those that are marked."""
    queries, counts, first = [], [], 0
    for n, (sql, count, counted) in enumerate(parts):
        numbered = _PARAMETER.sub(lambda found, first=first: f"${first + int(found[1])}", sql)  # type: ignore[misc]
        queries.append(f"c{n} AS ({numbered}{' RETURNING 1' if counted else ''})")
        if counted:
            counts.append(f"(SELECT count(*) FROM c{n})")
        first += count
    return f"WITH {', '.join(queries)} SELECT {', '.join(counts)}"


def _demand(change: Change, done: int) -> None:
    if change.lost and done != change.rows:
        raise Lost(change.lost)
