"""Commands of promotions that only the platform gives: steps of purchases and orders, what is due, and what other domains told."""

from typing import Literal

from streams.contract import Amount, Command, Id, Name, Total
from topics.promotions.terms import PROMOTIONS, Outcome


class ConfirmPurchase(Command, topic=PROMOTIONS, services=("promotions",)):
    """The points for a voucher are set aside."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    amount: Amount


class FailPurchase(Command, topic=PROMOTIONS, services=("promotions",)):
    """The points for a voucher are not there, or did not come in time; `reason` says which."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    reason: Name


class ExpireVoucher(Command, topic=PROMOTIONS, services=("promotions",)):
    """The time of a voucher is over."""

    campaign_id: Id
    voucher_id: Id


class SettleReservation(Command, topic=PROMOTIONS, services=("promotions",)):
    """The order that something was reserved for has come to its end, or did not in time."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    order_id: Id
    outcome: Outcome


class LinkOrder(Command, topic=PROMOTIONS, key="order_id", services=("promotions",)):
    """Something is reserved for an order; remember it until the order's end is known."""

    order_id: Id
    campaign_id: Id
    voucher_id: Id
    user_id: Name


class NoteOrder(Command, topic=PROMOTIONS, key="order_id", services=("promotions",)):
    """An order was paid, expired or refunded; `amount` is what was paid or given back."""

    order_id: Name
    user_id: Name
    status: Literal["paid", "expired", "refunded"]
    amount: Total = 0


class NoteVenue(Command, topic=PROMOTIONS, key="venue_id", services=("promotions",)):
    """A venue is a partner's."""

    venue_id: Name
    partner_id: Name


class NoteStaff(Command, topic=PROMOTIONS, key="venue_id", services=("promotions",)):
    """Somebody acts for a partner at a venue, or does not any more."""

    venue_id: Name
    partner_id: Name
    user_id: Name
    acts: bool
