"""How a campaign runs, and how vouchers and codes come into the world: bought, given, generated."""

from base64 import b32encode
from datetime import datetime
from hashlib import blake2b
from typing import Any

from agents.promotions.rules.documents import PATIENCE, Batch, Campaign, Documents, Shopper, Voucher
from streams.condition import ConditionError, holds
from streams.decision import Case, Decision, Pending, Refuse, Settle
from topics.promotions import (
    ActivateCampaign,
    CampaignActivated,
    CampaignBudgetExhausted,
    CampaignCreated,
    CampaignEnded,
    CampaignPaused,
    ConfirmPurchase,
    CreateCampaign,
    EndCampaign,
    FailPurchase,
    GeneratePromoCodes,
    IssueVoucher,
    PauseCampaign,
    PromoCodesGenerated,
    PurchaseVoucher,
    VoucherIssued,
    VoucherPurchased,
    VoucherPurchaseFailed,
    VoucherPurchaseStarted,
)

SECRET = 10  # bytes of a code that cannot be guessed; the id of a command has 74 random bits
TIMED_OUT = "timed_out"


def code_of(voucher_id: str, command_id: str) -> str:
    """What the user shows at the till: the voucher's id and a secret, which is made of what is random in the id of the purchase."""
    return f"{voucher_id}-{_secret(command_id, b'voucher')}"


def voucher_of(code: str) -> str:
    """The id of the voucher whose code this may be."""
    return code.rpartition("-")[0]


def _secret(text: str, person: bytes) -> str:
    return b32encode(blake2b(text.encode(), digest_size=SECRET, person=person).digest()).decode()


def told(moment: datetime | None) -> str | None:
    """A time as details of a refusal tell it."""
    return moment.isoformat() if moment else None


def create(campaign: Campaign, command: CreateCampaign, case: Case) -> Decision:
    """Draw up a campaign whose condition can be evaluated and whose venues are the partner's."""
    if campaign.status != "unknown":
        return Refuse("campaign_exists")
    if any(end and end <= case.now for end in (command.sale_to, command.valid_to)):
        return Refuse("already_over", status=422)
    for venue_id in command.venues:
        if case.consulted[f"{venue_id}/venue"].partner_id != command.partner_id:
            return Refuse("venue_not_found", status=404, details={"venue_id": venue_id})
    if command.condition is not None:
        try:
            holds(command.condition, facts("o1", "u1", command.value, command.currency, 1, "v1", case.now))
        except ConditionError as error:
            return Refuse("bad_condition", status=422, details={"reason": str(error)})
    return [CampaignCreated.model_validate(dict(command), extra="allow")]  # what a newer edge let in goes along


def facts(
    order_id: str, user_id: str, total: int, currency: str, quantity: int, venue_id: str | None, at: datetime
) -> dict[str, object]:
    """What the condition of a promo campaign is told."""
    order = {"order_id": order_id, "total": total, "currency": currency, "quantity": quantity, "venue_id": venue_id}
    return {"order": order, "user": {"user_id": user_id}, "at": at}


def run(campaign: Campaign, command: ActivateCampaign | PauseCampaign | EndCampaign) -> Decision:
    """Begin, interrupt or end the sale."""
    if campaign.status == "unknown" or campaign.partner_id != command.partner_id:
        return Refuse("campaign_not_found", status=404)
    if campaign.status in ("ended", "exhausted"):
        return Refuse(f"already_{campaign.status}")
    about = {"campaign_id": command.campaign_id, "partner_id": command.partner_id}
    match command:
        case EndCampaign():
            return [CampaignEnded(**about)]
        case ActivateCampaign():
            return Refuse("already_active") if campaign.status == "active" else [CampaignActivated(**about)]
    return [CampaignPaused(**about)] if campaign.status == "active" else Refuse("campaign_not_active")


def generate(campaign: Campaign, found: list[Any], command: GeneratePromoCodes, case: Case) -> Decision:
    """Make promo codes; the batch, or the codes that the partner chose, must be new."""
    if campaign.status == "unknown" or campaign.partner_id != command.partner_id:
        return Refuse("campaign_not_found", status=404)
    if campaign.kind != "promo":
        return Refuse("not_applicable")
    if campaign.status in ("ended", "exhausted") or campaign.is_over(case.now):
        return Refuse("campaign_ended")
    if any(document != type(document)() for document in found):
        return Refuse("code_exists")
    seed = case.command_id if command.batch_id else None
    made = command.codes or tuple(
        batch_code(str(command.batch_id), n, case.command_id) for n in range(command.count or 0)
    )
    if campaign.issued + len(made) > campaign.quantity:
        return Refuse("sold_out", details={"left": campaign.quantity - campaign.issued})
    valid_from, valid_to = campaign.validity(case.now)
    return [
        PromoCodesGenerated(
            campaign_id=command.campaign_id,
            partner_id=command.partner_id,
            codes=made,
            valid_from=valid_from,
            valid_to=valid_to,
            batch_id=command.batch_id,
            seed=seed,
        )
    ]


def batch_code(batch_id: str, n: int, seed: str) -> str:
    """A code of a batch: nobody who does not know the seed finds another."""
    return f"{batch_id}-{n}-{_secret(f'{seed} {n}', b'promo')}"


def batch_of(code: str) -> str:
    """The id of the batch whose code this may be."""
    return code.rsplit("-", 2)[0]


def coded(state: Documents, code: str) -> Voucher:
    """The document of a promo code; one of a batch that was not used yet comes from the batch."""
    voucher: Voucher = state[f"voucher/{code}"]
    batch: Batch = state[f"batch/{batch_of(code)}"]
    n = code.split("-")[-2] if code.count("-") > 1 else ""
    fresh = voucher.status == "unknown" and n.isdecimal() and int(n) < batch.count
    if fresh and code == batch_code(batch_of(code), int(n), batch.seed):
        return Voucher(status="valid", valid_from=batch.valid_from, valid_to=batch.valid_to)
    return voucher


def issue(campaign: Campaign, voucher: Voucher, shopper: Shopper, command: IssueVoucher, case: Case) -> Decision:
    """Give a voucher away, within the limits of those that are sold."""
    if campaign.partner_id != command.partner_id:
        return Refuse("campaign_not_found", status=404)
    if refused := _unavailable(campaign, case.now) or _exhausted(campaign, voucher, shopper):
        return refused
    valid_from, valid_to = campaign.validity(case.now)
    issued = VoucherIssued(
        campaign_id=command.campaign_id,
        voucher_id=command.voucher_id,
        user_id=command.user_id,
        partner_id=campaign.partner_id,
        code=code_of(command.voucher_id, case.command_id),
        valid_from=valid_from,
        valid_to=valid_to,
        issued_at=case.now,
    )
    return [issued, *exhausted(command.campaign_id, campaign, campaign.count(issued=+1))]


def exhausted(campaign_id: str, before: Campaign, after: Campaign) -> list[CampaignBudgetExhausted]:
    """That nothing is left to sell, if that has just come about."""
    if before.status not in ("active", "paused") or not after.is_exhausted:
        return []
    return [CampaignBudgetExhausted(campaign_id=campaign_id, partner_id=before.partner_id)]


def purchase(campaign: Campaign, voucher: Voucher, shopper: Shopper, command: PurchaseVoucher, case: Case) -> Decision:
    """Reserve a voucher until its points come; one that is free is bought at once."""
    if refused := _unavailable(campaign, case.now) or _exhausted(campaign, voucher, shopper):
        return refused
    started = VoucherPurchaseStarted(
        campaign_id=command.campaign_id,
        voucher_id=command.voucher_id,
        user_id=command.user_id,
        price=campaign.price,
        started_at=case.now,
        pay_by=case.now + PATIENCE,
        command_id=case.command_id,
    )
    if campaign.price == 0:
        bought = _purchased(campaign, command, case.command_id, case.now)
        return [started, bought, *exhausted(command.campaign_id, campaign, campaign.count(issued=+1))]
    return Pending([started])


def _unavailable(campaign: Campaign, now: datetime) -> Refuse | None:
    """Why the campaign sells nothing now, if so."""
    if campaign.status == "unknown":
        return Refuse("campaign_not_found", status=404)
    if campaign.kind == "promo":
        return Refuse("not_applicable")
    if campaign.status in ("draft", "paused"):
        return Refuse("campaign_not_active" if campaign.status == "draft" else "campaign_paused")
    if campaign.sale_from and now < campaign.sale_from:
        return Refuse("sale_not_begun", details={"sale_from": told(campaign.sale_from)})
    if campaign.status == "ended" or (campaign.over_at and now >= campaign.over_at):
        return Refuse("campaign_ended")
    return None


def _exhausted(campaign: Campaign, voucher: Voucher, shopper: Shopper) -> Refuse | None:
    """Which limit leaves no room for this voucher, if any does."""
    if voucher.status != "unknown":
        return Refuse("voucher_exists")
    if shopper.count >= campaign.per_user:
        return Refuse("limit_reached", details={"per_user": campaign.per_user})
    if campaign.issued + campaign.reserved >= campaign.quantity:
        return Refuse("sold_out")
    if campaign.spend + campaign.worth > campaign.budget:
        return Refuse("budget_exhausted")
    return None


def _purchased(
    campaign: Campaign, purchase: PurchaseVoucher | ConfirmPurchase, command_id: str, now: datetime
) -> VoucherPurchased:
    valid_from, valid_to = campaign.validity(now)
    return VoucherPurchased(
        campaign_id=purchase.campaign_id,
        voucher_id=purchase.voucher_id,
        user_id=purchase.user_id,
        partner_id=campaign.partner_id,
        price=campaign.price,
        code=code_of(purchase.voucher_id, command_id),
        valid_from=valid_from,
        valid_to=valid_to,
    )


def confirm(campaign: Campaign, voucher: Voucher, command: ConfirmPurchase, case: Case) -> Decision:
    """The points are there: the voucher is bought, unless it could not be used any more."""
    if (voucher.user_id, campaign.price) != (command.user_id, command.amount):
        return Refuse("purchase_not_found", status=404)
    if voucher.status != "started":
        return Refuse("purchase_ended", details={"status": voucher.status})
    if campaign.is_over(case.now):
        return _failed(campaign, voucher, command, "campaign_ended")
    bought = _purchased(campaign, command, voucher.command_id, case.now)
    after = campaign.count(reserved=-1, issued=+1)
    return Settle(voucher.command_id, [bought, *exhausted(command.campaign_id, campaign, after)])


def fail(campaign: Campaign, voucher: Voucher, command: FailPurchase, case: Case) -> Decision:
    """The points are not there: nothing is bought."""
    if voucher.user_id != command.user_id:
        return Refuse("purchase_not_found", status=404)
    if voucher.status != "started":
        return Refuse("purchase_ended", details={"status": voucher.status})
    if command.reason == TIMED_OUT and voucher.pay_by and case.now < voucher.pay_by:
        return Refuse("not_due")
    return _failed(campaign, voucher, command, command.reason)


def _failed(campaign: Campaign, voucher: Voucher, purchase: ConfirmPurchase | FailPurchase, reason: str) -> Settle:
    failed = VoucherPurchaseFailed(
        campaign_id=purchase.campaign_id,
        voucher_id=purchase.voucher_id,
        user_id=purchase.user_id,
        price=campaign.price,
        reason=reason,
    )
    return Settle(voucher.command_id, [failed], Refuse(reason))
