"""What contracts of promotions share: the topic, ids, amounts, the terms of a campaign, who stands at a till."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from streams.condition import Condition
from streams.contract import MAX_EXACT, Amount, Currency, Id, Moment, Name, Text, Topic, Total
from streams.envelope import Actor

MAX_VOUCHERS = 10_000_000  # of one campaign
MAX_DAYS = 3650
MAX_CODES = 1000  # that one command generates
MAX_VENUES = 50  # that a campaign names

RedemptionId = Annotated[
    str, Field(strict=True, min_length=1, max_length=230, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")
]
"""An id of a redemption within its campaign: one of a till's choice, or of order, voucher and user with colons between."""

BatchId = Annotated[str, Field(strict=True, min_length=1, max_length=20, pattern=r"^[A-Za-z0-9][A-Za-z0-9._]*$")]
"""What the codes of a batch begin with."""

Price = Annotated[int, Field(strict=True, ge=0, le=MAX_EXACT)]
"""Points; 0 is free."""

Count = Annotated[int, Field(strict=True, ge=1, le=MAX_VOUCHERS)]

Percent = Annotated[int, Field(strict=True, ge=1, le=100)]

Kind = Literal["voucher", "gift", "promo"]
"""Vouchers that are redeemed whole, vouchers with a balance, or codes that bring down the price of an order."""

Outcome = Literal["paid", "expired", "refunded", "timed_out"]
"""What became of the order that something was reserved for."""

PROMOTIONS = Topic("promotions", key="campaign_id")


def hold_of(campaign_id: str, voucher_id: str) -> str:
    """The id of the hold that pays for a voucher."""
    return f"voucher:{campaign_id}:{voucher_id}"


def purchase_of(hold_id: str | None) -> tuple[str, str] | None:
    """Campaign and voucher that a hold pays for; None for a hold of something else."""
    match (hold_id or "").split(":"):
        case ["voucher", campaign_id, voucher_id]:
            return campaign_id, voucher_id
    return None


def redemption_of(order_id: str, voucher_id: str, user_id: str) -> str:
    """The id of somebody's redemption of a voucher, or a promo code, for an order; nobody is in the way of another who names the same order."""
    return f"{order_id}:{voucher_id}:{user_id}"


class Terms(BaseModel):
    """What a campaign offers; `CreateCampaign` says what each term means."""

    name: Annotated[Text, Field(min_length=1)]
    price: Price
    value: Amount
    currency: Currency
    quantity: Count
    budget: Amount
    per_user: Count = 1
    sale_from: Moment | None = None
    sale_to: Moment | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    valid_days: Annotated[int, Field(strict=True, ge=1, le=MAX_DAYS)] | None = None
    kind: Kind = "voucher"
    max_uses: Count = 1
    percent: Percent | None = None
    min_spend: Total = 0
    min_quantity: Count = 1
    condition: Text | None = None
    venues: Annotated[tuple[Name, ...], Field(max_length=MAX_VENUES)] = ()


class Offer(Terms):
    """Terms that are possible."""

    condition: Condition | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.valid_to is None) == (self.valid_days is None):
            raise ValueError("give either valid_to or valid_days")
        for first, last in ((self.sale_from, self.sale_to), (self.valid_from, self.valid_to)):
            if first and last and last <= first:
                raise ValueError("a time to which is later than the time from which")
        if self.budget < self.value * (self.max_uses if self.kind == "voucher" else 1):
            raise ValueError("the budget is not enough for one voucher")
        return self

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "gift" and self.max_uses != 1:
            raise ValueError("a gift is used until nothing is left of it")
        if self.kind == "promo" and self.price:
            raise ValueError("promo codes are not sold")
        if self.kind != "promo" and (self.percent or self.condition or self.min_spend or self.min_quantity > 1):
            raise ValueError("percent, condition, min_spend and min_quantity are of promo codes")
        return self


class OfPartner(BaseModel):
    """What a partner tells about a campaign of the partner's own."""

    campaign_id: Id
    partner_id: Name


class AtTill(OfPartner):
    """What is done at a till: by the partner, or by `staff_id` of the partner's staff at `venue_id`, who then is the caller."""

    venue_id: Name | None = None
    staff_id: Name | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.staff_id is not None and self.venue_id is None:
            raise ValueError("staff act at a venue")
        return self

    def may_be_issued_by(self, actor: Actor) -> bool:
        """As declared, and only in one's own name; whether somebody is of the staff is decided by the rules."""
        own = actor.role == "Admin" or actor.id == (self.staff_id or self.partner_id)
        return own and super().may_be_issued_by(actor)  # type: ignore[misc]  # the command's, which comes next


class Settlement(BaseModel):
    """What an order's end means for what was reserved for it."""

    campaign_id: Id
    voucher_id: Id
    user_id: Name
    outcome: Outcome
