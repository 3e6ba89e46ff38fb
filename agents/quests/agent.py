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
    AdmitPartyMember,
    AwardBadge,
    CountScore,
    EndPartySeat,
    LeaderboardPeriodClosed,
    NotePartyMember,
    ObserveEvent,
    OfMember,
    PartyInvitationAccepted,
    PartyLeft,
    PartyMemberJoined,
    PartyMemberRefused,
    PartyRewardDue,
    QuestAbandoned,
    QuestCompleted,
    QuestExpired,
    QuestPartyDisbanded,
    QuestPartyFailed,
    QuestPartyStarted,
    RewardPartyMember,
    RunTerms,
    SettlePartySeat,
    StartPartyQuest,
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


def ask(fact: Fact[PartyInvitationAccepted]) -> AdmitPartyMember:
    """A user accepts an invitation: ask the party to take them in."""
    return AdmitPartyMember(**_member(fact))


def settle(fact: Fact[PartyMemberJoined] | Fact[PartyMemberRefused]) -> SettlePartySeat:
    """The party has answered: tell the user."""
    return SettlePartySeat(**_member(fact), code=getattr(fact.event, "code", None))


def set_out(fact: Fact[QuestPartyStarted]) -> list[StartPartyQuest]:
    """The party sets out: so does each of its members."""
    party = fact.event
    about = {name: getattr(party, name) for name in ("owner_id", "party_id", *RunTerms.model_fields)}
    return [StartPartyQuest(**about, user_id=user) for user in party.members]


def note(fact: Fact[QuestCompleted] | Fact[QuestAbandoned] | Fact[QuestExpired]) -> list[NotePartyMember]:
    """A member has completed the quest, has given up or did not make it in time: tell the party."""
    ended = fact.event
    if ended.party is None:
        return []
    at = ended.completed_at if isinstance(ended, QuestCompleted) else None
    return [NotePartyMember(**dict(ended.party), user_id=ended.user_id, completed_at=at)]


def leave(fact: Fact[PartyLeft]) -> list[NotePartyMember]:
    """A member has left: tell the party, unless it is the party that ended."""
    return [NotePartyMember(**_member(fact))] if fact.event.reason == "left" else []


def part(fact: Fact[QuestPartyDisbanded] | Fact[QuestPartyFailed]) -> list[EndPartySeat]:
    """The party is no more: tell its members."""
    party = fact.event
    about: dict[str, Any] = {"owner_id": party.owner_id, "party_id": party.party_id}
    about["reason"] = "disbanded" if isinstance(party, QuestPartyDisbanded) else "failed"
    return [EndPartySeat(**about, user_id=user) for user in party.members]


def reward(fact: Fact[PartyRewardDue]) -> RewardPartyMember:
    """Both the member and the party have completed the quest: here is the reward."""
    return RewardPartyMember(**{name: getattr(fact.event, name) for name in RewardPartyMember.model_fields})


def _member(fact: Fact[Any]) -> dict[str, Any]:
    return {name: getattr(fact.event, name) for name in OfMember.model_fields}


QUESTS_DECIDER = Decider(
    QUESTS, PLAYERS, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer, rules.consults
)

EARNINGS = Policy(
    "earnings", QUESTS, QUESTS, on={XpAwarded: count, LeaderboardPeriodClosed: honour, QuestCompleted: observe}
)

PARTIES = Policy(
    "parties",
    QUESTS,
    QUESTS,
    on={
        PartyInvitationAccepted: ask,
        PartyMemberJoined: settle,
        PartyMemberRefused: settle,
        QuestPartyStarted: set_out,
        QuestCompleted: note,
        QuestAbandoned: note,
        QuestExpired: note,
        PartyLeft: leave,
        QuestPartyDisbanded: part,
        QuestPartyFailed: part,
        PartyRewardDue: reward,
    },
)

SIGN_UPS = Policy("sign_ups", IDENTITY, QUESTS, on={UserRegistered: observe})

VOUCHERS = Policy("vouchers", PROMOTIONS, QUESTS, on={VoucherPurchased: observe, VoucherRedeemed: observe})

CHECK_INS = Policy("check_ins", MEETUPS, QUESTS, on={ParticipantCheckedIn: observe})

ORDERS = Policy("orders", COMMERCE, QUESTS, on={OrderPaid: observe})

WORKOUTS = Policy("workouts", FITNESS, QUESTS, on={WorkoutRecorded: observe})

INVITATIONS = Policy("invitations", REFERRALS, QUESTS, on={ReferralRewardGranted: observe})
