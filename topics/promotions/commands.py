"""Commands of promotions that people give."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from streams.contract import Amount, Command, Currency, Id, Name, Text
from topics.promotions.terms import MAX_CODES, PROMOTIONS, AtTill, BatchId, Count, Offer, OfPartner, RedemptionId

COFFEE = {"campaign_id": "coffee", "partner_id": "p1"}
MUSEUM = {"campaign_id": "museum", "partner_id": "p1"}
GIFT = {"campaign_id": "gift", "partner_id": "p1"}
SUMMER = {"campaign_id": "summer", "partner_id": "p1"}


class CreateCampaign(
    Offer,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=(
        {
            "campaign_id": "coffee",
            "partner_id": "p1",
            "name": "A free coffee",
            "price": 0,
            "value": 300,
            "currency": "EUR",
            "quantity": 100,
            "budget": 30_000,
            "valid_days": 14,
        },
        {
            "campaign_id": "museum",
            "partner_id": "p1",
            "name": "Half price in the museum",
            "price": 50,
            "value": 900,
            "currency": "EUR",
            "quantity": 40,
            "budget": 36_000,
            "per_user": 2,
            "sale_to": "2199-06-01T00:00:00Z",
            "valid_to": "2199-12-31T00:00:00+01:00",
        },
        {
            "campaign_id": "gift",
            "partner_id": "p1",
            "name": "A gift for the bookshop",
            "kind": "gift",
            "price": 400,
            "value": 5000,
            "currency": "EUR",
            "quantity": 20,
            "budget": 100_000,
            "valid_days": 365,
        },
        {
            "campaign_id": "summer",
            "partner_id": "p1",
            "name": "A tenth off in summer, from two of anything on",
            "kind": "promo",
            "price": 0,
            "percent": 10,
            "value": 2000,
            "currency": "EUR",
            "quantity": 500,
            "budget": 100_000,
            "max_uses": 1000,
            "per_user": 3,
            "min_spend": 2500,
            "condition": "order.quantity >= 2",
            "valid_days": 60,
        },
    ),
):
    """Draw up a campaign; it sells nothing before it is activated.

    A `voucher` costs `price` points and is worth `value` each of the `max_uses` times that it is redeemed; a `gift` is a balance of `value` that is redeemed bit by
    bit. There are at most `quantity`, at most `per_user` for one user, and all that are sold, given or being paid for are together worth at most `budget`; one
    that expired or was cancelled stays counted. They are sold in [`sale_from`, `sale_to`) and redeemed in [`valid_from`, `valid_to`), or for `valid_days` from the
    purchase, not before `valid_from`, and only at the `venues`, if any are named.

    A `promo` campaign has at most `quantity` codes instead, each good for `max_uses` orders, `per_user` of one user. A code takes `value` off an order, or
    `percent` of its total rounded down and at most `value`, as long as all discounts together are at most `budget`; if the order is worth `min_spend`, has
    `min_quantity` pieces, and the `condition` holds for `order` (`order_id`, `total`, `currency`, `quantity`, `venue_id`), `user` (`user_id`) and `at`, the time.
    """

    campaign_id: Id
    partner_id: Name


class ActivateCampaign(
    OfPartner,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=(COFFEE, MUSEUM, GIFT, SUMMER),
    after=("create_campaign",),
):
    """Begin the sale, or go on with one that was paused. It ends by itself with `sale_to` or `valid_to`, and when everything is sold."""


class PauseCampaign(
    OfPartner,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=(MUSEUM,),
    after=("activate_campaign",),
):
    """Sell and give nothing, and take no promo code, until the campaign is activated again; vouchers that somebody has stay good."""


class EndCampaign(
    OfPartner,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    services=("promotions",),
    examples=(MUSEUM,),
    after=("activate_campaign",),
):
    """End the sale for good; vouchers that somebody has stay good."""


class GeneratePromoCodes(
    OfPartner,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=({**SUMMER, "codes": ["SUMMER10"]}, {**SUMMER, "batch_id": "flyer", "count": 25}),
    after=("activate_campaign",),
):
    """Make `count` codes that nobody can guess and that begin with `batch_id`, or else these `codes`. The view `promo_codes` tells them to the partner."""

    batch_id: BatchId | None = None
    count: Annotated[int, Field(strict=True, ge=1, le=MAX_CODES)] | None = None
    codes: Annotated[tuple[Id, ...], Field(max_length=MAX_CODES)] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.count is None) != (self.batch_id is None) or (self.count is None) == (not self.codes):
            raise ValueError("give either batch_id and count, or codes")
        if len(set(self.codes)) < len(self.codes):
            raise ValueError("a code is there twice")
        return self


class IssueVoucher(
    OfPartner,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=(
        {**COFFEE, "voucher_id": "v2", "user_id": "u2"},
        {**GIFT, "voucher_id": "g1", "user_id": "u2"},
        {**GIFT, "voucher_id": "g2", "user_id": "u3"},
    ),
    after=("activate_campaign",),
):
    """Give a voucher to a user for nothing; it counts as one that was sold."""

    voucher_id: Id
    user_id: Name


class PurchaseVoucher(
    Command,
    topic=PROMOTIONS,
    roles=("User",),
    owner="user_id",
    examples=({"campaign_id": "coffee", "voucher_id": "v1", "user_id": "u1"},),
    after=("activate_campaign",),
):
    """Buy a voucher under an id of the caller's choice with points; pending until they were taken, or nothing was bought."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name


class ReserveVoucher(
    Command,
    topic=PROMOTIONS,
    roles=("User",),
    owner="user_id",
    examples=(
        {"campaign_id": "gift", "voucher_id": "g1", "user_id": "u2", "order_id": "o1", "amount": 1200},
        {"campaign_id": "coffee", "voucher_id": "v2", "user_id": "u2", "order_id": "o1"},
    ),
    after=("issue_voucher",),
):
    """Set one's voucher aside for an order, `amount` of a gift or all of it. It is redeemed when the order is paid, and free when that fails or is not done in time."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    order_id: Id
    amount: Amount | None = None
    venue_id: Name | None = None


class ReleaseVoucher(
    Command,
    topic=PROMOTIONS,
    roles=("User",),
    owner="user_id",
    examples=({"campaign_id": "coffee", "voucher_id": "v2", "user_id": "u2", "order_id": "o1"},),
    after=("reserve_voucher",),
):
    """Free what one has reserved for an order: a voucher, or a promo code, whose code is `voucher_id`."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    order_id: Id


class RedeemVoucher(
    AtTill,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    examples=(
        {"campaign_id": "coffee", "partner_id": "p1", "code": "v1-MFRGGZDFMZTWQ2LK"},
    ),  # codes cannot be foreseen
    after=("purchase_voucher",),
):
    """Take a voucher at the till, `amount` of a gift or all of it.

    A code that is unknown, another partner's or not yet valid is `not_found`; after ten of them in a minute the caller has to wait. A voucher that is redeemed
    several times needs a `redemption_id` each time; without one it is the voucher's own id.
    """

    code: Name
    redemption_id: Id | None = None
    amount: Amount | None = None
    currency: Currency | None = None


class RollBackRedemption(
    AtTill,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    examples=({**COFFEE, "voucher_id": "v1", "redemption_id": "v1", "reason": "Wrong table"},),
    after=("purchase_voucher",),
):
    """Undo a redemption, once, so that the voucher or code has what was taken from it again; one that has expired stays expired."""

    voucher_id: Id
    redemption_id: RedemptionId
    reason: Annotated[Text, Field(min_length=1)]


class TransferVoucher(
    Command,
    topic=PROMOTIONS,
    roles=("User",),
    owner="user_id",
    examples=({"campaign_id": "gift", "voucher_id": "g2", "user_id": "u3", "to": "u4"},),
    after=("issue_voucher",),
):
    """Give one's voucher to another user. It gets a new code; the old one is good for nothing."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    to: Name

    @model_validator(mode="after")
    def _between_two(self) -> Self:
        if self.to == self.user_id:
            raise ValueError("a transfer needs another user")
        return self


class CancelVoucher(
    OfPartner,
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=({**COFFEE, "voucher_id": "v2", "reason": "The machine is broken"},),
    after=("issue_voucher",),
):
    """Take back a voucher of which nothing was used; whoever bought it gets the points again."""

    voucher_id: Id
    reason: Annotated[Text, Field(min_length=1)]


class ApplyPromoCode(
    Command,
    topic=PROMOTIONS,
    roles=("User",),
    owner="user_id",
    examples=(
        {
            "campaign_id": "summer",
            "code": "SUMMER10",
            "user_id": "u1",
            "order_id": "o2",
            "total": 4990,
            "currency": "EUR",
            "quantity": 2,
        },
    ),
    after=("generate_promo_codes",),
):
    """Use a promo code for an order. The discount stands when the order is paid; the use is free again when that fails or is not done in time.

    A code that is unknown, of another campaign or not yet valid is `not_found`; after ten of them in a minute the caller has to wait.
    """

    campaign_id: Id
    code: Id
    user_id: Name
    order_id: Id
    total: Amount
    currency: Currency
    quantity: Count = 1
    venue_id: Name | None = None
