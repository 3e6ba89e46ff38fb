"""What happens in referrals."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from streams.contract import Event, Id, Name, Text
from topics.referrals.terms import (
    REFERRALS,
    Act,
    Amount,
    Code,
    OfCode,
    OfPayout,
    OfReferral,
    OfScheme,
    Quantity,
    Reward,
    Shares,
    Source,
    Terms,
    Upline,
)


class ReferralSchemeCreated(Terms, OfScheme, Event, topic=REFERRALS, key="program"):
    """A scheme, or its next revision."""

    revision: int


class ReferralSchemeActivated(OfScheme, Event, topic=REFERRALS, key="program"):
    """The scheme counts."""


class ReferralSchemeClosed(OfScheme, Event, topic=REFERRALS, key="program"):
    """The scheme is over."""


class ReferralCodeRequested(OfCode, Event, topic=REFERRALS):
    """The user wants this code; `command_id` is the command that waits for it."""

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
    """A visitor followed a link of `user_id`'s; `first_at` is the first click of those that were never further apart than the scheme's window.

    One's `own` link is counted and brings nobody.
    """

    visitor_id: Name
    own: bool
    first_at: datetime
    clicked_at: datetime


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
    source: Source
    occurred_at: datetime
    facts: Mapping[str, Any]


class ReferralActDropped(Event, topic=REFERRALS):
    """What the user had done and was kept was given back before it was looked at."""

    user_id: Name
    source: Source


class ReferralSignalSeen(Event, topic=REFERRALS):
    """Something new that tells who the user is: friend and referrer should not have the same."""

    user_id: Name
    kind: Literal["payment"]
    value: Name


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
    """The code that a new user typed did not count: `reason` is `unknown`, `expired`, `own` or `scheme_not_active`."""

    user_id: Name
    code: Code | None = None
    reason: Name


class ReferralQualified(OfReferral, Event, topic=REFERRALS, key="referral_id"):
    """The friend did what the scheme, in this revision, asks for; `shares` is what everybody is to get if it is approved."""

    referrer_id: Name
    scheme_id: Id
    revision: int
    event: Act
    source: Source
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
    """The referral is over; what was granted of `shares` is to be clawed back, and there are none where it was not approved."""

    referrer_id: Name
    scheme_id: Id
    reason: Text
    shares: Shares = ()


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
