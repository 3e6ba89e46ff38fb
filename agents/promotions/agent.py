"""Promotions: commands lead to events by the rules.

Points that were held, or are not there, carry a purchase on; the end of an order, what was reserved for it; partners tell who acts at which venue.
"""

from agents.promotions import rules, sink
from agents.promotions.table import CAMPAIGNS
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.commerce import COMMERCE, OrderExpired, OrderPaid, OrderRefunded
from topics.partners import PARTNERS, StaffAdded, StaffRemoved, VenueVerified
from topics.points import POINTS, PointsHeld, PointsSpendRejected
from topics.promotions import (
    PROMOTIONS,
    ConfirmPurchase,
    FailPurchase,
    LinkOrder,
    NoteOrder,
    NoteStaff,
    NoteVenue,
    OrderLinked,
    OrderNoted,
    PromoCodeApplied,
    SettleReservation,
    VoucherReserved,
    purchase_of,
)


def confirm(fact: Fact[PointsHeld]) -> list[ConfirmPurchase]:
    """The points for a voucher are set aside: it is bought. Other holds are other domains' business."""
    held = fact.event
    if (purchase := purchase_of(held.hold_id)) is None:
        return []
    campaign_id, voucher_id = purchase
    return [
        ConfirmPurchase(campaign_id=campaign_id, voucher_id=voucher_id, user_id=held.user_id, amount=held.amount),
    ]


def fail(fact: Fact[PointsSpendRejected]) -> list[FailPurchase]:
    """There are not enough points for a voucher: it is not bought."""
    rejected = fact.event
    if (purchase := purchase_of(rejected.hold_id)) is None:
        return []
    campaign_id, voucher_id = purchase
    return [
        FailPurchase(campaign_id=campaign_id, voucher_id=voucher_id, user_id=rejected.user_id, reason=rejected.code),
    ]


def link(fact: Fact[VoucherReserved]) -> LinkOrder:
    """A voucher is reserved for an order: remember it there."""
    event = fact.event
    return LinkOrder(
        order_id=event.order_id, campaign_id=event.campaign_id, voucher_id=event.voucher_id, user_id=event.user_id
    )


def link_code(fact: Fact[PromoCodeApplied]) -> LinkOrder:
    """A promo code is used for an order: remember it there."""
    event = fact.event
    return LinkOrder(
        order_id=event.order_id, campaign_id=event.campaign_id, voucher_id=event.code, user_id=event.user_id
    )


def settle_late(fact: Fact[OrderLinked]) -> list[SettleReservation]:
    """The order had ended before: settle at once."""
    event = fact.event
    if event.outcome is None:
        return []
    return [
        SettleReservation(
            campaign_id=event.campaign_id,
            voucher_id=event.voucher_id,
            user_id=event.user_id,
            order_id=event.order_id,
            outcome=event.outcome,
        )
    ]


def settle(fact: Fact[OrderNoted]) -> list[SettleReservation]:
    """The order has ended: settle what is reserved for it."""
    order_id = fact.event.order_id
    return [SettleReservation(order_id=order_id, **dict(one)) for one in fact.event.settlements]


def paid(fact: Fact[OrderPaid]) -> NoteOrder:
    """An order is paid."""
    event = fact.event
    return NoteOrder(order_id=event.order_id, user_id=event.user_id, status="paid", amount=event.total)


def expired(fact: Fact[OrderExpired]) -> NoteOrder:
    """An order was not paid in time."""
    return NoteOrder(order_id=fact.event.order_id, user_id=fact.event.user_id, status="expired")


def refunded(fact: Fact[OrderRefunded]) -> NoteOrder:
    """Money of an order was given back."""
    event = fact.event
    return NoteOrder(order_id=event.order_id, user_id=event.user_id, status="refunded", amount=event.amount)


def venue(fact: Fact[VenueVerified]) -> NoteVenue:
    """A venue is a partner's."""
    return NoteVenue(venue_id=fact.event.venue_id, partner_id=fact.event.partner_id)


def staff(fact: Fact[StaffAdded | StaffRemoved]) -> NoteStaff:
    """Somebody acts for a partner at a venue, or does not any more."""
    event = fact.event
    return NoteStaff(
        venue_id=event.venue_id,
        partner_id=event.partner_id,
        user_id=event.user_id,
        acts=isinstance(event, StaffAdded),
    )


PROMOTIONS_DECIDER = Decider(
    PROMOTIONS, CAMPAIGNS, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer, rules.consults
)

PAYMENTS = Policy("payments", POINTS, PROMOTIONS, on={PointsHeld: confirm, PointsSpendRejected: fail})

RESERVATIONS = Policy(
    "reservations",
    PROMOTIONS,
    PROMOTIONS,
    on={VoucherReserved: link, PromoCodeApplied: link_code, OrderLinked: settle_late, OrderNoted: settle},
)

ORDERS = Policy("orders", COMMERCE, PROMOTIONS, on={OrderPaid: paid, OrderExpired: expired, OrderRefunded: refunded})

VENUES = Policy("venues", PARTNERS, PROMOTIONS, on={VenueVerified: venue, StaffAdded: staff, StaffRemoved: staff})
