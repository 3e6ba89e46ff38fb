"""Commerce: what users order and pay for. A stand-in: only what others listen to; its own rules are not built yet."""

from streams.contract import Amount, Currency, Event, Name, Topic, Total

COMMERCE = Topic("commerce", key="order_id")


class OrderPlaced(Event, topic=COMMERCE):
    """The user wants this and is to pay `total`; a promo code or a voucher is meant to bring it down."""

    order_id: Name
    user_id: Name
    total: Total
    currency: Currency
    venue_id: Name | None = None
    promo_code: Name | None = None
    voucher_code: Name | None = None


class OrderPaid(Event, topic=COMMERCE):
    """The money is there, once per order; `payment` is a fingerprint of the means by which it was paid, the same for the same card or account."""

    order_id: Name
    user_id: Name
    total: Total
    currency: Currency
    venue_id: Name | None = None
    payment: Name | None = None


class OrderExpired(Event, topic=COMMERCE):
    """Nobody paid in time; never after `order_paid`."""

    order_id: Name
    user_id: Name


class OrderRefunded(Event, topic=COMMERCE):
    """`amount` went back to the user; all refunds of an order together are at most what was paid."""

    order_id: Name
    user_id: Name
    amount: Amount
    currency: Currency
