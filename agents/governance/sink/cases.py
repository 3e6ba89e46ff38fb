"""Rows of moderation: a case per revision of a subject."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from agents.governance.sink.row import Row
from streams.sink import Fact, rows
from topics.governance import ModerationRequested


@rows("moderation_case", key=("subject", "revision"))
class CaseRow(NamedTuple):
    subject: str
    revision: int
    kind: str
    author_id: str
    status: str
    opened_at: datetime


def opened(fact: Fact[ModerationRequested], state: Mapping[str, Any]) -> Iterable[Any]:  # noqa: ARG001
    """A case is open."""
    event = fact.event
    return [CaseRow(event.subject, event.revision, event.kind, event.author_id, "open", fact.at)]


CASES: Mapping[type[Any], Row] = {ModerationRequested: opened}
