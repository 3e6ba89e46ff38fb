"""A small world of quests, a challenge, a streak and leaderboards, and random lives in it, told late, twice and in any order."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from agents.quests.agent import EARNINGS, QUESTS_DECIDER
from streams.contract import Command
from tests.stepping import START, Outcome, Stepping
from topics.quests import (
    AbandonQuest,
    AwardBadge,
    CloseLeaderboardPeriod,
    CreateBadge,
    CreateChallenge,
    CreateLeaderboard,
    CreateQuest,
    DefineStreak,
    JoinChallenge,
    LeaveChallenge,
    ObserveEvent,
    PublishQuest,
    RejectTask,
    RevokeBadge,
    StartQuest,
    SubmitTaskProof,
    VerifyTask,
)

AGENTS = (QUESTS_DECIDER, EARNINGS)
USERS = ("ann", "bob", "p1")  # p1 is also the author of all quests
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TOWER: dict[str, Any] = {"lat": 56.9474, "lon": 24.1065}
FAR: dict[str, Any] = {"lat": 56.9574, "lon": 24.1065}  # 1112 m to the north

QUESTS: dict[str, dict[str, Any]] = {
    "walk": {
        "tasks": [
            {"task_id": "pay", "name": "Pay twice", "event": "order_paid", "count": 2, "xp": 5},
            {"task_id": "tower", "name": "Climb it", "proof": "automatic", "place": {**TOWER, "radius_m": 200}},
            {
                "task_id": "run",
                "name": "Run",
                "event": "workout_recorded",
                "condition": "event.minutes > 10",
                "optional": True,
            },
        ],
        "limit": 2,
        "days": 2,
        "xp": 30,
        "badge_id": "explorer",
    },
    "meet": {
        "tasks": [
            {"task_id": "come", "name": "Come", "event": "participant_checked_in"},
            {"task_id": "pay", "name": "Pay", "event": "order_paid"},
        ],
        "limit": 3,
        "xp": 40,
        "points": 7,
    },
    "show": {
        "tasks": [
            {"task_id": "photo", "name": "Show it", "proof": "verified", "closes": "2026-01-09T00:00:00Z"},
            {"task_id": "pay", "name": "Pay", "event": "order_paid", "xp": 1},
        ],
        "days": 1,
        "xp": 20,
    },
}
CHALLENGE: dict[str, Any] = {
    "name": "Train",
    "event": "workout_recorded",
    "score": "event.minutes",
    "goal": 60,
    "starts_at": START + 6 * HOUR,
    "ends_at": START + 5 * DAY,
    "xp": 15,
    "badge_id": "trained",
}
STREAK: dict[str, Any] = {
    "event": "workout_recorded",
    "condition": "event.minutes >= 20",
    "rewards": [{"days": 2, "xp": 3}, {"days": 3, "xp": 8}],
}
BOARDS: dict[str, dict[str, Any]] = {
    "daily": {"every": "day"},
    "weekly": {"every": "week", "sources": ["quest", "streak"], "top": 2},
    "season": {"every": "season", "top": 2, "winners": 1, "badge_id": "winner"},
}


class Happening(NamedTuple):
    """Something happens to a user, or did `ago`."""

    user_id: str
    event: str
    ago: timedelta
    minutes: int


def defined() -> Stepping:
    """The world before anybody lives in it."""
    platform = Stepping(*AGENTS)
    commands: list[Command] = [CreateBadge(badge_id=name, name=name) for name in ("explorer", "trained", "winner")]
    commands += [
        step
        for name, terms in QUESTS.items()
        for step in (quest(name, **terms), PublishQuest(quest_id=name, author_id="p1"))
    ]
    commands.append(CreateChallenge(challenge_id="train", **CHALLENGE))
    commands.append(DefineStreak(streak_id="fit", **STREAK))
    commands += [CreateLeaderboard(leaderboard_id=name, name=name, **terms) for name, terms in BOARDS.items()]
    for command in commands:
        told = platform.send(command)
        assert told.status == "accepted", told
    return platform


def quest(name: str, **terms: Any) -> CreateQuest:
    """A quest of author p1."""
    return CreateQuest.model_validate({"quest_id": name, "author_id": "p1", "name": name, **terms})


def happen(platform: Stepping, one: Happening) -> Outcome:
    """It happens, or is told."""
    platform.advance(timedelta(seconds=1))
    return observe(platform, one.user_id, one.event, platform.now - one.ago, minutes=one.minutes)


def observe(platform: Stepping, user_id: str, event: str, when: datetime, **facts: Any) -> Outcome:
    """Tell what happened to a user at a time."""
    event_id = f"e{len(platform.outcomes)}"
    body = {"user_id": user_id, "event": event, "event_id": event_id, "occurred_at": when, "facts": facts}
    return platform.send(ObserveEvent.model_validate(body))


users, quests = st.sampled_from(USERS), st.sampled_from(list(QUESTS))
badges = st.sampled_from(("explorer", "trained"))
tasks = st.sampled_from(("pay", "tower", "run", "come", "photo"))
places = st.sampled_from((TOWER, TOWER, FAR))
verifiers, notes = st.sampled_from(("p1", "p1", "p1", "ann")), st.just("no")
happenings = st.builds(
    Happening,
    users,
    st.sampled_from(("order_paid", "order_paid", "participant_checked_in", "workout_recorded", "workout_recorded")),
    st.sampled_from((timedelta(), timedelta(), HOUR, 15 * HOUR, 30 * HOUR)),
    st.sampled_from((5, 20, 30)),
)
goings = st.one_of(
    st.builds(StartQuest, user_id=users, quest_id=quests),
    st.builds(SubmitTaskProof, user_id=users, quest_id=st.just("walk"), task_id=st.just("tower"), position=places),
    st.builds(SubmitTaskProof, user_id=users, quest_id=st.just("show"), task_id=st.just("photo")),
    st.builds(SubmitTaskProof, user_id=users, quest_id=quests, task_id=tasks, position=places),
    st.builds(VerifyTask, user_id=users, quest_id=st.just("show"), task_id=st.just("photo"), verifier_id=verifiers),
    st.builds(RejectTask, user_id=users, quest_id=st.just("show"), task_id=tasks, verifier_id=verifiers, note=notes),
)
others = st.one_of(
    st.builds(AbandonQuest, user_id=users, quest_id=quests),
    st.builds(AwardBadge, user_id=users, badge_id=badges),
    st.builds(RevokeBadge, user_id=users, badge_id=badges, note=notes),
    st.builds(JoinChallenge, user_id=users, challenge_id=st.just("train")),
    st.builds(LeaveChallenge, user_id=users, challenge_id=st.just("train")),
    st.builds(CloseLeaderboardPeriod, leaderboard_id=st.just("season"), period=st.just("season")),
    st.builds(CloseLeaderboardPeriod, leaderboard_id=st.just("daily"), period=st.just("2026-01-01")),
)
times = st.sampled_from((HOUR, 3 * HOUR, 10 * HOUR, DAY))
Entry = Command | Happening | int | timedelta | None
weighted = (*8 * [happenings], *4 * [goings], others, *3 * [st.integers(0, 3)], times, st.none())
histories = st.lists(st.sampled_from(weighted).flatmap(lambda chosen: chosen), min_size=40, max_size=80)
"""Lives as they are told; a number carries on what follows from an event by a step, time passes, None runs a timer that is due."""


def begun() -> Stepping:
    """The world with everybody in the middle of it."""
    platform = defined()
    for user in USERS:
        for name in QUESTS:
            platform.send(StartQuest(user_id=user, quest_id=name))
        platform.send(JoinChallenge(user_id=user, challenge_id="train"))
    return platform


def play(history: list[Entry]) -> Iterator[Stepping]:
    """Play a history to its end; the platform at every moment."""
    platform = begun()
    for entry in history:
        match entry:
            case None:
                platform.fire()
            case int():
                platform.step(entry)
            case timedelta():
                platform.advance(entry)
            case Happening():
                happen(platform, entry)
            case _:
                platform.send(entry)
        yield platform
    while platform.step() or platform.fire():
        yield platform


def run(history: list[Entry]) -> Stepping:
    """The platform at the end of a history."""
    *_, platform = [begun(), *play(history)]
    return platform


def decided(platform: Stepping, kind: type[Any]) -> Iterator[Outcome]:
    """What became of the commands of a kind, in the order in which they were decided."""
    return (outcome for outcome in platform.outcomes.values() if isinstance(outcome.command, kind))


def told(platform: Stepping, kind: type[Any]) -> list[Any]:
    """The events of a kind, in their order."""
    return [fact.event for fact in platform.facts if isinstance(fact.event, kind)]


def rows(platform: Stepping, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table, sorted by their keys."""
    return [row for _, row in sorted(platform.rows.get(table, {}).items())]


def at(days: float = 0, hours: float = 0) -> datetime:
    """A time after the start."""
    return START + timedelta(days=days, hours=hours)
