"""What an event changes."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.quests.rules import gathering
from agents.quests.rules.documents import (
    BADGE,
    CHALLENGE,
    ENTRIES,
    LEADERBOARDS,
    PARTIES,
    PERIOD,
    QUEST,
    RECORD,
    RUNS,
    STREAK_RULES,
    STREAKS,
    TOTAL,
    UNTOUCHED,
    Badge,
    Board,
    Boards,
    Challenge,
    ChallengeTerms,
    Documents,
    Entries,
    Entry,
    Player,
    Progress,
    Quest,
    QuestTerms,
    Ranked,
    Record,
    Run,
    Runs,
    Standings,
    Streak,
    StreakRule,
    StreakRules,
    Streaks,
    Total,
)
from streams.decision import ROOT, State
from topics.quests import (
    BadgeAwarded,
    BadgeCreated,
    BadgeRevoked,
    ChallengeCompleted,
    ChallengeCreated,
    ChallengeJoined,
    ChallengeLeft,
    ChallengeScored,
    LeaderboardCreated,
    LeaderboardPeriodClosed,
    LeaderboardUpdated,
    LevelReached,
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
    StreakBroken,
    StreakDefined,
    StreakExtended,
    XpAwarded,
)

MOST_TIMES = 100  # that a task keeps; no task asks for more events
NOT_ACCEPTED = "not_accepted"


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    match event:
        case QuestCreated() | QuestPublished() | QuestArchived():
            return {QUEST: _quest(state[QUEST], event)}
        case QuestStarted():
            return {RUNS: _begun(state[RUNS], event), RECORD: _counted(state[RECORD], event)}
        case QuestTaskProgressed() | QuestTaskSubmitted() | QuestTaskCompleted() | QuestTaskRejected():
            return _progressed(state[RUNS], event)
        case QuestCompleted():
            return {RUNS: _without(state[RUNS], event.quest_id), RECORD: _counted(state[RECORD], event)}
        case QuestAbandoned() | QuestExpired() | QuestFailed():
            return {RUNS: _without(state[RUNS], event.quest_id), **_unseated(state, event)}
        case XpAwarded():
            return {ROOT: Player(event.xp)}
        case BadgeAwarded() | BadgeRevoked():
            return {RECORD: _badges(state[RECORD], event)}
        case ChallengeJoined() | ChallengeScored() | ChallengeCompleted() | ChallengeLeft():
            return {ENTRIES: _entries(state[ENTRIES], event)}
        case StreakExtended() | StreakBroken():
            return {STREAKS: _streaks(state[STREAKS], event)}
    return _defined(state, event)


def _defined(state: Documents, event: Any) -> Mapping[str, State]:
    match event:
        case LevelReached():
            return {}
        case BadgeCreated():
            return {BADGE: Badge(event.name, event.description)}
        case ChallengeCreated():
            return {CHALLENGE: Challenge(msgspec.convert(event, ChallengeTerms, from_attributes=True))}
        case StreakDefined():
            rule = msgspec.convert(event, StreakRule, from_attributes=True)
            return {STREAK_RULES: StreakRules({**state[STREAK_RULES].of, event.streak_id: rule})}
        case LeaderboardCreated():
            board = msgspec.convert(event, Board, from_attributes=True)
            return {LEADERBOARDS: Boards({**state[LEADERBOARDS].of, event.leaderboard_id: board})}
        case LeaderboardUpdated():
            period, total = period_key(event.of.period), total_key(event.of.period, event.user_id)
            before: Total = state[total]
            return {
                period: _ranked(state[period], event, new=before.score == 0),
                total: Total(event.score, event.reached_at),
            }
        case LeaderboardPeriodClosed():
            name = period_key(event.period)
            return {name: replace(state[name], status="closed")}
    return gathering.evolve(state, event)


def period_key(period: str) -> str:
    """Where the standings of a period are."""
    return f"{PERIOD}/{period}"


def total_key(period: str, user_id: str) -> str:
    """Where a user's score in a period is."""
    return f"{TOTAL}/{period}/{user_id}"


def _quest(quest: Quest, event: QuestCreated | QuestPublished | QuestArchived) -> Quest:
    match event:
        case QuestCreated():
            status = "draft" if quest.live is None else quest.status
            terms = msgspec.convert(event, QuestTerms, from_attributes=True)
            return replace(quest, status=status, author_id=event.author_id, revision=event.revision, draft=terms)
        case QuestPublished():
            return replace(quest, status="published", live=quest.draft, live_revision=event.revision)
        case QuestArchived():
            return replace(quest, status="archived")


def _begun(runs: Runs, event: QuestStarted) -> Runs:
    return Runs({**runs.active, event.quest_id: msgspec.convert(event, Run, from_attributes=True)})


def _without(runs: Runs, quest_id: str) -> Runs:
    return Runs({name: run for name, run in runs.active.items() if name != quest_id})


def _unseated(state: Documents, event: QuestAbandoned | QuestExpired | QuestFailed) -> Mapping[str, State]:
    """Who is off the quest has left the party."""
    return {PARTIES: gathering.without(state[PARTIES], event.quest_id)} if event.party else {}


def _counted(record: Record, event: QuestStarted | QuestCompleted) -> Record:
    quest = event.quest_id
    if isinstance(event, QuestStarted):
        return replace(record, begun={**record.begun, quest: event.run})
    return replace(record, completed={**record.completed, quest: record.completed.get(quest, 0) + 1})


def _progressed(runs: Runs, event: Any) -> Mapping[str, State]:
    if isinstance(event, QuestTaskRejected) and event.reason != NOT_ACCEPTED:
        return {}
    run = runs.active[event.quest_id]
    task = _task(run.progress.get(event.task_id, UNTOUCHED), event)
    run = replace(run, progress={**run.progress, event.task_id: task})
    return {RUNS: Runs({**runs.active, event.quest_id: run})}


def _task(progress: Progress, event: Any) -> Progress:
    match event:
        case QuestTaskProgressed():
            return replace(progress, times=tuple(sorted([*progress.times, event.at])[-MOST_TIMES:]))
        case QuestTaskSubmitted():
            return replace(progress, submitted_at=event.submitted_at)
        case QuestTaskCompleted():
            return replace(progress, done_at=event.done_at)
        case QuestTaskRejected():
            return replace(progress, submitted_at=None)
    raise NotImplementedError(event.wire_name)


def _badges(record: Record, event: BadgeAwarded | BadgeRevoked) -> Record:
    others = tuple(badge for badge in record.badges if badge != event.badge_id)
    return replace(record, badges=(*others, event.badge_id) if isinstance(event, BadgeAwarded) else others)


def _entries(entries: Entries, event: Any) -> Entries:
    """Challenges that were over when another is joined are forgotten: nobody can join them any more."""
    if isinstance(event, ChallengeJoined):
        going = {name: entry for name, entry in entries.of.items() if not entry.is_over(event.joined_at)}
        terms = msgspec.convert(event, ChallengeTerms, from_attributes=True)
        begins = max(event.starts_at, event.joined_at)
        return Entries({**going, event.challenge_id: Entry(terms, begins)})
    entry = entries.of[event.challenge_id]
    match event:
        case ChallengeScored():
            entry = replace(entry, score=event.score, reached_at=event.reached_at)
        case ChallengeCompleted():
            entry = replace(entry, completed=True)
        case ChallengeLeft():
            entry = replace(entry, left=True)
    return Entries({**entries.of, event.challenge_id: entry})


def _streaks(streaks: Streaks, event: StreakExtended | StreakBroken) -> Streaks:
    streak = streaks.of.get(event.streak_id, Streak())
    if isinstance(event, StreakBroken):
        spans = tuple(span for span in streak.spans if span.last != event.last)
    else:
        touching = streak.touching(event.day)
        others = [span for span in streak.spans if span not in touching]
        spans = tuple(sorted([*others, streak.with_day(event.day)], key=lambda span: span.first))
    best = max([streak.best, *(span.length for span in spans)])
    return Streaks({**streaks.of, event.streak_id: Streak(spans, best)})


def _ranked(standings: Standings, event: LeaderboardUpdated, *, new: bool) -> Standings:
    others = [one for one in standings.top if one.user_id != event.user_id]
    mine = Ranked(event.user_id, event.score, event.reached_at)
    best = sorted([*others, mine], key=lambda one: (-one.score, one.reached_at, one.user_id))
    period = event.of
    return Standings(
        status="open",
        ends_at=period.ends_at,
        winners=period.winners,
        badge_id=period.badge_id,
        participants=standings.participants + new,
        top=tuple(best[: period.top]),
    )
