"""The history of a run: what clients, topics and Postgres showed, one JSON line per observation. Workers are not asked.

Every line has `t` (seconds), `actor` (who saw it), `kind`, and by kind:

- `sent acked unknown refused` (a client): `domain, key, cmd_id`; `acked` also `topic, partition, offset`. `unknown`: it may or may not have been
  published; `refused`: it was not.
- `record` (on a command topic): `domain, topic, partition, offset, key, cmd_id, value, timestamp, envelope`. `cmd_id` and `envelope` are null where it says
  nothing valid; `value` is a digest.
- `event` (on an event topic): `domain, topic, partition, offset, key, cmd_id, number, value, envelope`.
- `result` (a row): `domain, cmd_id, status, code, partition, offset, events`.
- `parked` (a row at the end): `domain, agent, topic, partition, offset, cmd_id, cause, holds`; `skipped redriven` (what operators had done to it) the same.
- `position` (a row of offsets): `domain, agent, topic, partition, next, number, epoch`.
- `row` (of a view at the end): `domain, table, row`.
- `read` (a view's answer): `domain, key, seq`, the highest sequence of the key that it shows, and `token`, the command that it was to include, or null.
- `clock` (the platform's time): `at`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, Self

import msgspec

Observation = dict[str, Any]


class History:
    """Takes observations down, in memory and, if given a path, in a file."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells the time of an observation."""
        self.seen: list[Observation] = []
        self._file: IO[bytes] | None = path.open("ab") if path else None
        self._clock = clock

    @classmethod
    def load(cls, path: Path) -> Self:
        """What a file has."""
        history = cls()
        history.seen = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        return history

    def note(self, kind: str, actor: str, **fields: Any) -> None:
        """Take one down; times, ids and bytes become what JSON has."""
        seen = msgspec.to_builtins({"t": self._clock(), "actor": actor, "kind": kind, **fields})
        self.seen.append(seen)
        if self._file is not None:
            self._file.write(msgspec.json.encode(seen) + b"\n")
            self._file.flush()

    def keep(self, path: Path) -> Path:
        """Write all of it to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(msgspec.json.encode(seen) + b"\n" for seen in self.seen))
        return path

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def digest(self) -> str:
        """What two runs share if and only if they showed the same in the same order."""
        digest = blake2b(digest_size=16)
        for seen in self.seen:
            digest.update(msgspec.json.encode(seen))
        return digest.hexdigest()

    # -- what topics and Postgres show, from records and rows as their clients give them

    def record(self, actor: str, domain: str, topic: str, partition: int, record: Any, *, valid: bool) -> None:
        """A record of a command topic; `valid` when it is signed by the platform."""
        envelope = decoded(record.value) if valid else None
        self.note(
            "record",
            actor,
            domain=domain,
            topic=topic,
            partition=partition,
            offset=record.offset,
            key=_text(record.key),
            cmd_id=envelope and envelope.get("command_id"),
            value=_digest(record.value),
            timestamp=record.timestamp,
            envelope=envelope,
        )

    def event(self, actor: str, domain: str, topic: str, partition: int, record: Any) -> None:
        """A record of an event topic that the platform signed."""
        envelope = decoded(record.value) or {}
        self.note(
            "event",
            actor,
            domain=domain,
            topic=topic,
            partition=partition,
            offset=record.offset,
            key=_text(record.key),
            cmd_id=envelope.get("command_id"),
            number=envelope.get("number"),
            value=_digest(record.value),
            envelope=envelope,
        )

    def result(self, actor: str, domain: str, row: Mapping[str, Any]) -> None:
        """A row of results."""
        events = row["events"] if isinstance(row["events"], list) else msgspec.json.decode(row["events"])
        told = {name: row[name] for name in ("status", "code", "partition", "offset")}
        self.note("result", actor, domain=domain, cmd_id=str(row["command_id"]), events=events, **told)

    def parked(self, actor: str, domain: str, row: Mapping[str, Any], kind: str = "parked") -> None:
        """A row of parked, or with another `kind` what an operator had done to it."""
        told = {name: row[name] for name in ("agent", "topic", "partition", "offset", "cause", "holds")}
        cmd_id = None if row["command_id"] is None else str(row["command_id"])
        self.note(kind, actor, domain=domain, cmd_id=cmd_id, key=_text(row["key"]), **told)

    def position(self, actor: str, domain: str, row: Mapping[str, Any]) -> None:
        """A row of offsets."""
        told = {name: row[name] for name in ("agent", "topic", "partition", "next", "number", "epoch")}
        self.note("position", actor, domain=domain, **told)

    def rows(self, actor: str, domain: str, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """All rows of a view's table, at the end."""
        for row in rows:
            self.note("row", actor, domain=domain, table=table, row=dict(row))


def decoded(value: bytes | None) -> Any:
    """What a value says, or None when it is no JSON object."""
    try:
        found = msgspec.json.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def of(seen: Sequence[Observation], *kinds: str) -> list[Observation]:
    """Those of these kinds, in their order."""
    return [one for one in seen if one["kind"] in kinds]


def _digest(value: bytes | None) -> str | None:
    return None if value is None else blake2b(value, digest_size=12).hexdigest()


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode("utf-8", "backslashreplace")
