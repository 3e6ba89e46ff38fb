"""What is known of quests: definitions, what a player is on and has, and the periods of leaderboards."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from math import isqrt
from typing import Any, Literal

import msgspec

from streams.decision import State
from topics.quests import LATE

VERIFICATION = timedelta(days=7)  # how long a proof that was given in time may wait for its verifier
DAY = timedelta(days=1)

# sub-keys: of a player, of definitions under their own keys or the program's, of a leaderboard
RUNS, RECORD, ENTRIES, STREAKS = "runs", "record", "entries", "streaks"
QUEST, BADGE, CHALLENGE, STREAK_RULES, LEADERBOARDS = "quest", "badge", "challenge", "streak_rules", "leaderboards"
PERIOD, TOTAL = "period", "total"
PARTIES, PARTY = "parties", "party"  # what a player is in; of its owner, a party


class Place(msgspec.Struct, frozen=True):
    """A circle on the earth."""

    lat: float
    lon: float
    radius_m: int


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of a quest, as its contract has it."""

    task_id: str
    name: str
    optional: bool = False
    xp: int = 0
    event: str | None = None
    condition: str | None = None
    count: int = 1
    proof: Literal["automatic", "verified"] | None = None
    place: Place | None = None
    opens: datetime | None = None
    closes: datetime | None = None

    def is_open(self, at: datetime) -> bool:
        """Whether it may be done at this time."""
        return (self.opens is None or self.opens <= at) and (self.closes is None or at < self.closes)


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a party has to be like, as its contract has it."""

    min: int
    max: int
    needed: int | None = None


class PartyName(msgspec.Struct, frozen=True):
    """A party, as its owner named it."""

    owner_id: str
    party_id: str


class QuestTerms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a revision of a quest asks for and gives, as its contract has it."""

    name: str
    description: str = ""
    tasks: tuple[Task, ...] = ()
    requires: tuple[str, ...] = ()
    min_level: int = 1
    limit: int = 1
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    days: int | None = None
    xp: int = 0
    points: int = 0
    badge_id: str | None = None
    group: Group | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether nobody starts it any more."""
        return self.ends_at is not None and now >= self.ends_at

    def deadline(self, start: datetime) -> datetime | None:
        """Until when who starts now has time."""
        ends = [start + timedelta(days=self.days)] if self.days else []
        return min([*ends, *([self.ends_at] if self.ends_at else [])], default=None)


class Quest(State, frozen=True, omit_defaults=True):
    """A quest: its last revision, and the one that users start."""

    status: Literal["unknown", "draft", "published", "archived"] = "unknown"
    author_id: str = ""
    revision: int = 0
    draft: QuestTerms | None = None
    live_revision: int = 0
    live: QuestTerms | None = None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a task is: when what it asks for happened, as far as it may count, earliest first; when a proof was given; when it was done."""

    times: tuple[datetime, ...] = ()
    submitted_at: datetime | None = None
    done_at: datetime | None = None


UNTOUCHED = Progress()


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """One time that a user is on a quest, by the terms with which it began."""

    run: int
    revision: int
    author_id: str
    name: str
    tasks: tuple[Task, ...]
    started_at: datetime
    deadline: datetime | None = None
    xp: int = 0
    points: int = 0
    badge_id: str | None = None
    party: PartyName | None = None
    progress: dict[str, Progress] = msgspec.field(default_factory=dict)

    def of(self, task: Task) -> Progress:
        """How far a task is."""
        return self.progress.get(task.task_id, UNTOUCHED)

    def task(self, task_id: str) -> Task | None:
        """The task of this id."""
        return next((task for task in self.tasks if task.task_id == task_id), None)

    def counted(self, task: Task) -> int:
        """How much of what the task asks for has happened, as far as it counts by now: a mandatory task's turn comes after those before it."""
        if not task.optional and task is not self.current:
            return 0
        after = None if task.optional else self.reached
        return min(task.count, sum(after is None or at > after for at in self.of(task).times))

    @property
    def current(self) -> Task | None:
        """The mandatory task that comes next; None when all are done."""
        return next((task for task in self.tasks if not task.optional and self.of(task).done_at is None), None)

    @property
    def reached(self) -> datetime | None:
        """When the last of the mandatory tasks that are done was."""
        return max((at for task in self.tasks if not task.optional and (at := self.of(task).done_at)), default=None)

    @property
    def due(self) -> datetime | None:
        """When it expires unless it is completed: a proof that was given in time waits for its verifier."""
        if self.deadline is None:
            return None
        waits = any(progress.submitted_at and not progress.done_at for progress in self.progress.values())
        return self.deadline + (VERIFICATION if waits else LATE)

    def is_over(self, now: datetime) -> bool:
        """Whether nothing counts any more."""
        return self.due is not None and now >= self.due

    def is_in_time(self, task: Task, at: datetime) -> bool:
        """Whether the task may be done at this time."""
        return self.started_at <= at and (self.deadline is None or at < self.deadline) and task.is_open(at)


class Runs(State, frozen=True, omit_defaults=True):
    """What a player is on, by quest."""

    active: dict[str, Run] = msgspec.field(default_factory=dict)


class Seat(msgspec.Struct, frozen=True, omit_defaults=True):
    """A player's place in a party; `command_id` is that of the answer that the party has yet to take."""

    party: PartyName
    command_id: str = ""


class Parties(State, frozen=True, omit_defaults=True):
    """The parties that a player is in, by quest."""

    seats: dict[str, Seat] = msgspec.field(default_factory=dict)

    def quest_of(self, party: PartyName) -> str | None:
        """The quest for which the player is in this party; None for who is not."""
        return next((name for name, seat in self.seats.items() if seat.party == party), None)


class Party(State, frozen=True, omit_defaults=True):
    """A party for a quest: who is invited, until when, and its members, each of whom is `on`, has `completed` the quest or has `left` it.

    `reached` is when the last of those was done who have completed it.
    """

    status: Literal["unknown", "gathering", "started", "completed", "failed", "disbanded"] = "unknown"
    quest_id: str = ""
    revision: int = 0
    author_id: str = ""
    terms: QuestTerms | None = None
    invited: dict[str, datetime] = msgspec.field(default_factory=dict)
    members: dict[str, Literal["on", "completed", "left"]] = msgspec.field(default_factory=dict)
    needed: int = 0
    reached: datetime | None = None

    def those(self, *how: str) -> tuple[str, ...]:
        """The members of whom this is so."""
        return tuple(user for user, now in self.members.items() if now in how)


class Player(State, frozen=True, omit_defaults=True):
    """What a player has earned."""

    xp: int = 0

    @property
    def level(self) -> int:
        """The level of this experience."""
        return level_of(self.xp)


def level_of(xp: int) -> int:
    """The level that so much experience is: the first begins with 0, the next with 100, 300, 600 and so on, level n with 50 n (n - 1)."""
    return (50 + isqrt(2500 + 200 * xp)) // 100


class Record(State, frozen=True, omit_defaults=True):
    """How often a player has begun and completed each quest, and the badges that they hold."""

    begun: dict[str, int] = msgspec.field(default_factory=dict)
    completed: dict[str, int] = msgspec.field(default_factory=dict)
    badges: tuple[str, ...] = ()


class Badge(State, frozen=True, omit_defaults=True):
    """A badge that can be held."""

    name: str = ""
    description: str = ""


class ChallengeTerms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a challenge asks for and gives, as its contract has it."""

    name: str
    event: str
    starts_at: datetime
    ends_at: datetime
    score: str
    condition: str | None = None
    goal: int | None = None
    xp: int = 0
    badge_id: str | None = None


class Challenge(State, frozen=True, omit_defaults=True):
    """A challenge that can be joined."""

    terms: ChallengeTerms | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A player in a challenge; what happens in [`begins`, the end of the challenge) counts."""

    terms: ChallengeTerms
    begins: datetime
    score: int = 0
    reached_at: datetime | None = None
    completed: bool = False
    left: bool = False

    def is_over(self, now: datetime) -> bool:
        """Whether nothing counts any more."""
        return now >= self.terms.ends_at + LATE


class Entries(State, frozen=True, omit_defaults=True):
    """A player's challenges that are not over."""

    of: dict[str, Entry] = msgspec.field(default_factory=dict)


class StreakReward(msgspec.Struct, frozen=True, omit_defaults=True):
    """What so many days in a row give."""

    days: int
    xp: int = 0
    badge_id: str | None = None


class StreakRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has to happen day by day, as its contract has it."""

    event: str
    condition: str | None = None
    rewards: tuple[StreakReward, ...] = ()
    active: bool = True
    revision: int = 1


class StreakRules(State, frozen=True, omit_defaults=True):
    """All streaks, by id."""

    of: dict[str, StreakRule] = msgspec.field(default_factory=dict)


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Days in a row."""

    first: date
    last: date

    @property
    def length(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    @property
    def due(self) -> datetime:
        """When it is broken unless it is extended: the day after the last one is over, and what happened then was told."""
        return settled_at(self.last + DAY)


class Streak(msgspec.Struct, frozen=True, omit_defaults=True):
    """The days of a player's streak that is not broken, which may be in two spans while the day between them can still be told."""

    spans: tuple[Span, ...] = ()
    best: int = 0

    def has(self, day: date) -> bool:
        """Whether the day counts already."""
        return any(span.first <= day <= span.last for span in self.spans)

    def touching(self, day: date) -> tuple[Span, ...]:
        """The spans that end the day before or begin the day after."""
        return tuple(span for span in self.spans if span.first - DAY <= day <= span.last + DAY)

    def with_day(self, day: date) -> Span:
        """The span around a day that is new."""
        touching = self.touching(day)
        return Span(min([day, *(span.first for span in touching)]), max([day, *(span.last for span in touching)]))


class Streaks(State, frozen=True, omit_defaults=True):
    """A player's streaks, by id."""

    of: dict[str, Streak] = msgspec.field(default_factory=dict)


def settled_at(day: date) -> datetime:
    """From when on nothing that happened on this day counts any more."""
    midnight = datetime.combine(day, datetime.min.time(), UTC)
    return midnight + DAY + LATE


class Board(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a leaderboard ranks, as its contract has it."""

    every: Literal["day", "week", "month", "season"]
    created_at: datetime
    sources: tuple[str, ...] = ()
    top: int = 10
    winners: int = 0
    badge_id: str | None = None


class Boards(State, frozen=True, omit_defaults=True):
    """All leaderboards, by id."""

    of: dict[str, Board] = msgspec.field(default_factory=dict)


class Ranked(msgspec.Struct, frozen=True, array_like=True):
    """A place among the top."""

    user_id: str
    score: int
    reached_at: datetime


class Standings(State, frozen=True, omit_defaults=True):
    """A period of a leaderboard: how many users have a score, and the best of them in order. The others cannot pass one of these without a new score."""

    status: Literal["unknown", "open", "closed"] = "unknown"
    ends_at: datetime | None = None
    winners: int = 0
    badge_id: str | None = None
    participants: int = 0
    top: tuple[Ranked, ...] = ()


class Total(State, frozen=True, omit_defaults=True):
    """A user's score in a period of a leaderboard, and since when it is that."""

    score: int = 0
    reached_at: datetime | None = None


Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""
