"""Rows as text, the same for what a projection gave and for what Postgres made of it."""

import json
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

_encode = msgspec.json.Encoder().encode


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _json(value: Any) -> str:
    parsed = json.loads(value) if isinstance(value, str | bytes) else value
    return json.dumps(parsed, sort_keys=True, ensure_ascii=False)


def _number(value: Any) -> str:
    return format(Decimal(value).normalize(), "f")


def _single(value: Any) -> float:
    single: float = struct.unpack("f", struct.pack("f", value))[0]
    return single


_AS: Mapping[str, Callable[[Any], Any]] = {
    "bigint": int,
    "integer": int,
    "smallint": int,
    "boolean": bool,
    "numeric": _number,
    "double precision": float,
    "real": _single,
    "timestamp with time zone": _moment,
    "timestamp without time zone": datetime.isoformat,
    "date": date.isoformat,
    "uuid": lambda value: str(UUID(str(value))),
    "json": _json,
    "jsonb": _json,
    "bytea": lambda value: bytes(value).hex(),
}


def of_type(sql: str) -> Callable[[Any], Any]:
    """What makes values of a SQL type comparable."""
    if sql.endswith("[]"):
        inner = of_type(sql.removesuffix("[]"))
        return lambda values: [None if value is None else inner(value) for value in values]
    return _AS.get(sql.partition("(")[0], str)


class Written:
    """Writes the rows of one table: `columns` are those to compare, with their SQL types, `key` identifies a row."""

    def __init__(self, columns: Mapping[str, str], key: Collection[str]) -> None:
        """Take the table's shape; without a key all columns together are one, and equal rows may stand beside each other."""
        self.unique = bool(key)
        self.columns = tuple(columns)
        self._as = [of_type(sql) for sql in columns.values()]
        self._key = [self.columns.index(column) for column in key or columns]

    def __call__(self, row: Sequence[Any]) -> tuple[str, str]:
        """What identifies the row, and all that it says."""
        values = [None if value is None else make(value) for make, value in zip(self._as, row, strict=True)]
        return _encode([values[at] for at in self._key]).decode(), _encode(values).decode()

    def shown(self, value: str) -> dict[str, Any]:
        """What `__call__` wrote, by column."""
        return dict(zip(self.columns, json.loads(value), strict=True))
