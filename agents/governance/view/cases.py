"""What may be asked about moderation."""

from datetime import datetime

from pydantic import BaseModel

from streams.view import Db, Page, Paging, view


class QueuedCase(BaseModel):
    """A case that waits."""

    subject: str
    revision: int
    kind: str
    author_id: str
    status: str
    opened_at: datetime


@view(roles=("Admin",))
async def moderation_queue(db: Db, paging: Paging) -> Page[QueuedCase]:
    """The cases that wait, the oldest first."""
    found = await db.fetch(
        "SELECT subject, revision, kind, author_id, status, opened_at FROM moderation_case WHERE status = 'open'"
        " ORDER BY opened_at, subject, revision LIMIT $1",
        paging.limit + 1,
    )
    return paging.page([QueuedCase(**row) for row in found], lambda case: [case.opened_at.isoformat(), case.subject])
