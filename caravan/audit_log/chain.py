"""The entries of one partition as they should follow on each other: each is bound to the one before it, and some bear an anchor."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from agents.governance.rules.log import Entry, bears_anchor, linked, signed

LOOKED_AT = 100  # entries that do not follow of a chain, of which it is asked whether two changed places
_TELL = "caravan audit-log verify --topics says what the topics tell of each; caravan replay governance --views audit_log builds the log anew from them. "
_WHO = "Find out who can write to Postgres."
MENDS = {
    "altered": _TELL + _WHO,
    "missing": _TELL + _WHO,
    "swapped": _TELL + _WHO,
    "appended": _TELL + _WHO,
    "anchor_missing": _TELL + _WHO,
    "anchor_forged": "The entries up to here were written by somebody without the platform's key, or CARAVAN_SIGNING_KEYS lacks an older key: give all keys. "
    + _TELL
    + _WHO,
    "unlogged": "The log never knew these numbers: another version of the platform wrote them. " + _TELL,
}
"""What may be wrong with an entry, and what to do about it."""


class Row(NamedTuple):
    """An entry as it stands in the table."""

    entry: Entry
    hash: bytes
    anchor: str | None


class Finding(NamedTuple):
    """What is wrong with the entry at `number` of a partition of a domain."""

    kind: str
    domain: str
    partition: int
    number: int
    words: str

    @property
    def mend(self) -> str:
        """What to do about it."""
        return MENDS[self.kind]


class _Broken(NamedTuple):
    """An entry that does not follow: at which place of the chain, behind which hash, and what is told of it."""

    at: int
    before: bytes
    row: Row
    finding: Finding


@dataclass
class Chain:
    """Takes the entries of a partition in the order of their numbers; `findings` tells what is wrong with them once `end` was called."""

    domain: str
    partition: int
    witnessed: Callable[[str, bytes], bool]
    entries: int = 0
    first: int = 0
    last: int = 0
    anchored: int = 0
    """Up to which number an anchor was found good."""
    hash: bytes = b""
    findings: list[Finding] = field(default_factory=list)
    _computed: bytes = b""
    _broken: list[_Broken] = field(default_factory=list)

    def take(self, row: Row) -> None:
        """One more."""
        entry, before, told = row.entry, self.hash, self.last
        should = linked(before, entry)
        behind_broken = bool(self._broken) and self._broken[-1].at == self.entries - 1
        if row.hash not in (should, linked(self._computed, entry)):
            self._broken.append(_Broken(self.entries, before, row, self._unbound(entry)))
            told = max(told, entry.number - 1)
        elif self.entries and entry.number > self.last + 1 and not behind_broken:
            self._tell("unlogged", self.last + 1, f"{_numbers(self.last + 1, entry.number - 1)} stand in no entry")
        self._look_at_anchor(row, told)
        self.first = self.first or entry.number
        self.entries, self.last = self.entries + 1, max(self.last, entry.last)
        self.hash, self._computed = row.hash, should

    def end(self, head: tuple[int, str], passed: int) -> None:
        """No more follow; `head` is how the log knows its end, by number and hash, and `passed` the number that it has passed."""
        number, told = head
        moved = self._exchange()
        last = moved.get(self.entries - 1, self.hash)
        if max(number, passed) > self.last:
            gone = _numbers(self.last + 1, max(number, passed))
            self._tell("missing", self.last + 1, f"the log has come to {gone}, and its entries end before")
        elif number < self.last:
            self._tell("appended", number + 1, f"the log wrote up to number {number}, and entries follow")
        elif told not in (last.hex(), self._computed.hex()):
            self._tell("altered", self.last, "the last entry has another hash than was written")
        self.findings += [broken.finding for broken in self._broken]
        self.findings.sort(key=lambda one: (one.number, one.kind))

    def _unbound(self, entry: Entry) -> Finding:
        """What an entry is that is not bound to the one before."""
        if entry.number > self.last + 1:
            words = f"the entry before number {entry.number} is not there: {_numbers(self.last + 1, entry.number - 1)}"
            return self._finding("missing", self.last + 1, words)
        if entry.number <= self.last:
            return self._finding("appended", entry.number, f"number {entry.number} stands in an earlier entry already")
        return self._finding("altered", entry.number, "its hash is not that of what it says behind the entry before it")

    def _look_at_anchor(self, row: Row, told: int) -> None:
        """`told` is the last number before this entry."""
        number, due = row.entry.number, bears_anchor(told, row.entry)
        if row.anchor is not None and not self.witnessed(row.anchor, signed(row.hash)):
            self._tell("anchor_forged", number, "none of the platform's keys signed the hash of this entry")
        elif row.anchor is None and due:
            self._tell("anchor_missing", number, "this entry is to bear an anchor")
        elif row.anchor is not None and not due:
            self._tell("altered", number, "it bears an anchor that belongs to another place")
        elif row.anchor is not None:
            self.anchored = row.entry.last

    def _exchange(self) -> dict[int, bytes]:
        """Of the entries that do not follow: two that follow each in the place of the other were exchanged. The hashes that belong to such places."""
        moved: dict[int, bytes] = {}
        for one, other in combinations(self._broken[:LOOKED_AT], 2):
            ends = _exchanged(one, other) if one in self._broken and other in self._broken else None
            if ends is not None:
                numbers = one.row.entry.number, other.row.entry.number
                self._tell(
                    "swapped", numbers[0], f"numbers {numbers[0]} and {numbers[1]} stand each in the other's place"
                )
                moved |= ends
                self._broken = [broken for broken in self._broken if not _explained(broken, ends)]
        return moved

    def _tell(self, kind: str, number: int, words: str) -> None:
        self.findings.append(self._finding(kind, number, words))

    def _finding(self, kind: str, number: int, words: str) -> Finding:
        return Finding(kind, self.domain, self.partition, number, words)


def _exchanged(one: _Broken, other: _Broken) -> dict[int, bytes] | None:
    """The hashes that belong to two places, where what stands there belongs to the other, with its hash or without it; None where it does not."""
    here, there = one.row, other.row
    next_to = other.at == one.at + 1
    for first, second in ((there.hash, here.hash), (here.hash, there.hash)):
        before = first if next_to else other.before
        moved_here = linked(one.before, there.entry._replace(number=here.entry.number))
        moved_there = linked(before, here.entry._replace(number=there.entry.number))
        if (moved_here, moved_there) == (first, second):
            return {one.at: first, other.at: second}
    return None


def _explained(broken: _Broken, ends: dict[int, bytes]) -> bool:
    """Whether an entry is one of two that were exchanged, or follows on one of them as it stood before."""
    if broken.at in ends:
        return True
    return broken.at - 1 in ends and linked(ends[broken.at - 1], broken.row.entry) == broken.row.hash


def _numbers(first: int, last: int) -> str:
    return f"number {first}" if first == last else f"numbers {first} to {last}"
