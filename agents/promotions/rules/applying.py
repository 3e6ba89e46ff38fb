"""How a promo code brings down the price of an order."""

from agents.promotions.rules.documents import RESERVATION, Campaign, Shopper, Tries, Use, Voucher
from agents.promotions.rules.redeeming import NOT_FOUND, too_many
from agents.promotions.rules.selling import facts
from streams.condition import ConditionError, holds
from streams.decision import Case, Decision, Refuse
from topics.promotions import ApplyPromoCode, PromoCodeApplied, PromoCodeRejected


def apply(
    campaign: Campaign,
    code: Voucher,
    use: Use,
    shopper: Shopper,
    tries: Tries,
    command: ApplyPromoCode,
    case: Case,
) -> Decision:
    """Take the code's discount off the order, until it is known whether that is paid."""
    if refused := too_many(tries, case):
        return refused
    discount = campaign.discount(command.total)
    reason = (
        _unknown(campaign, code, case)
        or _ended(campaign, code, case)
        or _used(campaign, code, use, shopper)
        or _unsuited(campaign, command, case)
        or _too_dear(campaign, discount)
    )
    if reason:
        return _rejected(command, reason, case)
    until = case.now + RESERVATION
    return [
        PromoCodeApplied(
            campaign_id=command.campaign_id,
            code=command.code,
            user_id=command.user_id,
            order_id=command.order_id,
            total=command.total,
            discount=discount,
            currency=command.currency,
            applied_at=case.now,
            until=min(until, code.valid_to or until),
            venue_id=command.venue_id,
        )
    ]


def _unknown(campaign: Campaign, code: Voucher, case: Case) -> str | None:
    """A code that there is not, or not yet; the two are told alike."""
    there = campaign.kind == "promo" and campaign.status != "draft" and code.status != "unknown"
    return None if there and not code.is_early(case.now) else NOT_FOUND


def _ended(campaign: Campaign, code: Voucher, case: Case) -> str | None:
    if campaign.status == "ended" or code.is_late(case.now):
        return "expired"
    if campaign.over_at and case.now >= campaign.over_at:
        return "expired"
    if campaign.sale_from and case.now < campaign.sale_from:
        return NOT_FOUND
    return "campaign_paused" if campaign.status == "paused" else None


def _used(campaign: Campaign, code: Voucher, use: Use, shopper: Shopper) -> str | None:
    if use.status not in ("unknown", "released"):
        return "already_applied"
    if code.left(campaign.capacity) < 1 or shopper.count >= campaign.per_user:
        return "usage_limit"
    return None


def _unsuited(campaign: Campaign, command: ApplyPromoCode, case: Case) -> str | None:
    """Why the order is not one that the campaign is for, if so; a condition that says nothing of this order is not met."""
    if command.currency != campaign.currency:
        return "currency_mismatch"
    if command.total < campaign.min_spend:
        return "minimum_spend"
    if command.quantity < campaign.min_quantity:
        return "minimum_quantity"
    if campaign.venues and command.venue_id not in campaign.venues:
        return "not_applicable"
    return None if campaign.condition is None or _met(campaign.condition, command, case) else "not_applicable"


def _met(condition: str, command: ApplyPromoCode, case: Case) -> bool:
    told = facts(
        command.order_id,
        command.user_id,
        command.total,
        command.currency,
        command.quantity,
        command.venue_id,
        case.now,
    )
    try:
        return holds(condition, told)
    except ConditionError:
        return False


def _too_dear(campaign: Campaign, discount: int) -> str | None:
    if not discount:
        return "not_applicable"
    return "budget_exhausted" if campaign.spend + discount > campaign.budget else None


def _rejected(command: ApplyPromoCode, reason: str, case: Case) -> Refuse:
    rejected = PromoCodeRejected(
        campaign_id=command.campaign_id,
        code=command.code,
        user_id=command.user_id,
        order_id=command.order_id,
        reason=reason,
        rejected_at=case.now,
    )
    return Refuse(reason, 404 if reason == NOT_FOUND else 409, {}, [rejected])
