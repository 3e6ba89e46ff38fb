"""The rules of promotions: what a command leads to, what an event changes, and when a document's time comes."""

from base64 import b32encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal

from msgspec.structs import replace

from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, State, Timer
from topics.promotions import (
    ActivateCampaign,
    CampaignActivated,
    CampaignCreated,
    ConfirmPurchase,
    CreateCampaign,
    ExpireVoucher,
    FailPurchase,
    PurchaseVoucher,
    RedeemVoucher,
    Terms,
    VoucherExpired,
    VoucherPurchased,
    VoucherPurchaseFailed,
    VoucherPurchaseStarted,
    VoucherRedeemed,
    VoucherRedemptionRejected,
)

PATIENCE = timedelta(minutes=15)  # how long the points for a voucher may take
SECRET = 10  # bytes of a code that cannot be guessed; the id of a command has 74 random bits
TIMED_OUT = "timed_out"


class Campaign(State, frozen=True, omit_defaults=True):
    """The terms of a campaign and how many of its vouchers are in which state; `reserved` are being paid for, `issued` is all that were sold."""

    status: Literal["unknown", "draft", "active"] = "unknown"
    partner_id: str = ""
    name: str = ""
    price: int = 0
    value: int = 0
    currency: str = ""
    quantity: int = 0
    budget: int = 0
    per_user: int = 0
    sale_from: datetime | None = None
    sale_to: datetime | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    valid_days: int | None = None
    reserved: int = 0
    issued: int = 0
    failed: int = 0
    redeemed: int = 0
    expired: int = 0

    @property
    def spend(self) -> int:
        """What the vouchers that are sold or reserved are worth."""
        return self.value * (self.issued + self.reserved)

    def is_over(self, now: datetime) -> bool:
        """Whether a voucher bought now would have expired."""
        return self.valid_to is not None and now >= self.valid_to

    def validity(self, now: datetime) -> tuple[datetime, datetime]:
        """From when to when a voucher that is bought now is valid."""
        start = max(now, self.valid_from or now)
        return start, self.valid_to or start + timedelta(days=self.valid_days or 0)

    def count(self, **changes: int) -> "Campaign":
        """The campaign after so many more or less."""
        return replace(self, **{name: getattr(self, name) + by for name, by in changes.items()})


class Shopper(State, frozen=True):
    """How many vouchers of the campaign a user has bought or reserved."""

    count: int = 0


class Voucher(State, frozen=True, omit_defaults=True):
    """A voucher from the moment in which somebody wanted it; `command_id` waits for the end of the purchase."""

    status: Literal["unknown", "started", "failed", "valid", "redeemed", "expired"] = "unknown"
    user_id: str = ""
    command_id: str = ""
    started_at: datetime | None = None
    pay_by: datetime | None = None
    reason: str | None = None
    code: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    redeemed_at: datetime | None = None


Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""


def reads(message: Any) -> tuple[str, ...]:
    """The documents that a command or event is about beside the campaign: a voucher, and where the number of a user's changes the user."""
    match message:
        case PurchaseVoucher() | FailPurchase() | VoucherPurchaseStarted() | VoucherPurchaseFailed():
            return f"voucher/{message.voucher_id}", f"user/{message.user_id}"
        case ConfirmPurchase() | ExpireVoucher() | VoucherPurchased() | VoucherRedeemed() | VoucherExpired():
            return (f"voucher/{message.voucher_id}",)
        case RedeemVoucher():
            return (f"voucher/{_voucher_of(message.code)}",)
    return ()


def _code(voucher_id: str, command_id: str) -> str:
    """What the user shows at the till: the voucher's id and a secret, which is made of what is random in the id of the purchase."""
    secret = b32encode(blake2b(command_id.encode(), digest_size=SECRET, person=b"voucher").digest()).decode()
    return f"{voucher_id}-{secret}"


def _voucher_of(code: str) -> str:
    return code.rpartition("-")[0]


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """The time of a purchase is over when the points have not come; that of a voucher, when it has expired."""
    voucher_id = sub_key.removeprefix("voucher/")
    match document:
        case Voucher(status="started", pay_by=datetime() as at):
            late = FailPurchase(campaign_id=key, voucher_id=voucher_id, user_id=document.user_id, reason=TIMED_OUT)
            return Timer(at, late)
        case Voucher(status="valid", valid_to=datetime() as at):
            return Timer(at, ExpireVoucher(campaign_id=key, voucher_id=voucher_id))
    return None


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    campaign: Campaign = state[ROOT]
    found: list[Any] = [state[name] for name in reads(command)]
    voucher: Any = found[0] if found else None
    match command:
        case CreateCampaign():
            return _create(campaign, command, case)
        case ActivateCampaign():
            return _activate(campaign, command)
        case PurchaseVoucher():
            return _purchase(campaign, voucher, found[1], command, case)
        case ConfirmPurchase():
            return _confirm(campaign, voucher, command, case)
        case FailPurchase():
            return _fail(campaign, voucher, command, case)
        case RedeemVoucher():
            return _redeem(campaign, voucher, command, case)
        case ExpireVoucher():
            return _expire(voucher, command, case)
    raise NotImplementedError(command.wire_name)


def _create(campaign: Campaign, command: CreateCampaign, case: Case) -> Decision:
    if campaign.status != "unknown":
        return Refuse("campaign_exists")
    if any(end and end <= case.now for end in (command.sale_to, command.valid_to)):
        return Refuse("already_over", status=422)
    return [CampaignCreated.model_validate(dict(command), extra="allow")]  # what a newer edge let in goes along


def _activate(campaign: Campaign, command: ActivateCampaign) -> Decision:
    if campaign.status == "unknown" or campaign.partner_id != command.partner_id:
        return Refuse("campaign_not_found", status=404)
    if campaign.status == "active":
        return Refuse("already_active")
    return [CampaignActivated(campaign_id=command.campaign_id, partner_id=command.partner_id)]


def _purchase(campaign: Campaign, voucher: Voucher, shopper: Shopper, command: PurchaseVoucher, case: Case) -> Decision:
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
        return [started, _purchased(campaign, command, case.command_id, case.now)]
    return Pending([started])


def _unavailable(campaign: Campaign, now: datetime) -> Refuse | None:
    """Why the campaign sells nothing now, if so."""
    if campaign.status == "unknown":
        return Refuse("campaign_not_found", status=404)
    if campaign.status != "active":
        return Refuse("campaign_not_active")
    if campaign.sale_from and now < campaign.sale_from:
        return Refuse("sale_not_begun", details={"sale_from": _told(campaign.sale_from)})
    if (campaign.sale_to and now >= campaign.sale_to) or campaign.is_over(now):
        return Refuse("campaign_ended")
    return None


def _told(moment: datetime | None) -> str | None:
    """A time as details of a refusal tell it."""
    return moment.isoformat() if moment else None


def _exhausted(campaign: Campaign, voucher: Voucher, shopper: Shopper) -> Refuse | None:
    """Which limit leaves no room for this voucher, if any does."""
    if voucher.status != "unknown":
        return Refuse("voucher_exists")
    if shopper.count >= campaign.per_user:
        return Refuse("limit_reached", details={"per_user": campaign.per_user})
    if campaign.issued + campaign.reserved >= campaign.quantity:
        return Refuse("sold_out")
    if campaign.spend + campaign.value > campaign.budget:
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
        code=_code(purchase.voucher_id, command_id),
        valid_from=valid_from,
        valid_to=valid_to,
    )


def _confirm(campaign: Campaign, voucher: Voucher, command: ConfirmPurchase, case: Case) -> Decision:
    if (voucher.user_id, campaign.price) != (command.user_id, command.amount):
        return Refuse("purchase_not_found", status=404)
    if voucher.status != "started":
        return Refuse("purchase_ended", details={"status": voucher.status})
    if campaign.is_over(case.now):
        return _failed(campaign, voucher, command, "campaign_ended")
    return Settle(voucher.command_id, [_purchased(campaign, command, voucher.command_id, case.now)])


def _fail(campaign: Campaign, voucher: Voucher, command: FailPurchase, case: Case) -> Decision:
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


def _redeem(campaign: Campaign, voucher: Voucher, command: RedeemVoucher, case: Case) -> Decision:
    if reason := _unredeemable(campaign, voucher, command, case.now):
        status = 404 if reason == "not_found" else 409
        first = {"redeemed_at": _told(voucher.redeemed_at)} if reason == "already_redeemed" else {}
        told = VoucherRedemptionRejected(
            campaign_id=command.campaign_id, partner_id=command.partner_id, code=command.code, reason=reason
        )
        return Refuse(reason, status, first, [told])
    return [
        VoucherRedeemed(
            campaign_id=command.campaign_id,
            voucher_id=_voucher_of(command.code),
            user_id=voucher.user_id,
            partner_id=campaign.partner_id,
            value=campaign.value,
            currency=campaign.currency,
            redeemed_at=case.now,
        )
    ]


def _unredeemable(campaign: Campaign, voucher: Voucher, command: RedeemVoucher, now: datetime) -> str | None:
    """Why a code is not taken, if so. Whoever has not got the right one to show learns nothing."""
    if campaign.partner_id != command.partner_id or voucher.code != command.code:
        return "not_found"
    if voucher.status == "redeemed":
        return "already_redeemed"
    if voucher.status == "expired" or (voucher.valid_to and now >= voucher.valid_to):
        return "expired"
    return "not_found" if voucher.valid_from and now < voucher.valid_from else None


def _expire(voucher: Voucher, command: ExpireVoucher, case: Case) -> Decision:
    if voucher.status != "valid" or not voucher.valid_to or case.now < voucher.valid_to:
        return Refuse("not_due")
    return [VoucherExpired(campaign_id=command.campaign_id, voucher_id=command.voucher_id, user_id=voucher.user_id)]


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    if isinstance(event, VoucherRedemptionRejected):
        return {}
    changed: dict[str, State] = {ROOT: _campaign(state[ROOT], event)}
    for name in reads(event):
        change = _shopper if name.startswith("user/") else _voucher
        changed[name] = change(state[name], event)
    return changed


def _campaign(campaign: Campaign, event: Any) -> Campaign:
    match event:
        case CampaignCreated():
            terms = {name: getattr(event, name) for name in Terms.model_fields}
            return Campaign(status="draft", partner_id=event.partner_id, **terms)
        case CampaignActivated():
            return replace(campaign, status="active")
        case VoucherPurchaseStarted():
            return campaign.count(reserved=+1)
        case VoucherPurchased():
            return campaign.count(reserved=-1, issued=+1)
        case VoucherPurchaseFailed():
            return campaign.count(reserved=-1, failed=+1)
        case VoucherRedeemed():
            return campaign.count(redeemed=+1)
        case VoucherExpired():
            return campaign.count(expired=+1)
    raise NotImplementedError(event.wire_name)


def _shopper(shopper: Shopper, event: VoucherPurchaseStarted | VoucherPurchaseFailed) -> Shopper:
    return Shopper(shopper.count + (1 if isinstance(event, VoucherPurchaseStarted) else -1))


def _voucher(voucher: Voucher, event: Any) -> Voucher:
    match event:
        case VoucherPurchaseStarted():
            return Voucher("started", event.user_id, event.command_id, event.started_at, event.pay_by)
        case VoucherPurchased():
            valid_from, valid_to = event.valid_from, event.valid_to
            return replace(voucher, status="valid", code=event.code, valid_from=valid_from, valid_to=valid_to)
        case VoucherPurchaseFailed():
            return replace(voucher, status="failed", reason=event.reason)
        case VoucherRedeemed():
            return replace(voucher, status="redeemed", redeemed_at=event.redeemed_at)
        case VoucherExpired():
            return replace(voucher, status="expired")
    raise NotImplementedError(event.wire_name)
