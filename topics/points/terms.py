"""Of what the messages of points are made."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from streams.condition import Condition, Formula
from streams.contract import MAX_EXACT, Days, Moment, Name, Text, Topic

MAX_POINTS = MAX_EXACT

Points = Annotated[int, Field(strict=True, ge=1, le=MAX_POINTS)]
"""An amount of points: whole, positive."""


def _not_nothing(amount: int) -> int:
    if amount == 0:
        raise PydanticCustomError("nothing", "must not be 0")
    return amount


Change = Annotated[int, Field(strict=True, ge=-MAX_POINTS, le=MAX_POINTS), AfterValidator(_not_nothing)]
"""So many points more, or less; not 0."""

Id = Annotated[str, Field(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""An id of a rule or a tier. One with a colon, such as `referral:autumn`, is of a rule that another domain keeps."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"

Entry = Annotated[str, Field(strict=True, pattern=rf"^(award/{_NAME}/{_NAME}|spend/{_NAME}|hold/{_NAME})$")]
"""What can be taken back: `award/<rule>/<source>`, `spend/<spend_id>` or `hold/<hold_id>`, once it is captured."""

Program = Literal["main"]
"""Whose rules and tiers these are. There is one, for all users."""

POINTS = Topic("points", key="user_id")


class Lot(BaseModel):
    """Points that expire together."""

    model_config = ConfigDict(frozen=True)

    expires_at: Moment
    amount: Points


Lots = tuple[Lot, ...]
"""What expires of an amount of points, earliest first; the rest of the amount does not expire."""


class OfProgram(BaseModel):
    """What is about a program."""

    program: Program = "main"


class OfRule(OfProgram):
    """What is about a rule of a program."""

    rule_id: Id


class RuleTerms(BaseModel):
    """What a rule says; `DefinePointsRule` tells what each term means."""

    event: Name
    condition: Condition = "true"
    amount: Points | Formula
    cap_per_day: Points | None = None
    cap_per_user: Points | None = None
    validity: Days | None = None
    pending: Annotated[int, Field(strict=True, ge=1, le=31)] | None = None


class Tier(BaseModel):
    """A step that users reach by so many points earned."""

    model_config = ConfigDict(frozen=True)

    tier_id: Id
    name: Annotated[Text, Field(min_length=1)]
    points: Points


class TierTerms(BaseModel):
    """The tiers of a program, lowest first, and the days of a period; without `period` all that was ever earned counts."""

    tiers: Annotated[tuple[Tier, ...], Field(max_length=20)]
    period: Days | None = None
