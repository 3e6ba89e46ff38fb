"""The laws of quests, over random lives that are told late and in any order, with what follows carried on at random moments."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings

from tests.quests import model
from tests.quests.model import Told
from tests.quests.platform import BOARDS, CHALLENGE, QUESTS, STREAK, Entry, decided, histories, play, rows, run, told
from tests.stepping import Stepping, rebuilt
from topics.quests import (
    BadgeAwarded,
    BadgeRevoked,
    ChallengeCompleted,
    CloseLeaderboardPeriod,
    CountScore,
    JoinChallenge,
    LeaderboardPeriodClosed,
    LeaveChallenge,
    LevelReached,
    ObserveEvent,
    QuestAbandoned,
    QuestCompleted,
    QuestExpired,
    QuestStarted,
    QuestTaskCompleted,
    StreakExtended,
    XpAwarded,
)

QUICK = settings(max_examples=12)
MANDATORY = {
    name: [task["task_id"] for task in terms["tasks"] if not task.get("optional")] for name, terms in QUESTS.items()
}


def run_of(event: Any) -> tuple[str, str, int]:
    """The time that a user was on a quest that an event is about."""
    return event.user_id, event.quest_id, event.run


@pytest.mark.req("SR044")
@QUICK
@given(histories)
def test_a_task_counts_once_in_a_run_and_progress_only_grows(history: list[Entry]) -> None:
    before: dict[Any, Any] = {}
    platform = Stepping()
    for platform in play(history):
        for key, row in platform.rows["task"].items():
            asked, counted, done_at = row[7], row[8], row[10]
            _, earlier, earlier_done = before.get(key, (0, 0, None))
            assert earlier <= counted <= asked
            assert earlier_done in (None, done_at)
            before[key] = asked, counted, done_at
    done = Counter((*run_of(event), event.task_id) for event in told(platform, QuestTaskCompleted))

    assert set(done.values()) <= {1}
    assert {key for key, (_, _, done_at) in before.items() if done_at} == set(done)


@pytest.mark.req("SR044")
@QUICK
@given(histories)
def test_a_quest_is_completed_when_all_mandatory_tasks_were_done_in_order_and_in_time(history: list[Entry]) -> None:
    platform = run(history)
    started = {run_of(event): event for event in told(platform, QuestStarted)}
    completed = {run_of(event): event for event in told(platform, QuestCompleted)}
    given_up = {run_of(event) for event in told(platform, QuestAbandoned) + told(platform, QuestExpired)}
    done: dict[Any, dict[str, datetime]] = defaultdict(dict)
    for event in told(platform, QuestTaskCompleted):
        done[run_of(event)][event.task_id] = event.done_at

    assert not given_up & set(completed)
    for key, start in started.items():
        times = [done[key].get(name) for name in MANDATORY[start.quest_id]]
        reached = [time for time in times if time]
        assert (None not in times) == (key in completed)
        assert times[: len(reached)] == sorted(reached), "each after the one before it"
        for time in done[key].values():
            assert start.started_at <= time < (start.deadline or datetime.max.replace(tzinfo=UTC))
        if key in completed:
            assert completed[key].completed_at == reached[-1]


@pytest.mark.req("SR044")
@QUICK
@given(histories)
def test_each_completion_is_rewarded_once_and_there_are_no_more_than_allowed(history: list[Entry]) -> None:
    platform = run(history)
    completed = told(platform, QuestCompleted)
    rewards = Counter(
        (event.user_id, event.source_id) for event in told(platform, XpAwarded) if event.source == "quest"
    )

    assert rewards == Counter((event.user_id, f"{event.quest_id}:{event.run}") for event in completed)
    for (_, quest_id), times in Counter((event.user_id, event.quest_id) for event in completed).items():
        assert times <= QUESTS[quest_id].get("limit", 1)


@pytest.mark.req("SR065")
@QUICK
@given(histories)
def test_experience_is_what_was_earned_and_the_level_follows_from_it(history: list[Entry]) -> None:
    platform = run(history)
    earned: Counter[str] = Counter()
    levels = []
    for event in told(platform, XpAwarded):
        before = model.level(earned[event.user_id])
        earned[event.user_id] += event.amount
        assert event.xp == earned[event.user_id]
        if (level := model.level(event.xp)) > before:
            levels.append((event.user_id, level, event.xp))

    assert [(event.user_id, event.level, event.xp) for event in told(platform, LevelReached)] == levels
    assert rows(platform, "player") == [(user, xp, model.level(xp)) for user, xp in sorted(earned.items())]


@QUICK
@given(histories)
def test_a_badge_is_held_once(history: list[Entry]) -> None:
    platform = run(history)
    held: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for fact in platform.facts:
        if isinstance(fact.event, BadgeAwarded | BadgeRevoked):
            held[fact.key, fact.event.badge_id].append(type(fact.event))

    for turns in held.values():
        assert turns == [(BadgeAwarded, BadgeRevoked)[n % 2] for n in range(len(turns))]


@QUICK
@given(histories)
def test_nobody_verifies_a_task_of_their_own(history: list[Entry]) -> None:
    for event in told(run(history), QuestTaskCompleted):
        assert event.verifier_id in ({"p1"} - {event.user_id} if event.task_id == "photo" else {None})


def workouts(platform: Stepping, least: int) -> list[Told]:
    """The trainings of at least so many minutes; nothing happens later than it is told."""
    return [
        Told(one.command.user_id, min(one.command.occurred_at, one.at), one.at, one.command.facts["minutes"])
        for one in decided(platform, ObserveEvent)
        if one.command.event == "workout_recorded" and one.command.facts["minutes"] >= least
    ]


@pytest.mark.req("SR065")
@QUICK
@given(histories)
def test_streaks_are_the_days_in_a_row_by_brute_force_however_late_they_were_told(history: list[Entry]) -> None:
    platform = run(history)
    counted = model.days_that_count(workouts(platform, 20))
    expected, rewards = [], Counter[tuple[str, str]]()
    for user, days in sorted(counted.items()):
        stretches = model.in_a_row(days)
        going = [one for one in stretches if model.running(one, platform.now)]
        first, last = going[-1] if going else (None, None)
        lengths = [(stretch[1] - stretch[0]).days + 1 for stretch in stretches]
        expected.append((user, "fit", first, last, lengths[-1] if going else 0, max(lengths)))
        for reward in STREAK["rewards"]:
            if times := sum(length >= reward["days"] for length in lengths):
                rewards[user, f"fit:{reward['days']}"] = times
    earned = Counter((e.user_id, e.source_id) for e in told(platform, XpAwarded) if e.source == "streak")

    assert rows(platform, "streak") == expected
    assert earned == rewards
    assert Counter((e.user_id, e.day) for e in told(platform, StreakExtended)) == Counter(
        (user, day) for user, days in counted.items() for day in days
    )


@pytest.mark.req("SR065")
@QUICK
@given(histories)
def test_leaderboards_are_those_by_brute_force_and_a_closed_period_never_changes(history: list[Entry]) -> None:
    closed: dict[tuple[str, str], list[Any]] = {}
    platform = Stepping()
    for platform in play(history):
        standings = _standings(platform)
        for place, ranking in closed.items():
            assert standings.get(place, []) == ranking
        for event in told(platform, LeaderboardPeriodClosed)[len(closed) :]:
            place = event.leaderboard_id, event.period
            closed[place] = standings.get(place, [])
            assert [(rank.user_id, rank.score, rank.reached_at) for rank in event.top] == closed[place][
                : BOARDS[event.leaderboard_id].get("top", 10)
            ]
            assert [rank.rank for rank in event.top] == [*range(1, len(event.top) + 1)]
            assert event.participants == len(closed[place])

    assert _standings(platform) == _counted(platform)


def _standings(platform: Stepping) -> dict[tuple[str, str], list[Any]]:
    """The periods of the view, best first."""
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for board, period, *score in rows(platform, "score"):
        found[board, period].append(tuple(score))
    return {place: sorted(scores, key=lambda score: (-score[1], score[2], score[0])) for place, scores in found.items()}


def _counted(platform: Stepping) -> dict[tuple[str, str], list[Any]]:
    """The periods by brute force: what was earned since the leaderboard was there, and was counted before the period was closed."""
    wanted, counted = Counter[Any](), Counter[Any]()
    created = {event.leaderboard_id: event.created_at for event in _boards(platform)}
    for fact in platform.facts:
        earned: Any = fact.event
        for board, terms in BOARDS.items() if isinstance(earned, XpAwarded) else ():
            name, end = model.period(terms["every"], earned.at)
            late = end is not None and fact.at >= end + model.DAY
            if earned.at >= created[board] and earned.source in terms.get("sources", [earned.source]) and not late:
                wanted[board, name, earned.user_id, earned.amount, earned.at] += 1
    closed: set[tuple[str, str]] = set()
    scores: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for outcome in platform.outcomes.values():
        command = outcome.command
        if isinstance(command, CloseLeaderboardPeriod) and outcome.status == "accepted":
            closed.add((command.leaderboard_id, command.period))
        if isinstance(command, CountScore):
            place = command.leaderboard_id, command.of.period
            _, end = model.period(BOARDS[place[0]]["every"], command.at)
            late = end is not None and outcome.at >= end + model.DAY
            assert (outcome.status == "accepted") == (place not in closed and not late)
            counted[*place, command.user_id, command.amount, command.at] += 1
            if outcome.status == "accepted":
                scores[place].append(Told(command.user_id, command.at, outcome.at, command.amount))
    assert counted == wanted
    return {place: model.ranking(told) for place, told in scores.items()}


def _boards(platform: Stepping) -> list[Any]:
    return [fact.event for fact in platform.facts if fact.event.wire_name == "leaderboard_created"]


@QUICK
@given(histories)
def test_standings_of_a_challenge_are_those_by_brute_force(history: list[Entry]) -> None:
    platform = run(history)
    joined: dict[str, datetime] = {}
    left: dict[str, datetime] = {}
    for outcome in platform.outcomes.values():
        if outcome.status == "accepted" and isinstance(outcome.command, JoinChallenge):
            joined[outcome.command.user_id] = outcome.at
        if outcome.status == "accepted" and isinstance(outcome.command, LeaveChallenge):
            left[outcome.command.user_id] = outcome.at
    counting = [
        one
        for one in workouts(platform, 1)
        if one.user_id in joined
        and max(joined[one.user_id], CHALLENGE["starts_at"]) <= one.at < CHALLENGE["ends_at"]
        and joined[one.user_id] <= one.now < CHALLENGE["ends_at"] + model.DAY
        and (one.user_id not in left or one.now < left[one.user_id])
    ]
    goal = CHALLENGE["goal"]

    shown = [(row[1], row[3], row[4]) for row in rows(platform, "entry") if row[3]]
    assert shown == sorted(model.ranking(counting))
    assert Counter(e.user_id for e in told(platform, ChallengeCompleted)) == Counter(
        user for user, score, _ in model.ranking(counting) if score >= goal
    )
    assert {row[1] for row in rows(platform, "entry") if row[2] == "left"} == set(left)


@pytest.mark.req("SR065")
@QUICK
@given(histories)
def test_the_events_alone_give_the_same_documents_rows_and_timers(history: list[Entry]) -> None:
    live = run(history)
    again = rebuilt(live, *live.agents)

    assert again.documents == live.documents
    assert again.rows == live.rows
    assert again.timers == live.timers


@QUICK
@given(histories)
def test_in_the_end_nothing_is_due_and_every_command_has_its_result(history: list[Entry]) -> None:
    platform = run(history)

    assert {outcome.status for outcome in platform.outcomes.values()} <= {"accepted", "rejected"}
    assert all(timer.at > platform.now for timer in platform.timers.values())


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("test_") and hasattr(law, "hypothesis")]


@pytest.mark.full
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
def test_the_law_holds_over_many_lives(law: Any) -> None:
    settings(max_examples=100)(given(histories)(law.hypothesis.inner_test))()
