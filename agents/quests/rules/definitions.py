"""Definitions are data: they are tried when they are drawn up, and count from then on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from agents.quests.rules.documents import (
    BADGE,
    QUEST,
    Badge,
    Boards,
    Challenge,
    Quest,
    StreakRules,
)
from streams.condition import ConditionError, holds, number, sample
from streams.decision import Case, Decision, Refuse
from topics.commerce import OrderPaid
from topics.fitness import WorkoutRecorded
from topics.identity import UserRegistered
from topics.meetups import ParticipantCheckedIn
from topics.promotions import VoucherPurchased, VoucherRedeemed
from topics.quests import (
    ArchiveQuest,
    BadgeCreated,
    ChallengeCreated,
    CreateBadge,
    CreateChallenge,
    CreateLeaderboard,
    CreateQuest,
    DefineStreak,
    LeaderboardCreated,
    PublishQuest,
    QuestArchived,
    QuestCompleted,
    QuestCreated,
    QuestPublished,
    StreakDefined,
)
from topics.referrals import ReferralRewardGranted

MOST_DEFINITIONS = 50  # streaks, and leaderboards: all of them are looked at whenever something happens
AT = datetime(2026, 1, 1, tzinfo=UTC)  # when samples happen

SOURCES: Mapping[str, type[Any]] = {
    contract.wire_name: contract
    for contract in (
        UserRegistered,
        VoucherPurchased,
        VoucherRedeemed,
        ParticipantCheckedIn,
        OrderPaid,
        WorkoutRecorded,
        ReferralRewardGranted,
        QuestCompleted,
    )
}
"""The events that definitions may ask for, by their names."""


def facts_of(event: Mapping[str, Any], at: Any, *, xp: int, level: int) -> dict[str, Any]:
    """What conditions and formulas know: `event`, `at` and `user`."""
    return {"event": event, "at": at, "user": {"xp": xp, "level": level}}


def create_quest(quest: Quest, command: CreateQuest, case: Case) -> Decision:
    """The first revision or the next."""
    if quest.status != "unknown" and quest.author_id != command.author_id:
        return Refuse("quest_exists")
    if quest.status == "archived":
        return Refuse("quest_archived")
    if command.ends_at and case.now >= command.ends_at:
        return Refuse("already_over", 422)
    if refusal := _badge_missing(command.badge_id, case):
        return refusal
    if missing := [name for name in command.requires if case.consulted[f"{name}/{QUEST}"].status == "unknown"]:
        return Refuse("quest_not_found", 422, {"missing": missing})
    for task in command.tasks:
        if task.event and (words := _wrong(task.event, condition=task.condition)):
            return Refuse("bad_condition", 422, {"task_id": task.task_id, "reason": words})
    return [QuestCreated.model_validate({**dict(command), "revision": quest.revision + 1}, extra="allow")]


def publish_quest(quest: Quest, command: PublishQuest) -> Decision:
    """Open the last revision."""
    if quest.draft is None or quest.author_id != command.author_id:
        return Refuse("quest_not_found", 404)
    if quest.status == "archived":
        return Refuse("quest_archived")
    if quest.revision == quest.live_revision:
        return Refuse("already_published")
    if all(task.optional for task in quest.draft.tasks):
        return Refuse("no_tasks", 422)
    return [QuestPublished(quest_id=command.quest_id, author_id=command.author_id, revision=quest.revision)]


def archive_quest(quest: Quest, command: ArchiveQuest) -> Decision:
    """Close it for ever."""
    if quest.draft is None or quest.author_id != command.author_id:
        return Refuse("quest_not_found", 404)
    if quest.status == "archived":
        return Refuse("quest_archived")
    return [QuestArchived(quest_id=command.quest_id, author_id=command.author_id)]


def create_badge(badge: Badge, command: CreateBadge) -> Decision:
    """A badge stays as it is."""
    if badge.name:
        return Refuse("badge_exists")
    return [BadgeCreated.model_validate(dict(command), extra="allow")]


def create_challenge(challenge: Challenge, command: CreateChallenge, case: Case) -> Decision:
    """A challenge stays as it is."""
    if challenge.terms:
        return Refuse("challenge_exists")
    if case.now >= command.ends_at:
        return Refuse("already_over", 422)
    if words := _wrong(command.event, condition=command.condition, score=command.score):
        return Refuse("bad_condition", 422, {"reason": words})
    return _badge_missing(command.badge_id, case) or [
        ChallengeCreated.model_validate(dict(command), extra="allow"),
    ]


def define_streak(rules: StreakRules, command: DefineStreak, case: Case) -> Decision:
    """The first revision or the next."""
    if words := _wrong(command.event, condition=command.condition):
        return Refuse("bad_condition", 422, {"reason": words})
    for reward in command.rewards:
        if refusal := _badge_missing(reward.badge_id, case):
            return refusal
    before = rules.of.get(command.streak_id)
    revision = before.revision + 1 if before else 1
    if before is None and len(rules.of) >= MOST_DEFINITIONS:
        return Refuse("too_many_streaks", details={"most": MOST_DEFINITIONS})
    return [StreakDefined.model_validate({**dict(command), "revision": revision}, extra="allow")]


def create_leaderboard(boards: Boards, command: CreateLeaderboard, case: Case) -> Decision:
    """A leaderboard stays as it is."""
    if command.leaderboard_id in boards.of:
        return Refuse("leaderboard_exists")
    if len(boards.of) >= MOST_DEFINITIONS:
        return Refuse("too_many_leaderboards", details={"most": MOST_DEFINITIONS})
    return _badge_missing(command.badge_id, case) or [
        LeaderboardCreated.model_validate({**dict(command), "created_at": case.now}, extra="allow")
    ]


def _badge_missing(badge_id: str | None, case: Case) -> Refuse | None:
    if badge_id and not case.consulted[f"{badge_id}/{BADGE}"].name:
        return Refuse("badge_not_found", 422, {"badge_id": badge_id})
    return None


@cache
def _sample(event: str) -> dict[str, Any]:
    return sample(SOURCES[event])


def _wrong(event: str, *, condition: str | None = None, score: str | None = None) -> str | None:
    """Why a condition or a formula cannot be told of such an event, if so."""
    facts = facts_of(_sample(event), AT, xp=0, level=1)
    try:
        if condition is not None:
            holds(condition, facts)
        if score is not None:
            number(score, facts)
    except ConditionError as error:
        return str(error)
    return None
