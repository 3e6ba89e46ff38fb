"""Referrals: who brought whom, and what both get for it.

Five kinds of aggregate share its topics: users by their id, with the one referral that somebody can have, which has the same id; codes; visitors who
clicked a link; the program, which holds the definitions of all schemes; and each scheme, whose budget, rewards and payouts are decided at one place.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streams.condition import Condition, Formula
from streams.contract import Command, Event, Moment, Name, Text, Topic

MAX_AMOUNT = 2**53 - 1  # the largest integer that every JSON reader keeps exact
MAX_DEPTH = 5  # levels of a scheme: the referrer, the referrer's referrer, and so on
MAIN = "main"
STANDARD = "standard"  # the tier of an ambassador who was given no other
CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{3,31}")

Id = Annotated[str, Field(strict=True, min_length=1, max_length=50, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
"""An id of a scheme."""

Code = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{3,31}$"), AfterValidator(str.upper)]
"""What a link or a friend tells: 4 to 32 letters, digits and hyphens, in capitals however it is written."""

Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT)]
Quantity = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]

Worth = Quantity | Formula
"""A whole number, or a formula that gives one for the facts of the qualifying event; what is not above 0 is nothing."""

Percent = Annotated[int, Field(strict=True, ge=0, le=1000)]
Days = Annotated[int, Field(strict=True, ge=1, le=3650)]
Reason = Annotated[Text, Field(min_length=1)]
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


# -- schemes: the program


class CreateReferralScheme(
    Terms,
    OfScheme,
    Command,
    topic=REFERRALS,
    key="program",
    roles=("Admin",),
    examples=(
        {
            "scheme_id": "friends",
            "name": "Bring a friend",
            "event": "order_paid",
            "condition": "event.total >= 1000 && event.currency == 'EUR'",
            "friend_points": 50,
            "levels": [{"points": 100}, {"points": "event.total / 200"}],
            "budget": 1_000_000,
            "hold_days": 14,
        },
        {
            "scheme_id": "ambassadors",
            "name": "Ambassadors of the town",
            "event": "voucher_redeemed",
            "levels": [{"points": 20, "commission": "event.value / 10"}],
            "budget": 500_000,
            "currency": "EUR",
            "commission_budget": 200_000,
            "payout_threshold": 5000,
            "tiers": {"gold": 150},
            "touch": "first",
            "window_days": 60,
            "approval": "manual",
        },
    ),
):
    """Define a scheme, or the next version of one that is not closed: what it promises from then on. It counts once it is activated.

    A friend qualifies by `event` with the payload `event`, the time `at` and `user` (`user_id`, `registered_at`), if `condition` holds, within `qualify_days` of the registration. The friend gets
    `friend_points`, each of `levels` what it says. All points together are at most `budget`, all commission at most `commission_budget`; a referral that does not fit
    in gives nothing. A later version keeps the currency and lowers no budget. `tiers` are the percentages of the commission that ambassadors of a tier get (100 if it is not there), who are paid
    from `payout_threshold` on. A link counts for `window_days` after the last click; of several of one scheme the `first` or the `last` does. A referral is approved after `hold_days`, by itself or by hand.
    An expression that cannot be evaluated on a sample of its event is refused with `bad_condition`.
    """

    @model_validator(mode="after")
    def _payable(self) -> Self:
        pays = any(level.commission != 0 for level in self.levels)
        if pays and not (self.currency and self.commission_budget and self.payout_threshold):
            raise ValueError("a commission needs currency, commission_budget and payout_threshold")
        return self


class ActivateReferralScheme(
    OfScheme,
    Command,
    topic=REFERRALS,
    key="program",
    roles=("Admin",),
    examples=({"scheme_id": "friends"}, {"scheme_id": "ambassadors"}),
    after=("create_referral_scheme",),
):
    """From now on codes of the scheme are made, and friends attributed."""


class CloseReferralScheme(
    OfScheme,
    Command,
    topic=REFERRALS,
    key="program",
    roles=("Admin",),
    examples=({"scheme_id": "ambassadors"},),
    after=("activate_referral_scheme",),
):
    """Nobody is attributed or qualifies any more, for good; who has qualified is still approved and rewarded."""


class ReferralSchemeCreated(Terms, OfScheme, Event, topic=REFERRALS, key="program"):
    """A scheme, or the next version of it."""

    revision: int


class ReferralSchemeActivated(OfScheme, Event, topic=REFERRALS, key="program"):
    """The scheme counts."""


class ReferralSchemeClosed(OfScheme, Event, topic=REFERRALS, key="program"):
    """The scheme is over."""


# -- codes and clicks


class CreateReferralCode(
    Command,
    topic=REFERRALS,
    roles=("User",),
    owner="user_id",
    examples=(
        {"user_id": "u1", "code": "ANN-INVITES", "scheme_id": "friends"},
        {"user_id": "u1", "code": "spring", "scheme_id": "ambassadors", "expires_at": "2199-06-01T00:00:00Z"},
    ),
    after=("activate_referral_scheme",),
):
    """Get a code of the caller's choice to invite friends with; pending until it is the user's, rejected with `code_taken` when it is not free."""

    user_id: Name
    code: Code
    scheme_id: Id
    expires_at: Moment | None = None


class OfCode(BaseModel):
    """What a code means, for ever: who is rewarded for whom it brings."""

    code: Code
    user_id: Name
    scheme_id: Id
    upline: Upline
    expires_at: Moment | None = None


class ClaimReferralCode(OfCode, Command, topic=REFERRALS, key="code", services=("referrals",)):
    """Second step of a code, at the code: make it the user's if it is free."""


class ConfirmReferralCode(Command, topic=REFERRALS, services=("referrals",)):
    """Last step of a code, at the user: it is theirs."""

    user_id: Name
    code: Code


class FailReferralCode(Command, topic=REFERRALS, services=("referrals",)):
    """Last step of a code that is somebody else's, at the user; `reason` says why."""

    user_id: Name
    code: Code
    reason: Name


class TrackReferralClick(
    Command,
    topic=REFERRALS,
    key="visitor_id",
    roles=("Guest",),
    examples=({"visitor_id": "c0ffee", "code": "ANN-INVITES"},),
    after=("create_referral_code",),
):
    """Somebody followed a link; `visitor_id` is a random id that the client keeps and gives again at the registration."""

    visitor_id: Name
    code: Code


class ReferralCodeRequested(OfCode, Event, topic=REFERRALS):
    """The user wants this code; `command_id` is the command that waits for it. Who has invited others is no new user any more."""

    command_id: Name


class ReferralCodeCreated(OfCode, Event, topic=REFERRALS, key="code"):
    """The code is the user's."""


class ReferralCodeRefused(Event, topic=REFERRALS, key="code"):
    """The code is not for this user; `reason` says why."""

    code: Code
    user_id: Name
    reason: Name


class ReferralCodeConfirmed(Event, topic=REFERRALS):
    """The user has the code."""

    user_id: Name
    code: Code


class ReferralCodeFailed(Event, topic=REFERRALS):
    """The user did not get the code; `reason` says why."""

    user_id: Name
    code: Code
    reason: Name


class ReferralClicked(OfCode, Event, topic=REFERRALS, key="visitor_id"):
    """A visitor followed a link of `user_id`'s; `first_at` is the first click of those that were never further apart than the scheme's window."""

    visitor_id: Name
    first_at: datetime
    clicked_at: datetime


# -- referrals: a friend's


class OfReferral(BaseModel):
    """What is about a referral, which has the id of the user who was referred."""

    referral_id: Name


class AttributeReferral(Command, topic=REFERRALS, services=("referrals",)):
    """There is a new user: find out who brought them, by the code that they typed or the links that they followed."""

    user_id: Name
    registered_at: datetime
    referral_code: Text | None = None
    visitor_id: Name | None = None
    device: Name | None = None
    network: Name | None = None


class QualifyReferral(Command, topic=REFERRALS, services=("referrals",)):
    """The user did something by which they may qualify as a friend; `source` is the order, voucher or other thing that it was about."""

    user_id: Name
    event: Act
    source: Name
    occurred_at: datetime
    facts: Mapping[str, Any]


class ScreenReferral(OfReferral, Command, topic=REFERRALS, key="referral_id", services=("referrals",)):
    """A friend has qualified: look for signs that friend and referrer are one."""

    referrer_id: Name


class ApproveReferral(
    OfReferral,
    Command,
    topic=REFERRALS,
    key="referral_id",
    roles=("Admin",),
    services=("referrals",),
    examples=({"referral_id": "u2"},),  # nobody is referred by commands alone
):
    """Let the rewards of a pending or flagged referral be granted; the platform does so for pending ones when their time comes."""


class FlagReferral(
    OfReferral,
    Command,
    topic=REFERRALS,
    key="referral_id",
    roles=("Admin",),
    examples=({"referral_id": "u2", "reason": "Ordered from the same table."},),
):
    """Take a referral that is not yet approved aside, to be decided by hand."""

    reason: Reason


class VoidReferral(
    OfReferral,
    Command,
    topic=REFERRALS,
    key="referral_id",
    roles=("Admin",),
    services=("referrals",),
    examples=({"referral_id": "u2", "reason": "Both accounts are of one person."},),
):
    """End a referral for good; what was granted is clawed back. With `source`, only the one that was qualified by it."""

    reason: Reason
    source: Name | None = None


class NewcomerNoted(Event, topic=REFERRALS):
    """A new user is known here, with the hashes of the device and the network from where they registered."""

    user_id: Name
    registered_at: datetime
    device: Name | None = None
    network: Name | None = None


class ReferralActKept(Event, topic=REFERRALS):
    """Something that the user did is known before the user is; it is looked at when they are."""

    user_id: Name
    event: Act
    source: Name
    occurred_at: datetime
    facts: Mapping[str, Any]


class ReferralSignalSeen(Event, topic=REFERRALS):
    """Something that tells who the user is, such as `payment:5f3a`; friend and referrer must not share it."""

    user_id: Name
    signal: Name


class ReferralAttributed(OfReferral, Event, topic=REFERRALS, key="referral_id"):
    """The user was brought by `referrer_id`, the first of `upline`, for ever; by a typed code or a click. Of the upline the first `depth` can be rewarded."""

    referrer_id: Name
    code: Code
    scheme_id: Id
    touch: Literal["code", "click"]
    touched_at: datetime
    attributed_at: datetime
    upline: Upline
    depth: int


class ReferralIgnored(Event, topic=REFERRALS):
    """A code or link of a new user did not count: `reason` is `unknown`, `expired`, `own`, `not_new` or `scheme_not_active`."""

    user_id: Name
    code: Code | None = None
    reason: Name


class ReferralQualified(OfReferral, Event, topic=REFERRALS, key="referral_id"):
    """The friend did what the scheme, in this revision, asks for; `shares` is what everybody is to get if it is approved."""

    referrer_id: Name
    scheme_id: Id
    revision: int
    event: Act
    source: Name
    qualified_at: datetime
    shares: Shares


class ReferralScreened(OfReferral, Event, topic=REFERRALS, key="referral_id"):
    """Nothing speaks against the referral: it is pending, and approved at this time if by itself."""

    approve_at: datetime | None = None


class ReferralFlagged(OfReferral, Event, topic=REFERRALS, key="referral_id"):
    """The referral waits to be decided by hand; `reasons` are `device`, `network`, `payment`, or words."""

    reasons: tuple[Text, ...]


class ReferralApproved(OfReferral, Event, topic=REFERRALS, key="referral_id"):
    """The rewards are to be granted."""

    referrer_id: Name
    scheme_id: Id
    shares: Shares


class ReferralVoided(OfReferral, Event, topic=REFERRALS, key="referral_id"):
    """The referral is over; where it was `approved`, what was granted is to be clawed back."""

    referrer_id: Name
    scheme_id: Id
    reason: Text
    approved: bool


# -- rewards: at the scheme


class GrantReferralRewards(OfReferral, Command, topic=REFERRALS, key="scheme_id", services=("referrals",)):
    """A referral is approved: give everybody their share, if all of it is within the budget."""

    scheme_id: Id
    shares: Shares


class ClawBackReferralRewards(OfReferral, Command, topic=REFERRALS, key="scheme_id", services=("referrals",)):
    """A referral is void: take back what was granted for it."""

    scheme_id: Id


class Reward(OfReferral):
    """What somebody gets for a referral under a scheme, once for each level; `reward_id` is made of these three."""

    scheme_id: Id
    reward_id: Name
    level: Annotated[int, Field(strict=True, ge=0, le=MAX_DEPTH)]
    user_id: Name


class ReferralRewardGranted(Reward, Event, topic=REFERRALS, key="scheme_id"):
    """The user is to have these points."""

    points: Amount


class ReferralRewardClawedBack(Reward, Event, topic=REFERRALS, key="scheme_id"):
    """The user is not to have these points, which were granted, any more."""

    points: Amount


class ReferralCommissionEarned(Reward, Event, topic=REFERRALS, key="scheme_id"):
    """The ambassador has earned this much, to be paid out when asked for."""

    amount: Amount
    currency: Name
    tier: Name


class ReferralCommissionClawedBack(Reward, Event, topic=REFERRALS, key="scheme_id"):
    """The ambassador has not earned it after all; what was paid out already is taken off what comes."""

    amount: Amount
    currency: Name


class ReferralBudgetExhausted(OfReferral, Event, topic=REFERRALS, key="scheme_id"):
    """A referral gives nothing, since the budget is not enough for all of these points and this commission."""

    scheme_id: Id
    points: Quantity
    commission: Quantity


# -- ambassadors and their payouts


class ApplyAsAmbassador(
    Command, topic=REFERRALS, roles=("User",), owner="user_id", examples=({"user_id": "u1"}, {"user_id": "u4"})
):
    """Ask to become an ambassador, once."""

    user_id: Name


class ApproveAmbassador(
    Command,
    topic=REFERRALS,
    roles=("Admin",),
    examples=({"user_id": "u1"},),
    after=("apply_as_ambassador",),
):
    """Make who applied an ambassador of the standard tier."""

    user_id: Name


class SetAmbassadorTier(
    Command,
    topic=REFERRALS,
    roles=("Admin",),
    examples=({"user_id": "u1", "tier": "gold"},),
    after=("approve_ambassador", "create_referral_scheme"),
):
    """Move an active ambassador to a tier that some scheme knows, or back to `standard`; it counts for rewards that are granted from then on."""

    user_id: Name
    tier: Name


class RevokeAmbassador(
    Command,
    topic=REFERRALS,
    roles=("Admin",),
    examples=({"user_id": "u1", "reason": "Spam."},),
    after=("approve_ambassador",),
):
    """End it for good; what was earned can still be paid out."""

    user_id: Name
    reason: Reason


class AmbassadorApplied(Event, topic=REFERRALS):
    """The user wants to be an ambassador."""

    user_id: Name


class AmbassadorApproved(Event, topic=REFERRALS):
    """The user is an active ambassador."""

    user_id: Name
    tier: Name


class AmbassadorTierChanged(Event, topic=REFERRALS):
    """The ambassador moved from one tier to another."""

    user_id: Name
    tier: Name
    was: Name


class AmbassadorRevoked(Event, topic=REFERRALS):
    """The user is no ambassador any more."""

    user_id: Name
    reason: Text


class OfPayout(BaseModel):
    """What is about a payout, by an id of the user's choice."""

    scheme_id: Id
    user_id: Name
    payout_id: Name


class RequestPayout(
    OfPayout,
    Command,
    topic=REFERRALS,
    key="scheme_id",
    roles=("User",),
    owner="user_id",
    examples=({"scheme_id": "ambassadors", "user_id": "u1", "payout_id": "p1"},),  # nothing is earned by commands alone
):
    """Ask for all that was earned under a scheme and not yet paid out; `below_threshold` when it is less than the scheme's threshold."""


class CompletePayout(
    OfPayout,
    Command,
    topic=REFERRALS,
    key="scheme_id",
    roles=("Admin",),
    examples=({"scheme_id": "ambassadors", "user_id": "u1", "payout_id": "p1"},),
):
    """The money is on its way."""


class FailPayout(
    OfPayout,
    Command,
    topic=REFERRALS,
    key="scheme_id",
    roles=("Admin",),
    examples=({"scheme_id": "ambassadors", "user_id": "u1", "payout_id": "p1", "reason": "No such account."},),
):
    """The money cannot be paid; it can be asked for again."""

    reason: Reason


class PayoutRequested(OfPayout, Event, topic=REFERRALS, key="scheme_id"):
    """Money in the minor unit of its currency is to be paid out."""

    amount: Amount
    currency: Name


class PayoutCompleted(OfPayout, Event, topic=REFERRALS, key="scheme_id"):
    """It was paid out."""

    amount: Amount
    currency: Name


class PayoutFailed(OfPayout, Event, topic=REFERRALS, key="scheme_id"):
    """It was not paid out, and can be asked for again."""

    amount: Amount
    currency: Name
    reason: Text
