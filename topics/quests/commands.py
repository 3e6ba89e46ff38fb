"""What players, partners, admins and the platform may ask for."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from streams.contract import Command, Id, Moment, Name, Text
from streams.envelope import Actor
from streams.personal import Personal
from topics.quests.terms import (
    PROGRAM,
    QUESTS,
    BadgeTerms,
    ChallengeTerms,
    EventName,
    LeaderboardTerms,
    OfChallenge,
    OfQuest,
    Period,
    Position,
    QuestTerms,
    Score,
    StreakTerms,
)


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
        {
            "quest_id": "relay",
            "author_id": "p1",
            "name": "A relay",
            "tasks": [{"task_id": "run", "name": "Run your part", "event": "workout_recorded"}],
            "group": {"min": 2, "max": 5},
            "days": 7,
            "xp": 80,
            "points": 20,
        },
    ),
):
    """Draw up a quest, or its next revision; nobody can start it before it is published. Those who have started go on by the revision they started with.

    The mandatory tasks are done in the order given, each after the one before it, the `optional` ones at any time; all of them between the start and
    the deadline: `days` after the start and not after `ends_at`. It may be started in [`starts_at`, `ends_at`) by who has completed the quests that it
    `requires` and has reached `min_level`, again and again until it was completed `limit` times. Each completion gives `xp`, `points` and
    the badge. A condition that cannot be told of such an event is `bad_condition`.

    A quest with a `group` is taken on by parties of `min` to `max` members, each of whom does the tasks; the reward is given, to each who has completed it,
    when all of them have, or as many as are `needed`.
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
    examples=({"quest_id": "old-town", "author_id": "p1"}, {"quest_id": "relay", "author_id": "p1"}),
    after=("create_quest",),
):
    """From now on users start this revision. It needs a mandatory task, else it is `no_tasks`, and its badge and the quests that it requires must be there."""

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
    """For ever nobody starts it any more; those who have started go on, and a party that has gathered may set out."""

    quest_id: Id
    author_id: Name


class StartQuest(
    OfQuest,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=tuple({"user_id": user, "quest_id": "old-town"} for user in ("u1", "u2", "u3")),
    after=("publish_quest",),
):
    """Set out. What happened before does not count. A quest for groups is `group_quest`: its parties set out together."""


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
    """Draw up a streak, or its next revision, which counts from now on. One that is not `active` counts nothing."""

    program: Literal["main"] = PROGRAM
    streak_id: Id


class BreakStreaks(Command, topic=QUESTS, services=("quests",)):
    """The day after the last day of a streak has passed. Nothing may be due."""

    user_id: Name


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
