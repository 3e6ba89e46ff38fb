"""Rows of moderation: what was submitted, each case, what happened to it, reports, appeals, and what the checks go by."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from agents.governance.rules.case import found
from agents.governance.sink.row import Row
from streams.sink import Fact, rows
from topics.governance import (
    AppealDecided,
    AppealFiled,
    ContentApproved,
    ContentAutoFlagged,
    ContentChecked,
    ContentRejected,
    ContentReported,
    ModerationCaseClaimed,
    ModerationCaseEscalated,
    ModerationKindSet,
    ModerationListSet,
    ModerationRequested,
    ReportDismissed,
)


@rows("moderated_content", key=("subject", "revision"))
class ContentRow(NamedTuple):
    subject: str
    revision: int
    title: str | None
    text: str | None
    media_ids: str


@rows("moderation_case", key=("subject", "revision", "number"))
class CaseRow(NamedTuple):
    subject: str
    revision: int
    number: int
    kind: str | None
    author_id: str | None
    origin: str
    status: str
    opened_at: datetime
    moderator_id: str | None
    waiting: str
    flags: str
    reports: int
    approved_by: str | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    appeal: str


@rows("case_event")
class CaseEventRow(NamedTuple):
    subject: str
    seq: int
    revision: int
    number: int
    at: datetime
    event: str
    by: str | None
    words: str | None


@rows("report", key=("subject", "revision", "reporter_id"))
class ReportRow(NamedTuple):
    subject: str
    revision: int
    reporter_id: str
    number: int
    category: str
    note: str | None
    at: datetime


@rows("dismissal", key=("subject", "revision", "reporter_id"))
class DismissalRow(NamedTuple):
    subject: str
    revision: int
    reporter_id: str
    number: int
    moderator_id: str
    note: str | None
    at: datetime


@rows("appeal", key=("subject", "revision", "number"))
class AppealRow(NamedTuple):
    subject: str
    revision: int
    number: int
    author_id: str
    text: str
    filed_at: datetime


@rows("moderation_list", key=("list_id",))
class ListRow(NamedTuple):
    list_id: str
    of: str
    entries: str


@rows("moderation_kind", key=("kind",))
class KindRow(NamedTuple):
    kind: str
    automatic: bool
    most_per_hour: int


def changed(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The case as it is after an event, what happened, and what only that event tells."""
    event = fact.event
    yield _case(event, state)
    if not isinstance(event, ContentChecked):
        yield _happened(fact)
    about = event.subject, event.revision
    match event:
        case ModerationRequested(origin="submission"):
            yield ContentRow(*about, event.title, event.text, " ".join(event.media_ids))
        case ContentReported():
            yield ReportRow(*about, event.reporter_id, event.case, event.category, event.note, fact.at)
        case ReportDismissed():
            yield DismissalRow(*about, event.reporter_id, event.case, event.moderator_id, event.note, fact.at)
        case AppealFiled():
            yield AppealRow(*about, event.case, event.author_id, event.text, fact.at)


def _case(event: Any, state: Mapping[str, Any]) -> CaseRow:
    case = found(state, event)
    assert case.opened_at is not None  # every event is of a case that was opened
    return CaseRow(
        subject=event.subject,
        revision=event.revision,
        number=case.number,
        kind=case.kind,
        author_id=case.author_id,
        origin=case.origin,
        status=case.status,
        opened_at=case.opened_at,
        moderator_id=case.moderator_id,
        waiting=" ".join(case.waiting),
        flags=" ".join(case.flags),
        reports=case.reports,
        approved_by=case.approved_by,
        decided_by=case.decided_by,
        decided_at=case.decided_at,
        reason=case.reason,
        appeal=case.appeal,
    )


def _happened(fact: Fact[Any]) -> CaseEventRow:
    event = fact.event
    by, words = _said(event)
    return CaseEventRow(event.subject, fact.seq, event.revision, event.case, fact.at, event.wire_name, by, words)


def _said(event: Any) -> tuple[str | None, str | None]:
    """Who did it, and in which words."""
    match event:
        case ModerationRequested():
            return event.author_id, event.origin
        case ContentAutoFlagged():
            return event.check, " ".join(event.flags)
        case ModerationCaseClaimed():
            return event.moderator_id, None
        case ModerationCaseEscalated() | ContentRejected():
            return event.moderator_id, event.reason
        case ContentApproved():
            return event.moderator_id or event.by, event.note
        case ContentReported():
            return event.reporter_id, event.note
        case ReportDismissed():
            return event.moderator_id, event.note
        case AppealFiled():
            return event.author_id, event.text
        case AppealDecided():
            return event.moderator_id, event.reason
    raise NotImplementedError(event.wire_name)


def list_set(fact: Fact[ModerationListSet], state: Mapping[str, Any]) -> Iterable[Any]:  # noqa: ARG001 - as all are asked
    """A list as it is now."""
    event = fact.event
    return [ListRow(event.list_id, event.of, msgspec.json.encode(event.entries).decode())]


def kind_set(fact: Fact[ModerationKindSet], state: Mapping[str, Any]) -> Iterable[Any]:  # noqa: ARG001 - as all are asked
    """How content of a kind is dealt with now."""
    event = fact.event
    return [KindRow(event.kind, event.automatic, event.most_per_hour)]


_OF_CASES = (
    ModerationRequested,
    ContentChecked,
    ContentAutoFlagged,
    ModerationCaseClaimed,
    ModerationCaseEscalated,
    ContentApproved,
    ContentRejected,
    ContentReported,
    ReportDismissed,
    AppealFiled,
    AppealDecided,
)

CASES: Mapping[type[Any], Row] = {
    **dict.fromkeys(_OF_CASES, changed),
    ModerationListSet: list_set,
    ModerationKindSet: kind_set,
}
