"""Quests: commands lead to events by the rules; what happens to users in other domains counts for what they are on."""

from typing import Any

from agents.quests import rules, sink
from agents.quests.table import PLAYERS
from streams.agent import Decider, Policy
from streams.personal import personal_fields
from streams.sink import Fact
from topics.commerce import COMMERCE, OrderPaid
from topics.fitness import FITNESS, WorkoutRecorded
from topics.identity import IDENTITY, UserRegistered
from topics.meetups import MEETUPS, ParticipantCheckedIn
from topics.promotions import PROMOTIONS, VoucherPurchased, VoucherRedeemed
from topics.quests import (
    QUESTS,
    AwardBadge,
    CountScore,
    LeaderboardPeriodClosed,
    ObserveEvent,
    QuestCompleted,
    XpAwarded,
)
from topics.referrals import REFERRALS, ReferralRewardGranted


def observe(fact: Fact[Any]) -> ObserveEvent:
    """Something happened to a user, when the event says so or else when it was told: it may be what a task asks for."""
    event = fact.event
    kind: Any = type(event)
    return ObserveEvent(
        user_id=event.user_id,
        event=event.wire_name,
        event_id=fact.event_id,
        occurred_at=getattr(event, "at", None) or fact.at,
        facts=event.model_dump(mode="json", exclude={*personal_fields(kind)}),
    )


def count(fact: Fact[XpAwarded]) -> list[CountScore]:
    """Experience was earned: it counts for each leaderboard that ranks it."""
    earned = fact.event
    return [
        CountScore(
            leaderboard_id=period.leaderboard_id,
            of=period,
            user_id=earned.user_id,
            amount=earned.amount,
            at=earned.at,
        )
        for period in earned.periods
    ]


def honour(fact: Fact[LeaderboardPeriodClosed]) -> list[AwardBadge]:
    """A period is over: its winners get the badge."""
    closed = fact.event
    source = f"leaderboard:{closed.leaderboard_id}:{closed.period}"
    return [
        AwardBadge(user_id=place.user_id, badge_id=closed.badge_id, source=source)
        for place in closed.top[: closed.winners]
        if closed.badge_id
    ]


QUESTS_DECIDER = Decider(
    QUESTS, PLAYERS, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer, rules.consults
)

EARNINGS = Policy(
    "earnings", QUESTS, QUESTS, on={XpAwarded: count, LeaderboardPeriodClosed: honour, QuestCompleted: observe}
)

SIGN_UPS = Policy("sign_ups", IDENTITY, QUESTS, on={UserRegistered: observe})

VOUCHERS = Policy("vouchers", PROMOTIONS, QUESTS, on={VoucherPurchased: observe, VoucherRedeemed: observe})

CHECK_INS = Policy("check_ins", MEETUPS, QUESTS, on={ParticipantCheckedIn: observe})

ORDERS = Policy("orders", COMMERCE, QUESTS, on={OrderPaid: observe})

WORKOUTS = Policy("workouts", FITNESS, QUESTS, on={WorkoutRecorded: observe})

INVITATIONS = Policy("invitations", REFERRALS, QUESTS, on={ReferralRewardGranted: observe})
