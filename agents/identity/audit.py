"""What must add up in identity: a login is one user's, who has claimed it."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told


@check(
    mend="The events are the truth: caravan replay identity builds the rows anew and compares; find out who changed them."
)
async def login_has_one_owner(db: Db) -> list[Any]:
    """Every login of a registered user is theirs, so no two of them share one."""
    return await db.fetch(
        "SELECT u.key AS user_id, claimed.login, login.user_id AS owner FROM state u"
        " CROSS JOIN LATERAL json_array_elements_text(u.data->'claimed') AS claimed (login)"
        " LEFT JOIN login ON login.login = claimed.login"
        " WHERE position('/' in u.key) = 0 AND u.data->>'status' = 'registered' AND login.user_id IS DISTINCT FROM u.key"
        " ORDER BY 1, 2 LIMIT $1",
        MOST,
    )
