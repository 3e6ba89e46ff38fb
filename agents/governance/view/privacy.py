"""What may be asked about privacy: by the user, and by admins."""

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from streams.personal import Personal
from streams.view import Db, Page, Paging, view

FIRST: list[Any] = ["0001-01-01T00:00:00+00:00", ""]


class GivenConsent(BaseModel):
    """What the user agrees to, or agreed to: by which version of the text, since when without a break; `at` is the time of the last act."""

    purpose: str
    given: bool
    text_version: str
    channel: str
    since: datetime
    at: datetime


class DataExport(BaseModel):
    """The last export: in progress, ready, failed or expired. While it is ready, `file` is a JSON document of `size` bytes, as text."""

    export_id: str
    status: str
    requested_at: datetime
    expires_at: datetime | None
    size: int | None
    file: Personal[str] | None


class ErasureStep(BaseModel):
    """A domain was asked, has to wait for a `reason`, or has done its part."""

    domain: str
    status: str
    reason: str | None
    at: datetime


class ErasureProgress(BaseModel):
    """The last erasure: requested, asked, acknowledged by all or done; it is to be done by `due_by`."""

    user_id: str
    erasure_id: str
    status: str
    requested_at: datetime
    due_by: datetime
    overdue: bool
    erased_at: datetime | None
    steps: list[ErasureStep]


@view(roles=("User",), owner="user_id")
async def consents(db: Db, user_id: str) -> list[GivenConsent]:
    """What the user agrees to and agreed to, by purpose."""
    query = "SELECT purpose, given, text_version, channel, since, at FROM consent WHERE user_id = $1 ORDER BY purpose"
    return [GivenConsent(**row) for row in await db.fetch(query, user_id)]


@view(roles=("User",), owner="user_id")
async def data_export(db: Db, user_id: str) -> DataExport | None:
    """The last export, with its file while that is ready."""
    row = await db.fetchrow(
        "SELECT export_id, status, requested_at, expires_at, size, file FROM data_export AS e"
        " LEFT JOIN export_file AS f USING (user_id, export_id) WHERE user_id = $1",
        user_id,
    )
    return DataExport(**row) if row else None


_PROGRESS = (
    "SELECT user_id, erasure_id, status, requested_at, due_by, overdue, erased_at,"
    " (SELECT coalesce(json_agg(json_build_object('domain', domain, 'status', s.status, 'reason', reason, 'at', at) ORDER BY domain), '[]')"
    " FROM erasure_step AS s WHERE (s.user_id, s.erasure_id) = (e.user_id, e.erasure_id)) AS steps FROM erasure AS e"
)


@view(roles=("User",), owner="user_id")
async def erasure_progress(db: Db, user_id: str) -> ErasureProgress | None:
    """How far the last erasure is, domain by domain."""
    row = await db.fetchrow(f"{_PROGRESS} WHERE user_id = $1", user_id)
    return _progress(row) if row else None


@view(roles=("Admin",))
async def erasures_open(db: Db, paging: Paging) -> Page[ErasureProgress]:
    """The erasures that are not done, the one that is due first before the others."""
    due_by, user_id = paging.after or FIRST
    found = await db.fetch(
        f"{_PROGRESS} WHERE status <> 'erased' AND (due_by, user_id) > ($1, $2) ORDER BY due_by, user_id LIMIT $3",
        datetime.fromisoformat(due_by), user_id, paging.limit + 1,
    )  # fmt: skip
    return paging.page([_progress(row) for row in found], lambda one: [one.due_by.isoformat(), one.user_id])


def _progress(row: Any) -> ErasureProgress:
    return ErasureProgress(**{**row, "steps": json.loads(row["steps"])})
