"""Commands that the platform itself issues: steps of sagas, and what other domains tell."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from streams.contract import Command, Id, Name, Text
from topics.referrals.terms import REFERRALS, Act, Code, OfCode, OfReferral, Shares, Source


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
    source: Source
    occurred_at: datetime
    facts: Mapping[str, Any]


class ScreenReferral(OfReferral, Command, topic=REFERRALS, key="referral_id", services=("referrals",)):
    """A friend has qualified: look for signs that friend and referrer are one."""

    referrer_id: Name


class GrantReferralRewards(OfReferral, Command, topic=REFERRALS, key="scheme_id", services=("referrals",)):
    """A referral is approved: give everybody their share, if all of it is within the budget."""

    scheme_id: Id
    shares: Shares


class ClawBackReferralRewards(OfReferral, Command, topic=REFERRALS, key="scheme_id", services=("referrals",)):
    """A referral is void: take back exactly what was granted for it; `shares` are those that were asked for."""

    scheme_id: Id
    shares: Shares
