"""What may be asked about promotions.

By anybody, what is on sale; by a user, the user's vouchers; at the till, a voucher by its code; by the partner the figures of a campaign, its promo codes
and what was redeemed.
"""

from datetime import UTC, datetime

from pydantic import BaseModel

from streams.view import Db, Page, Paging, view

LAST = ["9999-01-01T00:00:00+00:00", "", ""]  # behind every voucher and redemption


class Promotion(BaseModel):
    """What a campaign offers to everybody; `left` vouchers may still be sold, of promo codes none are. No `venues`: all of the partner's."""

    campaign_id: str
    partner_id: str
    name: str
    kind: str
    price: int
    value: int
    currency: str
    percent: int | None
    min_spend: int
    min_quantity: int
    per_user: int
    max_uses: int
    sale_from: datetime | None
    sale_to: datetime | None
    valid_from: datetime | None
    valid_to: datetime | None
    valid_days: int | None
    venues: list[str]
    left: int


class Voucher(BaseModel):
    """A voucher of `value` in the minor unit of its currency; `status` is started, failed, valid, reserved, redeemed, expired or cancelled.

    It has a `code` once it is bought; `reason` says why a purchase failed or a voucher was cancelled. `left` is how often it can still be redeemed, or
    what is left of a gift.
    """

    campaign_id: str
    voucher_id: str
    name: str
    kind: str
    price: int
    value: int
    currency: str
    status: str
    reason: str | None
    code: str | None
    started_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None
    redeemed_at: datetime | None
    left: int


class Shown(BaseModel):
    """A voucher as the partner sees it, without who bought it; `left` is how often it can still be redeemed, or what is left of a gift."""

    campaign_id: str
    voucher_id: str
    name: str
    kind: str
    value: int
    currency: str
    status: str
    valid_from: datetime
    valid_to: datetime
    redeemed_at: datetime | None
    left: int


class PromoCode(BaseModel):
    """A code that is good for `left` more orders; `reserved` are not paid yet."""

    code: str
    used: int
    reserved: int
    left: int
    valid_from: datetime
    valid_to: datetime


class Redemption(BaseModel):
    """A redemption of `value` in the minor unit of its currency, at a till or for an order; `status` is redeemed or rolled_back, for a `reason`.

    Of a promo code, `voucher_id` is the code and `value` the discount.
    """

    campaign_id: str
    redemption_id: str
    voucher_id: str
    order_id: str | None
    venue_id: str | None
    staff_id: str | None
    value: int
    currency: str
    status: str
    reason: str | None
    redeemed_at: datetime
    rolled_back_at: datetime | None


class CampaignStats(BaseModel):
    """`reserved` vouchers are being paid for, `issued` were sold or given, and of those some are `redeemed`, `expired` or `cancelled`; `failed` were not paid.

    Of those issued, `given` cost nothing and `refunded` were paid back; `points_taken` is what was paid for the others. `spend` is what the vouchers issued and
    reserved are worth, or the discounts that were granted, of `budget`; `taken` is what was redeemed; `left` may still be sold, or made of promo codes.
    """

    campaign_id: str
    name: str
    status: str
    kind: str
    quantity: int
    reserved: int
    issued: int
    redeemed: int
    expired: int
    cancelled: int
    failed: int
    given: int
    refunded: int
    points_taken: int
    spend: int
    taken: int
    budget: int
    currency: str
    left: int


@view(roles=("Guest",))
async def active_promotions(db: Db, paging: Paging) -> Page[Promotion]:
    """What is on sale, or will be from `sale_from` on, by id."""
    found = await db.fetch(
        "SELECT campaign_id, partner_id, name, kind, price, value, currency, percent, min_spend, min_quantity, per_user, max_uses, sale_from,"
        " sale_to, valid_from, valid_to, valid_days, string_to_array(venues, ' ') AS venues, unsold AS left"
        " FROM campaign WHERE status = 'active' AND campaign_id > $1 ORDER BY campaign_id LIMIT $2",
        paging.after or "",
        paging.limit + 1,
    )
    return paging.page([Promotion(**row) for row in found], lambda one: one.campaign_id)


@view(roles=("User",), owner="user_id")
async def my_vouchers(db: Db, user_id: str, paging: Paging) -> Page[Voucher]:
    """The user's vouchers, those begun last first."""
    started_at, campaign_id, voucher_id = paging.after or LAST
    found = await db.fetch(
        "SELECT campaign_id, voucher_id, name, kind, price, value, currency, status, reason, code, started_at, valid_from, valid_to, redeemed_at,"
        " capacity - used - held AS left FROM voucher WHERE user_id = $1 AND (started_at, campaign_id, voucher_id) < ($2, $3, $4)"
        " ORDER BY started_at DESC, campaign_id DESC, voucher_id DESC LIMIT $5",
        user_id,
        datetime.fromisoformat(started_at),
        campaign_id,
        voucher_id,
        paging.limit + 1,
    )
    vouchers = [Voucher(**row) for row in found]
    return paging.page(
        vouchers, lambda one: [one.started_at.astimezone(UTC).isoformat(), one.campaign_id, one.voucher_id]
    )


@view(roles=("Partner",), owner="partner_id")
async def voucher_by_code(db: Db, partner_id: str, code: str) -> Shown | None:
    """The voucher that somebody shows at the till."""
    row = await db.fetchrow(
        "SELECT campaign_id, voucher_id, name, kind, value, currency, status, valid_from, valid_to, redeemed_at, capacity - used - held AS left"
        " FROM voucher WHERE partner_id = $1 AND code = $2",
        partner_id,
        code,
    )
    return Shown(**row) if row else None


@view(roles=("Partner",), owner="staff_id")
async def voucher_at_venue(db: Db, staff_id: str, venue_id: str, code: str) -> Shown | None:
    """The voucher that somebody shows to the partner's staff at a venue."""
    row = await db.fetchrow(
        "SELECT campaign_id, voucher_id, name, kind, value, currency, status, valid_from, valid_to, redeemed_at, capacity - used - held AS left"
        " FROM voucher WHERE code = $3 AND partner_id = (SELECT partner_id FROM staff WHERE user_id = $1 AND venue_id = $2)",
        staff_id,
        venue_id,
        code,
    )
    return Shown(**row) if row else None


@view(roles=("Partner",), owner="partner_id")
async def promo_codes(db: Db, partner_id: str, campaign_id: str, paging: Paging) -> Page[PromoCode]:
    """The codes of a campaign of the partner's, by name."""
    found = await db.fetch(
        "SELECT code, used, held AS reserved, capacity - used - held AS left, valid_from, valid_to FROM promo_code"
        " WHERE campaign_id = $1 AND partner_id = $2 AND code > $3 ORDER BY code LIMIT $4",
        campaign_id,
        partner_id,
        paging.after or "",
        paging.limit + 1,
    )
    return paging.page([PromoCode(**row) for row in found], lambda one: one.code)


@view(roles=("Partner",), owner="partner_id")
async def redemptions_by_partner(db: Db, partner_id: str, paging: Paging) -> Page[Redemption]:
    """What was redeemed with the partner, the last first."""
    redeemed_at, campaign_id, redemption_id = paging.after or LAST
    found = await db.fetch(
        "SELECT campaign_id, redemption_id, voucher_id, order_id, venue_id, staff_id, value, currency, status, reason, redeemed_at, rolled_back_at"
        " FROM redemption WHERE partner_id = $1 AND (redeemed_at, campaign_id, redemption_id) < ($2, $3, $4)"
        " ORDER BY redeemed_at DESC, campaign_id DESC, redemption_id DESC LIMIT $5",
        partner_id,
        datetime.fromisoformat(redeemed_at),
        campaign_id,
        redemption_id,
        paging.limit + 1,
    )
    redemptions = [Redemption(**row) for row in found]
    return paging.page(
        redemptions, lambda one: [one.redeemed_at.astimezone(UTC).isoformat(), one.campaign_id, one.redemption_id]
    )


@view(roles=("Partner",), owner="partner_id")
async def campaign_stats(db: Db, partner_id: str, campaign_id: str) -> CampaignStats | None:
    """How a campaign of the partner's stands."""
    row = await db.fetchrow(
        "SELECT campaign_id, name, status, kind, quantity, reserved, issued, redeemed, expired, cancelled, failed, given, refunded,"
        " price * (issued - given - refunded) AS points_taken,"
        " spend, taken, budget, currency, unsold AS left"
        " FROM campaign WHERE partner_id = $1 AND campaign_id = $2",
        partner_id,
        campaign_id,
    )
    return CampaignStats(**row) if row else None
