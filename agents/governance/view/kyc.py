"""What may be asked about KYC and AML: by users how far they have come, by admins what waits for them. Alerts are nothing that a user is told."""

from datetime import datetime

from pydantic import BaseModel

from streams.view import Db, Page, Paging, view

FIRST = ["0001-01-01T00:00:00+00:00", "", ""]  # before everything that waits


class KycPaper(BaseModel):
    """A document of the last attempt, as a reference to a private medium."""

    kind: str
    media_id: str
    submitted_at: datetime


class KycStanding(BaseModel):
    """`status` is init, pending, on_hold, approved, rejected or expired; after a rejection with `retry` other documents may be handed in.

    `reason` says what was rejected or is missing; an approval is good until `expires_at`.
    """

    user_id: str
    status: str
    attempt: int
    started_at: datetime
    submitted_at: datetime | None
    decided_at: datetime | None
    reason: str | None
    retry: bool | None
    expires_at: datetime | None
    documents: list[KycPaper]


class KycWaiting(BaseModel):
    """An attempt that waits to be decided: `pending`, or `on_hold` for something of the user's."""

    user_id: str
    attempt: int
    status: str
    submitted_at: datetime


class AmlAlert(BaseModel):
    """An alert that is open: the `source` found the user, or what it is `about`, on these lists."""

    user_id: str
    alert_id: str
    about: str
    source: str
    hits: list[str]
    raised_at: datetime


@view(roles=("User",), owner="user_id")
async def kyc_status(db: Db, user_id: str) -> KycStanding | None:
    """How far a user has come."""
    row = await db.fetchrow(
        "SELECT user_id, status, attempt, started_at, submitted_at, decided_at, reason, retry, expires_at FROM kyc WHERE user_id = $1",
        user_id,
    )
    if row is None:
        return None
    documents = await db.fetch(
        "SELECT kind, media_id, submitted_at FROM kyc_document WHERE user_id = $1 AND attempt = $2 ORDER BY submitted_at, media_id",
        user_id,
        row["attempt"],
    )
    return KycStanding(**row, documents=[KycPaper(**one) for one in documents])


@view(roles=("Admin",))
async def kyc_queue(db: Db, paging: Paging) -> Page[KycWaiting]:
    """The attempts that wait, those with the oldest document first."""
    at, user_id, _ = paging.after or FIRST
    found = await db.fetch(
        "SELECT user_id, attempt, status, submitted_at FROM kyc WHERE status IN ('pending', 'on_hold')"
        " AND (submitted_at, user_id) > ($1, $2) ORDER BY submitted_at, user_id LIMIT $3",
        datetime.fromisoformat(at),
        user_id,
        paging.limit + 1,
    )
    waiting = [KycWaiting(**row) for row in found]
    return paging.page(waiting, lambda one: [one.submitted_at.isoformat(), one.user_id, ""])


@view(roles=("Admin",))
async def aml_alerts(db: Db, paging: Paging) -> Page[AmlAlert]:
    """The alerts that are open, the oldest first."""
    at, user_id, alert_id = paging.after or FIRST
    found = await db.fetch(
        "SELECT user_id, screening_id AS alert_id, about, source, hits, screened_at AS raised_at FROM aml_screening"
        " WHERE status = 'open' AND (screened_at, user_id, screening_id) > ($1, $2, $3)"
        " ORDER BY screened_at, user_id, screening_id LIMIT $4",
        datetime.fromisoformat(at),
        user_id,
        alert_id,
        paging.limit + 1,
    )
    alerts = [AmlAlert(**{**row, "hits": row["hits"].split()}) for row in found]
    return paging.page(alerts, lambda one: [one.raised_at.isoformat(), one.user_id, one.alert_id])
