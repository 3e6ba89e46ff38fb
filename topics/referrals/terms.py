"""What the messages of referrals are made of: ids, terms of schemes, shares."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streams.condition import Condition, Formula
from streams.contract import MAX_EXACT, Days, Id, Moment, Name, Text, Topic

MAX_AMOUNT = MAX_EXACT
MAX_DEPTH = 5  # levels of a scheme: the referrer, the referrer's referrer, and so on
MAIN: Final = "main"
STANDARD = "standard"  # the tier of an ambassador who was given no other
CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{3,31}")

Code = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{3,31}$"), AfterValidator(str.upper)]
"""What a link or a friend tells: 4 to 32 letters, digits and hyphens, in capitals however it is written."""

Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT)]
Quantity = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]

Worth = Quantity | Formula
"""A whole number, or a formula that gives one for the facts of the qualifying event; what is not above 0 is nothing."""

Percent = Annotated[int, Field(strict=True, ge=0, le=1000)]

Source = Annotated[str, Field(strict=True, min_length=1, max_length=300, pattern=r"^[a-z]+:[^\x00]+$")]
"""What a qualifying event was about, such as `order:o1` or `voucher:c1:v1`."""

Upline = Annotated[tuple[Name, ...], Field(max_length=MAX_DEPTH)]
"""Who brought somebody, who brought that one, and so on."""

Act = Literal[
    "order_paid",
    "voucher_purchased",
    "voucher_redeemed",
    "quest_completed",
    "participant_checked_in",
    "workout_recorded",
]
"""The event by which a friend can qualify."""

REFERRALS = Topic("referrals", key="user_id")


def normal_code(text: str | None) -> str | None:
    """A code as somebody typed it at a registration, in its normal form; None for what cannot be one."""
    code = (text or "").strip().upper()
    return code if CODE.fullmatch(code) else None


class Level(BaseModel):
    """What somebody so many steps above the friend gets: points, and an active ambassador money too, in the minor unit of the scheme's currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: Worth
    commission: Worth = 0


class Terms(BaseModel):
    """What a scheme promises; `CreateReferralScheme` says what each term means."""

    name: Annotated[Text, Field(min_length=1)]
    event: Act
    condition: Condition = "true"
    friend_points: Worth = 0
    levels: Annotated[tuple[Level, ...], Field(min_length=1, max_length=MAX_DEPTH)]
    budget: Amount
    currency: Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")] | None = None
    commission_budget: Quantity = 0
    payout_threshold: Amount | None = None
    tiers: Annotated[Mapping[Name, Percent], Field(max_length=20)] = {}
    touch: Literal["first", "last"] = "last"
    window_days: Days = 30
    qualify_days: Days | None = None
    hold_days: Annotated[int, Field(strict=True, ge=0, le=3650)] = 0
    approval: Literal["automatic", "manual"] = "automatic"


class OfScheme(BaseModel):
    """What is about the definition of a scheme."""

    program: Literal["main"] = MAIN
    scheme_id: Id


class Share(BaseModel):
    """What somebody is to get for a referral: the friend at level 0, those above at 1 and on; `commission` if they are an ambassador then."""

    model_config = ConfigDict(frozen=True)

    level: Annotated[int, Field(strict=True, ge=0, le=MAX_DEPTH)]
    user_id: Name
    points: Quantity
    commission: Quantity = 0


Shares = tuple[Share, ...]


class OfCode(BaseModel):
    """What a code means, for ever: who is rewarded for whom it brings."""

    code: Code
    user_id: Name
    scheme_id: Id
    upline: Upline
    expires_at: Moment | None = None


class OfReferral(BaseModel):
    """What is about a referral, which has the id of the user who was referred."""

    referral_id: Name


class Reward(OfReferral):
    """What somebody gets for a referral under a scheme, once for each level; `reward_id` is made of these three."""

    scheme_id: Id
    reward_id: Name
    level: Annotated[int, Field(strict=True, ge=0, le=MAX_DEPTH)]
    user_id: Name


class OfPayout(BaseModel):
    """What is about a payout, by an id of the user's choice."""

    scheme_id: Id
    user_id: Name
    payout_id: Name
