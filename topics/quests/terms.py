"""What quests, badges, challenges, streaks and leaderboards are made of."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streams.condition import Condition, Formula
from streams.contract import MAX_EXACT, Id, Moment, Name, Text, Topic

LATE = timedelta(days=1)
"""How much later than in time something may be told that happened in time."""

MAX_SCORE = MAX_EXACT
MAX_XP = 1_000_000  # that are awarded at once
MAX_TASKS = 20  # of one quest
MAX_DAYS = 3650
MAX_MEMBERS = 20  # of one party

QUESTS = Topic("quests", key="user_id")

EventName = Literal[
    "user_registered",
    "voucher_purchased",
    "voucher_redeemed",
    "participant_checked_in",
    "order_paid",
    "workout_recorded",
    "referral_reward_granted",
    "quest_completed",
]
"""What tasks, challenges and streaks may ask for: events of this and of other domains that are about a user."""

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


class Group(Defined):
    """Of how many members a party may be that takes on a quest, and how many of them have to complete it: all of them unless `needed` is given."""

    min: Annotated[int, Field(strict=True, ge=2, le=MAX_MEMBERS)]
    max: Annotated[int, Field(strict=True, ge=2, le=MAX_MEMBERS)]
    needed: Annotated[int, Field(strict=True, ge=1, le=MAX_MEMBERS)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max < self.min:
            raise ValueError("max is not below min")
        if self.needed is not None and self.needed > self.min:
            raise ValueError("no more than min can be needed")
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
    points: Annotated[int, Field(strict=True, ge=0, le=MAX_EXACT)] = 0
    badge_id: Id | None = None
    group: Group | None = None


class RunTerms(BaseModel):
    """By what a user is on a quest: those of the revision that was published, until `deadline` if there is one."""

    quest_id: Id
    revision: int
    author_id: Name
    name: Title
    tasks: tuple[Task, ...]
    limit: int
    deadline: Moment | None
    xp: Xp
    points: int
    badge_id: Id | None


class PartyName(Defined):
    """A party, as its owner named it."""

    owner_id: Name
    party_id: Id


class OfQuest(BaseModel):
    """What is about the quest that a user is on."""

    user_id: Name
    quest_id: Id


class BadgeTerms(BaseModel):
    """What a badge is for."""

    name: Title
    description: Text = ""


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


class OfChallenge(BaseModel):
    """What is about a user in a challenge."""

    user_id: Name
    challenge_id: Id


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


class LeaderboardTerms(BaseModel):
    """What a leaderboard ranks; `CreateLeaderboard` says what each term means."""

    name: Title
    every: Literal["day", "week", "month", "season"]
    sources: tuple[XpSource, ...] = ()
    top: Count = 10
    winners: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    badge_id: Id | None = None


class Period(Defined):
    """A period of a leaderboard as a score is counted for it; it ends at `ends_at`, or when it is closed."""

    leaderboard_id: Id
    period: Name
    ends_at: Moment | None = None
    top: Count
    winners: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    badge_id: Id | None = None


class Rank(Defined):
    """A place on a leaderboard."""

    rank: int
    user_id: Name
    score: Score
    reached_at: Moment
