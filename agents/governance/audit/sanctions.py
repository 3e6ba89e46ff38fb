"""What must add up in sanctions: the edge is told what the sanctions say, no admin is banned, and nobody judges themselves."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay governance builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def standing_is_its_sanctions(db: Db) -> list[Any]:
    """A user is banned while a ban is active, of which there is one after another, and restricted while a restriction is."""
    return await db.fetch(
        "WITH active AS (SELECT user_id, bool_or(kind = 'ban') AS banned, bool_or(kind = 'restriction') AS restricted"
        " FROM sanction WHERE status = 'active' AND kind <> 'warning' GROUP BY user_id)"
        " SELECT user_id, standing.banned, coalesce(active.banned, false) AS ban_active, standing.restricted,"
        " coalesce(active.restricted, false) AS restriction_active FROM standing FULL JOIN active USING (user_id)"
        " WHERE coalesce(standing.banned, false) <> coalesce(active.banned, false)"
        " OR (coalesce(standing.restricted, '{}') <> '{}') <> coalesce(active.restricted, false) ORDER BY user_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def a_ban_ends_the_sessions_before_it(db: Db) -> list[Any]:
    """Of every user who was ever banned no token of before the last ban is good."""
    return await db.fetch(
        "SELECT user_id, max(imposed_at) AS banned_at, standing.not_before FROM sanction LEFT JOIN standing USING (user_id)"
        " WHERE kind = 'ban' GROUP BY user_id, standing.not_before"
        " HAVING standing.not_before IS NULL OR standing.not_before < max(imposed_at) ORDER BY user_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def no_admin_is_banned(db: Db) -> list[Any]:
    """Nobody on the list of admins is banned; a ban whose end is only not told yet does not count."""
    return await db.fetch(
        "SELECT user_id, since, sanction_id FROM admin JOIN sanction USING (user_id)"
        " WHERE since IS NOT NULL AND kind = 'ban' AND status = 'active' AND (until IS NULL OR until > since)"
        " ORDER BY user_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def the_list_of_admins_is_not_empty_again(db: Db) -> list[Any]:
    """Who was an admin was removed by somebody while another one stayed."""
    return await db.fetch("SELECT count(*) AS removed FROM admin HAVING count(*) > 0 AND count(since) = 0")


@check(mend=REBUILD)
async def nobody_judges_themselves(db: Db) -> list[Any]:
    """Nobody imposed a sanction on themselves, and who decided an appeal is neither the user nor who imposed the sanction."""
    return await db.fetch(
        "SELECT user_id, sanction_id, imposed_by, decided_by FROM sanction"
        " WHERE imposed_by = user_id OR decided_by IN (user_id, imposed_by) ORDER BY user_id, sanction_id LIMIT $1",
        MOST,
    )
