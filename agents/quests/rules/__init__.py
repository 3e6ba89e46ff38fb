"""The rules of quests: what a command leads to, what an event changes, and when a document's time comes."""

from collections.abc import Iterable
from typing import Any

from agents.quests.rules import challenges, definitions, leaderboards, parties, runs, streaks
from agents.quests.rules.changes import evolve, period_key, total_key
from agents.quests.rules.documents import (
    BADGE,
    CHALLENGE,
    ENTRIES,
    LEADERBOARDS,
    PARTIES,
    PARTY,
    PERIOD,
    QUEST,
    RECORD,
    RUNS,
    STREAK_RULES,
    STREAKS,
    Badge,
    Documents,
    Party,
    Runs,
    Standings,
    Streaks,
)
from agents.quests.rules.story import BOARDS, Story
from streams.decision import Case, Decision, Refuse, Timer
from topics.quests import (
    LATE,
    PROGRAM,
    AbandonQuest,
    ArchiveQuest,
    AwardBadge,
    BadgeAwarded,
    BadgeCreated,
    BadgeRevoked,
    BreakStreaks,
    ChallengeCompleted,
    ChallengeCreated,
    ChallengeJoined,
    ChallengeLeft,
    ChallengeScored,
    CloseLeaderboardPeriod,
    CountScore,
    CreateBadge,
    CreateChallenge,
    CreateLeaderboard,
    CreateQuest,
    DefineStreak,
    ExpireQuest,
    JoinChallenge,
    LeaderboardCreated,
    LeaderboardPeriodClosed,
    LeaderboardUpdated,
    LeaveChallenge,
    LevelReached,
    ObserveEvent,
    OfParty,
    PublishQuest,
    QuestAbandoned,
    QuestArchived,
    QuestCompleted,
    QuestCreated,
    QuestExpired,
    QuestFailed,
    QuestPublished,
    QuestStarted,
    QuestTaskCompleted,
    QuestTaskProgressed,
    QuestTaskRejected,
    QuestTaskSubmitted,
    RejectTask,
    RevokeBadge,
    StartQuest,
    StreakBroken,
    StreakDefined,
    StreakExtended,
    SubmitTaskProof,
    VerifyTask,
    XpAwarded,
)

__all__ = ["consults", "decide", "evolve", "reads", "timer"]

STREAKS_OF_ALL = f"{PROGRAM}/{STREAK_RULES}"


_PLAYED: dict[Any, tuple[str, ...]] = {
    ObserveEvent: (RUNS, RECORD, ENTRIES, STREAKS),
    StartQuest: (RUNS, RECORD, PARTIES),
    **dict.fromkeys((SubmitTaskProof, VerifyTask, QuestStarted, QuestCompleted), (RUNS, RECORD)),
    **dict.fromkeys((AbandonQuest, ExpireQuest, QuestAbandoned, QuestExpired, QuestFailed), (RUNS, PARTIES)),
    RejectTask: (RUNS,),
    **dict.fromkeys((QuestTaskProgressed, QuestTaskSubmitted, QuestTaskCompleted, QuestTaskRejected), (RUNS,)),
    **dict.fromkeys((AwardBadge, RevokeBadge, BadgeAwarded, BadgeRevoked), (RECORD,)),
    **dict.fromkeys((JoinChallenge, LeaveChallenge, ChallengeJoined, ChallengeLeft), (ENTRIES,)),
    **dict.fromkeys((ChallengeScored, ChallengeCompleted), (ENTRIES,)),
    **dict.fromkeys((BreakStreaks, StreakExtended, StreakBroken), (STREAKS,)),
    **dict.fromkeys((XpAwarded, LevelReached), ()),
}
_DEFINED: dict[Any, str] = {
    **dict.fromkeys((CreateQuest, PublishQuest, ArchiveQuest, QuestCreated, QuestPublished, QuestArchived), QUEST),
    **dict.fromkeys((CreateBadge, BadgeCreated), BADGE),
    **dict.fromkeys((CreateChallenge, ChallengeCreated), CHALLENGE),
    **dict.fromkeys((DefineStreak, StreakDefined), STREAK_RULES),
    **dict.fromkeys((CreateLeaderboard, LeaderboardCreated), LEADERBOARDS),
}


def reads(message: Any) -> tuple[str, ...]:
    """The documents that a command or event is about: those of a player, a definition, or those of a period."""
    match message:
        case CountScore() | LeaderboardUpdated():
            return period_key(message.of.period), total_key(message.of.period, message.user_id)
        case CloseLeaderboardPeriod() | LeaderboardPeriodClosed():
            return (period_key(message.period),)
        case OfParty():
            return parties.reads(message)
    played = _PLAYED.get(type(message))
    return (_DEFINED[type(message)],) if played is None else played


def consults(command: Any) -> Iterable[str]:
    """The definitions that a command is judged by: quests and challenges when a player begins, leaderboards where experience is earned."""
    match command:
        case ObserveEvent():
            return STREAKS_OF_ALL, BOARDS
        case SubmitTaskProof() | VerifyTask() | CloseLeaderboardPeriod():
            return (BOARDS,)
        case OfParty():
            return parties.consults(command)
        case StartQuest():
            return (f"{command.quest_id}/{QUEST}",)
        case JoinChallenge():
            return (f"{command.challenge_id}/{CHALLENGE}",)
        case AwardBadge():
            return (f"{command.badge_id}/{BADGE}",)
        case CreateQuest():
            return *_badges(command), *(f"{name}/{QUEST}" for name in command.requires)
        case CreateChallenge() | CreateLeaderboard():
            return _badges(command)
        case DefineStreak():
            return [name for reward in command.rewards for name in _badges(reward)]
    return ()


def _badges(defined: Any) -> list[str]:
    return [f"{defined.badge_id}/{BADGE}"] if defined.badge_id else []


def timer(key: str, sub_key: str, document: Any) -> Timer | None:
    """A quest expires, a streak breaks and a period closes when what happened in time can no longer be told."""
    match document:
        case Runs():
            dues = [(run.due, quest_id, run.run) for quest_id, run in document.active.items() if run.due]
            if dues:
                due, quest_id, run = min(dues)
                return Timer(due, ExpireQuest(user_id=key, quest_id=quest_id, run=run))
        case Streaks():
            if spans := [span.due for streak in document.of.values() for span in streak.spans]:
                return Timer(min(spans), BreakStreaks(user_id=key))
        case Standings(status="open") if document.ends_at:
            period = sub_key.removeprefix(f"{PERIOD}/")
            return Timer(document.ends_at + LATE, CloseLeaderboardPeriod(leaderboard_id=key, period=period))
        case Party():
            return parties.timer(key, sub_key.removeprefix(f"{PARTY}/"), document)
    return None


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    match command:
        case ObserveEvent():
            return _observe(Story(state, command.user_id, case), command, case)
        case AwardBadge() | RevokeBadge():
            return _badge(state, command, case)
        case JoinChallenge():
            return challenges.join(state, case.consulted[f"{command.challenge_id}/{CHALLENGE}"], command, case)
        case LeaveChallenge():
            return challenges.leave(state, command, case)
        case BreakStreaks():
            return streaks.break_due(state, command, case)
        case CountScore():
            return leaderboards.count(state, command, case)
        case CloseLeaderboardPeriod():
            return leaderboards.close(state, case.consulted[BOARDS], command, case)
        case OfParty():
            return parties.decide(state, command, case)
    if type(command) in _DEFINED:
        return _define(state[_DEFINED[type(command)]], command, case)
    return _go(state, command, case)


def _go(state: Documents, command: Any, case: Case) -> Decision:
    """What is about a quest that a player is on."""
    match command:
        case StartQuest():
            return runs.start(state, case.consulted[f"{command.quest_id}/{QUEST}"], command, case)
        case SubmitTaskProof():
            return runs.submit(Story(state, command.user_id, case), command)
        case VerifyTask() | RejectTask():
            return runs.judge(Story(state, command.user_id, case), command)
        case AbandonQuest() | ExpireQuest():
            return runs.end(state, command, case)
    raise NotImplementedError(command.wire_name)


def _define(document: Any, command: Any, case: Case) -> Decision:
    match command:
        case CreateQuest():
            return definitions.create_quest(document, command, case)
        case PublishQuest():
            return definitions.publish_quest(document, command)
        case ArchiveQuest():
            return definitions.archive_quest(document, command)
        case CreateBadge():
            return definitions.create_badge(document, command)
        case CreateChallenge():
            return definitions.create_challenge(document, command, case)
        case DefineStreak():
            return definitions.define_streak(document, command, case)
        case CreateLeaderboard():
            return definitions.create_leaderboard(document, command, case)
    raise NotImplementedError(command.wire_name)


def _observe(story: Story, command: ObserveEvent, case: Case) -> Decision:
    """What happened counts wherever it is asked for; nothing happens later than now."""
    at = min(command.occurred_at, case.now)
    facts = definitions.facts_of(command.facts, at, xp=story.player.xp, level=story.player.level)
    runs.observe(story, command.event, at, facts)
    challenges.observe(story, command.event, at, facts)
    streaks.observe(story, case.consulted[STREAKS_OF_ALL], command.event, at, facts)
    return story.events


def _badge(state: Documents, command: AwardBadge | RevokeBadge, case: Case) -> Decision:
    held = command.badge_id in state[RECORD].badges
    if isinstance(command, RevokeBadge):
        about = {"user_id": command.user_id, "badge_id": command.badge_id, "note": command.note}
        return [BadgeRevoked(**about)] if held else Refuse("badge_not_held", 404)
    badge: Badge = case.consulted[f"{command.badge_id}/{BADGE}"]
    if not badge.name:
        return Refuse("badge_not_found", 404)
    if held:
        return Refuse("badge_held")
    return [BadgeAwarded(user_id=command.user_id, badge_id=command.badge_id, source=command.source)]
