"""From the records of an event type to an Arrow table: JSON is read by Arrow, a chunk at a time, and checked by columns."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from pydantic import ValidationError

from streams.client.columns import AFTER, BEFORE, Column, columns
from streams.client.opening import Found, shown, subjects
from streams.client.sieve import Head, Kept, Unread
from streams.contract import Event, UnknownVersion, UpcastFailed
from streams.envelope import decode_event
from streams.partitioner import partition_of
from streams.personal import MASK
from streams.reading import Place
from streams.records import MAX_KEY

KEYS_KEPT = 1 << 20  # keys of a partition that are known to belong there, before they are looked at again
_ENVELOPE = [
    ("event_id", pa.string()), ("occurred_at", pa.timestamp("us", "UTC")), ("aggregate_id", pa.string()), ("aggregate_seq", pa.int64()),
    ("actor", pa.struct([("type", pa.string()), ("id", pa.string()), ("role", pa.string())])),
    ("command_id", pa.string()), ("correlation_id", pa.string()), ("number", pa.int64()), ("hops", pa.int32()),
    ("schema_version", pa.int32()),
]  # fmt: skip
_REQUIRED = (
    "payload",
    "actor",
    "event_id",
    "occurred_at",
    "aggregate_id",
    "aggregate_seq",
    "command_id",
    "correlation_id",
    "number",
)


class Tables:
    """Makes tables of one event type. Used by one thread at a time."""

    def __init__(self, kind: type[Event]) -> None:
        """Take the contract."""
        self.kind = kind
        self.columns = columns(kind)
        payload = pa.struct([(column.name, column.read) for column in self.columns.payload])
        self._schema = pa.schema([*_ENVELOPE, ("payload", payload)])
        self._known: dict[int, set[bytes]] = {}

    def table(self, place: Place, kept: Kept, unread: list[Unread]) -> Any:
        """The events of one partition, personal values as they were sealed; what does not speak goes to `unread`."""
        rows, values = kept.records, [record.value for record in kept.records]
        usual = (self.kind.version, self.kind.topic.domain)
        if self.columns.texts or {(head.schema_version, head.domain) for head in kept.heads} - {usual}:
            told = [
                record.value
                if (head.schema_version, head.domain) == usual and not self.columns.texts
                else self._rewritten(place, record, head, unread)
                for record, head in zip(*kept, strict=True)
            ]
            rows = [record for record, value in zip(rows, told, strict=True) if value is not None]
            values = [value for value in told if value is not None]
        found, read = self._read(place, rows, values, unread)
        return self._given(place, read, found, unread)

    # -- JSON

    def _read(self, place: Place, rows: list[Any], values: list[bytes], unread: list[Unread]) -> tuple[Any, list[Any]]:
        """Read what Arrow can; of what it cannot, find the records by halving."""
        if not rows:
            return self._schema.empty_table(), rows
        try:
            found = self._parsed(values)
            if found.num_rows == len(rows):
                return found, rows
            error = "More or less than one JSON object."
        except pa.ArrowInvalid as invalid:
            error = str(invalid)
        if len(rows) == 1:
            unread.append(Unread(place, rows[0].offset, "undecodable", f"{self.kind.wire_name}: {error}"))
            return self._schema.empty_table(), []
        half = len(rows) // 2
        halves = [self._read(place, rows[part], values[part], unread) for part in (slice(half), slice(half, None))]
        return pa.concat_tables([table for table, _ in halves]), [row for _, part in halves for row in part]

    def _parsed(self, values: list[bytes]) -> Any:
        data = b"\n".join(values)
        return pj.read_json(
            pa.BufferReader(data),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),  # in one block: no line is cut
            parse_options=pj.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="ignore"),
        )

    def _rewritten(self, place: Place, record: Any, head: Head, unread: list[Unread]) -> bytes | None:
        """The value with the payload of today's version, and with what has no type of Arrow as text."""
        if head.domain != self.kind.topic.domain:
            unread.append(Unread(place, record.offset, "unknown_type", f"{head.domain} has no {head.type} here."))
            return None
        try:
            payload = bytes(decode_event(record.value).payload)
            message = self.kind.read(head.schema_version, payload)
        except UnknownVersion as error:
            unread.append(Unread(place, record.offset, "unknown_version", str(error)))
        except UpcastFailed as error:
            unread.append(Unread(place, record.offset, "upcast_failed", str(error)))
        except ValueError as error:  # pydantic's and msgspec's among them
            words = (
                error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else error
            )
            unread.append(Unread(place, record.offset, "undecodable", f"{head.type}: {words}"))
        else:
            told = json.loads(record.value)
            told["payload"] = message.model_dump(mode="json")
            for name in self.columns.texts:
                if told["payload"][name] is not None:
                    told["payload"][name] = json.dumps(told["payload"][name], ensure_ascii=False)
            return json.dumps(told).encode()
        return None

    # -- columns

    def _given(self, place: Place, rows: list[Any], read: Any, unread: list[Unread]) -> Any:
        payload = read["payload"].combine_chunks()
        fields = {column.name: _field(payload, column) for column in self.columns.payload}
        good, bad = self._right(place, rows, read, fields)
        unread += [Unread(place, rows[n].offset, *why) for n, why in bad]
        actor = read["actor"].combine_chunks()
        envelope = {
            "_time": read["occurred_at"], "_key": read["aggregate_id"], "_seq": read["aggregate_seq"], "_number": read["number"],
            "_partition": pa.repeat(pa.scalar(place.partition, pa.int32()), len(rows)),
            "_offset": pa.array([row.offset for row in rows], pa.int64()),
            "_actor_type": actor.field("type"), "_actor": actor.field("id"), "_role": pc.coalesce(actor.field("role"), ""),
            "_event_id": read["event_id"], "_command_id": read["command_id"], "_correlation_id": read["correlation_id"],
            "_hops": pc.coalesce(read["hops"], pa.scalar(0, pa.int32())), "_version": read["schema_version"],
        }  # fmt: skip
        told = [*(envelope[name] for name in BEFORE.names), *fields.values(), *(envelope[name] for name in AFTER.names)]
        table = pa.table(told, schema=self.columns.schema)
        return table if good is None else table.filter(good)

    def _right(
        self, place: Place, rows: list[Any], read: Any, fields: dict[str, Any]
    ) -> tuple[Any, list[tuple[int, tuple[str, str]]]]:
        """Which rows are whole and stand where their key belongs (None: all), and why the others are not."""
        empty = [(name, read[name]) for name in _REQUIRED if read[name].null_count]
        empty += [
            (c.name, fields[c.name]) for c in self.columns.payload if not c.nullable and fields[c.name].null_count
        ]
        lost = [(name, pc.is_null(column)) for name, column in empty]
        strange = self._strange(place, rows, read, fields)
        if not lost and strange is None:
            return None, []
        bad: dict[int, tuple[str, str]] = {}
        for name, column in lost:
            words = f"{self.kind.wire_name}: {name} is missing."
            bad |= {n: ("undecodable", words) for n, told in enumerate(column.to_pylist()) if told and n not in bad}
        for n, told in enumerate(strange or ()):
            if told and n not in bad:
                bad[n] = (
                    "wrong_key",
                    f"The record's key or partition is not that of its payload, {self.kind.key_field}.",
                )
        return pa.array([n not in bad for n in range(len(rows))]), sorted(bad.items())

    def _strange(self, place: Place, rows: list[Any], read: Any, fields: dict[str, Any]) -> list[bool] | None:
        """Which rows stand under another key, or on another partition, than they should; None for none."""
        keys = [row.key for row in rows]
        own = pc.cast(fields[self.kind.key_field], pa.string())
        same = pc.and_(
            pc.equal(pc.cast(read["aggregate_id"], pa.binary()), pa.array(keys, pa.binary())),
            pc.equal(own, read["aggregate_id"]),
        )
        known = self._known.setdefault(place.partition, set())
        if len(known) > KEYS_KEPT:
            known.clear()
        odd = {key for key in set(keys) - known if not self._belongs(key, place.partition)}
        known.update(key for key in keys if key not in odd)
        if not odd and pc.all(pc.fill_null(same, pa.scalar(False))).as_py() is not False:
            return None
        return [not told or key in odd for told, key in zip(same.to_pylist(), keys, strict=True)]

    def _belongs(self, key: bytes | None, partition: int) -> bool:
        return (
            key is not None
            and b"/" not in key
            and len(key) <= MAX_KEY
            and partition_of(key, self.kind.topic.partitions) == partition
        )

    # -- personal values

    def subjects(self, table: Any) -> set[str]:
        """Whose keys would open the table."""
        return set().union(*(subjects(table[name].to_pylist()) for name in self._personal()))

    def opened(self, table: Any, keys: Found) -> Any:
        """With personal values as a subscriber with these keys sees them."""
        for name in self._personal():
            at = table.schema.get_field_index(name)
            column = table.column(at)
            if keys or not pa.types.is_string(column.type):
                seen = pa.chunked_array([pa.array([shown(v, keys) for v in column.to_pylist()], column.type)])
            else:
                seen = pc.if_else(pc.is_valid(column), MASK, pa.scalar(None, pa.string()))
            table = table.set_column(at, table.schema.field(at), seen)
        return table

    def _personal(self) -> list[str]:
        return [column.name for column in self.columns.payload if column.personal]


def _field(payload: Any, column: Column) -> Any:
    found = payload.field(column.name)
    if column.read != column.given:
        found = pc.cast(found, column.given)
    if column.default is not None and not column.nullable and found.null_count:
        found = pc.coalesce(found, pa.scalar(column.default, column.given))
    return found
