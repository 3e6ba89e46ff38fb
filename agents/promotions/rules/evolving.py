"""What events change."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from agents.promotions.rules.abroad import linked, noted
from agents.promotions.rules.documents import (
    COUNTED,
    WRONG_CODES,
    Batch,
    Campaign,
    Documents,
    Shopper,
    Staff,
    Tries,
    Use,
    Venue,
    Voucher,
)
from agents.promotions.rules.selling import coded
from streams.decision import ROOT, State
from topics.promotions import (
    CampaignActivated,
    CampaignBudgetExhausted,
    CampaignCreated,
    CampaignEnded,
    CampaignPaused,
    OrderLinked,
    OrderNoted,
    PromoCodeApplied,
    PromoCodeRejected,
    PromoCodesGenerated,
    StaffNoted,
    Terms,
    VenueNoted,
    VoucherCancelled,
    VoucherExpired,
    VoucherIssued,
    VoucherPurchased,
    VoucherPurchaseFailed,
    VoucherPurchaseStarted,
    VoucherRedeemed,
    VoucherRedemptionRejected,
    VoucherRedemptionRolledBack,
    VoucherRefunded,
    VoucherReservationReleased,
    VoucherReserved,
    VoucherTransferred,
    redemption_of,
)

Changes = dict[str, State]
HAD: Mapping[Any, int] = {VoucherPurchaseStarted: 1, VoucherIssued: 1, PromoCodeApplied: 1, VoucherPurchaseFailed: -1}
"""Events by which a user has more or less of a campaign."""


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    match event:
        case OrderLinked():
            return {"order": linked(state["order"], event)}
        case OrderNoted():
            return {"order": noted(state["order"], event)}
        case VenueNoted():
            return {"venue": Venue(event.partner_id)}
        case StaffNoted():
            return {f"staff/{event.user_id}": Staff(event.partner_id if event.acts else "")}
        case VoucherRedemptionRejected() | PromoCodeRejected():
            return _tried(state, event)
        case PromoCodesGenerated():
            return _generated(state, event)
        case VoucherRefunded():
            return {ROOT: state[ROOT].count(refunded=+1)}
        case CampaignCreated() | CampaignActivated() | CampaignPaused() | CampaignEnded() | CampaignBudgetExhausted():
            return {ROOT: _campaign(state[ROOT], event)}
    return _used(state, event)


def _campaign(campaign: Campaign, event: Any) -> Campaign:
    match event:
        case CampaignCreated():
            terms = {name: getattr(event, name) for name in Terms.model_fields}
            return Campaign(status="draft", partner_id=event.partner_id, **terms)
        case CampaignActivated():
            return replace(campaign, status="active")
        case CampaignPaused():
            return replace(campaign, status="paused")
        case CampaignEnded():
            return replace(campaign, status="ended")
    return replace(campaign, status="exhausted")


def _tried(state: Documents, event: VoucherRedemptionRejected | PromoCodeRejected) -> Changes:
    """Somebody gave a wrong code; the other reasons are told to who has the right one."""
    if event.reason != "not_found" or event.rejected_at is None:
        return {}
    who = event.by if isinstance(event, VoucherRedemptionRejected) else event.user_id
    name = f"tries/{who}"
    return {name: Tries((*state[name].wrong, event.rejected_at)[-WRONG_CODES:])}


def _generated(state: Documents, event: PromoCodesGenerated) -> Changes:
    changed: Changes = {ROOT: state[ROOT].count(issued=len(event.codes))}
    if event.batch_id and event.seed:
        batch = Batch(event.seed, len(event.codes), event.valid_from, event.valid_to)
        return changed | {f"batch/{event.batch_id}": batch}
    code = Voucher(status="valid", valid_from=event.valid_from, valid_to=event.valid_to)
    return changed | {f"voucher/{name}": code for name in event.codes}


def _used(state: Documents, event: Any) -> Changes:
    """What is about one voucher or code: it, its redemption, whose it is, and how its campaign counts it."""
    campaign: Campaign = state[ROOT]
    changed: Changes = {}
    if isinstance(event, PromoCodeApplied):
        name, before = f"voucher/{event.code}", coded(state, event.code)
    else:
        name = f"voucher/{event.voucher_id}"
        before = state[name]
    after = changed[name] = _voucher(campaign, before, event)
    if (use := use_of(event)) is not None:
        changed[use] = _use(state[use], event)
    if by := HAD.get(type(event), -1 if _is_promo_release(campaign, event) else 0):
        shopper = f"user/{event.user_id}"
        changed[shopper] = Shopper(state[shopper].count + by)
    changed[ROOT] = _counted(campaign, before, after, event)
    return changed


def _is_promo_release(campaign: Campaign, event: Any) -> bool:
    return campaign.kind == "promo" and isinstance(event, VoucherReservationReleased)


def use_of(event: Any) -> str | None:
    """The document of the redemption that an event is about, if it is about any."""
    match event:
        case VoucherRedeemed():
            return f"use/{event.redemption_id or event.voucher_id}"
        case VoucherRedemptionRolledBack():
            return f"use/{event.redemption_id}"
        case VoucherReserved() | VoucherReservationReleased():
            return f"use/{redemption_of(event.order_id, event.voucher_id, event.user_id)}"
        case PromoCodeApplied():
            return f"use/{redemption_of(event.order_id, event.code, event.user_id)}"
    return None


def _voucher(campaign: Campaign, voucher: Voucher, event: Any) -> Voucher:
    match event:
        case VoucherPurchaseStarted():
            return Voucher("started", event.user_id, event.command_id, event.started_at, event.pay_by)
        case VoucherPurchased():
            valid_from, valid_to = event.valid_from, event.valid_to
            return replace(voucher, status="valid", code=event.code, valid_from=valid_from, valid_to=valid_to)
        case VoucherIssued(code=code, valid_from=valid_from, valid_to=valid_to):
            given = Voucher("valid", event.user_id, started_at=event.issued_at)
            return replace(given, code=code, valid_from=valid_from, valid_to=valid_to)
        case VoucherPurchaseFailed():
            return replace(voucher, status="failed", reason=event.reason)
        case VoucherTransferred():
            return replace(voucher, user_id=event.to, code=event.code, buyer=voucher.buyer or voucher.user_id)
        case VoucherExpired():
            return replace(voucher, status="expired")
        case VoucherCancelled():
            return replace(voucher, status="cancelled", reason=event.reason)
    return _moved(voucher, campaign.capacity, campaign.units(_value(event)), event)


def _value(event: Any) -> int:
    value: int = event.discount if isinstance(event, PromoCodeApplied) else event.value
    return value


def _moved(voucher: Voucher, capacity: int, units: int, event: Any) -> Voucher:
    """The voucher or code of which something was reserved, redeemed, or given back."""
    match event:
        case VoucherReserved() | PromoCodeApplied():
            return voucher.moved(capacity, held=+units)
        case VoucherReservationReleased():
            return voucher.moved(capacity, held=-units)
        case VoucherRedeemed():
            held = units if event.order_id else 0
            return replace(voucher.moved(capacity, used=+units, held=-held), redeemed_at=event.redeemed_at)
        case VoucherRedemptionRolledBack():
            after = voucher.moved(capacity, used=-units)
            return after if after.used else replace(after, redeemed_at=None)
    raise NotImplementedError(event.wire_name)


def _use(use: Use, event: Any) -> Use:
    match event:
        case VoucherReserved():
            reserved = Use("reserved", event.voucher_id, event.user_id, event.order_id, event.value)
            return replace(reserved, until=event.until, venue_id=event.venue_id)
        case PromoCodeApplied():
            reserved = Use("reserved", event.code, event.user_id, event.order_id, event.discount)
            return replace(reserved, until=event.until, venue_id=event.venue_id)
        case VoucherReservationReleased():
            return replace(use, status="released", reason=event.reason)
        case VoucherRedeemed():
            redeemed = Use("redeemed", event.voucher_id, event.user_id, event.order_id, event.value)
            where, at = {"venue_id": event.venue_id, "staff_id": event.staff_id}, event.redeemed_at
            return replace(redeemed, **where, redeemed_at=at)
    return replace(use, status="rolled_back", rolled_back_at=event.rolled_back_at, reason=event.reason)


def _counted(campaign: Campaign, before: Voucher, after: Voucher, event: Any) -> Campaign:
    """The campaign with what an event adds to its figures; promo codes are counted when they are made."""
    match event:
        case VoucherIssued():
            campaign = campaign.count(given=+1)
        case VoucherRedeemed():
            campaign = campaign.count(taken=+event.value)
        case VoucherRedemptionRolledBack():
            back = event.value if campaign.kind == "promo" else 0
            campaign = campaign.count(taken=-event.value, granted=-back)
        case PromoCodeApplied():
            campaign = campaign.count(granted=+event.discount)
        case VoucherReservationReleased() if campaign.kind == "promo":
            campaign = campaign.count(granted=-event.value)
    if campaign.kind == "promo" or before.status == after.status:
        return campaign
    for counted in COUNTED.get(before.status, ()):
        campaign = campaign.count(**{counted: -1})
    for counted in COUNTED[after.status]:
        campaign = campaign.count(**{counted: +1})
    return campaign
