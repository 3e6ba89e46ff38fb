"""What must add up in quests: experience is what was earned, a quest is completed when its tasks are, and ranks are told as they stand."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay quests builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def experience_is_what_was_earned(db: Db) -> list[Any]:
    """A user's experience is the sum of what was awarded, each of it once: for a task and a quest once in a run, for a challenge once."""
    return await db.fetch(
        "WITH sums AS (SELECT user_id, sum(amount) AS amount FROM earning GROUP BY user_id)"
        " SELECT user_id, coalesce(xp, 0) AS xp, coalesce(amount, 0)::bigint AS earned FROM player FULL JOIN sums USING (user_id)"
        " WHERE coalesce(xp, 0) <> coalesce(amount, 0)"
        " UNION ALL SELECT user_id, count(*), max(amount) FROM earning WHERE source IN ('task', 'quest', 'challenge')"
        " GROUP BY user_id, source, source_id HAVING count(*) > 1 ORDER BY 1 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def level_follows_from_experience(db: Db) -> list[Any]:
    """Level n is reached with 50 n (n - 1) experience."""
    return await db.fetch(
        "SELECT user_id, xp, level FROM player WHERE xp < 50 * level * (level - 1) OR xp >= 50 * level * (level + 1)"
        " ORDER BY user_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def completed_when_all_is_done(db: Db) -> list[Any]:
    """A quest is completed if and only if all its mandatory tasks are done, unless it ended otherwise, and was as often as it may be."""
    return await db.fetch(
        "WITH open AS (SELECT user_id, quest_id, run, count(*) FILTER (WHERE done_at IS NULL) AS left FROM task WHERE NOT optional"
        " GROUP BY user_id, quest_id, run)"
        " SELECT user_id, quest_id, run, coalesce(e.status, 'started') AS status, open.left FROM run JOIN open USING (user_id, quest_id, run)"
        " LEFT JOIN ending AS e USING (user_id, quest_id, run) WHERE (coalesce(e.status, 'started') = 'completed') <> (open.left = 0)"
        " UNION ALL SELECT user_id, quest_id, max(run), 'completed', count(*) FROM ending JOIN run USING (user_id, quest_id, run)"
        " WHERE status = 'completed' GROUP BY user_id, quest_id HAVING count(*) > max(most) ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def parties_end_as_their_members_do(db: Db) -> list[Any]:
    """A party is as large as its quest allows; it has completed the quest when as many as are needed have, and failed when too few are left who could."""
    return await db.fetch(
        "WITH counted AS (SELECT owner_id, party_id, count(*) FILTER (WHERE status IN ('joined', 'completed')) AS there,"
        " count(*) FILTER (WHERE status = 'completed') AS done FROM party_member GROUP BY owner_id, party_id)"
        " SELECT owner_id, party_id, status, needed, there, done FROM party LEFT JOIN counted USING (owner_id, party_id)"
        " WHERE there IS NULL OR there > most OR (status IN ('gathering', 'disbanded')) <> (needed IS NULL)"
        " OR (status = 'completed') <> coalesce(done >= needed, false) OR (status = 'failed') <> coalesce(there < needed, false)"
        " ORDER BY 1, 2 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def tasks_are_done_in_order_and_in_time(db: Db) -> list[Any]:
    """Each mandatory task was done after those before it, and all of them between the start and the deadline."""
    return await db.fetch(
        "SELECT user_id, quest_id, run, task_id, done_at FROM (SELECT *, max(done_at) OVER before AS reached,"
        " count(*) FILTER (WHERE done_at IS NULL) OVER before AS missing FROM task WHERE NOT optional"
        " WINDOW before AS (PARTITION BY user_id, quest_id, run ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS t"
        " WHERE done_at < reached OR done_at IS NOT NULL AND missing > 0"
        " UNION ALL SELECT user_id, quest_id, run, task_id, done_at FROM task JOIN run USING (user_id, quest_id, run)"
        " WHERE done_at < started_at OR done_at >= deadline OR counted > asked ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def nobody_verifies_their_own_task(db: Db) -> list[Any]:
    """What a user has done is verified by the author of the quest, who is somebody else."""
    return await db.fetch(
        "SELECT user_id, quest_id, run, task_id, verifier_id FROM submission"
        " WHERE verifier_id = user_id OR verifier_id <> author_id ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def period_counts_its_scores(db: Db) -> list[Any]:
    """A period of a leaderboard has as many participants as there are scores, and none was reached after its end."""
    return await db.fetch(
        "WITH there AS (SELECT leaderboard_id, period, count(*) AS scores, max(reached_at) AS last FROM score GROUP BY leaderboard_id, period)"
        " SELECT leaderboard_id, period, participants, scores, last, ends_at FROM period FULL JOIN there USING (leaderboard_id, period)"
        " WHERE coalesce(participants, 0) <> coalesce(scores, 0) OR last >= ends_at ORDER BY 1, 2 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def top_is_the_best_of_the_scores(db: Db) -> list[Any]:
    """Those whom a leaderboard remembers as its best are the best of the scores, in their order: also of a period that is closed."""
    return await db.fetch(
        "WITH remembered AS (SELECT split_part(key, '/', 1) AS leaderboard_id, split_part(key, '/', 3) AS period, place.n AS rank,"
        " place.value->>0 AS user_id, (place.value->>1)::bigint AS score FROM state,"
        " json_array_elements(data->'top') WITH ORDINALITY AS place (value, n) WHERE key LIKE '%/period/%'),"
        " ranked AS (SELECT leaderboard_id, period, user_id, score, row_number() OVER (PARTITION BY leaderboard_id, period"
        " ORDER BY score DESC, reached_at, user_id) AS rank FROM score)"
        " SELECT leaderboard_id, period, rank, r.user_id, r.score, ranked.user_id AS best, ranked.score AS best_score FROM remembered AS r"
        " LEFT JOIN ranked USING (leaderboard_id, period, rank)"
        " WHERE (r.user_id, r.score) IS DISTINCT FROM (ranked.user_id, ranked.score) ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def badges_are_held_as_known(db: Db) -> list[Any]:
    """The badges that users hold are those that the rules know them to hold, each once."""
    return await db.fetch(
        "WITH known AS (SELECT split_part(key, '/', 1) AS user_id, badge.badge_id FROM state,"
        " json_array_elements_text(data->'badges') AS badge (badge_id) WHERE key LIKE '%/record')"
        " SELECT user_id, badge_id FROM (SELECT user_id, badge_id FROM badge_held WHERE status = 'held') AS held"
        " FULL JOIN known USING (user_id, badge_id) WHERE held IS NULL OR known IS NULL"
        " UNION ALL SELECT user_id, badge_id FROM known GROUP BY user_id, badge_id HAVING count(*) > 1 ORDER BY 1, 2 LIMIT $1",
        MOST,
    )
