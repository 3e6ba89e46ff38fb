"""Rows of referrals: schemes with what they gave, codes with their clicks, referrals with those above them, rewards, ambassadors, payouts."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from agents.referrals.rules.documents import (
    BANK,
    REFERRAL,
    SCHEMES,
    VISITOR,
    Earnings,
    Member,
    Referral,
    Scheme,
    Visitor,
)
from agents.referrals.rules.rewards import earnings_of, grant_of, payout_of
from streams.decision import ROOT
from streams.sink import Fact, rows
from topics.referrals import (
    AmbassadorApplied,
    AmbassadorApproved,
    AmbassadorRevoked,
    AmbassadorTierChanged,
    OfPayout,
    OfReferral,
    OfScheme,
    ReferralAttributed,
    ReferralBudgetExhausted,
    ReferralClicked,
    ReferralCodeCreated,
    ReferralIgnored,
    Reward,
)


@rows("scheme", key=("scheme_id",))
class SchemeRow(NamedTuple):
    scheme_id: str
    name: str
    status: str
    revision: int
    event: str
    depth: int
    budget: int
    currency: str | None
    commission_budget: int
    payout_threshold: int | None


@rows("bank", key=("scheme_id",))
class BankRow(NamedTuple):
    scheme_id: str
    points: int
    commission: int
    exhausted: int


@rows("code", key=("code",))
class CodeRow(NamedTuple):
    code: str
    user_id: str
    scheme_id: str
    created_at: datetime
    expires_at: datetime | None


@rows("click", key=("visitor_id", "code"))
class ClickRow(NamedTuple):
    visitor_id: str
    code: str
    user_id: str
    scheme_id: str
    clicks: int
    own: bool
    last_at: datetime


@rows("ignored", key=("user_id",))
class IgnoredRow(NamedTuple):
    user_id: str
    code: str | None
    reason: str


@rows("referral", key=("referral_id",))
class ReferralRow(NamedTuple):
    referral_id: str
    referrer_id: str
    scheme_id: str
    code: str
    touch: str
    status: str
    since: datetime
    reason: str | None
    source: str | None
    attributed_at: datetime
    qualified_at: datetime | None
    approve_at: datetime | None


@rows("descendant", key=("referral_id", "level"))
class DescendantRow(NamedTuple):
    referral_id: str
    level: int
    user_id: str


@rows("reward", key=("reward_id",))
class RewardRow(NamedTuple):
    reward_id: str
    scheme_id: str
    referral_id: str
    level: int
    user_id: str
    points: int
    commission: int
    status: str
    since: datetime


@rows("earnings", key=("scheme_id", "user_id"))
class EarningsRow(NamedTuple):
    scheme_id: str
    user_id: str
    earned: int
    requested: int
    paid: int


@rows("ambassador", key=("user_id",))
class AmbassadorRow(NamedTuple):
    user_id: str
    status: str
    tier: str
    since: datetime


@rows("payout", key=("scheme_id", "user_id", "payout_id"))
class PayoutRow(NamedTuple):
    scheme_id: str
    user_id: str
    payout_id: str
    amount: int
    currency: str
    status: str
    since: datetime


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The rows that an event changes; steps of a code's saga, and what only tells who somebody is, leave none."""
    match event := fact.event:
        case OfScheme():
            return (_scheme(event.scheme_id, state[SCHEMES].by_id[event.scheme_id]),)
        case Reward() | ReferralBudgetExhausted():
            return _granted(fact, state)
        case OfPayout():
            return _payout(fact, state)
        case OfReferral():
            return _referral(fact, state[REFERRAL])
        case ReferralIgnored():
            return (IgnoredRow(event.user_id, event.code, event.reason),)
        case ReferralClicked():
            return (_click(event, state[VISITOR]),)
        case ReferralCodeCreated():
            return (CodeRow(event.code, event.user_id, event.scheme_id, fact.at, event.expires_at),)
        case AmbassadorApplied() | AmbassadorApproved() | AmbassadorTierChanged() | AmbassadorRevoked():
            member: Member = state[ROOT]
            return (AmbassadorRow(fact.key, member.ambassador, member.tier, fact.at),)
    return ()


def _scheme(scheme_id: str, scheme: Scheme) -> SchemeRow:
    kept = {name: getattr(scheme, name) for name in SchemeRow._fields if name not in ("scheme_id", "depth")}
    return SchemeRow(scheme_id=scheme_id, depth=len(scheme.levels), **kept)


def _click(event: ReferralClicked, visitor: Visitor) -> ClickRow:
    touch = visitor.touch(event.code)
    clicks = touch.clicks if touch else 1
    return ClickRow(event.visitor_id, event.code, event.user_id, event.scheme_id, clicks, event.own, event.clicked_at)


def _referral(fact: Fact[Any], referral: Referral) -> Iterator[Any]:
    kept = {name: getattr(referral, name) for name in ReferralRow._fields if name not in ("referral_id", "since")}
    yield ReferralRow(referral_id=fact.key, since=fact.at, **kept)
    if isinstance(fact.event, ReferralAttributed):
        for level, user_id in enumerate(fact.event.upline[: fact.event.depth], start=1):
            yield DescendantRow(fact.key, level, user_id)


def _granted(fact: Fact[Any], state: Mapping[str, Any]) -> Iterator[Any]:
    event, bank = fact.event, state[BANK]
    yield BankRow(event.scheme_id, bank.points, bank.commission, bank.exhausted)
    if not isinstance(event, Reward):
        return
    grant = state[grant_of(event.referral_id)]
    portion = next(one for one in grant.shares if one.level == event.level)
    about = (event.reward_id, event.scheme_id, event.referral_id, event.level, event.user_id)
    yield RewardRow(*about, portion.points, portion.commission, grant.status, fact.at)
    if portion.commission:
        yield _earnings(event.scheme_id, event.user_id, state[earnings_of(event.user_id)])


def _earnings(scheme_id: str, user_id: str, earnings: Earnings) -> EarningsRow:
    return EarningsRow(scheme_id, user_id, earnings.earned, earnings.requested, earnings.paid)


def _payout(fact: Fact[Any], state: Mapping[str, Any]) -> Iterator[Any]:
    event = fact.event
    payout = state[payout_of(event)]
    yield PayoutRow(
        event.scheme_id, event.user_id, event.payout_id, event.amount, event.currency, payout.status, fact.at
    )
    yield _earnings(event.scheme_id, event.user_id, state[earnings_of(event.user_id)])
