"""What must add up in KYC and AML."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay governance builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def kyc_is_what_its_status_says(db: Db) -> list[Any]:
    """What was decided says when, by whom and, unless it is good, why; what waits has an identity document and a selfie; an approval ends."""
    return await db.fetch(
        "SELECT user_id, status, attempt, reason, retry, decided_by, expires_at FROM kyc WHERE"
        " (status IN ('approved', 'rejected', 'on_hold', 'expired')) AND (decided_at IS NULL OR decided_by IS NULL OR decided_by = user_id)"
        " OR (status IN ('rejected', 'on_hold')) <> (reason IS NOT NULL) OR (status = 'rejected') <> (retry IS NOT NULL)"
        " OR (status IN ('approved', 'expired')) <> (expires_at IS NOT NULL) OR expires_at <= decided_at"
        " OR (status IN ('pending', 'on_hold', 'approved', 'rejected', 'expired') AND NOT (EXISTS"
        " (SELECT FROM kyc_document d WHERE d.user_id = kyc.user_id AND d.attempt = kyc.attempt AND kind = 'selfie') AND EXISTS"
        " (SELECT FROM kyc_document d WHERE d.user_id = kyc.user_id AND d.attempt = kyc.attempt"
        " AND kind IN ('passport', 'id_card', 'driving_licence', 'residence_permit'))))"
        " ORDER BY user_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def alerts_are_screenings_with_hits(db: Db) -> list[Any]:
    """A screening with hits is an alert, open or cleared; a cleared one says by whom, when and why, and never by the user."""
    return await db.fetch(
        "SELECT user_id, screening_id, status, hits, cleared_by, reason FROM aml_screening WHERE (status = 'clear') <> (hits = '')"
        " OR (status = 'cleared') <> (cleared_at IS NOT NULL AND cleared_by IS NOT NULL AND cleared_by <> user_id AND reason IS NOT NULL)"
        " ORDER BY user_id, screening_id LIMIT $1",
        MOST,
    )
