"""Promotions: campaigns of partners and the vouchers that users buy with points. Everything is keyed by the campaign."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from streams.contract import Command, Event, Moment, Name, Text, Topic

MAX_AMOUNT = 2**53 - 1  # the largest integer that every JSON reader keeps exact
MAX_VOUCHERS = 10_000_000  # of one campaign
MAX_DAYS = 3650

Id = Annotated[str, Field(strict=True, min_length=1, max_length=50, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
"""An id of a campaign or a voucher; it has no colon, and two of them fit into the id of a hold."""

Price = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]
"""Points; 0 is free."""

Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT)]
"""Money in the minor unit of its currency."""

Count = Annotated[int, Field(strict=True, ge=1, le=MAX_VOUCHERS)]

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


class Terms(BaseModel):
    """What a campaign offers; `CreateCampaign` says what each term means."""

    name: Annotated[Text, Field(min_length=1)]
    price: Price
    value: Amount
    currency: Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")]
    quantity: Count
    budget: Amount
    per_user: Count = 1
    sale_from: Moment | None = None
    sale_to: Moment | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    valid_days: Annotated[int, Field(strict=True, ge=1, le=MAX_DAYS)] | None = None


class CreateCampaign(
    Terms,
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
    ),
):
    """Draw up a campaign; it sells nothing before it is activated.

    A voucher costs `price` points and is worth `value`. There are at most `quantity`, at most `per_user` for one user, and all that are
    sold or being paid for are together worth at most `budget`; a voucher that expired stays counted. They are sold in
    [`sale_from`, `sale_to`) and redeemed in [`valid_from`, `valid_to`), or for `valid_days` from the purchase, not before `valid_from`.
    """

    campaign_id: Id
    partner_id: Name

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.valid_to is None) == (self.valid_days is None):
            raise ValueError("give either valid_to or valid_days")
        for first, last in ((self.sale_from, self.sale_to), (self.valid_from, self.valid_to)):
            if first and last and last <= first:
                raise ValueError("a time to which is later than the time from which")
        if self.budget < self.value:
            raise ValueError("the budget is not enough for one voucher")
        return self


class ActivateCampaign(
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=({"campaign_id": "coffee", "partner_id": "p1"}, {"campaign_id": "museum", "partner_id": "p1"}),
    after=("create_campaign",),
):
    """Begin the sale."""

    campaign_id: Id
    partner_id: Name


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


class RedeemVoucher(
    Command,
    topic=PROMOTIONS,
    roles=("Partner",),
    owner="partner_id",
    examples=(
        {"campaign_id": "coffee", "partner_id": "p1", "code": "v1-MFRGGZDFMZTWQ2LK"},
    ),  # codes cannot be foreseen
    after=("purchase_voucher",),
):
    """Take a voucher at the till. A code that is unknown, another partner's or not yet valid is `not_found`."""

    campaign_id: Id
    partner_id: Name
    code: Name


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


class CampaignCreated(Terms, Event, topic=PROMOTIONS):
    campaign_id: Id
    partner_id: Name


class CampaignActivated(Event, topic=PROMOTIONS):
    campaign_id: Id
    partner_id: Name


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


class VoucherRedeemed(Event, topic=PROMOTIONS):
    campaign_id: Id
    voucher_id: Id
    user_id: Name
    partner_id: Name
    value: Amount
    currency: Name
    redeemed_at: datetime


class VoucherRedemptionRejected(Event, topic=PROMOTIONS):
    """A code was not taken; `reason` is `not_found`, `already_redeemed` or `expired`."""

    campaign_id: Id
    partner_id: Name
    code: Name
    reason: Name


class VoucherExpired(Event, topic=PROMOTIONS):
    campaign_id: Id
    voucher_id: Id
    user_id: Name
