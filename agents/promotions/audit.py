"""What must add up in promotions: a campaign counts the vouchers that there are, and keeps to its terms."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay promotions builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def campaign_counts_its_vouchers(db: Db) -> list[Any]:
    """The counts of a campaign are those of its vouchers."""
    return await db.fetch(
        "WITH there AS (SELECT campaign_id, count(*) FILTER (WHERE status = 'started') AS reserved,"
        " count(*) FILTER (WHERE status IN ('valid', 'redeemed', 'expired')) AS issued,"
        " count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'redeemed') AS redeemed,"
        " count(*) FILTER (WHERE status = 'expired') AS expired FROM voucher GROUP BY campaign_id)"
        " SELECT campaign_id, c.reserved, c.issued, c.failed, c.redeemed, c.expired, there.reserved AS vouchers_reserved,"
        " there.issued AS vouchers_issued, there.failed AS vouchers_failed, there.redeemed AS vouchers_redeemed,"
        " there.expired AS vouchers_expired FROM campaign c FULL JOIN there USING (campaign_id)"
        " WHERE (coalesce(c.reserved, 0), coalesce(c.issued, 0), coalesce(c.failed, 0), coalesce(c.redeemed, 0), coalesce(c.expired, 0))"
        " <> (coalesce(there.reserved, 0), coalesce(there.issued, 0), coalesce(there.failed, 0), coalesce(there.redeemed, 0),"
        " coalesce(there.expired, 0)) ORDER BY campaign_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def campaign_keeps_its_limits(db: Db) -> list[Any]:
    """No more vouchers are sold or reserved than there are, nor for more than the budget."""
    return await db.fetch(
        "SELECT campaign_id, reserved, issued, quantity, value, budget FROM campaign"
        " WHERE issued + reserved > quantity OR value * (issued + reserved) > budget OR reserved < 0 OR issued < 0"
        " OR redeemed + expired > issued ORDER BY campaign_id LIMIT $1",
        MOST,
    )
