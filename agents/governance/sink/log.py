"""Rows of the audit log: an entry with its hash, and now and then an anchor."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from agents.governance.rules.log import entry_of, signed
from streams.decision import ROOT
from streams.sink import Line, rows


@rows("audit_log")
class LogRow(NamedTuple):
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
    hash: bytes
    anchor: str | None


def logged(line: Line, state: Mapping[str, Any]) -> Iterable[Any]:
    """The row of the command of which this is the last record."""
    entry, head = entry_of(line.envelope), state[ROOT]
    if entry is None:
        return ()
    digest = bytes.fromhex(head.hash)
    return (LogRow(*entry, digest, line.witness(signed(digest)) if head.anchored else None),)
