"""Rows of promotions: each campaign with its figures, each voucher and promo code, each redemption, and who acts where."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from agents.promotions.rules.documents import Campaign
from agents.promotions.rules.evolving import use_of
from streams.decision import ROOT
from streams.sink import Fact, rows
from topics.promotions import (
    OrderLinked,
    OrderNoted,
    PromoCodeApplied,
    PromoCodeRejected,
    PromoCodesGenerated,
    StaffNoted,
    VenueNoted,
    VoucherRedemptionRejected,
    VoucherRefunded,
)


@rows("campaign", key=("campaign_id",))
class CampaignRow(NamedTuple):
    campaign_id: str
    partner_id: str
    name: str
    status: str
    price: int
    value: int
    currency: str
    quantity: int
    budget: int
    reserved: int
    issued: int
    failed: int
    redeemed: int
    expired: int
    kind: str
    max_uses: int
    per_user: int
    percent: int | None
    min_spend: int
    min_quantity: int
    venues: str
    sale_from: datetime | None
    sale_to: datetime | None
    valid_from: datetime | None
    valid_to: datetime | None
    valid_days: int | None
    cancelled: int
    given: int
    refunded: int
    spend: int
    taken: int
    unsold: int


@rows("voucher", key=("campaign_id", "voucher_id"))
class VoucherRow(NamedTuple):
    campaign_id: str
    voucher_id: str
    user_id: str
    partner_id: str
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
    kind: str
    capacity: int
    used: int
    held: int


@rows("promo_code", key=("campaign_id", "code"))
class PromoCodeRow(NamedTuple):
    campaign_id: str
    code: str
    partner_id: str
    capacity: int
    used: int
    held: int
    valid_from: datetime
    valid_to: datetime


@rows("redemption", key=("campaign_id", "redemption_id"))
class RedemptionRow(NamedTuple):
    campaign_id: str
    redemption_id: str
    partner_id: str
    voucher_id: str
    user_id: str
    order_id: str | None
    venue_id: str | None
    staff_id: str | None
    value: int
    currency: str
    status: str
    reason: str | None
    redeemed_at: datetime
    rolled_back_at: datetime | None


@rows("staff", key=("venue_id", "user_id"))
class StaffRow(NamedTuple):
    venue_id: str
    user_id: str
    partner_id: str | None


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The campaign after an event, and the voucher, code and redemption that it is about; a code that was not taken changes nothing."""
    event = fact.event
    match event:
        case VoucherRedemptionRejected() | PromoCodeRejected() | OrderLinked() | OrderNoted() | VenueNoted():
            return
        case StaffNoted():
            yield StaffRow(event.venue_id, event.user_id, event.partner_id if event.acts else None)
            return
    campaign = state[ROOT]
    yield _row(CampaignRow, campaign, campaign_id=fact.key, venues=" ".join(campaign.venues))
    yield from _about(event, campaign, fact.key, state)
    name = use_of(event)
    if name and (use := state[name]).redeemed_at:
        redemption_id = name.removeprefix("use/")
        yield _row(RedemptionRow, use, campaign, campaign_id=fact.key, redemption_id=redemption_id)


def _about(event: Any, campaign: Campaign, key: str, state: Mapping[str, Any]) -> Iterable[Any]:
    """The voucher or the promo codes that an event is about."""
    name: str | None
    match event:
        case VoucherRefunded():
            return
        case PromoCodesGenerated(codes=codes, valid_from=valid_from, valid_to=valid_to):
            for code in codes:
                yield PromoCodeRow(key, code, campaign.partner_id, campaign.capacity, 0, 0, valid_from, valid_to)
            return
        case PromoCodeApplied():
            name = event.code
        case _:
            name = getattr(event, "voucher_id", None)
    if name and campaign.kind == "promo":
        yield _row(PromoCodeRow, state[f"voucher/{name}"], campaign, campaign_id=key, code=name)
    elif name:
        yield _row(VoucherRow, state[f"voucher/{name}"], campaign, campaign_id=key, voucher_id=name)


def _row(kind: Any, *documents: Any, **known: Any) -> Any:
    """A row whose other columns are found by name in the first document that has them."""
    for column in kind._fields:
        if column not in known:
            known[column] = next(getattr(one, column) for one in documents if hasattr(one, column))
    return kind(**known)
