"""Quests: what users set out to do, and what they earn by it: experience, levels, badges, streaks, places on leaderboards.

Several kinds of aggregate share its topics: players, keyed by the user; definitions, keyed by their own id (quests, badges, challenges) or by
the program (streaks and leaderboards, which concern everybody); and the periods of a leaderboard, keyed by the leaderboard.

What happened in time counts when it is told at most a day late; only then a quest expires, a streak breaks and a period closes.
"""

from datetime import date, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streams.condition import Condition, Formula
from streams.contract import Command, Event, Moment, Name, Text, Topic
from streams.envelope import Actor
from streams.personal import Personal

LATE = timedelta(days=1)
"""How much later than in time something may be told that happened in time."""

MAX_POINTS = 2**53 - 1  # the largest integer that every JSON reader keeps exact
MAX_XP = 1_000_000  # that are awarded at once
MAX_SCORE = 2**53 - 1
MAX_TASKS = 20  # of one quest
MAX_DAYS = 3650

QUESTS = Topic("quests", key="user_id")

EventName = Literal[
    "user_registered",
    "voucher_purchased",
    "voucher_redeemed",
    "participant_checked_in",
    "order_paid",
    "workout_recorded",
    "quest_completed",
]
"""What tasks, challenges and streaks may ask for: events of this and of other domains that are about a user."""

Id = Annotated[str, Field(strict=True, min_length=1, max_length=50, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
"""An id of a definition; it has no colon."""

Title = Annotated[Text, Field(min_length=1, max_length=100)]

Xp = Annotated[int, Field(strict=True, ge=0, le=MAX_XP)]
"""Experience; 0 is none."""

Count = Annotated[int, Field(strict=True, ge=1, le=100)]

Score = Annotated[int, Field(strict=True, ge=1, le=MAX_SCORE)]

XpSource = Literal["task", "quest", "challenge", "streak"]
"""What experience is awarded for."""

PROGRAM: Literal["main"] = "main"
"""The key of the definitions that concern everybody."""


class Defined(BaseModel):
    """Base of the parts of definitions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Position(Defined):
    """A point on the earth, in degrees."""

    lat: Annotated[float, Field(strict=True, ge=-90, le=90)]
    lon: Annotated[float, Field(strict=True, ge=-180, le=180)]


class Place(Position):
    """Where a proof has to be given: at most `radius_m` metres from the point."""

    radius_m: Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Task(Defined):
    """A step of a quest; `SubmitTaskProof` and `CreateQuest` say how it is done.

    Either `count` events of a kind of which `condition` holds, or a proof that the user submits: `automatic`, when being at the place
    is enough, or `verified` by somebody else. Both in [`opens`, `closes`).
    """

    task_id: Id
    name: Title
    optional: bool = False
    xp: Xp = 0
    event: EventName | None = None
    condition: Condition | None = None
    count: Count = 1
    proof: Literal["automatic", "verified"] | None = None
    place: Place | None = None
    opens: Moment | None = None
    closes: Moment | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.event is None) == (self.proof is None):
            raise ValueError("give either event or proof")
        if self.event is None and (self.condition is not None or self.count != 1):
            raise ValueError("condition and count are of a task with an event")
        if self.event is not None and self.place is not None:
            raise ValueError("a place is where a proof is given")
        if self.proof == "automatic" and self.place is None:
            raise ValueError("an automatic proof needs a place")
        if self.opens and self.closes and self.closes <= self.opens:
            raise ValueError("closes is later than opens")
        return self


class QuestTerms(BaseModel):
    """What a quest asks for and gives; `CreateQuest` says what each term means."""

    name: Title
    description: Text = ""
    tasks: Annotated[tuple[Task, ...], Field(max_length=MAX_TASKS)] = ()
    requires: Annotated[tuple[Id, ...], Field(max_length=10)] = ()
    min_level: Count = 1
    limit: Count = 1
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    days: Annotated[int, Field(strict=True, ge=1, le=MAX_DAYS)] | None = None
    xp: Xp = 0
    points: Annotated[int, Field(strict=True, ge=0, le=MAX_POINTS)] = 0
    badge_id: Id | None = None


class CreateQuest(
    QuestTerms,
    Command,
    topic=QUESTS,
    key="quest_id",
    roles=("Partner",),
    owner="author_id",
    examples=(
        {
            "quest_id": "old-town",
            "author_id": "p1",
            "name": "A day in the old town",
            "tasks": [
                {
                    "task_id": "coffee",
                    "name": "Have a coffee",
                    "event": "voucher_redeemed",
                    "condition": "event.value >= 300",
                },
                {
                    "task_id": "tower",
                    "name": "Climb the tower",
                    "proof": "automatic",
                    "place": {"lat": 56.9474, "lon": 24.1065, "radius_m": 150},
                    "xp": 20,
                },
                {"task_id": "photo", "name": "Show us the view", "proof": "verified", "optional": True, "xp": 10},
            ],
            "days": 7,
            "xp": 100,
            "points": 50,
        },
        {
            "quest_id": "regular",
            "author_id": "p1",
            "name": "A regular",
            "tasks": [{"task_id": "meet", "name": "Come three times", "event": "participant_checked_in", "count": 3}],
            "limit": 10,
            "xp": 30,
        },
    ),
):
    """Draw up a quest, or its next version; nobody can start it before it is published. Those who have started go on by the version they started with.

    The mandatory tasks are done in the order given, each after the one before it, the `optional` ones at any time; all of them between the start and
    the deadline: `days` after the start and not after `ends_at`. It may be started in [`starts_at`, `ends_at`) by who has completed the quests that it
    `requires` and has reached `min_level`, again and again until it was completed `limit` times. Each completion gives `xp`, `points` and
    the badge. A condition that cannot be told of such an event is `bad_condition`.
    """

    quest_id: Id
    author_id: Name

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len({task.task_id for task in self.tasks}) < len(self.tasks):
            raise ValueError("each task has an id of its own")
        if self.quest_id in self.requires:
            raise ValueError("a quest cannot require itself")
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValueError("ends_at is later than starts_at")
        return self


class PublishQuest(
    Command,
    topic=QUESTS,
    key="quest_id",
    roles=("Partner",),
    owner="author_id",
    examples=({"quest_id": "old-town", "author_id": "p1"},),
    after=("create_quest",),
):
    """From now on users start this version. It needs a mandatory task, else it is `no_tasks`, and its badge and the quests that it requires must be there."""

    quest_id: Id
    author_id: Name


class ArchiveQuest(
    Command,
    topic=QUESTS,
    key="quest_id",
    roles=("Partner",),
    owner="author_id",
    examples=({"quest_id": "regular", "author_id": "p1"},),
    after=("create_quest",),
):
    """For ever nobody starts it any more; those who have started go on."""

    quest_id: Id
    author_id: Name


class OfQuest(BaseModel):
    """What is about the quest that a user is on."""

    user_id: Name
    quest_id: Id


class StartQuest(
    OfQuest,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=tuple({"user_id": user, "quest_id": "old-town"} for user in ("u1", "u2", "u3")),
    after=("publish_quest",),
):
    """Set out. What happened before does not count."""


class SubmitTaskProof(
    OfQuest,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=(
        {
            "user_id": "u1",
            "quest_id": "old-town",
            "task_id": "photo",
            "text": "From the north side",
            "media_id": "m1",
        },
        {"user_id": "u2", "quest_id": "old-town", "task_id": "photo", "text": "From the south side"},
    ),
    after=("start_quest",),
):
    """Show that a task is done. Where the user is counts and is in no event.

    Refused with the reason also told by `quest_task_rejected`: `quest_not_started`, `unknown_task`, `no_proof_wanted`, `task_done`, `already_submitted`,
    `out_of_order`, `too_early`, `too_late`, `position_missing`, `too_far`.
    """

    task_id: Id
    text: Personal[Text] | None = None
    media_id: Name | None = None
    position: Position | None = None


class OfSubmission(BaseModel):
    """What becomes of a proof is said by the quest's author, and never by the user whose it is."""

    user_id: Name
    quest_id: Id
    task_id: Id
    verifier_id: Name

    def may_be_issued_by(self, actor: Actor) -> bool:
        """As declared, and not by the user."""
        return actor.id != self.user_id and super().may_be_issued_by(actor)  # type: ignore[misc]  # the command's, which comes next


class VerifyTask(
    OfSubmission,
    Command,
    topic=QUESTS,
    roles=("Partner",),
    owner="verifier_id",
    examples=({"user_id": "u1", "quest_id": "old-town", "task_id": "photo", "verifier_id": "p1"},),
    after=("submit_task_proof",),
):
    """The proof is good: the task was done when it was submitted."""


class RejectTask(
    OfSubmission,
    Command,
    topic=QUESTS,
    roles=("Partner",),
    owner="verifier_id",
    examples=(
        {
            "user_id": "u2",
            "quest_id": "old-town",
            "task_id": "photo",
            "verifier_id": "p1",
            "note": "That is another tower",
        },
    ),
    after=("submit_task_proof",),
):
    """The proof is not good; the user may submit another in time."""

    note: Annotated[Text, Field(min_length=1)]


class AbandonQuest(
    OfQuest,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u3", "quest_id": "old-town"},),
    after=("start_quest",),
):
    """Give up; what was done stays with its experience, and counts nothing when the quest is started again."""


class ExpireQuest(OfQuest, Command, topic=QUESTS, services=("quests",)):
    """The time of a quest that a user is on is over."""

    run: int


class BadgeTerms(BaseModel):
    """What a badge is for."""

    name: Title
    description: Text = ""


class CreateBadge(
    BadgeTerms,
    Command,
    topic=QUESTS,
    key="badge_id",
    roles=("Admin",),
    examples=({"badge_id": "explorer", "name": "Explorer", "description": "Knows the old town"},),
):
    """Draw up a badge; `badge_exists` where there is one."""

    badge_id: Id


class AwardBadge(
    Command,
    topic=QUESTS,
    roles=("Admin",),
    services=("quests",),
    examples=({"user_id": "u1", "badge_id": "explorer"},),
    after=("create_badge",),
):
    """Give a badge, which a user holds once: `badge_held`."""

    user_id: Name
    badge_id: Id
    source: Name | None = None


class RevokeBadge(
    Command,
    topic=QUESTS,
    roles=("Admin",),
    examples=({"user_id": "u1", "badge_id": "explorer", "note": "Awarded by mistake"},),
    after=("award_badge",),
):
    """Take a badge away; it can be awarded again."""

    user_id: Name
    badge_id: Id
    note: Annotated[Text, Field(min_length=1)]


class ChallengeTerms(BaseModel):
    """What a challenge asks for and gives; `CreateChallenge` says what each term means."""

    name: Title
    event: EventName
    condition: Condition | None = None
    score: Formula = "1"
    goal: Score | None = None
    starts_at: Moment
    ends_at: Moment
    xp: Xp = 0
    badge_id: Id | None = None


class CreateChallenge(
    ChallengeTerms,
    Command,
    topic=QUESTS,
    key="challenge_id",
    roles=("Admin",),
    examples=(
        {
            "challenge_id": "summer-run",
            "name": "100 km in the summer",
            "event": "workout_recorded",
            "condition": "event.kind == 'run'",
            "score": "event.distance_m == null ? 0 : event.distance_m",
            "goal": 100_000,
            "starts_at": "2026-06-01T00:00:00Z",
            "ends_at": "2199-09-01T00:00:00Z",
            "xp": 500,
        },
    ),
):
    """Draw up a challenge: who joins it is measured with the others by the sum of `score` over the events that happen in [`starts_at`, `ends_at`).

    It is completed, once, by who reaches the `goal`, and gives `xp` and the badge then. An event whose score is not above 0 counts nothing.
    """

    challenge_id: Id

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise ValueError("ends_at is later than starts_at")
        return self


class OfChallenge(BaseModel):
    """What is about a user in a challenge."""

    user_id: Name
    challenge_id: Id


class JoinChallenge(
    OfChallenge,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "challenge_id": "summer-run"},),
    after=("create_challenge",),
):
    """Take part from now on; `challenge_over` when it has ended."""


class LeaveChallenge(
    OfChallenge,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "challenge_id": "summer-run"},),
    after=("join_challenge",),
):
    """Take part no more, for good; the user is in the standings no longer."""


class StreakReward(Defined):
    """What so many days in a row give, each time."""

    days: Annotated[int, Field(strict=True, ge=2, le=MAX_DAYS)]
    xp: Xp = 0
    badge_id: Id | None = None


class StreakTerms(BaseModel):
    """What has to happen day by day (UTC), and what that gives."""

    event: EventName
    condition: Condition | None = None
    rewards: Annotated[tuple[StreakReward, ...], Field(max_length=20)] = ()
    active: bool = True


class DefineStreak(
    StreakTerms,
    Command,
    topic=QUESTS,
    key="program",
    roles=("Admin",),
    examples=(
        {
            "streak_id": "training",
            "event": "workout_recorded",
            "condition": "event.minutes >= 20",
            "rewards": [{"days": 7, "xp": 50}, {"days": 30, "xp": 300}],
        },
    ),
):
    """Draw up a streak, or its next version, which counts from now on. One that is not `active` counts nothing."""

    program: Literal["main"] = PROGRAM
    streak_id: Id


class BreakStreaks(Command, topic=QUESTS, services=("quests",)):
    """The day after the last day of a streak has passed. Nothing may be due."""

    user_id: Name


class LeaderboardTerms(BaseModel):
    """What a leaderboard ranks; `CreateLeaderboard` says what each term means."""

    name: Title
    every: Literal["day", "week", "month", "season"]
    sources: tuple[XpSource, ...] = ()
    top: Count = 10
    winners: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    badge_id: Id | None = None


class CreateLeaderboard(
    LeaderboardTerms,
    Command,
    topic=QUESTS,
    key="program",
    roles=("Admin",),
    examples=(
        {"leaderboard_id": "monthly", "name": "Most experience of the month", "every": "month"},
        {
            "leaderboard_id": "first-season",
            "name": "Quests of the first season",
            "every": "season",
            "sources": ["quest"],
        },
    ),
):
    """Rank users by the experience that they earn from now on, by score and then by who was there first; `sources` are all unless given.

    Each calendar `day`, `week` or `month` (UTC) is a period, such as `2026-01-31`, `2026-W05` or `2026-01`, and closes by itself; a `season` is one,
    and is closed by an Admin. Then the `top` are told, and of them the first `winners` get the badge.
    """

    program: Literal["main"] = PROGRAM
    leaderboard_id: Id

    @model_validator(mode="after")
    def _prized(self) -> Self:
        if (self.badge_id is None) != (self.winners == 0):
            raise ValueError("winners and badge_id come together")
        if self.winners > self.top:
            raise ValueError("winners are among the top")
        return self


class Period(Defined):
    """A period of a leaderboard as a score is counted for it; it ends at `ends_at`, or when it is closed."""

    leaderboard_id: Id
    period: Name
    ends_at: Moment | None = None
    top: Count
    winners: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    badge_id: Id | None = None


class CloseLeaderboardPeriod(
    Command,
    topic=QUESTS,
    key="leaderboard_id",
    roles=("Admin",),
    services=("quests",),
    examples=({"leaderboard_id": "first-season", "period": "season"},),
    after=("create_leaderboard",),
):
    """From now on nothing counts for this period any more. One that has not ended is `not_over`; a season may be closed at any time."""

    leaderboard_id: Id
    period: Name


class CountScore(Command, topic=QUESTS, key="leaderboard_id", services=("quests",)):
    """Experience counts for a period of a leaderboard."""

    leaderboard_id: Id
    of: Period
    user_id: Name
    amount: Score
    at: Moment


class ObserveEvent(Command, topic=QUESTS, services=("quests",)):
    """Something happened to a user; `facts` is what the event says of it without what is personal."""

    user_id: Name
    event: EventName
    event_id: Name
    occurred_at: Moment
    facts: dict[str, Any]


class QuestCreated(QuestTerms, Event, topic=QUESTS, key="quest_id"):
    quest_id: Id
    author_id: Name
    version: int


class QuestPublished(Event, topic=QUESTS, key="quest_id"):
    quest_id: Id
    author_id: Name
    version: int


class QuestArchived(Event, topic=QUESTS, key="quest_id"):
    quest_id: Id
    author_id: Name


class OfRun(OfQuest):
    """What is about one time that a user is on a quest; `run` counts them from 1."""

    run: int


class QuestStarted(OfRun, Event, topic=QUESTS):
    """The user is on the quest, by the terms of this version, until `deadline` if there is one."""

    version: int
    author_id: Name
    name: Title
    tasks: tuple[Task, ...]
    limit: int
    started_at: Moment
    deadline: Moment | None
    xp: Xp
    points: int
    badge_id: Id | None


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
    """All mandatory tasks are done; `points` are to be awarded once for this run."""

    version: int
    points: int
    xp: Xp
    badge_id: Id | None = None
    completed_at: Moment


class QuestAbandoned(OfRun, Event, topic=QUESTS):
    """The user gave up."""


class QuestExpired(OfRun, Event, topic=QUESTS):
    """The user did not complete the quest in time."""


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
    version: int


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


class Rank(Defined):
    """A place on a leaderboard."""

    rank: int
    user_id: Name
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
