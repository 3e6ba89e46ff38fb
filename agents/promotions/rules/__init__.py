"""The rules of promotions: what a command leads to, what an event changes, and when a document's time comes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agents.promotions.rules import abroad, applying, redeeming, selling
from agents.promotions.rules.documents import PATIENCE, Campaign, Documents, Use, Voucher
from agents.promotions.rules.evolving import evolve, use_of
from agents.promotions.rules.selling import TIMED_OUT, batch_of, voucher_of
from streams.decision import ROOT, Case, Decision, Timer
from topics.promotions import (
    ActivateCampaign,
    ApplyPromoCode,
    CancelVoucher,
    ConfirmPurchase,
    CreateCampaign,
    EndCampaign,
    ExpireVoucher,
    FailPurchase,
    GeneratePromoCodes,
    IssueVoucher,
    LinkOrder,
    NoteOrder,
    NoteStaff,
    NoteVenue,
    OrderLinked,
    OrderNoted,
    PauseCampaign,
    PromoCodeApplied,
    PromoCodeRejected,
    PromoCodesGenerated,
    PurchaseVoucher,
    RedeemVoucher,
    ReleaseVoucher,
    ReserveVoucher,
    RollBackRedemption,
    SettleReservation,
    StaffNoted,
    TransferVoucher,
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
    VoucherReservationReleased,
    VoucherReserved,
    VoucherTransferred,
)

__all__ = ["PATIENCE", "consults", "decide", "evolve", "reads", "timer"]


VOUCHER = ("voucher/{0.voucher_id}",)
MINE = (*VOUCHER, "user/{0.user_id}")
ORDERED = (*VOUCHER, "use/{0.order_id}:{0.voucher_id}:{0.user_id}", "user/{0.user_id}")
USED = (*VOUCHER, "use/{0.redemption_id}")
CODE = ("voucher/{0.code}", "use/{0.order_id}:{0.code}:{0.user_id}", "user/{0.user_id}", "tries/{0.user_id}")
READS: Mapping[type, tuple[str, ...]] = {
    **dict.fromkeys((PurchaseVoucher, FailPurchase, IssueVoucher), MINE),
    **dict.fromkeys((VoucherPurchaseStarted, VoucherPurchaseFailed, VoucherIssued), MINE),
    **dict.fromkeys((ConfirmPurchase, ExpireVoucher, TransferVoucher, CancelVoucher), VOUCHER),
    **dict.fromkeys((VoucherPurchased, VoucherExpired, VoucherTransferred, VoucherCancelled), VOUCHER),
    **dict.fromkeys((ReserveVoucher, ReleaseVoucher, SettleReservation), ORDERED),
    **dict.fromkeys((VoucherReserved, VoucherReservationReleased), ORDERED),
    **dict.fromkeys((RollBackRedemption, VoucherRedemptionRolledBack), USED),
    **dict.fromkeys((LinkOrder, NoteOrder, OrderLinked, OrderNoted), ("order",)),
    **dict.fromkeys((NoteVenue, VenueNoted), ("venue",)),
    **dict.fromkeys((NoteStaff, StaffNoted), ("staff/{0.user_id}",)),
    VoucherRedemptionRejected: ("tries/{0.by}",),
    PromoCodeRejected: ("tries/{0.user_id}",),
}
"""The documents that commands and events are about, where these follow from their fields."""


def reads(message: Any) -> tuple[str, ...]:
    """The documents that a command or event is about beside the campaign; of a command, in the order in which its rule takes them."""
    match message:
        case RedeemVoucher():
            use = f"use/{redeeming.redemption_at(message)}"
            return f"voucher/{voucher_of(message.code)}", use, f"tries/{message.staff_id or message.partner_id}"
        case VoucherRedeemed():
            return f"voucher/{message.voucher_id}", str(use_of(message))
        case ApplyPromoCode() | PromoCodeApplied():
            return (*(name.format(message) for name in CODE), f"batch/{batch_of(message.code)}")
        case GeneratePromoCodes() | PromoCodesGenerated():
            batch = (f"batch/{message.batch_id}",) if message.batch_id else ()
            return batch or tuple(f"voucher/{code}" for code in message.codes)
    return tuple(name.format(message) for name in READS.get(type(message), ()))


def consults(command: Any) -> tuple[str, ...]:
    """The venues that a campaign names, and that of a till with who acts there."""
    match command:
        case CreateCampaign():
            return tuple(f"{venue_id}/venue" for venue_id in command.venues)
        case RedeemVoucher() | RollBackRedemption() if command.venue_id:
            venue = f"{command.venue_id}/venue"
            return (venue, f"{command.venue_id}/staff/{command.staff_id}") if command.staff_id else (venue,)
    return ()


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """The time of a campaign is over when its sale is; that of a purchase when the points have not come; of a voucher when it has expired; of
    what is reserved for an order when that has not ended.
    """
    _, _, name = sub_key.partition("/")
    match document:
        case Campaign(status="active" | "paused", over_at=datetime() as at):
            return Timer(at, EndCampaign(campaign_id=key, partner_id=document.partner_id))
        case Voucher(status="started", pay_by=datetime() as at):
            late = FailPurchase(campaign_id=key, voucher_id=name, user_id=document.user_id, reason=TIMED_OUT)
            return Timer(at, late)
        case Voucher(status="valid", valid_to=datetime() as at) if document.user_id:
            return Timer(at, ExpireVoucher(campaign_id=key, voucher_id=name))
        case Use(status="reserved", until=datetime() as at, order_id=str() as order_id):
            about = {"voucher_id": document.voucher_id, "user_id": document.user_id, "order_id": order_id}
            return Timer(at, SettleReservation(campaign_id=key, **about, outcome="timed_out"))
    return None


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    campaign: Campaign = state[ROOT]
    found: list[Any] = [state[name] for name in reads(command)]
    match command:
        case CreateCampaign():
            return selling.create(campaign, command, case)
        case ActivateCampaign() | PauseCampaign() | EndCampaign():
            return selling.run(campaign, command)
        case GeneratePromoCodes():
            return selling.generate(campaign, found, command, case)
        case IssueVoucher():
            return selling.issue(campaign, found[0], found[1], command, case)
        case PurchaseVoucher():
            return selling.purchase(campaign, found[0], found[1], command, case)
        case ConfirmPurchase():
            return selling.confirm(campaign, found[0], command, case)
        case FailPurchase():
            return selling.fail(campaign, found[0], command, case)
        case ApplyPromoCode():
            code = selling.coded(state, command.code)
            return applying.apply(campaign, code, found[1], found[2], found[3], command, case)
    return _decide_use(campaign, found, command, case)


def _decide_use(campaign: Campaign, found: list[Any], command: Any, case: Case) -> Decision:
    """What becomes of a voucher that there is."""
    match command:
        case RedeemVoucher():
            return redeeming.redeem(campaign, found[0], found[1], found[2], command, case)
        case RollBackRedemption():
            return redeeming.roll_back(campaign, found[1], command, case)
        case ReserveVoucher():
            return redeeming.reserve(campaign, found[0], found[1], command, case)
        case ReleaseVoucher():
            return redeeming.release(found[1], command)
        case SettleReservation():
            return redeeming.settle(campaign, found[0], found[1], command, case)
        case TransferVoucher():
            return redeeming.transfer(found[0], command, case)
        case CancelVoucher():
            return redeeming.cancel(campaign, found[0], command, case)
        case ExpireVoucher():
            return redeeming.expire(found[0], command, case)
    return _keep(found[0] if found else None, command)


def _keep(document: Any, command: Any) -> Decision:
    """What promotions keep of what others tell."""
    match command:
        case LinkOrder():
            return abroad.link(document, command)
        case NoteOrder():
            return abroad.note_order(document, command)
        case NoteVenue():
            return abroad.note_venue(document, command)
        case NoteStaff():
            return abroad.note_staff(document, command)
    raise NotImplementedError(command.wire_name)
