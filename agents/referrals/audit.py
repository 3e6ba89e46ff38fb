"""What must add up in referrals: nobody is above themselves, and what was granted is within the budgets, once, and for what was approved."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay referrals builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def nobody_is_above_themselves(db: Db) -> list[Any]:
    """Whoever follows the referrers up from a user never comes back to where they were."""
    return await db.fetch(
        "WITH RECURSIVE up (referral_id, referrer_id) AS (SELECT referral_id, referrer_id FROM referral"
        " UNION ALL SELECT r.referral_id, r.referrer_id FROM up JOIN referral r ON r.referral_id = up.referrer_id)"
        " CYCLE referral_id SET round USING path"
        " SELECT DISTINCT referral_id, referrer_id FROM up WHERE round OR referral_id = referrer_id ORDER BY 1 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def tree_is_its_referrals(db: Db) -> list[Any]:
    """Each referral has its referrer at the first level, and the referrers of those at each level are at the next, to the depth of its scheme."""
    return await db.fetch(
        "SELECT r.referral_id, r.referrer_id, d.user_id FROM referral r LEFT JOIN descendant d ON d.referral_id = r.referral_id AND level = 1"
        " WHERE d.user_id IS DISTINCT FROM r.referrer_id"
        " UNION ALL SELECT d.referral_id, above.referrer_id, d.user_id FROM descendant d"
        " JOIN descendant below ON below.referral_id = d.referral_id AND below.level = d.level - 1"
        " LEFT JOIN referral above ON above.referral_id = below.user_id WHERE d.user_id IS DISTINCT FROM above.referrer_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def scheme_keeps_its_budget(db: Db) -> list[Any]:
    """What a scheme has given, less what was clawed back, is what its rewards say, and within its budgets."""
    return await db.fetch(
        "WITH given AS (SELECT scheme_id, sum(points) AS points, sum(commission) AS commission FROM reward"
        " WHERE status = 'granted' GROUP BY scheme_id)"
        " SELECT scheme_id, b.points, b.commission, given.points::bigint AS rewards, given.commission::bigint AS commissions, budget,"
        " commission_budget FROM bank b FULL JOIN given USING (scheme_id) LEFT JOIN scheme USING (scheme_id)"
        " WHERE coalesce(b.points, 0) <> coalesce(given.points, 0) OR coalesce(b.commission, 0) <> coalesce(given.commission, 0)"
        " OR coalesce(b.points, 0) NOT BETWEEN 0 AND coalesce(budget, 0)"
        " OR coalesce(b.commission, 0) NOT BETWEEN 0 AND coalesce(commission_budget, 0) ORDER BY scheme_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def reward_has_its_referral(db: Db) -> list[Any]:
    """A reward is of a referral that was approved, for the friend or for who is above, to the depth of the scheme, and once for each level."""
    return await db.fetch(
        "SELECT w.reward_id, w.referral_id, w.level, w.user_id, r.status FROM reward w LEFT JOIN referral r USING (referral_id)"
        " LEFT JOIN descendant d ON d.referral_id = w.referral_id AND d.level = w.level"
        " WHERE r.status IS NULL OR r.status NOT IN ('approved', 'voided') OR r.scheme_id <> w.scheme_id"
        " OR w.user_id IS DISTINCT FROM CASE WHEN w.level = 0 THEN w.referral_id ELSE d.user_id END"
        " OR EXISTS (SELECT 1 FROM reward o WHERE o.referral_id = w.referral_id AND o.scheme_id = w.scheme_id AND o.level = w.level"
        " AND o.reward_id <> w.reward_id) ORDER BY 1 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def earnings_are_their_rewards(db: Db) -> list[Any]:
    """What an ambassador has earned under a scheme is the commission that stands, and what is asked for and paid is in payouts."""
    return await db.fetch(
        "WITH rewarded AS (SELECT scheme_id, user_id, sum(commission) AS earned FROM reward WHERE status = 'granted' GROUP BY 1, 2),"
        " told AS (SELECT scheme_id, user_id, sum(amount) FILTER (WHERE status = 'requested') AS requested,"
        " sum(amount) FILTER (WHERE status = 'completed') AS paid FROM payout GROUP BY 1, 2)"
        " SELECT scheme_id, user_id, e.earned, e.requested, e.paid, rewarded.earned::bigint AS rewards, told.requested::bigint AS payouts_requested,"
        " told.paid::bigint AS payouts_completed FROM earnings e FULL JOIN rewarded USING (scheme_id, user_id) FULL JOIN told USING (scheme_id, user_id)"
        " WHERE coalesce(e.earned, 0) <> coalesce(rewarded.earned, 0) OR coalesce(e.requested, 0) <> coalesce(told.requested, 0)"
        " OR coalesce(e.paid, 0) <> coalesce(told.paid, 0) ORDER BY 1, 2 LIMIT $1",
        MOST,
    )
