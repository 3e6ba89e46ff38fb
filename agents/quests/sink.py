"""Rows of quests: what there is to do, what each user is on and how far, what they have earned, and who is where on each leaderboard."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from agents.quests.rules.changes import period_key
from agents.quests.rules.documents import (
    ENTRIES,
    QUEST,
    RUNS,
    STREAKS,
    UNTOUCHED,
    Run,
    Task,
)
from agents.quests.rules.gathering import party_key
from streams.decision import ROOT
from streams.sink import Fact, rows
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
    OfParty,
    OfSeat,
    PartyInvitationDeclined,
    PartyInvitationExpired,
    PartyInvitationSent,
    PartyMemberFinished,
    PartyMemberJoined,
    PartyMemberLeft,
    PartyMemberRefused,
    PartyRewardDue,
    QuestAbandoned,
    QuestArchived,
    QuestCompleted,
    QuestCreated,
    QuestExpired,
    QuestFailed,
    QuestPartyCreated,
    QuestPublished,
    QuestStarted,
    QuestTaskCompleted,
    QuestTaskProgressed,
    QuestTaskRejected,
    QuestTaskSubmitted,
    StreakBroken,
    StreakExtended,
    XpAwarded,
)


@rows("quest", key=("quest_id",))
class QuestRow(NamedTuple):
    quest_id: str
    author_id: str
    status: str
    revision: int
    terms: str


@rows("run", key=("user_id", "quest_id", "run"))
class RunRow(NamedTuple):
    user_id: str
    quest_id: str
    run: int
    revision: int
    name: str
    most: int
    started_at: datetime
    deadline: datetime | None
    xp: int
    points: int
    badge_id: str | None


@rows("ending", key=("user_id", "quest_id", "run"))
class EndingRow(NamedTuple):
    user_id: str
    quest_id: str
    run: int
    status: str
    at: datetime


@rows("task", key=("user_id", "quest_id", "run", "task_id"))
class TaskRow(NamedTuple):
    user_id: str
    quest_id: str
    run: int
    task_id: str
    position: int
    name: str
    optional: bool
    asked: int
    counted: int
    submitted_at: datetime | None
    done_at: datetime | None


@rows("submission", key=("user_id", "quest_id", "run", "task_id"))
class SubmissionRow(NamedTuple):
    user_id: str
    quest_id: str
    run: int
    task_id: str
    author_id: str
    status: str
    submitted_at: datetime | None
    text: str | None
    media_id: str | None
    verifier_id: str | None
    note: str | None


@rows("player", key=("user_id",))
class PlayerRow(NamedTuple):
    user_id: str
    xp: int
    level: int


@rows("earning")
class EarningRow(NamedTuple):
    user_id: str
    seq: int
    at: datetime
    amount: int
    source: str
    source_id: str


@rows("badge", key=("badge_id",))
class BadgeRow(NamedTuple):
    badge_id: str
    name: str
    description: str


@rows("badge_held", key=("user_id", "badge_id"))
class BadgeHeldRow(NamedTuple):
    user_id: str
    badge_id: str
    status: str
    at: datetime
    source: str | None


@rows("challenge", key=("challenge_id",))
class ChallengeRow(NamedTuple):
    challenge_id: str
    name: str
    event: str
    goal: int | None
    starts_at: datetime
    ends_at: datetime


@rows("entry", key=("challenge_id", "user_id"))
class EntryRow(NamedTuple):
    challenge_id: str
    user_id: str
    status: str
    score: int
    reached_at: datetime | None


@rows("streak", key=("user_id", "streak_id"))
class StreakRow(NamedTuple):
    user_id: str
    streak_id: str
    first: date | None
    last: date | None
    length: int
    best: int


@rows("leaderboard", key=("leaderboard_id",))
class LeaderboardRow(NamedTuple):
    leaderboard_id: str
    name: str
    every: str


@rows("period", key=("leaderboard_id", "period"))
class PeriodRow(NamedTuple):
    leaderboard_id: str
    period: str
    status: str
    participants: int
    ends_at: datetime | None
    closed_at: datetime | None


@rows("score", key=("leaderboard_id", "period", "user_id"))
class ScoreRow(NamedTuple):
    leaderboard_id: str
    period: str
    user_id: str
    score: int
    reached_at: datetime


@rows("party", key=("owner_id", "party_id"))
class PartyRow(NamedTuple):
    owner_id: str
    party_id: str
    quest_id: str
    name: str
    status: str
    least: int
    most: int
    needed: int | None


@rows("party_member", key=("owner_id", "party_id", "user_id"))
class PartyMemberRow(NamedTuple):
    owner_id: str
    party_id: str
    user_id: str
    status: str
    at: datetime
    expires_at: datetime | None


MEMBERS: Mapping[type[Any], str] = {
    PartyInvitationSent: "invited",
    PartyInvitationDeclined: "declined",
    PartyInvitationExpired: "expired",
    PartyMemberJoined: "joined",
    PartyMemberLeft: "left",
    PartyMemberFinished: "completed",
}
"""What somebody is to a party after an event of it."""


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """What an event is about as it is after it; a proof that was not taken and a level leave no rows."""
    event = fact.event
    match event:
        case QuestCreated() | QuestPublished() | QuestArchived():
            return [_quest(event.quest_id, state)]
        case QuestStarted():
            return _started(event, state[RUNS].active[event.quest_id])
        case QuestTaskProgressed() | QuestTaskSubmitted() | QuestTaskCompleted() | QuestTaskRejected():
            return _task_changed(event, state)
        case QuestCompleted() | QuestAbandoned() | QuestExpired() | QuestFailed():
            return [_ending(event, fact.at)]
        case XpAwarded():
            earned = EarningRow(fact.key, fact.seq, event.at, event.amount, event.source, event.source_id)
            return [earned, PlayerRow(fact.key, event.xp, state[ROOT].level)]
        case BadgeAwarded():
            return [BadgeHeldRow(fact.key, event.badge_id, "held", fact.at, event.source)]
        case BadgeRevoked():
            return [BadgeHeldRow(fact.key, event.badge_id, "revoked", fact.at, None)]
        case ChallengeJoined() | ChallengeScored() | ChallengeCompleted() | ChallengeLeft():
            return [_entry(event, state)]
        case StreakExtended() | StreakBroken():
            return [_streak(event, state)]
    return _shared(event, fact.at, state)


def _shared(event: Any, at: datetime, state: Mapping[str, Any]) -> Iterable[Any]:
    """Of what is not about one user alone."""
    match event:
        case OfParty() if not isinstance(event, OfSeat):
            return _gathered(event, at, state)
        case LeaderboardUpdated() | LeaderboardPeriodClosed():
            return _ranked(event, state)
        case BadgeCreated():
            return [BadgeRow(event.badge_id, event.name, event.description)]
        case ChallengeCreated():
            about = event.challenge_id, event.name, event.event
            return [ChallengeRow(*about, event.goal, event.starts_at, event.ends_at)]
        case LeaderboardCreated():
            return [LeaderboardRow(event.leaderboard_id, event.name, event.every)]
    return ()


def _quest(quest_id: str, state: Mapping[str, Any]) -> QuestRow:
    """The revision that users start, or the first draft."""
    quest = state[QUEST]
    terms, revision = (quest.live, quest.live_revision) if quest.live else (quest.draft, quest.revision)
    return QuestRow(quest_id, quest.author_id, quest.status, revision, msgspec.json.encode(terms).decode())


def _started(event: QuestStarted, run: Run) -> Iterable[Any]:
    yield RunRow(
        user_id=event.user_id,
        quest_id=event.quest_id,
        run=event.run,
        revision=event.revision,
        name=event.name,
        most=event.limit,
        started_at=event.started_at,
        deadline=event.deadline,
        xp=event.xp,
        points=event.points,
        badge_id=event.badge_id,
    )
    for task in run.tasks:
        yield _task(event, run, task)


def _task(event: Any, run: Run, task: Task) -> TaskRow:
    progress = run.progress.get(task.task_id, UNTOUCHED)
    return TaskRow(
        user_id=event.user_id,
        quest_id=event.quest_id,
        run=run.run,
        task_id=task.task_id,
        position=run.tasks.index(task) + 1,
        name=task.name,
        optional=task.optional,
        asked=task.count,
        counted=task.count if progress.done_at else run.counted(task),
        submitted_at=progress.submitted_at,
        done_at=progress.done_at,
    )


def _task_changed(event: Any, state: Mapping[str, Any]) -> Iterable[Any]:
    run = state[RUNS].active.get(event.quest_id)
    if isinstance(event, QuestTaskRejected) and event.verifier_id is None:
        return
    yield _task(event, run, run.task(event.task_id))
    if isinstance(event, QuestTaskCompleted) and run.current:
        yield _task(event, run, run.current)  # what happened early may count for it now
    about = event.user_id, event.quest_id, event.run, event.task_id, run.author_id
    match event:
        case QuestTaskSubmitted():
            yield SubmissionRow(*about, "waiting", event.submitted_at, event.text, event.media_id, None, None)
        case QuestTaskCompleted() if event.verifier_id:
            yield SubmissionRow(*about, "verified", event.done_at, None, None, event.verifier_id, None)
        case QuestTaskRejected():
            yield SubmissionRow(*about, "rejected", None, None, None, event.verifier_id, event.note)


def _ending(event: QuestCompleted | QuestAbandoned | QuestExpired | QuestFailed, at: datetime) -> EndingRow:
    at = event.completed_at if isinstance(event, QuestCompleted) else at
    return EndingRow(event.user_id, event.quest_id, event.run, event.wire_name.removeprefix("quest_"), at)


def _gathered(event: Any, at: datetime, state: Mapping[str, Any]) -> Iterable[Any]:
    """The party, or the one of it whom the event is about."""
    if status := MEMBERS.get(type(event)):
        yield PartyMemberRow(
            event.owner_id, event.party_id, event.user_id, status, at, getattr(event, "expires_at", None)
        )
    elif not isinstance(event, PartyMemberRefused | PartyRewardDue):
        party = state[party_key(event.party_id)]
        size, about = party.terms.group, (event.owner_id, event.party_id, party.quest_id, party.terms.name)
        yield PartyRow(*about, party.status, size.min, size.max, party.needed or None)
    if isinstance(event, QuestPartyCreated):
        yield PartyMemberRow(event.owner_id, event.party_id, event.owner_id, "joined", at, None)


def _entry(event: Any, state: Mapping[str, Any]) -> EntryRow:
    entry = state[ENTRIES].of[event.challenge_id]
    status = "left" if entry.left else "completed" if entry.completed else "joined"
    return EntryRow(event.challenge_id, event.user_id, status, entry.score, entry.reached_at)


def _streak(event: Any, state: Mapping[str, Any]) -> StreakRow:
    streak = state[STREAKS].of[event.streak_id]
    about = event.user_id, event.streak_id
    if not streak.spans:
        return StreakRow(*about, None, None, 0, streak.best)
    last = streak.spans[-1]
    return StreakRow(*about, last.first, last.last, last.length, streak.best)


def _ranked(event: LeaderboardUpdated | LeaderboardPeriodClosed, state: Mapping[str, Any]) -> Iterable[Any]:
    if isinstance(event, LeaderboardPeriodClosed):
        ends_at = state[period_key(event.period)].ends_at
        about = event.leaderboard_id, event.period, "closed", event.participants
        return [PeriodRow(*about, ends_at, event.closed_at)]
    period = event.of.period
    standings = state[period_key(period)]
    return [
        PeriodRow(event.leaderboard_id, period, "open", standings.participants, standings.ends_at, None),
        ScoreRow(event.leaderboard_id, period, event.user_id, event.score, event.reached_at),
    ]
