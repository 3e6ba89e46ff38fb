"""Quests case by case: what is refused and why, what counts when it is told late, and what definitions say."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.quests.rules.documents import Board, level_of
from agents.quests.rules.story import period_of
from streams.envelope import Actor
from tests.quests import model
from tests.quests.platform import DAY, FAR, HOUR, TOWER, Happening, at, defined, happen, observe, quest, rows, told
from tests.stepping import START, Outcome, Stepping
from topics.quests import (
    AbandonQuest,
    ArchiveQuest,
    AwardBadge,
    BadgeAwarded,
    BreakStreaks,
    ChallengeCompleted,
    CloseLeaderboardPeriod,
    CountScore,
    CreateBadge,
    CreateChallenge,
    CreateLeaderboard,
    CreateQuest,
    DefineStreak,
    ExpireQuest,
    JoinChallenge,
    LeaderboardPeriodClosed,
    LeaveChallenge,
    LevelReached,
    Period,
    PublishQuest,
    QuestCompleted,
    QuestExpired,
    QuestStarted,
    QuestTaskCompleted,
    QuestTaskRejected,
    RejectTask,
    RevokeBadge,
    StartQuest,
    StreakBroken,
    SubmitTaskProof,
    VerifyTask,
    XpAwarded,
)

PAY = {"task_id": "pay", "name": "Pay", "event": "order_paid"}
PHOTO = {"task_id": "photo", "name": "Show it", "proof": "verified"}
CLIMB = {"task_id": "tower", "name": "Climb it", "proof": "automatic", "place": {**TOWER, "radius_m": 200}}


def world(*tasks: dict[str, Any], **terms: Any) -> Stepping:
    """A world with one more quest, q, that is published."""
    platform = defined()
    assert platform.send(quest("q", tasks=tasks, **terms)).status == "accepted"
    assert platform.send(PublishQuest(quest_id="q", author_id="p1")).status == "accepted"
    return platform


def on(*tasks: dict[str, Any], **terms: Any) -> Stepping:
    """A world in which ann has started q."""
    platform = world(*tasks, **terms)
    assert start(platform).status == "accepted"
    return platform


def start(platform: Stepping, quest_id: str = "q", user: str = "ann") -> Outcome:
    return platform.send(StartQuest(user_id=user, quest_id=quest_id))


def submit(platform: Stepping, task_id: str, quest_id: str = "q", position: Any = None, user: str = "ann") -> Outcome:
    body = {"user_id": user, "quest_id": quest_id, "task_id": task_id, "position": position}
    return platform.send(SubmitTaskProof.model_validate(body))


def verify(platform: Stepping, task_id: str = "photo", user: str = "ann", by: str = "p1") -> Outcome:
    return platform.send(VerifyTask(user_id=user, quest_id="q", task_id=task_id, verifier_id=by))


def pay(platform: Stepping, ago: timedelta = timedelta(), user: str = "ann", event: str = "order_paid") -> Outcome:
    return happen(platform, Happening(user, event, ago, 30))


def done(platform: Stepping) -> list[str]:
    """The tasks that were completed, in order."""
    return [event.task_id for event in told(platform, QuestTaskCompleted)]


@pytest.mark.req("SR044")
@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (("photo", "nothing"), "quest_not_started"),
        (("come", "q"), "unknown_task"),
        (("pay", "q"), "no_proof_wanted"),
        (("photo", "q"), "out_of_order"),
        (("tower", "q", FAR), "too_far"),
        (("tower", "q", None), "position_missing"),
    ],
)
def test_a_proof_that_does_not_fit_is_rejected_with_the_reason(proof: Any, reason: str) -> None:
    platform = on(CLIMB, PHOTO, PAY)

    outcome = submit(platform, *proof)
    assert (outcome.status, outcome.code) == ("rejected", reason)
    (event,) = outcome.events
    assert isinstance(event, QuestTaskRejected)
    assert (event.task_id, event.reason) == (proof[0], reason)
    assert done(platform) == []


@pytest.mark.req("SR044")
def test_a_task_is_done_once_and_submitted_once() -> None:
    platform = on(CLIMB, PHOTO)

    assert submit(platform, "tower", position=TOWER).status == "accepted"
    assert submit(platform, "tower", position=TOWER).code == "task_done"
    assert submit(platform, "photo").status == "accepted"
    assert submit(platform, "photo").code == "already_submitted"


@pytest.mark.req("SR044")
def test_a_proof_is_given_in_the_window_of_its_task_and_before_the_deadline() -> None:
    window = {"opens": START + 2 * HOUR, "closes": START + 4 * HOUR}
    platform = on({**PHOTO, **window}, {**PHOTO, "task_id": "late", "optional": True}, days=1)

    assert submit(platform, "photo").code == "too_early"
    platform.advance(4 * HOUR)
    assert submit(platform, "photo").code == "too_late"
    assert submit(platform, "late").status == "accepted"
    platform.send(RejectTask(user_id="ann", quest_id="q", task_id="late", verifier_id="p1", note="no"))
    platform.advance(DAY)
    assert submit(platform, "late").code == "too_late"


def test_events_count_in_the_window_of_their_task_after_the_start_and_before_the_deadline() -> None:
    platform = on({**PAY, "count": 3, "opens": START + 2 * HOUR}, days=1)

    def counted() -> int:
        found: int = rows(platform, "task")[0][8]
        return found

    pay(platform, HOUR)
    pay(platform)
    assert counted() == 0
    platform.advance(3 * HOUR)
    pay(platform)
    assert counted() == 1
    platform.advance(DAY)
    pay(platform)
    assert counted() == 1, "it happened after the deadline"
    pay(platform, 4 * HOUR)
    assert counted() == 2, "it happened in time and was told late"
    pay(platform, 5 * HOUR)
    assert isinstance(platform.facts[-1].event, QuestCompleted)


def test_a_condition_decides_what_counts_and_what_it_cannot_tell_does_not() -> None:
    platform = on({**PAY, "condition": "event.total > 100 && user.level < 3"})

    for facts, completed in (({"total": 100}, 0), ({}, 0), ({"total": None}, 0), ({"total": 101}, 1)):
        platform.advance(HOUR)
        assert observe(platform, "ann", "order_paid", platform.now, **facts).status == "accepted"
        assert len(told(platform, QuestCompleted)) == completed


@pytest.mark.req("SR044")
@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_in_whatever_order_other_domains_are_heard_the_tasks_are_done_at_the_same_times(order: Any) -> None:
    """Each task asks for events of a domain of its own, which come in their order; the last one happened too early."""
    platform = on(PAY, {**PAY, "task_id": "come", "event": "participant_checked_in"}, {**PAY, "task_id": "go", "event": "voucher_redeemed"})  # fmt: skip
    begun = platform.now
    happened = [("order_paid", 1), ("participant_checked_in", 2), ("voucher_redeemed", 3), ("voucher_redeemed", 1.5)]
    platform.advance(DAY)
    for n in order:
        event, hours = happened[n]
        observe(platform, "ann", event, begun + hours * HOUR)

    assert [(e.task_id, e.done_at - begun) for e in told(platform, QuestTaskCompleted)] == [
        ("pay", HOUR),
        ("come", 2 * HOUR),
        ("go", 3 * HOUR),
    ]


def test_one_event_is_not_two_tasks_of_an_order() -> None:
    platform = on(PAY, {**PAY, "task_id": "again"})

    pay(platform)
    assert done(platform) == ["pay"]
    pay(platform)
    assert done(platform) == ["pay", "again"]


def test_what_happened_before_the_last_task_was_done_is_no_progress() -> None:
    platform = on(PAY, {**PAY, "task_id": "again"})
    platform.advance(2 * HOUR)
    pay(platform, HOUR)

    assert pay(platform, HOUR + timedelta(minutes=1)).events == []
    assert done(platform) == ["pay"]


def test_a_quest_that_is_completed_again_gives_its_badge_only_to_who_does_not_hold_it() -> None:
    platform = on(PAY, limit=2, badge_id="explorer")
    pay(platform)
    start(platform)
    pay(platform)

    assert [event.badge_id for event in told(platform, QuestCompleted)] == ["explorer", "explorer"]
    assert [event.source for event in told(platform, BadgeAwarded)] == ["quest:q:1"]


def test_an_optional_task_is_done_at_any_time_and_is_not_waited_for() -> None:
    platform = on({**PHOTO, "optional": True, "xp": 5}, PAY, {**PAY, "task_id": "more", "event": "workout_recorded", "optional": True})  # fmt: skip

    pay(platform, event="workout_recorded")
    pay(platform)
    assert done(platform) == ["more", "pay"]
    assert len(told(platform, QuestCompleted)) == 1
    assert submit(platform, "photo").code == "quest_not_started"


@pytest.mark.req("SR044")
def test_a_verified_task_was_done_when_it_was_submitted_and_a_rejected_one_may_be_submitted_again() -> None:
    platform = on(PHOTO, xp=10, points=3, badge_id="explorer")
    submit(platform, "photo")
    note = RejectTask(user_id="ann", quest_id="q", task_id="photo", verifier_id="p1", note="Too dark")
    assert platform.send(note).events == [
        QuestTaskRejected(user_id="ann", quest_id="q", task_id="photo", reason="not_accepted", run=1, verifier_id="p1", note="Too dark")
    ]  # fmt: skip
    assert verify(platform).code == "not_submitted"
    submitted = submit(platform, "photo").at
    platform.advance(DAY)

    (task, completed, xp, badge) = verify(platform).events
    assert isinstance(task, QuestTaskCompleted)
    assert (task.done_at, task.verifier_id) == (submitted, "p1")
    assert isinstance(completed, QuestCompleted)
    assert (completed.run, completed.points, completed.completed_at) == (1, 3, submitted)
    assert isinstance(xp, XpAwarded)
    assert (xp.amount, xp.at) == (10, submitted)
    assert badge == BadgeAwarded(user_id="ann", badge_id="explorer", source="quest:q:1")


def test_only_the_author_verifies_and_never_a_task_of_their_own() -> None:
    platform = on(PHOTO)
    start(platform, user="p1")
    submit(platform, "photo")
    submit(platform, "photo", user="p1")

    assert verify(platform, by="p2").code == "not_verifier"
    assert verify(platform, by="ann").code == "own_task"
    assert verify(platform, user="p1").code == "own_task"
    assert verify(platform, "nothing").code == "submission_not_found"
    command = VerifyTask(user_id="ann", quest_id="q", task_id="photo", verifier_id="p1")
    allowed = [
        command.may_be_issued_by(Actor("user", name, role))
        for name, role in (("p1", "Partner"), ("p2", "Partner"), ("root", "Admin"), ("ann", "Admin"), ("ann", "User"))
    ]
    assert allowed == [True, False, True, False, False]


def test_a_quest_expires_a_day_after_its_deadline_or_when_a_proof_has_waited_for_a_week() -> None:
    platform = on(PHOTO, {**PAY, "optional": True}, days=1)
    platform.advance(2 * DAY - HOUR)
    assert not platform.fire()
    assert platform.send(ExpireQuest(user_id="ann", quest_id="q", run=1)).code == "not_due"
    platform.advance(HOUR)
    assert platform.fire()
    assert told(platform, QuestExpired) == [QuestExpired(user_id="ann", quest_id="q", run=1)]

    start(platform)
    submit(platform, "photo")
    platform.advance(8 * DAY - HOUR)
    assert not platform.fire()
    assert verify(platform).status == "accepted"
    assert [event.run for event in told(platform, QuestCompleted)] == [2]


@pytest.mark.req("SR044")
def test_what_was_given_up_is_begun_anew_and_pays_once() -> None:
    platform = on(PAY, {**PAY, "task_id": "again"}, xp=10, limit=2)
    pay(platform)
    assert platform.send(AbandonQuest(user_id="ann", quest_id="q")).status == "accepted"
    assert platform.send(AbandonQuest(user_id="ann", quest_id="q")).code == "quest_not_started"
    start(platform)
    pay(platform)
    assert told(platform, XpAwarded) == []
    pay(platform)
    assert [event.run for event in told(platform, QuestCompleted)] == [2]
    start(platform)
    pay(platform), pay(platform)

    assert [event.source_id for event in told(platform, XpAwarded)] == ["q:2", "q:3"]
    assert start(platform).code == "limit_reached"


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"requires": ["meet"]}, "prerequisites_missing"),
        ({"min_level": 2}, "level_too_low"),
        ({"starts_at": at(1)}, "quest_not_begun"),
    ],
)
def test_who_is_not_ready_cannot_start(terms: dict[str, Any], code: str) -> None:
    platform = world(PAY, **terms)
    assert start(platform).code == code

    start(platform, "meet")
    pay(platform, event="participant_checked_in")
    pay(platform)
    for _ in range(2):  # 40 + 2 * 30: the second level
        start(platform, "walk")
        pay(platform), pay(platform)
        submit(platform, "tower", "walk", TOWER)
    platform.advance(DAY)
    assert start(platform).status == "accepted"


def test_a_quest_is_started_while_it_is_open_and_nobody_is_on_it_twice() -> None:
    platform = world(PAY, ends_at=at(1))

    assert start(platform, "nothing").code == "quest_not_found"
    assert start(platform).status == "accepted"
    assert start(platform).code == "already_started"
    assert told(platform, QuestStarted)[0].deadline == at(1)
    platform.advance(DAY)
    assert start(platform, user="bob").code == "quest_over"


def test_who_has_started_goes_on_by_the_revision_they_started_with() -> None:
    platform = on(PAY, xp=10)
    assert platform.send(quest("q", tasks=[PHOTO], xp=99)).status == "accepted"
    start(platform, user="bob")
    assert platform.send(PublishQuest(quest_id="q", author_id="p1")).status == "accepted"
    assert platform.send(PublishQuest(quest_id="q", author_id="p1")).code == "already_published"
    start(platform, user="cy")
    for user in ("ann", "bob", "cy"):
        pay(platform, user=user)

    assert [(e.user_id, e.revision, e.xp) for e in told(platform, QuestCompleted)] == [("ann", 1, 10), ("bob", 1, 10)]
    assert platform.send(ArchiveQuest(quest_id="q", author_id="p1")).status == "accepted"
    assert submit(platform, "photo", user="cy").status == "accepted"
    for command in (
        quest("q", tasks=[PAY]),
        PublishQuest(quest_id="q", author_id="p1"),
        ArchiveQuest(quest_id="q", author_id="p1"),
    ):
        assert platform.send(command).code == "quest_archived"
    assert start(platform, user="dan").code == "quest_archived"


@pytest.mark.parametrize("tasks", [[], [{**PAY, "optional": True}]])
def test_a_quest_without_a_task_to_do_is_not_published(tasks: list[Any]) -> None:
    platform = defined()
    platform.send(quest("q", tasks=tasks))

    assert platform.send(PublishQuest(quest_id="q", author_id="p1")).code == "no_tasks"
    assert start(platform).code == "quest_not_found"


def test_definitions_belong_to_who_drew_them_up() -> None:
    platform = world(PAY)
    other = quest("q", tasks=[PAY]).model_copy(update={"author_id": "p2"})

    assert platform.send(other).code == "quest_exists"
    assert platform.send(PublishQuest(quest_id="q", author_id="p2")).code == "quest_not_found"
    assert platform.send(ArchiveQuest(quest_id="none", author_id="p1")).code == "quest_not_found"
    assert platform.send(quest("r", badge_id="nothing")).code == "badge_not_found"
    assert platform.send(quest("r", requires=["nothing"])).code == "quest_not_found"
    assert platform.send(quest("r", ends_at=START)).code == "already_over"


@pytest.mark.parametrize("bad", ["event.colour == 'red'", "event.total + 'a' == 1", "event.total", "1 / 0 > 1"])
def test_a_condition_that_cannot_be_told_of_its_event_is_refused_when_it_is_written(bad: str) -> None:
    platform = defined()
    terms: dict[str, Any] = {"name": "c", "event": "order_paid", "starts_at": START, "ends_at": at(9)}
    commands = (
        quest("q", tasks=[{**PAY, "condition": bad}]),
        CreateChallenge(challenge_id="c", condition=bad, **terms),
        DefineStreak(streak_id="s", event="order_paid", condition=bad),
    )

    assert {platform.send(command).code for command in commands} == {"bad_condition"}
    assert platform.send(CreateChallenge(challenge_id="c", score="event.currency", **terms)).code == "bad_condition"


TASK = {"task_id": "t", "name": "T"}


@pytest.mark.parametrize(
    "terms",
    [
        {"tasks": [TASK]},
        {"tasks": [{**PAY, "proof": "verified"}]},
        {"tasks": [{**PHOTO, "condition": "true"}]},
        {"tasks": [{**PHOTO, "count": 2}]},
        {"tasks": [{**PAY, "place": {**TOWER, "radius_m": 5}}]},
        {"tasks": [{**TASK, "proof": "automatic"}]},
        {"tasks": [{**CLIMB, "place": {"lat": 91.0, "lon": 0.0, "radius_m": 5}}]},
        {"tasks": [{**CLIMB, "place": {"lat": float("nan"), "lon": 0.0, "radius_m": 5}}]},
        {"tasks": [{**PAY, "condition": "event.total >"}]},
        {"tasks": [{**PAY, "event": "sun_rises"}]},
        {"tasks": [{**PAY, "colour": "red"}]},
        {"tasks": [{**PAY, "opens": at(2), "closes": at(1)}]},
        {"tasks": [PAY, PAY]},
        {"tasks": [{**PAY, "task_id": f"t{n}"} for n in range(21)]},
        {"requires": ["q"]},
        {"starts_at": at(2), "ends_at": at(1)},
        {"limit": 0},
        {"xp": -1},
        {"points": 2**53},
        {"days": 0},
    ],
)
def test_a_quest_that_makes_no_sense_is_not_let_in(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        quest("q", **terms)


@pytest.mark.parametrize(
    ("contract", "body"),
    [
        (CreateChallenge, {"challenge_id": "c", "name": "c", "event": "order_paid", "starts_at": at(1), "ends_at": at(1)}),
        (CreateChallenge, {"challenge_id": "c", "name": "c", "event": "order_paid", "starts_at": START, "ends_at": at(1), "goal": 0}),
        (CreateLeaderboard, {"leaderboard_id": "l", "name": "l", "every": "year"}),
        (CreateLeaderboard, {"leaderboard_id": "l", "name": "l", "every": "day", "winners": 1}),
        (CreateLeaderboard, {"leaderboard_id": "l", "name": "l", "every": "day", "winners": 3, "top": 2, "badge_id": "b"}),
        (CreateLeaderboard, {"leaderboard_id": "l", "name": "l", "every": "day", "program": "mine"}),
        (DefineStreak, {"streak_id": "s", "event": "order_paid", "rewards": [{"days": 1}]}),
        (SubmitTaskProof, {"user_id": "u", "quest_id": "q", "task_id": "t", "position": {"lat": "1", "lon": 2.0}}),
        (SubmitTaskProof, {"user_id": "u", "quest_id": "q", "task_id": "t", "text": "\0"}),
        (RejectTask, {"user_id": "u", "quest_id": "q", "task_id": "t", "verifier_id": "p", "note": ""}),
        (CreateQuest, {"quest_id": "a:b", "author_id": "p", "name": "n"}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_let_in(contract: Any, body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        contract.model_validate(body)


def test_a_badge_is_drawn_up_once_held_once_and_may_be_awarded_again_when_it_was_revoked() -> None:
    platform = defined()
    award, revoke = (
        AwardBadge(user_id="ann", badge_id="explorer"),
        RevokeBadge(user_id="ann", badge_id="explorer", note="no"),
    )

    assert platform.send(CreateBadge(badge_id="explorer", name="Other")).code == "badge_exists"
    assert platform.send(AwardBadge(user_id="ann", badge_id="nothing")).code == "badge_not_found"
    assert platform.send(revoke).code == "badge_not_held"
    assert [platform.send(one).code for one in (award, award, revoke, revoke, award)] == [
        None,
        "badge_held",
        None,
        "badge_not_held",
        None,
    ]
    assert [row[:3] for row in rows(platform, "badge_held")] == [("ann", "explorer", "held")]


def test_a_challenge_is_joined_before_it_ends_left_for_good_and_completed_once() -> None:
    platform = defined()
    join, leave = (kind(user_id="ann", challenge_id="train") for kind in (JoinChallenge, LeaveChallenge))
    assert platform.send(leave).code == "not_joined"
    assert platform.send(join.model_copy(update={"challenge_id": "none"})).code == "challenge_not_found"
    assert [platform.send(join).code, platform.send(join).code] == [None, "already_joined"]
    platform.advance(DAY)
    for _ in range(4):
        pay(platform, event="workout_recorded")

    (completed,) = told(platform, ChallengeCompleted)
    assert completed.score == 60
    assert [row[2:4] for row in rows(platform, "entry")] == [("completed", 120)]
    assert [platform.send(leave).code, platform.send(leave).code, platform.send(join).code] == [
        None,
        "not_joined",
        "already_left",
    ]
    pay(platform, event="workout_recorded")
    assert [row[2:4] for row in rows(platform, "entry")] == [("left", 120)]
    platform.advance(4 * DAY)
    assert platform.send(JoinChallenge(user_id="bob", challenge_id="train")).code == "challenge_over"


def test_a_challenge_that_is_over_stays_as_it_is() -> None:
    platform = defined()
    platform.send(JoinChallenge(user_id="ann", challenge_id="train"))
    platform.advance(5 * DAY)
    pay(platform, HOUR, event="workout_recorded")
    before = rows(platform, "entry")
    assert before[0][3] == 30, "told late, but in time"
    assert platform.send(LeaveChallenge(user_id="ann", challenge_id="train")).code == "challenge_over"
    platform.advance(DAY)
    pay(platform, DAY + HOUR, event="workout_recorded")

    assert rows(platform, "entry") == before
    over: dict[str, Any] = {"name": "c", "event": "order_paid", "starts_at": START, "ends_at": at(6)}
    assert platform.send(CreateChallenge(challenge_id="c", **over)).code == "already_over"
    over["ends_at"] = at(20)
    assert platform.send(CreateChallenge(challenge_id="train", **over)).code == "challenge_exists"
    assert platform.send(CreateChallenge(challenge_id="c", badge_id="none", **over)).code == "badge_not_found"


@pytest.mark.req("SR065")
def test_a_day_that_is_told_late_closes_the_gap_and_a_day_too_late_does_not() -> None:
    platform = defined()
    train: dict[str, Any] = {"event": "workout_recorded"}
    pay(platform, **train)
    platform.advance(2 * DAY)
    pay(platform, **train)
    assert rows(platform, "streak") == [("ann", "fit", at(2).date(), at(2).date(), 1, 1)]
    pay(platform, DAY, **train)
    assert rows(platform, "streak") == [("ann", "fit", at(0).date(), at(2).date(), 3, 3)]
    assert [(event.source_id, event.amount) for event in told(platform, XpAwarded)] == [("fit:2", 3), ("fit:3", 8)]

    platform.advance(3 * DAY - HOUR)
    assert platform.send(BreakStreaks(user_id="ann")).events == []
    platform.advance(HOUR)
    assert platform.fire()
    assert told(platform, StreakBroken) == [
        StreakBroken(user_id="ann", streak_id="fit", first=at(0).date(), last=at(2).date(), length=3)
    ]
    pay(platform, 2 * DAY + HOUR, **train)
    assert rows(platform, "streak") == [("ann", "fit", None, None, 0, 3)]


def test_a_streak_counts_by_its_last_revision() -> None:
    platform = defined()
    assert platform.send(DefineStreak(streak_id="fit", event="order_paid")).status == "accepted"
    pay(platform, event="workout_recorded")
    assert rows(platform, "streak") == []
    pay(platform)
    assert rows(platform, "streak")[0][4] == 1
    platform.send(DefineStreak(streak_id="fit", event="order_paid", active=False))
    platform.advance(DAY)
    pay(platform)

    assert rows(platform, "streak")[0][4] == 1
    rewards: list[Any] = [{"days": 2, "badge_id": "none"}]
    assert platform.send(DefineStreak(streak_id="s", event="order_paid", rewards=rewards)).code == "badge_not_found"


def ranked(platform: Stepping, user: str, amount: int, when: Any, **period: Any) -> Outcome:
    of = Period(leaderboard_id="daily", period="2026-01-01", ends_at=at(1), top=2, **period)
    return platform.send(CountScore(leaderboard_id="daily", of=of, user_id=user, amount=amount, at=when))


@pytest.mark.req("SR065")
def test_a_leaderboard_is_sorted_by_score_then_by_the_earliest_time_and_closes_a_day_after_the_period() -> None:
    platform = defined()
    for user, amount, hours in (("ann", 5, 3), ("bob", 5, 2), ("cy", 4, 1), ("cy", 1, 2), ("dan", 4, 9)):
        assert ranked(platform, user, amount, at(hours=hours)).status == "accepted"
    period = CloseLeaderboardPeriod(leaderboard_id="daily", period="2026-01-01")
    assert platform.send(period).code == "not_over"
    platform.advance(DAY)
    assert ranked(platform, "dan", 2, at(hours=23)).status == "accepted"
    platform.advance(DAY)
    assert ranked(platform, "ann", 1, at(hours=23)).code == "period_closed"
    assert platform.fire()

    (closed,) = told(platform, LeaderboardPeriodClosed)
    assert [(place.rank, place.user_id, place.score) for place in closed.top] == [(1, "dan", 6), (2, "bob", 5)]
    assert closed.participants == 4
    assert ranked(platform, "ann", 1, at(hours=23)).code == "period_closed"
    assert platform.send(period).code == "already_closed"
    assert platform.send(period.model_copy(update={"period": "2026-01-07"})).code == "period_not_found"


def test_the_winners_of_a_season_get_its_badge() -> None:
    platform = defined()
    start(platform, "meet")
    pay(platform, event="participant_checked_in")
    pay(platform)
    platform.settle()
    season = CloseLeaderboardPeriod(leaderboard_id="season", period="season")
    assert platform.send(season).status == "accepted"
    platform.settle()

    assert told(platform, BadgeAwarded) == [
        BadgeAwarded(user_id="ann", badge_id="winner", source="leaderboard:season:season")
    ]
    assert platform.send(CreateLeaderboard(leaderboard_id="season", name="x", every="day")).code == "leaderboard_exists"
    lost = CreateLeaderboard(leaderboard_id="x", name="x", every="day", winners=1, badge_id="none")
    assert platform.send(lost).code == "badge_not_found"


@pytest.mark.req("SR065")
@pytest.mark.parametrize("level", [2, 3, 4, 5, 10, 100, 1000])
def test_a_level_begins_with_its_experience_and_no_point_earlier(level: int) -> None:
    """Level n is reached with 50 n (n - 1) experience."""
    needed = 50 * level * (level - 1)

    assert [level_of(needed - 1), level_of(needed), level_of(needed + 1)] == [level - 1, level, level]
    assert level_of(0) == 1


@pytest.mark.req("SR065")
@pytest.mark.parametrize(
    ("xp", "level", "code"), [(99, 1, "level_too_low"), (100, 2, None), (299, 2, None), (300, 3, None)]
)
def test_who_is_a_point_short_of_a_level_has_not_reached_it(xp: int, level: int, code: str | None) -> None:
    platform = on(PAY, xp=xp)
    platform.send(quest("next", tasks=[PAY], min_level=2))
    platform.send(PublishQuest(quest_id="next", author_id="p1"))
    pay(platform)

    assert rows(platform, "player") == [("ann", xp, level)]
    assert [event.level for event in told(platform, LevelReached)] == ([level] if level > 1 else [])
    assert start(platform, "next").code == code


@settings(max_examples=50)
@given(
    st.datetimes(min_value=START.replace(tzinfo=None), max_value=at(4000).replace(tzinfo=None)), st.integers(0, 10**9)
)
def test_periods_are_those_of_the_calendar_and_levels_cost_100_more_each(time: Any, xp: int) -> None:
    moment = time.replace(tzinfo=START.tzinfo)
    for every in ("day", "week", "month", "season"):
        found = period_of("b", Board(every, START), moment)
        assert (found.period, found.ends_at) == model.period(every, moment)
        assert found.ends_at is None or found.ends_at > moment
    assert level_of(xp % 1_000_000) == model.level(xp % 1_000_000)
