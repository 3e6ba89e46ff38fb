"""What must add up in promotions: a campaign counts the vouchers and redemptions that there are, and both keep to its terms."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay promotions builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def campaign_counts_its_vouchers(db: Db) -> list[Any]:
    """The counts of a campaign are those of its vouchers, or of its promo codes."""
    return await db.fetch(
        "WITH there AS (SELECT campaign_id, count(*) FILTER (WHERE status = 'started') AS reserved,"
        " count(*) FILTER (WHERE status NOT IN ('started', 'failed')) AS issued,"
        " count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'redeemed') AS redeemed,"
        " count(*) FILTER (WHERE status = 'expired') AS expired, count(*) FILTER (WHERE status = 'cancelled') AS cancelled"
        " FROM voucher GROUP BY campaign_id UNION ALL"
        " SELECT campaign_id, 0, count(*), 0, 0, 0, 0 FROM promo_code GROUP BY campaign_id)"
        " SELECT campaign_id, c.reserved, c.issued, c.failed, c.redeemed, c.expired, c.cancelled, there.reserved AS vouchers_reserved,"
        " there.issued AS vouchers_issued, there.failed AS vouchers_failed, there.redeemed AS vouchers_redeemed,"
        " there.expired AS vouchers_expired, there.cancelled AS vouchers_cancelled FROM campaign c FULL JOIN there USING (campaign_id)"
        " WHERE (coalesce(c.reserved, 0), coalesce(c.issued, 0), coalesce(c.failed, 0), coalesce(c.redeemed, 0), coalesce(c.expired, 0),"
        " coalesce(c.cancelled, 0)) <> (coalesce(there.reserved, 0), coalesce(there.issued, 0), coalesce(there.failed, 0),"
        " coalesce(there.redeemed, 0), coalesce(there.expired, 0), coalesce(there.cancelled, 0)) ORDER BY campaign_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def campaign_keeps_its_limits(db: Db) -> list[Any]:
    """No more vouchers are sold or reserved than there are, nor for more than the budget; no more is taken off orders than that."""
    return await db.fetch(
        "SELECT campaign_id, reserved, issued, quantity, value, budget, spend FROM campaign"
        " WHERE issued + reserved > quantity OR reserved < 0 OR issued < 0 OR redeemed + expired + cancelled > issued OR given + refunded > issued"
        " OR spend > budget OR (kind <> 'promo' AND value * (issued + reserved) > budget) OR taken > spend OR taken < 0"
        " ORDER BY campaign_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def campaign_takes_what_is_redeemed(db: Db) -> list[Any]:
    """What a campaign has redeemed is the sum of its redemptions that were not rolled back."""
    return await db.fetch(
        "SELECT c.campaign_id, c.taken, coalesce(sum(r.value) FILTER (WHERE r.status = 'redeemed'), 0) AS redeemed"
        " FROM campaign c LEFT JOIN redemption r USING (campaign_id) GROUP BY c.campaign_id, c.taken"
        " HAVING c.taken <> coalesce(sum(r.value) FILTER (WHERE r.status = 'redeemed'), 0) ORDER BY c.campaign_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def voucher_is_used_as_often_as_redeemed(db: Db) -> list[Any]:
    """What is used of a voucher or code are its redemptions that were not rolled back, and with what is reserved no more than it has."""
    return await db.fetch(
        "WITH uses AS (SELECT campaign_id, voucher_id, count(*) AS times, sum(value) AS value FROM redemption"
        " WHERE status = 'redeemed' GROUP BY campaign_id, voucher_id),"
        " has AS (SELECT campaign_id, voucher_id, kind, capacity, used, held FROM voucher"
        " UNION ALL SELECT campaign_id, code, 'promo', capacity, used, held FROM promo_code)"
        " SELECT campaign_id, voucher_id, capacity, used, held, coalesce(times, 0) AS times, coalesce(value, 0) AS value"
        " FROM has LEFT JOIN uses USING (campaign_id, voucher_id)"
        " WHERE used + held > capacity OR held < 0 OR used <> coalesce(CASE kind WHEN 'gift' THEN value ELSE times END, 0)"
        " ORDER BY campaign_id, voucher_id LIMIT $1",
        MOST,
    )
