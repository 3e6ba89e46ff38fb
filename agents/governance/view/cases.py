"""What may be asked about moderation: what waits, what happened to a subject, what is reported and appealed, and how much is decided."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from streams.personal import Personal
from streams.view import Db, Page, Paging, view
from topics.governance import CaseOrigin, CaseStatus, ListOf, ReportCategory

FIRST: list[Any] = ["0001-01-01T00:00:00+00:00", "", 0, ""]  # before every case and report
LAST: list[Any] = ["9999-01-01T00:00:00+00:00", "", 0, 0]  # behind every case
BEGINNING, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


class QueuedCase(BaseModel):
    """A case that waits for a decision: its content, who has it on, what checks found and which are not made yet, and how many reported it."""

    subject: str
    revision: int
    case: int
    kind: str | None
    author_id: str | None
    origin: CaseOrigin
    status: CaseStatus
    opened_at: datetime
    moderator_id: str | None
    waiting: list[str]
    flags: list[str]
    reports: int
    title: Personal[str] | None
    text: Personal[str] | None
    media_ids: list[str]


class CaseEvent(BaseModel):
    """What happened to a subject: who did it, a person or a check, and in which words."""

    seq: int
    revision: int
    case: int
    at: datetime
    event: str
    by: str | None
    words: Personal[str] | None


class OpenReport(BaseModel):
    """A report whose case is undecided."""

    subject: str
    revision: int
    case: int
    reporter_id: str
    category: ReportCategory
    note: Personal[str] | None
    at: datetime


class OpenAppeal(BaseModel):
    """An appeal that is not decided: what was rejected, by whom and why, and what its author says."""

    subject: str
    revision: int
    case: int
    author_id: str
    filed_at: datetime
    appeal: Personal[str]
    decided_by: str | None
    reason: str | None
    title: Personal[str] | None
    text: Personal[str] | None


class MyCase(BaseModel):
    """What became of what somebody submitted, why, and what of their appeal."""

    subject: str
    revision: int
    case: int
    kind: str
    status: CaseStatus
    opened_at: datetime
    decided_at: datetime | None
    reason: str | None
    appeal: Literal["none", "filed", "upheld", "overturned"]


class KindStats(BaseModel):
    """Cases of one kind: those that wait now, and what was decided in the time that is asked for; `median_seconds` from opening to decision."""

    kind: str | None
    waiting: int
    oldest: datetime | None
    approved: int
    rejected: int
    by_checks: int
    overturned: int
    median_seconds: float | None


class ModeratorStats(BaseModel):
    """What one moderator decided in the time that is asked for."""

    moderator_id: str
    approved: int
    rejected: int


class ModerationStats(BaseModel):
    """How much there is to moderate, and how much was."""

    kinds: list[KindStats]
    moderators: list[ModeratorStats]


class ModerationList(BaseModel):
    """Words or hosts that flag what has them."""

    list_id: str
    of: ListOf
    entries: list[str]


class ModerationKind(BaseModel):
    """How content of a kind is dealt with."""

    kind: str
    automatic: bool
    most_per_hour: int


@view(roles=("Admin",))
async def moderation_queue(
    db: Db,
    paging: Paging,
    kind: str | None = None,
    status: CaseStatus | None = None,
    opened_before: datetime | None = None,
) -> Page[QueuedCase]:
    """The cases that wait, the oldest first: of a kind, in a status, opened before a time."""
    opened_at, subject, revision, _ = paging.after or FIRST
    found = await db.fetch(
        "SELECT subject, revision, number AS case, kind, author_id, origin, status, opened_at, moderator_id, waiting, flags, reports,"
        " title, text, media_ids FROM moderation_case LEFT JOIN moderated_content USING (subject, revision)"
        " WHERE decided_at IS NULL AND (opened_at, subject, revision) > ($1, $2, $3)"
        " AND ($4::text IS NULL OR kind = $4) AND ($5::text IS NULL OR status = $5) AND opened_at < $6"
        " ORDER BY opened_at, subject, revision LIMIT $7",
        datetime.fromisoformat(opened_at),
        subject,
        revision,
        kind,
        status,
        opened_before or END,
        paging.limit + 1,
    )
    return paging.page(
        [_queued(row) for row in found], lambda one: [one.opened_at.isoformat(), one.subject, one.revision, ""]
    )


def _queued(row: Any) -> QueuedCase:
    listed = {name: (row[name] or "").split() for name in ("waiting", "flags", "media_ids")}
    return QueuedCase(**{**row, **listed})


@view(roles=("Admin",))
async def case_history(db: Db, subject: str, paging: Paging) -> Page[CaseEvent]:
    """What happened to all revisions of a subject, in its order."""
    found = await db.fetch(
        "SELECT seq, revision, number AS case, at, event, by, words FROM case_event WHERE subject = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        subject,
        paging.after or 0,
        paging.limit + 1,
    )
    return paging.page([CaseEvent(**row) for row in found], lambda one: one.seq)


@view(roles=("Admin",))
async def reports_open(db: Db, paging: Paging) -> Page[OpenReport]:
    """The reports that nobody has decided on or dismissed, the oldest first."""
    at, subject, revision, reporter_id = paging.after or FIRST
    found = await db.fetch(
        "SELECT r.subject, r.revision, r.number AS case, r.reporter_id, r.category, r.note, r.at FROM report AS r"
        " JOIN moderation_case AS c ON (c.subject, c.revision, c.number) = (r.subject, r.revision, r.number)"
        " WHERE c.decided_at IS NULL AND (r.at, r.subject, r.revision, r.reporter_id) > ($1, $2, $3, $4)"
        " AND NOT EXISTS (SELECT FROM dismissal AS d WHERE (d.subject, d.revision, d.reporter_id) = (r.subject, r.revision, r.reporter_id))"
        " ORDER BY r.at, r.subject, r.revision, r.reporter_id LIMIT $5",
        datetime.fromisoformat(at),
        subject,
        revision,
        reporter_id,
        paging.limit + 1,
    )
    reports = [OpenReport(**row) for row in found]
    return paging.page(reports, lambda one: [one.at.isoformat(), one.subject, one.revision, one.reporter_id])


@view(roles=("Admin",))
async def appeals_open(db: Db, paging: Paging) -> Page[OpenAppeal]:
    """The appeals against rejections that nobody has decided, the oldest first."""
    filed_at, subject, revision, _ = paging.after or FIRST
    found = await db.fetch(
        "SELECT subject, revision, number AS case, a.author_id, a.filed_at, a.text AS appeal, decided_by, reason, title, m.text"
        " FROM moderation_case JOIN appeal AS a USING (subject, revision, number)"
        " LEFT JOIN moderated_content AS m USING (subject, revision)"
        " WHERE moderation_case.appeal = 'filed' AND (a.filed_at, subject, revision) > ($1, $2, $3)"
        " ORDER BY a.filed_at, subject, revision LIMIT $4",
        datetime.fromisoformat(filed_at),
        subject,
        revision,
        paging.limit + 1,
    )
    appeals = [OpenAppeal(**row) for row in found]
    return paging.page(appeals, lambda one: [one.filed_at.isoformat(), one.subject, one.revision, ""])


@view(roles=("User",), owner="user_id")
async def my_cases(db: Db, user_id: str, paging: Paging) -> Page[MyCase]:
    """What became of what a user submitted, the last first."""
    opened_at, subject, revision, case = paging.after or LAST
    found = await db.fetch(
        "SELECT subject, revision, number AS case, kind, status, opened_at, decided_at, reason, appeal FROM moderation_case"
        " WHERE author_id = $1 AND (opened_at, subject, revision, number) < ($2, $3, $4, $5)"
        " ORDER BY opened_at DESC, subject DESC, revision DESC, number DESC LIMIT $6",
        user_id,
        datetime.fromisoformat(opened_at),
        subject,
        revision,
        case,
        paging.limit + 1,
    )
    cases = [MyCase(**row) for row in found]
    return paging.page(cases, lambda one: [one.opened_at.isoformat(), one.subject, one.revision, one.case])


@view(roles=("Admin",))
async def moderation_stats(db: Db, since: datetime | None = None, until: datetime | None = None) -> ModerationStats:
    """What waits now, and what was decided in [`since`, `until`), by kind and by moderator."""
    within = since or BEGINNING, until or END
    kinds = await db.fetch(
        "WITH told AS (SELECT *, decided_at >= $1 AND decided_at < $2 AS decided FROM moderation_case)"
        " SELECT kind, count(*) FILTER (WHERE decided_at IS NULL) AS waiting, min(opened_at) FILTER (WHERE decided_at IS NULL) AS oldest,"
        " count(*) FILTER (WHERE decided AND status = 'approved') AS approved, count(*) FILTER (WHERE decided AND status = 'rejected') AS rejected,"
        " count(*) FILTER (WHERE decided AND approved_by = 'checks') AS by_checks,"
        " count(*) FILTER (WHERE decided AND approved_by = 'appeal') AS overturned,"
        " percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - opened_at)::float8) FILTER (WHERE decided) AS median_seconds"
        " FROM told GROUP BY kind ORDER BY kind",
        *within,
    )
    moderators = await db.fetch(
        "SELECT decided_by AS moderator_id, count(*) FILTER (WHERE status = 'approved') AS approved,"
        " count(*) FILTER (WHERE status = 'rejected') AS rejected FROM moderation_case"
        " WHERE decided_by IS NOT NULL AND decided_at >= $1 AND decided_at < $2 GROUP BY decided_by ORDER BY decided_by",
        *within,
    )
    return ModerationStats(
        kinds=[KindStats(**row) for row in kinds], moderators=[ModeratorStats(**row) for row in moderators]
    )


@view(roles=("Admin",), services=("governance",))
async def moderation_lists(db: Db) -> list[ModerationList]:
    """The words and hosts that flag what has them."""
    found = await db.fetch("SELECT list_id, of, entries FROM moderation_list WHERE entries <> '[]' ORDER BY list_id")
    return [ModerationList(list_id=name, of=of, entries=json.loads(entries)) for name, of, entries in found]


@view(roles=("Admin",))
async def moderation_kinds(db: Db) -> list[ModerationKind]:
    """How content of each kind is dealt with; of others nothing is approved without a person."""
    found = await db.fetch("SELECT kind, automatic, most_per_hour FROM moderation_kind ORDER BY kind")
    return [ModerationKind(**row) for row in found]
