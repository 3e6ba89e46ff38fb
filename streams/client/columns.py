"""The columns of an event type in Arrow, fixed by its contract: what its envelope tells, named with `_` before, and its fields."""

import types
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, EmailStr
from pydantic_core import PydanticUndefined

from streams.contract import Event
from streams.personal import personal_fields

TIME = pa.timestamp("us", "UTC")
BEFORE = pa.schema([("_time", TIME), ("_key", pa.string())])
AFTER = pa.schema([
    ("_seq", pa.int64()), ("_number", pa.int64()), ("_partition", pa.int32()), ("_offset", pa.int64()),
    ("_actor_type", pa.string()), ("_actor", pa.string()), ("_role", pa.string()), ("_event_id", pa.string()),
    ("_command_id", pa.string()), ("_correlation_id", pa.string()), ("_hops", pa.int32()), ("_version", pa.int32()),
])  # fmt: skip
PLAIN = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), datetime: TIME, date: pa.date32(), UUID: pa.string(),
    AwareDatetime: TIME, EmailStr: pa.string(),
}  # fmt: skip


class Column(NamedTuple):
    """A field of the payload: as it is read from JSON, and as it is given. `text` keeps JSON that has no type of Arrow."""

    name: str
    read: Any
    given: Any
    nullable: bool
    default: Any
    personal: bool
    text: bool


class Columns(NamedTuple):
    """Those of an event type."""

    payload: tuple[Column, ...]
    schema: Any
    texts: tuple[str, ...]


@cache
def columns(kind: type[Event]) -> Columns:
    """Of this contract."""
    marked = personal_fields(kind)
    found = tuple(_column(name, field, name in marked) for name, field in kind.model_fields.items())
    given = [pa.field(column.name, column.given, nullable=True) for column in found]
    schema = pa.schema([*BEFORE, *given, *AFTER], metadata={"caravan.type": kind.wire_name})
    return Columns(found, schema, tuple(column.name for column in found if column.text))


def _column(name: str, field: Any, personal: bool) -> Column:
    annotation, nullable = _without_none(field.annotation)
    told = pa.string() if personal and _arrow(annotation) is None else _arrow(annotation)
    text, told = told is None, pa.string() if told is None else told
    read = pa.string() if pa.types.is_date(told) else told
    default = None if field.is_required() or field.default is PydanticUndefined else field.default
    missing = field.is_required() or default is None
    return Column(name, read, told, nullable, None if missing else _plain(default), personal, text)


def _plain(default: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(default, Enum):
        return default.value
    return list(default) if isinstance(default, tuple | set | frozenset) else default


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        if len(parts) == 1:
            return _without_none(parts[0])[0], len(parts) < len(get_args(annotation))
        return annotation, type(None) in get_args(annotation)
    return annotation, False


def _arrow(annotation: Any) -> Any:
    """The type in Arrow; None where JSON text is kept."""
    told, _ = _without_none(annotation)
    origin, parts = get_origin(told), get_args(told)
    if told in PLAIN:
        return PLAIN[told]
    if origin is Literal:
        return _shared({type(part) for part in parts})
    if origin in (list, set, frozenset) or (origin is tuple and parts[1:] == (...,)):
        inner = _nested(parts[0])
        return None if inner is None else pa.list_(inner)
    if isinstance(told, type) and issubclass(told, Enum):
        return _shared({type(one.value) for one in told})
    if isinstance(told, type) and issubclass(told, BaseModel):
        fields = {name: _nested(field.annotation) for name, field in told.model_fields.items()}
        return None if None in fields.values() else pa.struct(list(fields.items()))
    return pa.string() if told is Decimal else None


def _nested(annotation: Any) -> Any:
    told = _arrow(annotation)
    return pa.string() if told is not None and pa.types.is_date(told) else told


def _shared(kinds: set[type]) -> Any:
    return PLAIN.get(kinds.pop()) if len(kinds) == 1 else None
