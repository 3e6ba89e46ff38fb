"""The views of quests on a real Postgres, and what the audit says of rows that do not add up."""

import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from agents.quests import audit
from agents.quests.sink import (
    BadgeHeldRow,
    BadgeRow,
    ChallengeRow,
    EarningRow,
    EndingRow,
    EntryRow,
    LeaderboardRow,
    PartyMemberRow,
    PartyRow,
    PeriodRow,
    PlayerRow,
    QuestRow,
    RunRow,
    ScoreRow,
    StreakRow,
    SubmissionRow,
    TaskRow,
)
from agents.quests.view import (
    badges_by_user,
    challenge_standings,
    leaderboard,
    level,
    my_parties,
    my_quests,
    quest_catalog,
    streaks,
    submissions,
)
from sinks.postgres import migrate
from streams import discover
from streams.view import Page, Paging
from tests.caravan.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
TERMS = {"name": "A walk", "tasks": [{"task_id": "pay", "name": "Pay", "event": "order_paid", "count": 2}], "days": 2}


async def put(db: Any, *rows: Any) -> None:
    for row in rows:
        await db.copy_records_to_table(row.__rows__.name, records=[row])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(infra: Running) -> AsyncIterator[Any]:
    """A schema with these rows; what a test adds is taken back."""
    namespace = f"t{secrets.token_hex(3)}_"
    await migrate(infra.postgres, namespace, ["quests"])
    connection = await asyncpg.connect(infra.postgres, server_settings={"search_path": f'"{namespace}quests"'})
    await put(
        connection,
        *(QuestRow(f"q{n}", "p1", "draft" if n == 2 else "published", n, json.dumps(TERMS)) for n in range(1, 5)),
        *(RunRow("ann", "q1", n, 1, "A walk", 5, NOON + n // 2 * SECOND, NOON + DAY, 9, 3, None) for n in range(1, 6)),
        EndingRow("ann", "q1", 1, "completed", NOON + 9 * SECOND),
        TaskRow("ann", "q1", 1, "pay", 1, "Pay", False, 2, 2, None, NOON + 9 * SECOND),
        TaskRow("ann", "q1", 1, "more", 2, "More", True, 1, 0, None, None),
        *(TaskRow("ann", "q1", n, "pay", 1, "Pay", False, 2, 1, None, None) for n in range(2, 6)),
        PlayerRow("ann", 120, 2),
        EarningRow("ann", 5, NOON, 100, "quest", "q1:1"),
        EarningRow("ann", 7, NOON, 20, "streak", "fit:2"),
        BadgeRow("b1", "First", "For the first"),
        BadgeRow("b2", "Second", ""),
        BadgeHeldRow("ann", "b2", "revoked", NOON, None),
        StreakRow("ann", "fit", NOON.date(), NOON.date(), 1, 4),
        StreakRow("ann", "run", None, None, 0, 2),
        LeaderboardRow("daily", "Of the day", "day"),
        PeriodRow("daily", "2026-01-01", "closed", 4, NOON + DAY, NOON + 2 * DAY),
        ScoreRow("daily", "2026-01-01", "cy", 5, NOON + SECOND),
        ScoreRow("daily", "2026-01-01", "bob", 5, NOON + SECOND),
        ScoreRow("daily", "2026-01-01", "Zed", 5, NOON + SECOND),
        ScoreRow("daily", "2026-01-01", "ann", 5, NOON),
        ChallengeRow("c", "Train", "workout_recorded", 10, NOON, NOON + DAY),
        EntryRow("c", "ann", "completed", 12, NOON),
        EntryRow("c", "bob", "joined", 7, NOON + SECOND),
        EntryRow("c", "cy", "joined", 7, NOON),
        EntryRow("c", "dan", "left", 99, NOON),
        EntryRow("c", "eve", "joined", 0, None),
    )
    yield connection
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def db(filled: Any) -> AsyncIterator[Any]:
    changes = filled.transaction()
    await changes.start()
    yield filled
    await changes.rollback()


async def pages(view: Any, db: Any, *args: Any, limit: int) -> list[list[Any]]:
    """All parts of a list."""
    found, paging = [], Paging(limit=limit)
    while True:
        page: Page[Any] = await view(db, *args, paging)
        found.append(page.items)
        if page.next is None:
            return found
        paging = Paging.read(page.next, limit)


async def test_the_catalog_has_the_quests_that_can_be_started_with_their_terms(db: Any) -> None:
    found = await pages(quest_catalog, db, limit=2)

    assert [[offer.quest_id for offer in page] for page in found] == [["q1", "q3"], ["q4"]]
    first = found[0][0]
    assert (first.author_id, first.revision, first.days, first.tasks[0].count) == ("p1", 1, 2, 2)


async def test_the_quests_of_a_user_tell_how_far_each_task_is(db: Any) -> None:
    found = await pages(my_quests, db, "ann", limit=2)

    assert [[one.run for one in page] for page in found] == [[5, 4], [3, 2], [1]]
    last, first = found[0][0], found[-1][0]
    assert (last.status, last.ended_at, [(task.counted, task.asked) for task in last.tasks]) == (
        "started",
        None,
        [(1, 2)],
    )
    assert (first.status, first.ended_at) == ("completed", NOON + 9 * SECOND)
    assert [(task.task_id, task.done_at is not None) for task in first.tasks] == [("pay", True), ("more", False)]
    assert (await my_quests(db, "bob", Paging())).items == []


async def test_the_parties_of_a_user_tell_who_else_is_in_them(db: Any) -> None:
    await put(
        db,
        *(PartyRow("ann", f"p{n}", "q1", "A walk", "gathering", 2, 4, None) for n in range(1, 4)),
        PartyRow("bob", "p1", "q3", "Afar", "started", 2, 3, 1),
        *(PartyMemberRow("ann", f"p{n}", "ann", "joined", NOON, None) for n in range(1, 4)),
        PartyMemberRow("ann", "p2", "bob", "invited", NOON + SECOND, NOON + DAY),
        PartyMemberRow("bob", "p1", "ann", "invited", NOON + SECOND, NOON + DAY),
        PartyMemberRow("bob", "p1", "bob", "completed", NOON + SECOND, None),
    )

    found = await pages(my_parties, db, "ann", limit=2)
    assert [[(one.owner_id, one.party_id) for one in page] for page in found] == [
        [("bob", "p1"), ("ann", "p3")],
        [("ann", "p2"), ("ann", "p1")],
    ]
    late, mine = found[0][0], found[1][0]
    assert (late.status, late.min, late.max, late.needed) == ("started", 2, 3, 1)
    assert [(one.user_id, one.status) for one in late.members] == [("ann", "expired"), ("bob", "completed")]
    assert [(one.user_id, one.status, one.expires_at) for one in mine.members] == [
        ("ann", "joined", None),
        ("bob", "invited", NOON + DAY),
    ]
    assert (await my_parties(db, "cy", Paging())).items == []


async def test_the_author_sees_the_proofs_that_wait_the_oldest_first(db: Any) -> None:
    waiting = [
        SubmissionRow("ann", "q1", n, f"t{n}", "p1", "waiting", NOON - n * SECOND, "Look", None, None, None)
        for n in range(1, 5)
    ]
    gone = SubmissionRow("bob", "q1", 1, "t", "p1", "verified", NOON, None, None, "p1", None)
    other = SubmissionRow("cy", "q1", 1, "t", "p2", "waiting", NOON, None, "m1", None, None)
    await put(db, *waiting, gone, other)

    found = await pages(submissions, db, "p1", limit=2)
    assert [[one.task_id for one in page] for page in found] == [["t4", "t3"], ["t2"]], (
        "that of a run that ended waits no more"
    )


async def test_who_holds_a_badge_sees_what_it_is(db: Any) -> None:
    assert (await badges_by_user(db, "ann", Paging())).items == []
    await put(db, BadgeHeldRow("ann", "b1", "held", NOON, "quest:q1:1"))

    (held,) = (await badges_by_user(db, "ann", Paging())).items
    assert (held.badge_id, held.name, held.at, held.source) == ("b1", "First", NOON, "quest:q1:1")


async def test_a_level_says_how_far_the_next_one_is(db: Any) -> None:
    found = await level(db, "ann")

    assert found
    assert found.model_dump() == {"user_id": "ann", "xp": 120, "level": 2, "reached_with": 100, "next_with": 300}
    assert await level(db, "bob") is None


async def test_streaks_tell_their_days_and_the_most_that_there_were(db: Any) -> None:
    fit, run = await streaks(db, "ann")

    assert (fit.first, fit.last, fit.length, fit.best) == (NOON.date(), NOON.date(), 1, 4)
    assert (run.first, run.length, run.best) == (None, 0, 2)


@pytest.mark.req("SR065")
async def test_a_leaderboard_shows_the_top_and_the_own_place(db: Any) -> None:
    found = await leaderboard(db, "daily", "2026-01-01", 2, "cy")

    assert found
    assert [(place.rank, place.user_id) for place in found.top] == [(1, "ann"), (2, "Zed")], "capitals come first"
    assert found.me
    assert (found.me.rank, found.me.user_id, found.me.score) == (4, "cy", 5)
    assert (found.status, found.participants, found.closed_at) == ("closed", 4, NOON + 2 * DAY)
    assert await leaderboard(db, "daily", "2026-01-02") is None
    alone = await leaderboard(db, "daily", "2026-01-01", -1, "nobody")
    assert alone
    assert (alone.top, alone.me) == ([], None)


async def test_the_standings_of_a_challenge_are_of_those_who_take_part(db: Any) -> None:
    found = await challenge_standings(db, "c", 2, "bob")

    assert found
    assert [(place.rank, place.user_id, place.score) for place in found.top] == [(1, "ann", 12), (2, "cy", 7)]
    assert found.me
    assert (found.me.rank, found.participants, found.completed) == (3, 4, 1)
    assert await challenge_standings(db, "none") is None
    for who in ("dan", "eve"):
        shown = await challenge_standings(db, "c", 0, who)
        assert shown
        assert shown.me is None


DAMAGES = {
    "experience_is_what_was_earned": "UPDATE earning SET amount = amount + 1 WHERE seq = 5",
    "level_follows_from_experience": "UPDATE player SET level = 3",
    "completed_when_all_is_done": "DELETE FROM ending",
    "parties_end_as_their_members_do": "INSERT INTO party_member VALUES ('ann', 'we', 'cy', 'completed', now(), NULL)",
    "tasks_are_done_in_order_and_in_time": "UPDATE task SET done_at = started_at - interval '1 s' FROM run WHERE task.run = 1",
    "nobody_verifies_their_own_task": "INSERT INTO submission VALUES ('ann', 'q1', 1, 't', 'ann', 'verified', now(), NULL, NULL, 'ann', NULL)",
    "period_counts_its_scores": "DELETE FROM score WHERE user_id = 'cy'",
    "top_is_the_best_of_the_scores": "UPDATE score SET score = 9 WHERE user_id = 'bob'",
    "badges_are_held_as_known": "DELETE FROM badge_held WHERE badge_id = 'b1'",
}


@pytest.mark.parametrize("name", discover.checks("quests"))
async def test_the_audit_finds_what_does_not_add_up(db: Any, name: str) -> None:
    top = json.dumps({"top": [["ann", 5, NOON.isoformat()], ["Zed", 5, NOON.isoformat()]]})
    await put(db, BadgeHeldRow("ann", "b1", "held", NOON, "quest:q1:1"))
    await put(
        db,
        PartyRow("ann", "we", "q1", "A walk", "started", 2, 3, 1),
        PartyMemberRow("ann", "we", "ann", "joined", NOON, None),
    )
    for key, data in (("daily/period/2026-01-01", top), ("ann/record", '{"badges": ["b1"]}')):
        await db.execute(
            "INSERT INTO state (key, version, replaces, rules, at, data) VALUES ($1, 1, 0, 1, 0, $2)", key, data
        )
    check = getattr(audit, name)

    assert await check(db) == []
    await db.execute(DAMAGES[name])
    assert await check(db) != []
