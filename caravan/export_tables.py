"""The columns of an exported file: the fields of its one event type, or a column of records for each of several."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from streams.client.batches import Batch
from streams.client.columns import AFTER, BEFORE, columns
from streams.contract import Event


def schema_of(kinds: Sequence[type[Event]]) -> Any:
    """Of a file of these types."""
    if len(kinds) == 1:
        return columns(kinds[0]).schema
    types = [pa.field(kind.wire_name, _record(kind)) for kind in kinds]
    return pa.schema([*BEFORE, ("_type", pa.string()), *types, *AFTER])


def tables_of(kinds: Sequence[type[Event]], batch: Batch[Any]) -> Iterator[Any]:
    """The events of a batch as the file has them."""
    for kind in kinds:
        if batch[kind].num_rows:
            yield batch[kind] if len(kinds) == 1 else _wide(kinds, kind, batch[kind])


def _record(kind: type[Event]) -> Any:
    schema = columns(kind).schema
    return pa.struct([field for field in schema if not field.name.startswith("_")])


def _wide(kinds: Sequence[type[Event]], kind: type[Event], table: Any) -> Any:
    rows, fields = table.num_rows, _record(kind)
    told = {name: table[name] for name in (*BEFORE.names, *AFTER.names)}
    told["_type"] = pa.repeat(kind.wire_name, rows)
    parts = [table[field.name].combine_chunks() for field in fields]
    told |= {other.wire_name: pa.nulls(rows, _record(other)) for other in kinds if other is not kind}
    told[kind.wire_name] = pa.StructArray.from_arrays(parts, fields=list(fields))
    schema = schema_of(kinds)
    return pa.table([told[name] for name in schema.names], schema=schema)
