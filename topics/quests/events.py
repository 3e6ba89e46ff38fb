"""What has happened."""

from datetime import date
from typing import Annotated

from pydantic import Field

from streams.contract import Event, Id, Moment, Name, Text
from streams.personal import Personal
from topics.quests.terms import (
    QUESTS,
    BadgeTerms,
    ChallengeTerms,
    LeaderboardTerms,
    OfChallenge,
    OfQuest,
    PartyName,
    Period,
    QuestTerms,
    Rank,
    RunTerms,
    Score,
    StreakTerms,
    Xp,
    XpSource,
)


class QuestCreated(QuestTerms, Event, topic=QUESTS, key="quest_id"):
    quest_id: Id
    author_id: Name
    revision: int


class QuestPublished(Event, topic=QUESTS, key="quest_id"):
    quest_id: Id
    author_id: Name
    revision: int


class QuestArchived(Event, topic=QUESTS, key="quest_id"):
    quest_id: Id
    author_id: Name


class OfRun(OfQuest):
    """What is about one time that a user is on a quest; `run` counts them from 1."""

    run: int


class QuestStarted(OfRun, RunTerms, Event, topic=QUESTS):
    """The user is on the quest, by the terms of this revision, until `deadline` if there is one; with `party`, together with others."""

    started_at: Moment
    party: PartyName | None = None


class QuestTaskProgressed(OfRun, Event, topic=QUESTS):
    """One of the events that a task asks for happened at `at`. It counts if the task before it turns out to have been done by then."""

    task_id: Id
    at: Moment


class QuestTaskSubmitted(OfRun, Event, topic=QUESTS):
    """A proof waits to be verified by the quest's author."""

    task_id: Id
    author_id: Name
    text: Personal[Text] | None = None
    media_id: Name | None = None
    submitted_at: Moment


class QuestTaskCompleted(OfRun, Event, topic=QUESTS):
    """The task was done at `done_at`; where a proof was verified, by whom."""

    task_id: Id
    done_at: Moment
    verifier_id: Name | None = None


class QuestTaskRejected(OfQuest, Event, topic=QUESTS):
    """A proof was not taken: it was `not_accepted` by the verifier, with a note, or `reason` says what was wrong with it."""

    task_id: Id
    reason: Name
    run: int | None = None
    verifier_id: Name | None = None
    note: Text | None = None


class QuestCompleted(OfRun, Event, topic=QUESTS):
    """All mandatory tasks are done; `points` are to be awarded once for this run. With a `party`, its members are rewarded when the party has completed it."""

    revision: int
    points: int
    xp: Xp
    badge_id: Id | None = None
    completed_at: Moment
    party: PartyName | None = None


class QuestAbandoned(OfRun, Event, topic=QUESTS):
    """The user gave up; also on the party, if there is one."""

    party: PartyName | None = None


class QuestExpired(OfRun, Event, topic=QUESTS):
    """The user did not complete the quest in time."""

    party: PartyName | None = None


class QuestFailed(OfRun, Event, topic=QUESTS):
    """The party can no longer complete the quest, so the user is on it no more."""

    party: PartyName


class XpAwarded(Event, topic=QUESTS):
    """Experience was earned at `at`; `xp` is all that the user has now, and `periods` are those in which it counts."""

    user_id: Name
    amount: Annotated[int, Field(ge=1)]
    xp: int
    source: XpSource
    source_id: Name
    at: Moment
    periods: tuple[Period, ...] = ()


class LevelReached(Event, topic=QUESTS):
    user_id: Name
    level: int
    xp: int


class BadgeCreated(BadgeTerms, Event, topic=QUESTS, key="badge_id"):
    badge_id: Id


class BadgeAwarded(Event, topic=QUESTS):
    """The user holds the badge; `source` says for what."""

    user_id: Name
    badge_id: Id
    source: Name | None = None


class BadgeRevoked(Event, topic=QUESTS):
    user_id: Name
    badge_id: Id
    note: Text


class ChallengeCreated(ChallengeTerms, Event, topic=QUESTS, key="challenge_id"):
    challenge_id: Id


class ChallengeJoined(OfChallenge, ChallengeTerms, Event, topic=QUESTS):
    """What happens in [`starts_at`, `ends_at`) counts for the user."""

    joined_at: Moment


class ChallengeScored(OfChallenge, Event, topic=QUESTS):
    """Something that happened at `at` brought `amount`; `score` is the sum, which was there at `reached_at`."""

    amount: Score
    score: Score
    at: Moment
    reached_at: Moment


class ChallengeLeft(OfChallenge, Event, topic=QUESTS):
    """The user takes part no more."""


class ChallengeCompleted(OfChallenge, Event, topic=QUESTS):
    """The user reached the goal."""

    score: Score
    completed_at: Moment


class StreakDefined(StreakTerms, Event, topic=QUESTS, key="program"):
    program: Name
    streak_id: Id
    revision: int


class StreakExtended(Event, topic=QUESTS):
    """`day` is one more day of a streak; `length` days in a row are there around it."""

    user_id: Name
    streak_id: Id
    day: date
    length: int


class StreakBroken(Event, topic=QUESTS):
    """On the day after `last` nothing happened: the streak that began on `first` has ended."""

    user_id: Name
    streak_id: Id
    first: date
    last: date
    length: int


class LeaderboardCreated(LeaderboardTerms, Event, topic=QUESTS, key="program"):
    program: Name
    leaderboard_id: Id
    created_at: Moment


class LeaderboardUpdated(Event, topic=QUESTS, key="leaderboard_id"):
    """The user's score in this period is `score`, which was there at `reached_at`."""

    leaderboard_id: Id
    of: Period
    user_id: Name
    amount: Score
    score: Score
    reached_at: Moment


class LeaderboardPeriodClosed(Event, topic=QUESTS, key="leaderboard_id"):
    """The period is over with these at the top, the best first; `winners` of them get the badge."""

    leaderboard_id: Id
    period: Name
    closed_at: Moment
    participants: int
    top: tuple[Rank, ...]
    winners: int = 0
    badge_id: Id | None = None
