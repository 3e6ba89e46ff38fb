"""Referrals: commands lead to events by the rules; what users do elsewhere brings and qualifies friends, and an approval goes on to the scheme's budget."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from agents.referrals import rules, sink
from agents.referrals.rules import schemes
from agents.referrals.table import REFERRED
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.commerce import COMMERCE, OrderPaid, OrderRefunded
from topics.fitness import FITNESS, WorkoutRecorded
from topics.identity import IDENTITY, UserRegistered
from topics.meetups import MEETUPS, ParticipantCheckedIn
from topics.promotions import (
    PROMOTIONS,
    VoucherPurchased,
    VoucherRedeemed,
    VoucherRedemptionRolledBack,
    VoucherRefunded,
)
from topics.quests import QUESTS, QuestCompleted
from topics.referrals import (
    REFERRALS,
    AttributeReferral,
    ClaimReferralCode,
    ClawBackReferralRewards,
    ConfirmReferralCode,
    FailReferralCode,
    GrantReferralRewards,
    OfCode,
    QualifyReferral,
    ReferralApproved,
    ReferralCodeCreated,
    ReferralCodeRefused,
    ReferralCodeRequested,
    ReferralQualified,
    ReferralVoided,
    ScreenReferral,
    VoidReferral,
)

RETURNED = "returned"  # why a referral is void whose qualifying order or voucher was given back


def attribute(fact: Fact[UserRegistered]) -> AttributeReferral:
    """There is a new user: find out who brought them."""
    new = fact.event
    return AttributeReferral(
        user_id=new.user_id,
        registered_at=new.registered_at,
        referral_code=new.referral_code,
        visitor_id=new.visitor_id,
        device=new.device,
        network=new.network,
    )


def ordered(fact: Fact[OrderPaid]) -> QualifyReferral:
    """An order may be what a scheme waits for."""
    return _act(fact, f"order:{fact.event.order_id}", fact.at)


def refunded(fact: Fact[OrderRefunded]) -> VoidReferral:
    """What was qualified by an order that was given back, even in part, is void."""
    return _return(fact, f"order:{fact.event.order_id}")


def bought(fact: Fact[VoucherPurchased]) -> QualifyReferral:
    """So may a voucher that is bought."""
    return _act(fact, _purchase(fact.event), fact.at)


def given_back(fact: Fact[VoucherRefunded]) -> VoidReferral:
    """The voucher was taken back."""
    return _return(fact, _purchase(fact.event))


def redeemed(fact: Fact[VoucherRedeemed]) -> QualifyReferral:
    """So may a voucher that is redeemed."""
    return _act(fact, _redemption(fact.event), fact.event.redeemed_at)


def rolled_back(fact: Fact[VoucherRedemptionRolledBack]) -> VoidReferral:
    """The voucher has its value again."""
    return _return(fact, _redemption(fact.event))


def completed(fact: Fact[QuestCompleted]) -> QualifyReferral:
    """So may a quest."""
    done = fact.event
    return _act(fact, f"quest:{done.quest_id}:{done.run}", done.completed_at)


def checked_in(fact: Fact[ParticipantCheckedIn]) -> QualifyReferral:
    """So may a meetup."""
    return _act(fact, f"meetup:{fact.event.meetup_id}", fact.event.at)


def trained(fact: Fact[WorkoutRecorded]) -> QualifyReferral:
    """So may a workout."""
    return _act(fact, f"workout:{fact.event.workout_id}", fact.event.at)


def _act(fact: Fact[Any], source: str, at: datetime) -> QualifyReferral:
    event = fact.event
    facts = schemes.shown(json.loads(event.to_json()))
    return QualifyReferral(user_id=event.user_id, event=event.wire_name, source=source, occurred_at=at, facts=facts)


def _return(fact: Fact[Any], source: str) -> VoidReferral:
    return VoidReferral(referral_id=fact.event.user_id, reason=RETURNED, source=source)


def _purchase(event: VoucherPurchased | VoucherRefunded) -> str:
    return f"purchase:{event.campaign_id}:{event.voucher_id}"


def _redemption(event: VoucherRedeemed | VoucherRedemptionRolledBack) -> str:
    return f"voucher:{event.campaign_id}:{event.redemption_id or event.voucher_id}"


def claim(fact: Fact[ReferralCodeRequested]) -> ClaimReferralCode:
    """A user wants a code: ask for it."""
    return ClaimReferralCode(**{name: getattr(fact.event, name) for name in OfCode.model_fields})


def confirm(fact: Fact[ReferralCodeCreated]) -> ConfirmReferralCode:
    """It is theirs: tell them."""
    return ConfirmReferralCode(user_id=fact.event.user_id, code=fact.event.code)


def fail(fact: Fact[ReferralCodeRefused]) -> FailReferralCode:
    """It is not theirs: tell them."""
    return FailReferralCode(user_id=fact.event.user_id, code=fact.event.code, reason=fact.event.reason)


def screen(fact: Fact[ReferralQualified]) -> ScreenReferral:
    """A friend has qualified: look whether friend and referrer are one."""
    return ScreenReferral(referral_id=fact.event.referral_id, referrer_id=fact.event.referrer_id)


def grant(fact: Fact[ReferralApproved]) -> Iterable[GrantReferralRewards]:
    """A referral is approved: ask the scheme for what it gives."""
    event = fact.event
    if event.shares:
        yield GrantReferralRewards(referral_id=event.referral_id, scheme_id=event.scheme_id, shares=event.shares)


def claw_back(fact: Fact[ReferralVoided]) -> Iterable[ClawBackReferralRewards]:
    """A referral is void that was approved: take back what it gave."""
    event = fact.event
    if event.shares:
        yield ClawBackReferralRewards(referral_id=event.referral_id, scheme_id=event.scheme_id, shares=event.shares)


REFERRALS_DECIDER = Decider(
    REFERRALS, REFERRED, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer, rules.consults
)

CODES = Policy(
    "codes",
    REFERRALS,
    REFERRALS,
    on={ReferralCodeRequested: claim, ReferralCodeCreated: confirm, ReferralCodeRefused: fail},
)

REWARDS = Policy(
    "rewards",
    REFERRALS,
    REFERRALS,
    on={ReferralQualified: screen, ReferralApproved: grant, ReferralVoided: claw_back},
)

NEWCOMERS = Policy("newcomers", IDENTITY, REFERRALS, on={UserRegistered: attribute})

ORDERS = Policy("orders", COMMERCE, REFERRALS, on={OrderPaid: ordered, OrderRefunded: refunded})

VOUCHERS = Policy(
    "vouchers",
    PROMOTIONS,
    REFERRALS,
    on={
        VoucherPurchased: bought,
        VoucherRefunded: given_back,
        VoucherRedeemed: redeemed,
        VoucherRedemptionRolledBack: rolled_back,
    },
)

ACHIEVEMENTS = Policy("achievements", QUESTS, REFERRALS, on={QuestCompleted: completed})

MEETINGS = Policy("meetings", MEETUPS, REFERRALS, on={ParticipantCheckedIn: checked_in})

WORKOUTS = Policy("workouts", FITNESS, REFERRALS, on={WorkoutRecorded: trained})
