"""Where an audit keeps what the topics say: a file of SQLite that is deleted with it, so that memory does not grow with the topics.

A row of a table stands in one of `RANGES` ranges of its key's hash; a range is compared by the number and the sum of the hashes of its rows.
"""

import sqlite3
import tempfile
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

RANGES = 4096
CACHE_KB = 65_536  # of pages that SQLite keeps in memory
_MAKE = """
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    CREATE TABLE command (partition INT, "offset" INT, id TEXT, hash TEXT, identity TEXT, told INT DEFAULT 0, PRIMARY KEY (partition, "offset")) WITHOUT ROWID;
    CREATE INDEX untold ON command (id) WHERE told = 0;
    CREATE TABLE orphan (partition INT, "offset" INT, id TEXT);
    CREATE TABLE event (partition INT, number INT, "offset" INT, identity TEXT, PRIMARY KEY (partition, number)) WITHOUT ROWID;
    CREATE TABLE derived (agent TEXT, topic TEXT, partition INT, "offset" INT, number INT, id TEXT, type TEXT, key TEXT, stored INT);
    CREATE TABLE aside (what TEXT, agent TEXT, topic TEXT, partition INT, "offset" INT, id TEXT, key BLOB);
    CREATE INDEX aside_place ON aside (agent, topic, partition, "offset");
    CREATE INDEX aside_id ON aside (id);
    CREATE TABLE row (name TEXT, range INT, key TEXT, n INT, hash INT, value TEXT, PRIMARY KEY (name, range, key)) WITHOUT ROWID;
"""
_PUT = (
    "INSERT INTO row VALUES (?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET hash = excluded.hash, value = excluded.value"
)
_ADD = "INSERT INTO row VALUES (?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET n = n + 1"
Rows = Iterable[tuple[str, str]]
"""Rows as text: what identifies each, and all that it says."""


class Sums(NamedTuple):
    """A table in short: for each range how many rows it has, and the sum of their hashes."""

    counts: "array[int]"
    hashes: "array[int]"

    @classmethod
    def empty(cls) -> "Sums":
        """Of no rows."""
        return cls(array("q", bytes(8 * RANGES)), array("q", bytes(8 * RANGES)))

    def add(self, rows: Rows) -> None:
        """Take rows."""
        for key, value in rows:
            at = range_of(key)
            self.counts[at] += 1
            self.hashes[at] += digest(value)

    def differing(self, other: "Sums") -> list[int]:
        """The ranges that are not the same."""
        ours, theirs = zip(*self, strict=True), zip(*other, strict=True)
        return [at for at, (one, two) in enumerate(zip(ours, theirs, strict=True)) if one != two]


def range_of(key: str) -> int:
    """In which range of keys it is."""
    return crc32(key.encode()) % RANGES


def digest(text: str) -> int:
    """A hash of 48 bits, so that those of a range can be added up."""
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest())


class Scratch:
    """Of one domain. Close it to delete the file."""

    def __init__(self, folder: Path | None = None) -> None:
        """Make the file, in the folder for temporary files unless told."""
        self._folder = tempfile.TemporaryDirectory(prefix="caravan-audit-", dir=folder)
        self._file = Path(self._folder.name) / "scratch"
        self.db = sqlite3.connect(self._file, isolation_level=None)
        self.db.executescript(f"PRAGMA cache_size = -{CACHE_KB};" + _MAKE)
        self.db.execute("BEGIN")  # and never COMMIT: nobody else reads it, and it goes with us

    def close(self) -> None:
        """Delete it."""
        self.db.close()
        self._folder.cleanup()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._file.stat().st_size

    def all(self, query: str, *args: Any) -> list[Any]:
        """What a query finds."""
        return self.db.execute(query, args).fetchall()

    def put(self, name: str, rows: Rows, *, adds: bool = False) -> None:
        """Write rows of a table, the last of a key stands; with `adds` equal ones are counted."""
        self.db.executemany(_ADD if adds else _PUT, ((name, range_of(k), k, digest(v), v) for k, v in rows))

    def drop(self, name: str, keys: Iterable[str]) -> None:
        """Take rows away."""
        self.db.executemany(
            "DELETE FROM row WHERE name = ? AND range = ? AND key = ?", ((name, range_of(k), k) for k in keys)
        )

    def get(self, name: str, key: str) -> str | None:
        """What a row says."""
        found = self.db.execute(
            "SELECT value FROM row WHERE name = ? AND range = ? AND key = ?", (name, range_of(key), key)
        ).fetchone()
        return found[0] if found else None

    def those(self, name: str, keys: Iterable[str]) -> Mapping[str, str]:
        """What the rows of these keys say, those that there are."""
        return {key: value for key in keys if (value := self.get(name, key)) is not None}

    def sums(self, name: str) -> Sums:
        """A table in short."""
        found = Sums.empty()
        query = "SELECT range, sum(n), sum(n * hash) FROM row WHERE name = ? GROUP BY range"
        for at, count, hashes in self.db.execute(query, (name,)):
            found.counts[at], found.hashes[at] = count, hashes
        return found

    def within(self, name: str, ranges: Collection[int]) -> Iterator[tuple[str, str, int]]:
        """Key, value and number of the rows in those ranges."""
        for at in ranges:
            yield from self.db.execute("SELECT key, value, n FROM row WHERE name = ? AND range = ?", (name, at))
