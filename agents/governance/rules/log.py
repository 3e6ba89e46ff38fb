"""The audit log: what became of every command, each entry bound to the one before it.

Of a partition of a domain, hash n is SHA-256(hash n-1 || entry n), the first of them without a hash before it; an entry is written as a JSON array of its fields, so that
anybody can check it. Now and then an entry bears an anchor: the platform's signature on its hash, which nobody makes who can only write rows.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from streams.decision import ROOT, State

ANCHOR = 256  # numbers from one anchor to the next, at most the events of one command more

_encode = msgspec.json.Encoder().encode


class Entry(NamedTuple):
    """What became of a command, without what it said. `number` is that of its first event, `events` how many it left.

    `outcome` is accepted, rejected or pending. With `settles` it is a saga's last step, itself accepted, and `outcome` and `code` are those of the pending command that it settles.
    """

    domain: str
    partition: int
    number: int
    events: int
    at: datetime
    action: str
    actor_type: str
    actor: str
    role: str
    target: str
    outcome: str
    code: str | None
    command_id: str
    correlation_id: str
    settles: str | None

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self.number + self.events - 1


class Head(State, frozen=True):
    """Where the chain of a partition ends: the last number that is told, the hash, and whether the last entry bears an anchor."""

    last: int = 0
    hash: str = ""
    anchored: bool = False


def entry_of(envelope: Any) -> Entry | None:
    """What the last event of a command tells; None of another event."""
    if (closes := envelope.closes) is None:
        return None
    actor, outcome, settles = envelope.actor, envelope.outcome, None
    status, code = ("accepted", None) if outcome is None else (outcome.status, outcome.code)
    if outcome is not None and outcome.settles is not None:
        settles = str(outcome.settles)
    return Entry(
        envelope.domain,
        envelope.source.partition,
        envelope.number - closes.events + 1,
        closes.events,
        envelope.occurred_at,
        closes.command,
        actor.type,
        actor.id,
        actor.role,
        envelope.aggregate_id,
        status,
        code,
        envelope.command_id,
        envelope.correlation_id,
        settles,
    )


def linked(before: bytes, entry: Entry) -> bytes:
    """The hash of an entry behind the one that has this hash; `b""` where there is none."""
    return sha256(before + _encode(entry)).digest()


def bears_anchor(before: int, entry: Entry) -> bool:
    """Whether an entry is to bear an anchor; `before` is the last number that the entry before it tells of, 0 where there is none."""
    return entry.last // ANCHOR > before // ANCHOR


def signed(digest: bytes) -> bytes:
    """What an anchor signs."""
    return b"audit log\0" + digest


def extended(state: Mapping[str, Any], line: Any) -> Mapping[str, State]:
    """The chain with one more entry, where a record is the last of its command."""
    entry, head = entry_of(line.envelope), state[ROOT]
    if entry is None:
        return {}
    return {ROOT: Head(entry.last, linked(bytes.fromhex(head.hash), entry).hex(), bears_anchor(head.last, entry))}
