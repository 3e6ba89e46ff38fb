"""How vouchers are used: shown at a till, reserved for an order and settled with it, undone, handed on, taken back."""

from agents.promotions.rules.documents import RESERVATION, Campaign, Tries, Use, Voucher
from agents.promotions.rules.selling import TIMED_OUT, code_of, exhausted, told, voucher_of
from streams.decision import Case, Decision, Refuse
from topics.promotions import (
    AtTill,
    CancelVoucher,
    ExpireVoucher,
    RedeemVoucher,
    ReleaseVoucher,
    ReserveVoucher,
    RollBackRedemption,
    SettleReservation,
    TransferVoucher,
    VoucherCancelled,
    VoucherExpired,
    VoucherRedeemed,
    VoucherRedemptionRejected,
    VoucherRedemptionRolledBack,
    VoucherRefunded,
    VoucherReservationReleased,
    VoucherReserved,
    VoucherTransferred,
    redemption_of,
)

NOT_FOUND = "not_found"
RELEASED = {"expired": "order_expired", "refunded": "order_refunded", "timed_out": TIMED_OUT}
"""Why a reservation is free again, by what became of the order."""


def too_many(tries: Tries, case: Case) -> Refuse | None:
    """That somebody gave too many wrong codes and has to wait, right code or not."""
    wait = tries.wait(case.now)
    return Refuse("too_many_attempts", status=429, details={"retry_after": wait}) if wait else None


def redeem(
    campaign: Campaign, voucher: Voucher, use: Use, tries: Tries, command: RedeemVoucher, case: Case
) -> Decision:
    """Take a voucher at a till."""
    if refused := too_many(tries, case):
        return refused
    value = _worth(campaign, voucher, command.amount)
    if reason := _unredeemable(campaign, voucher, command, case) or _unfit(campaign, voucher, use, command, value):
        return _rejected(voucher, command, reason, case)
    return [
        VoucherRedeemed(
            campaign_id=command.campaign_id,
            voucher_id=voucher_of(command.code),
            user_id=voucher.user_id,
            partner_id=campaign.partner_id,
            value=value,
            currency=campaign.currency,
            redeemed_at=case.now,
            redemption_id=redemption_at(command),
            venue_id=command.venue_id,
            staff_id=command.staff_id,
        )
    ]


def redemption_at(command: RedeemVoucher) -> str:
    """The id of a redemption at a till."""
    return command.redemption_id or voucher_of(command.code)


def _worth(campaign: Campaign, voucher: Voucher, amount: int | None) -> int:
    """What is redeemed: the value, or of a gift the amount that is asked for, or all of it."""
    if campaign.kind != "gift":
        return campaign.value
    return amount or voucher.left(campaign.capacity)


def _unredeemable(campaign: Campaign, voucher: Voucher, command: RedeemVoucher, case: Case) -> str | None:
    """Why a code is not taken, if so. Whoever has not got the right one to show learns nothing."""
    if campaign.partner_id != command.partner_id or voucher.code != command.code:
        return NOT_FOUND
    if not _at_home(command, case) or voucher.is_early(case.now):
        return NOT_FOUND
    if voucher.status == "redeemed":
        return "already_redeemed"
    if voucher.status == "cancelled":
        return "cancelled"
    return "expired" if voucher.is_late(case.now) else None


def _at_home(command: AtTill, case: Case) -> bool:
    """Whether the venue, and whoever acts there, are the partner's."""
    staff, venue = command.staff_id, command.venue_id
    if venue is None:
        return True
    own = case.consulted[f"{venue}/venue"].partner_id == command.partner_id
    return own and (staff is None or case.consulted[f"{venue}/staff/{staff}"].partner_id == command.partner_id)


def _unfit(campaign: Campaign, voucher: Voucher, use: Use, command: RedeemVoucher, value: int) -> str | None:
    """Why a good voucher is not taken as it is asked for, if so."""
    if (command.amount and campaign.kind != "gift") or not _sold_at(campaign, command.venue_id):
        return "not_applicable"
    if command.currency and command.currency != campaign.currency:
        return "currency_mismatch"
    if voucher.status == "reserved":
        return "reserved"
    if use.status != "unknown":
        return "redemption_exists"
    return "insufficient_balance" if campaign.units(value) > voucher.left(campaign.capacity) else None


def _sold_at(campaign: Campaign, venue_id: str | None) -> bool:
    """Whether the campaign is of this venue."""
    return not campaign.venues or venue_id in campaign.venues


def _rejected(voucher: Voucher, command: RedeemVoucher, reason: str, case: Case) -> Refuse:
    """A code that is not taken; when it was taken before is told to who has the right one."""
    first = {"redeemed_at": told(voucher.redeemed_at)} if reason == "already_redeemed" else {}
    rejected = VoucherRedemptionRejected(
        campaign_id=command.campaign_id,
        partner_id=command.partner_id,
        code=command.code,
        reason=reason,
        by=command.staff_id or command.partner_id,
        rejected_at=case.now,
    )
    return Refuse(reason, 404 if reason == NOT_FOUND else 409, first, [rejected])


def roll_back(campaign: Campaign, use: Use, command: RollBackRedemption, case: Case) -> Decision:
    """Undo a redemption, once."""
    own = campaign.partner_id == command.partner_id and _at_home(command, case)
    if not own or use.redeemed_at is None or use.voucher_id != command.voucher_id:
        return Refuse("redemption_not_found", status=404)
    if use.status == "rolled_back":
        return Refuse("already_rolled_back", details={"rolled_back_at": told(use.rolled_back_at)})
    return [_rolled_back(campaign, command.campaign_id, command.redemption_id, use, command.reason, case)]


def _rolled_back(
    campaign: Campaign, campaign_id: str, redemption_id: str, use: Use, reason: str, case: Case
) -> VoucherRedemptionRolledBack:
    return VoucherRedemptionRolledBack(
        campaign_id=campaign_id,
        voucher_id=use.voucher_id,
        user_id=use.user_id,
        partner_id=campaign.partner_id,
        redemption_id=redemption_id,
        value=use.value,
        currency=campaign.currency,
        reason=reason,
        rolled_back_at=case.now,
    )


def reserve(campaign: Campaign, voucher: Voucher, use: Use, command: ReserveVoucher, case: Case) -> Decision:
    """Set a voucher aside for an order."""
    value = _worth(campaign, voucher, command.amount)
    if refused := _unusable(voucher, command, case):
        return refused
    if (command.amount and campaign.kind != "gift") or not _sold_at(campaign, command.venue_id):
        return Refuse("not_applicable")
    if use.status not in ("unknown", "released"):
        return Refuse("already_reserved")
    if voucher.status == "reserved":
        return Refuse("reserved")
    if campaign.units(value) > voucher.left(campaign.capacity):
        return Refuse("insufficient_balance", details={"left": voucher.left(campaign.capacity)})
    until = case.now + RESERVATION
    return [
        VoucherReserved(
            campaign_id=command.campaign_id,
            voucher_id=command.voucher_id,
            user_id=command.user_id,
            order_id=command.order_id,
            value=value,
            currency=campaign.currency,
            reserved_at=case.now,
            until=min(until, voucher.valid_to or until),
            venue_id=command.venue_id,
        )
    ]


def _unusable(voucher: Voucher, command: ReserveVoucher | TransferVoucher, case: Case) -> Refuse | None:
    """Why the user cannot do anything with the voucher, if so."""
    if voucher.user_id != command.user_id or voucher.status in ("unknown", "started", "failed"):
        return Refuse("voucher_not_found", status=404)
    if voucher.status == "redeemed":
        return Refuse("already_redeemed", details={"redeemed_at": told(voucher.redeemed_at)})
    if voucher.status == "cancelled":
        return Refuse("cancelled")
    if voucher.is_late(case.now):
        return Refuse("expired")
    if isinstance(command, ReserveVoucher) and voucher.is_early(case.now):
        return Refuse("not_yet_valid", details={"valid_from": told(voucher.valid_from)})
    return None


def release(use: Use, command: ReleaseVoucher) -> Decision:
    """Free what the user had reserved."""
    if use.user_id != command.user_id:
        return Refuse("reservation_not_found", status=404)
    if use.status != "reserved":
        return Refuse("reservation_ended", details={"status": use.status})
    return [_freed(use, command, "released")]


def _freed(use: Use, command: ReleaseVoucher | SettleReservation, reason: str) -> VoucherReservationReleased:
    return VoucherReservationReleased(
        campaign_id=command.campaign_id,
        voucher_id=command.voucher_id,
        user_id=command.user_id,
        order_id=command.order_id,
        value=use.value,
        reason=reason,
    )


def settle(campaign: Campaign, voucher: Voucher, use: Use, command: SettleReservation, case: Case) -> Decision:
    """The order has come to its end: redeem what was reserved for it, free it, or undo its redemption.

    What is paid after the voucher's time was over is free again, since an expired voucher is never redeemed.
    """
    redemption_id = redemption_of(command.order_id, command.voucher_id, command.user_id)
    if use.status == "redeemed" and command.outcome == "refunded":
        return [_rolled_back(campaign, command.campaign_id, redemption_id, use, "order_refunded", case)]
    if use.status != "reserved":
        return Refuse("reservation_ended", details={"status": use.status})
    if command.outcome == "timed_out" and use.until and case.now < use.until:
        return Refuse("not_due")
    if command.outcome != "paid" or voucher.is_late(case.now):
        return [_freed(use, command, RELEASED.get(command.outcome, "expired"))]
    redeemed = VoucherRedeemed(
        campaign_id=command.campaign_id,
        voucher_id=command.voucher_id,
        user_id=use.user_id,
        partner_id=campaign.partner_id,
        value=use.value,
        currency=campaign.currency,
        redeemed_at=case.now,
        redemption_id=redemption_id,
        order_id=command.order_id,
        venue_id=use.venue_id,
    )
    after = campaign.count(taken=use.value)
    return [redeemed, *exhausted(command.campaign_id, campaign, after)]


def transfer(voucher: Voucher, command: TransferVoucher, case: Case) -> Decision:
    """Hand a voucher on, under a new code."""
    if refused := _unusable(voucher, command, case):
        return refused
    if voucher.held:
        return Refuse("reserved")
    return [
        VoucherTransferred(
            campaign_id=command.campaign_id,
            voucher_id=command.voucher_id,
            user_id=command.user_id,
            to=command.to,
            code=code_of(command.voucher_id, case.command_id),
        )
    ]


def cancel(campaign: Campaign, voucher: Voucher, command: CancelVoucher, case: Case) -> Decision:
    """Take a voucher back of which nothing was used; the price is due to who paid it."""
    if campaign.partner_id != command.partner_id or voucher.status in ("unknown", "started", "failed"):
        return Refuse("voucher_not_found", status=404)
    if voucher.used or voucher.held or voucher.status == "cancelled" or voucher.is_late(case.now):
        status = "expired" if voucher.is_late(case.now) else voucher.status
        return Refuse("not_cancellable", details={"status": status})
    about = {"campaign_id": command.campaign_id, "voucher_id": command.voucher_id}
    cancelled = VoucherCancelled(
        **about, user_id=voucher.user_id, partner_id=campaign.partner_id, reason=command.reason
    )
    if not voucher.command_id or not campaign.price:
        return [cancelled]
    buyer = voucher.buyer or voucher.user_id
    return [cancelled, VoucherRefunded(**about, user_id=buyer, price=campaign.price)]


def expire(voucher: Voucher, command: ExpireVoucher, case: Case) -> Decision:
    """The time of a voucher is over."""
    if voucher.status != "valid" or not voucher.valid_to or case.now < voucher.valid_to:
        return Refuse("not_due")
    return [VoucherExpired(campaign_id=command.campaign_id, voucher_id=command.voucher_id, user_id=voucher.user_id)]
