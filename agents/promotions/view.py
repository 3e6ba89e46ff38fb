"""What may be asked about promotions: a user's vouchers, and by the partner a voucher at the till and the figures of a campaign."""

from datetime import UTC, datetime

from pydantic import BaseModel

from streams.view import Db, Page, Paging, view

LAST = ["9999-01-01T00:00:00+00:00", "", ""]  # behind every voucher


class Voucher(BaseModel):
    """A voucher of `value` in the minor unit of its currency; `status` is started, failed, valid, redeemed or expired.

    It has a `code` once it is bought; `reason` says why a purchase failed.
    """

    campaign_id: str
    voucher_id: str
    name: str
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


class Shown(BaseModel):
    """A voucher as the partner sees it, without who bought it."""

    campaign_id: str
    voucher_id: str
    name: str
    value: int
    currency: str
    status: str
    valid_from: datetime
    valid_to: datetime
    redeemed_at: datetime | None


class CampaignStats(BaseModel):
    """`reserved` vouchers are being paid for, `issued` were sold, and of those some are `redeemed` or `expired`; `failed` were not paid.

    `points_taken` is what was paid; `spend` is what the vouchers issued and reserved are worth, of `budget`; `left` may still be sold.
    """

    campaign_id: str
    name: str
    status: str
    quantity: int
    reserved: int
    issued: int
    redeemed: int
    expired: int
    failed: int
    points_taken: int
    spend: int
    budget: int
    currency: str
    left: int


@view(roles=("User",), owner="user_id")
async def my_vouchers(db: Db, user_id: str, paging: Paging) -> Page[Voucher]:
    """The user's vouchers, those begun last first."""
    started_at, campaign_id, voucher_id = paging.after or LAST
    found = await db.fetch(
        "SELECT campaign_id, voucher_id, name, price, value, currency, status, reason, code, started_at, valid_from, valid_to, redeemed_at"
        " FROM voucher WHERE user_id = $1 AND (started_at, campaign_id, voucher_id) < ($2, $3, $4)"
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
        "SELECT campaign_id, voucher_id, name, value, currency, status, valid_from, valid_to, redeemed_at FROM voucher"
        " WHERE partner_id = $1 AND code = $2",
        partner_id,
        code,
    )
    return Shown(**row) if row else None


@view(roles=("Partner",), owner="partner_id")
async def campaign_stats(db: Db, partner_id: str, campaign_id: str) -> CampaignStats | None:
    """How a campaign of the partner's stands."""
    row = await db.fetchrow(
        "SELECT campaign_id, name, status, quantity, reserved, issued, redeemed, expired, failed, price * issued AS points_taken,"
        " value * (issued + reserved) AS spend, budget, currency,"
        " least(quantity, budget / value) - issued - reserved AS left"
        " FROM campaign WHERE partner_id = $1 AND campaign_id = $2",
        partner_id,
        campaign_id,
    )
    return CampaignStats(**row) if row else None
