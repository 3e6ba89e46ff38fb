"""What may be asked about referrals: by users whom they brought and what they have got for it, by operators how a scheme stands and what is to be decided."""

from datetime import UTC, datetime

from pydantic import BaseModel

from streams.view import Db, Page, Paging, view

LAST = ["9999-01-01T00:00:00+00:00", ""]  # behind every referral
FIRST = ["0001-01-01T00:00:00+00:00", ""]


class Brought(BaseModel):
    """A friend whom the user brought; `status` is attributed, qualified, pending, flagged, approved or voided. `points` and `commission` are what the user has got for it."""

    referral_id: str
    scheme_id: str
    code: str
    status: str
    attributed_at: datetime
    qualified_at: datetime | None
    points: int
    commission: int


class Descendant(BaseModel):
    """A user `level` steps below, who was brought by `referrer_id`."""

    level: int
    referral_id: str
    referrer_id: str
    scheme_id: str
    status: str


class CodeStats(BaseModel):
    """A code with how it did: `clicks` of `visitors` other than the user's own, `referrals` of which so many are `approved`."""

    code: str
    scheme_id: str
    expires_at: datetime | None
    clicks: int
    own_clicks: int
    visitors: int
    referrals: int
    approved: int


class Earnings(BaseModel):
    """Commission under a scheme, in the minor unit of its currency; `payable` can be asked for from `threshold` on."""

    scheme_id: str
    currency: str
    earned: int
    requested: int
    paid: int
    payable: int
    threshold: int


class Dashboard(BaseModel):
    """How an ambassador stands: applied, active or revoked, and how many of the friends they brought are in which state."""

    user_id: str
    status: str
    tier: str
    since: datetime
    attributed: int
    pending: int
    approved: int
    voided: int
    points: int
    earnings: list[Earnings] = []


class Payout(BaseModel):
    """A payout; `status` is requested, completed or failed, `since` then."""

    payout_id: str
    scheme_id: str
    amount: int
    currency: str
    status: str
    since: datetime


class SchemeStats(BaseModel):
    """How a scheme stands: what came of its links, in which states its referrals are, and what it gave.

    `points` and `commission` are what is given less what was `clawed_back`; `left` may still be given. `exhausted` referrals were approved and did not fit in.
    """

    scheme_id: str
    name: str
    status: str
    revision: int
    clicks: int
    visitors: int
    attributed: int
    qualified: int
    pending: int
    flagged: int
    approved: int
    voided: int
    budget: int
    points: int
    points_clawed_back: int
    left: int
    currency: str | None
    commission_budget: int
    commission: int
    commission_clawed_back: int
    exhausted: int


class Flagged(BaseModel):
    """A referral that is to be decided by hand, and why; `points` and `commission` are not granted yet."""

    referral_id: str
    referrer_id: str
    scheme_id: str
    code: str
    reason: str
    flagged_at: datetime
    qualified_at: datetime
    source: str


@view(roles=("User",), owner="user_id")
async def my_referrals(db: Db, user_id: str, paging: Paging) -> Page[Brought]:
    """The friends whom the user brought, the last first."""
    attributed_at, referral_id = paging.after or LAST
    found = await db.fetch(
        "SELECT r.referral_id, r.scheme_id, code, r.status, attributed_at, qualified_at, coalesce(w.points, 0) AS points,"
        " coalesce(w.commission, 0) AS commission FROM referral r"
        " LEFT JOIN reward w ON w.user_id = $1 AND w.referral_id = r.referral_id AND w.status = 'granted'"
        " WHERE referrer_id = $1 AND (attributed_at, r.referral_id) < ($2, $3)"
        " ORDER BY attributed_at DESC, r.referral_id DESC LIMIT $4",
        user_id,
        datetime.fromisoformat(attributed_at),
        referral_id,
        paging.limit + 1,
    )
    brought = [Brought(**row) for row in found]
    return paging.page(brought, lambda one: [one.attributed_at.astimezone(UTC).isoformat(), one.referral_id])


@view(roles=("User",), owner="user_id")
async def referral_tree(db: Db, user_id: str, paging: Paging) -> Page[Descendant]:
    """All below the user, to the depth of the schemes by which they came, level by level."""
    level, referral_id = paging.after or [0, ""]
    found = await db.fetch(
        "SELECT level, referral_id, referrer_id, scheme_id, status FROM descendant d JOIN referral USING (referral_id)"
        " WHERE d.user_id = $1 AND (level, referral_id) > ($2, $3) ORDER BY level, referral_id LIMIT $4",
        user_id,
        level,
        referral_id,
        paging.limit + 1,
    )
    return paging.page([Descendant(**row) for row in found], lambda one: [one.level, one.referral_id])


@view(roles=("User",), owner="user_id")
async def my_referral_codes(db: Db, user_id: str) -> list[CodeStats]:
    """The user's codes, and what came of them."""
    found = await db.fetch(
        "SELECT code, scheme_id, expires_at, clicks, own_clicks, visitors, referrals, approved FROM code,"
        " LATERAL (SELECT coalesce(sum(clicks) FILTER (WHERE NOT own), 0)::bigint AS clicks, count(*) FILTER (WHERE NOT own) AS visitors,"
        " coalesce(sum(clicks) FILTER (WHERE own), 0)::bigint AS own_clicks FROM click WHERE click.code = code.code) AS c,"
        " LATERAL (SELECT count(*) AS referrals, count(*) FILTER (WHERE status = 'approved') AS approved FROM referral"
        " WHERE referral.code = code.code) AS r WHERE user_id = $1 ORDER BY code",
        user_id,
    )
    return [CodeStats(**row) for row in found]


@view(roles=("User",), owner="user_id")
async def ambassador_dashboard(db: Db, user_id: str) -> Dashboard | None:
    """How the user stands as an ambassador, for who applied."""
    row = await db.fetchrow(
        "SELECT user_id, a.status, tier, a.since, attributed, pending, approved, voided, points FROM ambassador a,"
        " LATERAL (SELECT count(*) FILTER (WHERE status = 'attributed') AS attributed,"
        " count(*) FILTER (WHERE status IN ('qualified', 'pending', 'flagged')) AS pending,"
        " count(*) FILTER (WHERE status = 'approved') AS approved, count(*) FILTER (WHERE status = 'voided') AS voided"
        " FROM referral WHERE referrer_id = $1) AS r,"
        " LATERAL (SELECT coalesce(sum(points) FILTER (WHERE status = 'granted'), 0)::bigint AS points FROM reward WHERE user_id = $1) AS w"
        " WHERE user_id = $1",
        user_id,
    )
    if row is None:
        return None
    found = await db.fetch(
        "SELECT scheme_id, currency, earned, requested, paid, earned - requested - paid AS payable, payout_threshold AS threshold"
        " FROM earnings JOIN scheme USING (scheme_id) WHERE user_id = $1 ORDER BY scheme_id",
        user_id,
    )
    return Dashboard(**row, earnings=[Earnings(**one) for one in found])


@view(roles=("User",), owner="user_id")
async def my_payouts(db: Db, user_id: str, paging: Paging) -> Page[Payout]:
    """The user's payouts, the one that changed last first."""
    since, scheme_id, payout_id = paging.after or [*LAST, ""]
    found = await db.fetch(
        "SELECT payout_id, scheme_id, amount, currency, status, since FROM payout"
        " WHERE user_id = $1 AND (since, scheme_id, payout_id) < ($2, $3, $4)"
        " ORDER BY since DESC, scheme_id DESC, payout_id DESC LIMIT $5",
        user_id,
        datetime.fromisoformat(since),
        scheme_id,
        payout_id,
        paging.limit + 1,
    )
    payouts = [Payout(**row) for row in found]
    return paging.page(payouts, lambda one: [one.since.astimezone(UTC).isoformat(), one.scheme_id, one.payout_id])


@view(roles=("Admin",))
async def scheme_stats(db: Db, scheme_id: str) -> SchemeStats | None:
    """The figures of a scheme."""
    row = await db.fetchrow(
        "SELECT scheme_id, name, s.status, revision, clicks, visitors, attributed, qualified, pending, flagged, approved, voided,"
        " budget, coalesce(b.points, 0) AS points, points_clawed_back, budget - coalesce(b.points, 0) AS left, currency,"
        " commission_budget, coalesce(b.commission, 0) AS commission, commission_clawed_back, coalesce(exhausted, 0) AS exhausted"
        " FROM scheme s LEFT JOIN bank b USING (scheme_id),"
        " LATERAL (SELECT coalesce(sum(clicks), 0)::bigint AS clicks, count(DISTINCT visitor_id) AS visitors FROM click"
        " WHERE scheme_id = $1 AND NOT own) AS c,"
        " LATERAL (SELECT count(*) FILTER (WHERE status = 'attributed') AS attributed, count(*) FILTER (WHERE status = 'qualified') AS qualified,"
        " count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'flagged') AS flagged,"
        " count(*) FILTER (WHERE status = 'approved') AS approved, count(*) FILTER (WHERE status = 'voided') AS voided"
        " FROM referral WHERE scheme_id = $1) AS r,"
        " LATERAL (SELECT coalesce(sum(points), 0)::bigint AS points_clawed_back, coalesce(sum(commission), 0)::bigint AS commission_clawed_back"
        " FROM reward WHERE scheme_id = $1 AND status = 'clawed_back') AS w WHERE scheme_id = $1",
        scheme_id,
    )
    return SchemeStats(**row) if row else None


@view(roles=("Admin",))
async def flagged_queue(db: Db, paging: Paging) -> Page[Flagged]:
    """The referrals that wait to be decided by hand, those that have waited longest first."""
    since, referral_id = paging.after or FIRST
    found = await db.fetch(
        "SELECT referral_id, referrer_id, scheme_id, code, reason, since AS flagged_at, qualified_at, source FROM referral"
        " WHERE status = 'flagged' AND (since, referral_id) > ($1, $2) ORDER BY since, referral_id LIMIT $3",
        datetime.fromisoformat(since),
        referral_id,
        paging.limit + 1,
    )
    flagged = [Flagged(**row) for row in found]
    return paging.page(flagged, lambda one: [one.flagged_at.astimezone(UTC).isoformat(), one.referral_id])
