"""Events of promotions."""

from datetime import datetime
from typing import Literal

from streams.contract import Amount, Currency, Event, Id, Name, Text, Total
from topics.promotions.terms import PROMOTIONS, BatchId, Price, RedemptionId, Settlement, Terms


class CampaignCreated(Terms, Event, topic=PROMOTIONS):
    campaign_id: Id
    partner_id: Name


class CampaignActivated(Event, topic=PROMOTIONS):
    campaign_id: Id
    partner_id: Name


class CampaignPaused(Event, topic=PROMOTIONS):
    campaign_id: Id
    partner_id: Name


class CampaignEnded(Event, topic=PROMOTIONS):
    """The sale is over: the partner ended it, or its time did."""

    campaign_id: Id
    partner_id: Name


class CampaignBudgetExhausted(Event, topic=PROMOTIONS):
    """Everything is sold, or what is left of the budget is not enough for one more; the sale is over."""

    campaign_id: Id
    partner_id: Name


class PromoCodesGenerated(Event, topic=PROMOTIONS):
    """These codes are good in [`valid_from`, `valid_to`). Those of a batch follow from its id and `seed`, so that nothing need be kept of each."""

    campaign_id: Id
    partner_id: Name
    codes: tuple[Id, ...]
    valid_from: datetime
    valid_to: datetime
    batch_id: BatchId | None = None
    seed: Name | None = None


class VoucherIssued(Event, topic=PROMOTIONS):
    """The voucher is the user's, for nothing."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    partner_id: Name
    code: Name
    valid_from: datetime
    valid_to: datetime
    issued_at: datetime


class VoucherPurchaseStarted(Event, topic=PROMOTIONS):
    """A voucher is reserved until `pay_by`; `command_id` is the command that waits for the end."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    price: Price
    started_at: datetime
    pay_by: datetime
    command_id: Name


class VoucherPurchased(Event, topic=PROMOTIONS):
    """The voucher is the user's; who shows `code` to the partner in [`valid_from`, `valid_to`) gets what it is worth."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    partner_id: Name
    price: Price
    code: Name
    valid_from: datetime
    valid_to: datetime


class VoucherPurchaseFailed(Event, topic=PROMOTIONS):
    """Nothing was bought; `reason` is `insufficient`, `timed_out` or `campaign_ended`."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    price: Price
    reason: Name


class VoucherReserved(Event, topic=PROMOTIONS):
    """So much of a voucher is set aside for an order, until that ends and `until` at the latest."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    order_id: Id
    value: Amount
    currency: Currency
    reserved_at: datetime
    until: datetime
    venue_id: Name | None = None


class VoucherReservationReleased(Event, topic=PROMOTIONS):
    """What was reserved for an order is free again; `reason` is `released`, `order_expired`, `order_refunded`, `timed_out` or `expired`."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    order_id: Id
    value: Amount
    reason: Name


class VoucherRedeemed(Event, topic=PROMOTIONS):
    """A voucher was taken, for `value`: at a till, or for `order_id`. Of a promo code, `voucher_id` is the code and `value` the discount.

    `redemption_id` names the redemption within its campaign; without one it is the voucher's own id.
    """

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    partner_id: Name
    value: Amount
    currency: Name
    redeemed_at: datetime
    redemption_id: RedemptionId | None = None
    order_id: Id | None = None
    venue_id: Name | None = None
    staff_id: Name | None = None


class VoucherRedemptionRejected(Event, topic=PROMOTIONS):
    """A code was not taken.

    `reason` is `not_found`, `already_redeemed`, `expired`, `cancelled`, `reserved`, `not_applicable`, `insufficient_balance`, `currency_mismatch` or
    `redemption_exists`; `by` is who tried.
    """

    campaign_id: Id
    partner_id: Name
    code: Name
    reason: Name
    by: Name | None = None
    rejected_at: datetime | None = None


class VoucherRedemptionRolledBack(Event, topic=PROMOTIONS):
    """The voucher or code has `value` again."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    partner_id: Name
    redemption_id: RedemptionId
    value: Amount
    currency: Name
    reason: Text
    rolled_back_at: datetime


class VoucherTransferred(Event, topic=PROMOTIONS):
    """The voucher is `to`'s, who has its new code."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    to: Name
    code: Name


class VoucherExpired(Event, topic=PROMOTIONS):
    campaign_id: Id
    voucher_id: Id
    user_id: Name


class VoucherCancelled(Event, topic=PROMOTIONS):
    """The partner took the voucher back."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    partner_id: Name
    reason: Text


class VoucherRefunded(Event, topic=PROMOTIONS):
    """The price of a voucher that was taken back is due to `user_id`, who had bought it."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    price: Price


class PromoCodeApplied(Event, topic=PROMOTIONS):
    """The order is `discount` cheaper, if it is paid before `until`."""

    campaign_id: Id
    code: Id
    user_id: Name
    order_id: Id
    total: Amount
    discount: Amount
    currency: Currency
    applied_at: datetime
    until: datetime
    venue_id: Name | None = None


class PromoCodeRejected(Event, topic=PROMOTIONS):
    """A promo code was not taken.

    `reason` is `not_found`, `expired`, `campaign_paused`, `already_applied`, `usage_limit`, `currency_mismatch`, `minimum_spend`, `minimum_quantity`,
    `not_applicable` or `budget_exhausted`.
    """

    campaign_id: Id
    code: Id
    user_id: Name
    order_id: Id
    reason: Name
    rejected_at: datetime


class OrderLinked(Event, topic=PROMOTIONS, key="order_id"):
    """It is known what is reserved for an order; `outcome` is there when the order ended before."""

    order_id: Id
    campaign_id: Id
    voucher_id: Id
    user_id: Name
    outcome: Literal["paid", "expired", "refunded"] | None = None


class OrderNoted(Event, topic=PROMOTIONS, key="order_id"):
    """An order was paid, expired or, wholly or in part, refunded; `settlements` say what follows for what is reserved for it."""

    order_id: Name
    user_id: Name
    status: Literal["paid", "expired", "refunded"]
    amount: Total = 0
    settlements: tuple[Settlement, ...] = ()


class VenueNoted(Event, topic=PROMOTIONS, key="venue_id"):
    """The venue is the partner's."""

    venue_id: Name
    partner_id: Name


class StaffNoted(Event, topic=PROMOTIONS, key="venue_id"):
    """Whether the user acts for the partner at the venue."""

    venue_id: Name
    partner_id: Name
    user_id: Name
    acts: bool
