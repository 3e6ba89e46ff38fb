"""What other domains tell that promotions keep: how orders end, whose venues are, and who acts there."""

from msgspec.structs import replace

from agents.promotions.rules.documents import MAX_LINKS, Order, Staff, Venue
from streams.decision import Decision, Refuse
from topics.promotions import (
    LinkOrder,
    NoteOrder,
    NoteStaff,
    NoteVenue,
    OrderLinked,
    OrderNoted,
    Outcome,
    Settlement,
    StaffNoted,
    VenueNoted,
)


def link(order: Order, command: LinkOrder) -> Decision:
    """Remember what is reserved for an order; of one that has ended it is told at once what follows."""
    linked = (command.campaign_id, command.voucher_id, command.user_id)
    if linked not in order.links and len(order.links) >= MAX_LINKS:
        return Refuse("too_many_reservations", details={"most": MAX_LINKS})
    outcome = None if order.status == "open" else _outcome(order.status, order.user_id, command.user_id)
    return [
        OrderLinked(
            order_id=command.order_id,
            campaign_id=command.campaign_id,
            voucher_id=command.voucher_id,
            user_id=command.user_id,
            outcome=outcome,
        )
    ]


def _outcome(status: Outcome, buyer: str, user_id: str) -> Outcome:
    """What the end of an order means for somebody's reservation: another user's order pays for nobody."""
    return "expired" if status == "paid" and buyer != user_id else status


def note_order(order: Order, command: NoteOrder) -> Decision:
    """An order was paid, expired or refunded. It is refunded when everything that was paid is given back; before, nothing follows from it."""
    status = command.status
    if order.status != ("paid" if status == "refunded" else "open"):
        return []
    whole = status != "refunded" or order.refunded + command.amount >= order.paid
    links = order.links if whole else ()
    settlements = tuple(
        Settlement(
            campaign_id=campaign_id,
            voucher_id=voucher_id,
            user_id=user_id,
            outcome=_outcome(status, command.user_id, user_id),
        )
        for campaign_id, voucher_id, user_id in links
    )
    return [
        OrderNoted(
            order_id=command.order_id,
            user_id=command.user_id,
            status=status,
            amount=command.amount,
            settlements=settlements,
        )
    ]


def linked(order: Order, event: OrderLinked) -> Order:
    """The order with one more reservation."""
    link = (event.campaign_id, event.voucher_id, event.user_id)
    return order if link in order.links else replace(order, links=(*order.links, link))


def noted(order: Order, event: OrderNoted) -> Order:
    """The order as it ended."""
    if event.status == "paid":
        return replace(order, status="paid", user_id=event.user_id, paid=event.amount)
    if event.status == "expired":
        return replace(order, status="expired", user_id=event.user_id)
    refunded = order.refunded + event.amount
    status = "refunded" if refunded >= order.paid else order.status
    return replace(order, status=status, refunded=refunded)


def note_venue(venue: Venue, command: NoteVenue) -> Decision:
    """A venue is a partner's."""
    if venue.partner_id == command.partner_id:
        return []
    return [VenueNoted(venue_id=command.venue_id, partner_id=command.partner_id)]


def note_staff(staff: Staff, command: NoteStaff) -> Decision:
    """Somebody acts for a partner at a venue, or does not any more; that they leave another partner changes nothing."""
    if command.acts == (staff.partner_id == command.partner_id):
        return []
    return [
        StaffNoted(venue_id=command.venue_id, partner_id=command.partner_id, user_id=command.user_id, acts=command.acts)
    ]
