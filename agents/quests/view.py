"""What may be asked about quests: what there is to do, what a user is on and has earned, and who is where."""

import json
from datetime import UTC, date, datetime
from typing import Any

from pydantic import BaseModel

from streams.personal import Personal
from streams.view import Db, Page, Paging, view
from topics.quests import QuestTerms

LAST: list[Any] = ["9999-01-01T00:00:00+00:00", "", 0]  # behind every run
LAST_PARTY: list[Any] = ["9999-01-01T00:00:00+00:00", "", ""]  # behind every party
FIRST: list[Any] = ["0001-01-01T00:00:00+00:00", "", "", ""]  # before every submission
TOP = 100  # places that are told, at most


class Offer(QuestTerms):
    """A quest that can be started, by the terms of this revision."""

    quest_id: str
    author_id: str
    revision: int


class TaskProgress(BaseModel):
    """How far a task is: `counted` of the events `asked` for have happened; a proof was submitted; it is done."""

    task_id: str
    name: str
    optional: bool
    asked: int
    counted: int
    submitted_at: datetime | None
    done_at: datetime | None


class MyQuest(BaseModel):
    """One time that the user is on a quest; `status` is started, completed, abandoned, expired or failed, since `ended_at`."""

    quest_id: str
    run: int
    name: str
    status: str
    started_at: datetime
    deadline: datetime | None
    ended_at: datetime | None
    xp: int
    points: int
    badge_id: str | None
    tasks: list[TaskProgress]


class PartyMember(BaseModel):
    """A user who is `invited`, until `expires_at`, has `declined`, did not answer (`expired`), has `joined`, `left` or `completed` the quest, since `at`."""

    user_id: str
    status: str
    at: datetime
    expires_at: datetime | None


class MyParty(BaseModel):
    """A party for a quest; `status` is gathering, started, completed, failed or disbanded.

    It sets out with `min` to `max` members; as many as are `needed` have to complete the quest.
    """

    owner_id: str
    party_id: str
    quest_id: str
    name: str
    status: str
    min: int
    max: int
    needed: int | None
    members: list[PartyMember]


class Submission(BaseModel):
    """A proof that waits to be verified."""

    user_id: str
    quest_id: str
    task_id: str
    submitted_at: datetime
    text: Personal[str] | None
    media_id: str | None


class Held(BaseModel):
    """A badge that the user holds since `at`; `source` says for what."""

    badge_id: str
    name: str
    description: str
    at: datetime
    source: str | None


class Level(BaseModel):
    """What the user has earned; the level is reached with `reached_with` experience, the next one with `next_with`."""

    user_id: str
    xp: int
    level: int
    reached_with: int
    next_with: int


class Streak(BaseModel):
    """`length` days in a row up to `last`, which end unless the day after it counts too; `best` is the most that there were."""

    streak_id: str
    first: date | None
    last: date | None
    length: int
    best: int


class Place(BaseModel):
    """A place in a ranking: by score, then by who was there first."""

    rank: int
    user_id: str
    score: int
    reached_at: datetime


class Leaderboard(BaseModel):
    """The best of a period, and where the user is who is asked for; a closed period never changes."""

    leaderboard_id: str
    name: str
    period: str
    status: str
    participants: int
    ends_at: datetime | None
    closed_at: datetime | None
    top: list[Place]
    me: Place | None


class ChallengeStandings(BaseModel):
    """Those who have scored in a challenge, the best first, and where the user is who is asked for."""

    challenge_id: str
    name: str
    goal: int | None
    starts_at: datetime
    ends_at: datetime
    participants: int
    completed: int
    top: list[Place]
    me: Place | None


@view(roles=("Guest",))
async def quest_catalog(db: Db, paging: Paging) -> Page[Offer]:
    """The quests that are published, by id."""
    found = await db.fetch(
        "SELECT quest_id, author_id, revision, terms FROM quest WHERE status = 'published' AND quest_id > $1"
        " ORDER BY quest_id LIMIT $2",
        paging.after or "",
        paging.limit + 1,
    )
    offers = [
        Offer.model_validate({**json.loads(terms), "quest_id": quest_id, "author_id": author_id, "revision": revision})
        for quest_id, author_id, revision, terms in found
    ]
    return paging.page(offers, lambda offer: offer.quest_id)


@view(roles=("User",), owner="user_id")
async def my_quests(db: Db, user_id: str, paging: Paging) -> Page[MyQuest]:
    """The user's quests with each of their tasks, those begun last first."""
    started_at, quest_id, run = paging.after or LAST
    found = await db.fetch(
        "SELECT quest_id, run, name, coalesce(e.status, 'started') AS status, started_at, deadline, e.at AS ended_at, xp, points, badge_id"
        " FROM run LEFT JOIN ending AS e USING (user_id, quest_id, run)"
        " WHERE user_id = $1 AND (started_at, quest_id, run) < ($2, $3, $4)"
        " ORDER BY started_at DESC, quest_id DESC, run DESC LIMIT $5",
        user_id,
        datetime.fromisoformat(started_at),
        quest_id,
        run,
        paging.limit + 1,
    )
    tasks = await db.fetch(
        "SELECT quest_id, run, task_id, name, optional, asked, counted, submitted_at, done_at FROM task"
        " WHERE user_id = $1 AND (quest_id, run) IN (SELECT * FROM unnest($2::text[], $3::bigint[]))"
        " ORDER BY quest_id, run, position",
        user_id,
        [row["quest_id"] for row in found],
        [row["run"] for row in found],
    )
    of: dict[tuple[str, int], list[TaskProgress]] = {}
    for row in tasks:
        of.setdefault((row["quest_id"], row["run"]), []).append(TaskProgress(**row))
    quests = [MyQuest(**row, tasks=of.get((row["quest_id"], row["run"]), [])) for row in found]
    return paging.page(quests, lambda one: [_utc(one.started_at), one.quest_id, one.run])


@view(roles=("User",), owner="user_id")
async def my_parties(db: Db, user_id: str, paging: Paging) -> Page[MyParty]:
    """The parties that the user has gathered or was invited to, with all who were, those last that concerned the user first."""
    at, owner_id, party_id = paging.after or LAST_PARTY
    found = await db.fetch(
        "SELECT owner_id, party_id, quest_id, name, p.status, least AS min, most AS max, needed, m.at"
        " FROM party_member AS m JOIN party AS p USING (owner_id, party_id)"
        " WHERE m.user_id = $1 AND (m.at, owner_id, party_id) < ($2, $3, $4)"
        " ORDER BY m.at DESC, owner_id DESC, party_id DESC LIMIT $5",
        user_id,
        datetime.fromisoformat(at),
        owner_id,
        party_id,
        paging.limit + 1,
    )
    members = await db.fetch(
        "SELECT owner_id, party_id, user_id, at, expires_at,"
        " CASE WHEN m.status = 'invited' AND p.status <> 'gathering' THEN 'expired' ELSE m.status END AS status"
        " FROM party_member AS m JOIN party AS p USING (owner_id, party_id)"
        " WHERE (owner_id, party_id) IN (SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY at, user_id",
        [row["owner_id"] for row in found],
        [row["party_id"] for row in found],
    )
    of: dict[tuple[str, str], list[PartyMember]] = {}
    for row in members:
        of.setdefault((row["owner_id"], row["party_id"]), []).append(PartyMember(**row))
    parties = [(row["at"], MyParty(**row, members=of[row["owner_id"], row["party_id"]])) for row in found]
    page = paging.page(parties, lambda one: [_utc(one[0]), one[1].owner_id, one[1].party_id])
    return Page(items=[party for _, party in page.items], next=page.next)


@view(roles=("Partner",), owner="author_id")
async def submissions(db: Db, author_id: str, paging: Paging) -> Page[Submission]:
    """The proofs that wait for the author of their quests, the oldest first."""
    submitted_at, user_id, quest_id, task_id = paging.after or FIRST
    found = await db.fetch(
        "SELECT user_id, quest_id, task_id, submitted_at, text, media_id FROM submission AS s"
        " WHERE author_id = $1 AND status = 'waiting' AND (submitted_at, user_id, quest_id, task_id) > ($2, $3, $4, $5)"
        " AND NOT EXISTS (SELECT FROM ending AS e WHERE (e.user_id, e.quest_id, e.run) = (s.user_id, s.quest_id, s.run))"
        " ORDER BY submitted_at, user_id, quest_id, task_id LIMIT $6",
        author_id,
        datetime.fromisoformat(submitted_at),
        user_id,
        quest_id,
        task_id,
        paging.limit + 1,
    )
    waiting = [Submission(**row) for row in found]
    return paging.page(waiting, lambda one: [_utc(one.submitted_at), one.user_id, one.quest_id, one.task_id])


@view(roles=("User",))
async def badges_by_user(db: Db, user_id: str, paging: Paging) -> Page[Held]:
    """The badges that the user holds, by id."""
    found = await db.fetch(
        "SELECT badge_id, name, description, at, source FROM badge_held JOIN badge USING (badge_id)"
        " WHERE user_id = $1 AND status = 'held' AND badge_id > $2 ORDER BY badge_id LIMIT $3",
        user_id,
        paging.after or "",
        paging.limit + 1,
    )
    return paging.page([Held(**row) for row in found], lambda held: held.badge_id)


@view(roles=("User",))
async def level(db: Db, user_id: str) -> Level | None:
    """The user's experience and level; None for who has earned nothing."""
    row = await db.fetchrow(
        "SELECT user_id, xp, level, 50 * level * (level - 1) AS reached_with, 50 * level * (level + 1) AS next_with"
        " FROM player WHERE user_id = $1",
        user_id,
    )
    return Level(**row) if row else None


@view(roles=("User",), owner="user_id")
async def streaks(db: Db, user_id: str) -> list[Streak]:
    """The user's streaks."""
    found = await db.fetch(
        "SELECT streak_id, first, last, length, best FROM streak WHERE user_id = $1 ORDER BY streak_id", user_id
    )
    return [Streak(**row) for row in found]


@view(roles=("User",))
async def leaderboard(
    db: Db, leaderboard_id: str, period: str, top: int = 10, me: str | None = None
) -> Leaderboard | None:
    """A period of a leaderboard, such as `2026-01`; `me` is the user whose own place is asked for."""
    row = await db.fetchrow(
        "SELECT leaderboard_id, name, period, status, participants, ends_at, closed_at"
        " FROM period JOIN leaderboard USING (leaderboard_id) WHERE leaderboard_id = $1 AND period = $2",
        leaderboard_id,
        period,
    )
    if row is None:
        return None
    found = await db.fetch(
        "SELECT user_id, score, reached_at FROM score WHERE leaderboard_id = $1 AND period = $2"
        " ORDER BY score DESC, reached_at, user_id LIMIT $3",
        leaderboard_id,
        period,
        max(0, min(top, TOP)),
    )
    mine = await db.fetchrow(
        "SELECT m.user_id, m.score, m.reached_at, 1 + (SELECT count(*) FROM score AS s"
        " WHERE s.leaderboard_id = $1 AND s.period = $2 AND (s.score > m.score"
        " OR s.score = m.score AND (s.reached_at, s.user_id) < (m.reached_at, m.user_id))) AS rank"
        " FROM score AS m WHERE m.leaderboard_id = $1 AND m.period = $2 AND m.user_id = $3",
        leaderboard_id,
        period,
        me,
    )
    return Leaderboard(**row, top=_places(found), me=Place(**mine) if mine else None)


@view(roles=("User",))
async def challenge_standings(
    db: Db, challenge_id: str, top: int = 10, me: str | None = None
) -> ChallengeStandings | None:
    """Who is where in a challenge; who left is nowhere. `me` is the user whose own place is asked for."""
    row = await db.fetchrow(
        "SELECT challenge_id, name, goal, starts_at, ends_at, count(user_id) AS participants,"
        " count(user_id) FILTER (WHERE status = 'completed') AS completed"
        " FROM challenge LEFT JOIN (SELECT * FROM entry WHERE status <> 'left') AS e USING (challenge_id)"
        " WHERE challenge_id = $1 GROUP BY challenge_id",
        challenge_id,
    )
    if row is None:
        return None
    found = await db.fetch(
        "SELECT user_id, score, reached_at FROM entry WHERE challenge_id = $1 AND status <> 'left' AND score > 0"
        " ORDER BY score DESC, reached_at, user_id LIMIT $2",
        challenge_id,
        max(0, min(top, TOP)),
    )
    mine = await db.fetchrow(
        "SELECT m.user_id, m.score, m.reached_at, 1 + (SELECT count(*) FROM entry AS s WHERE s.challenge_id = $1"
        " AND s.status <> 'left' AND (s.score > m.score"
        " OR s.score = m.score AND (s.reached_at, s.user_id) < (m.reached_at, m.user_id))) AS rank"
        " FROM entry AS m WHERE m.challenge_id = $1 AND m.user_id = $2 AND m.status <> 'left' AND m.score > 0",
        challenge_id,
        me,
    )
    return ChallengeStandings(**row, top=_places(found), me=Place(**mine) if mine else None)


def _places(found: list[Any]) -> list[Place]:
    return [Place(rank=rank, **row) for rank, row in enumerate(found, 1)]


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
