"""What must add up in privacy: nobody is erased before every domain has done its part, and no file outlives its time or its user."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay governance builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def erased_after_every_step(db: Db) -> list[Any]:
    """Who is erased, or about to be, was so after every domain had done its part."""
    return await db.fetch(
        "SELECT e.user_id, e.status, s.domain, s.status AS step FROM erasure AS e JOIN erasure_step AS s USING (user_id, erasure_id)"
        " WHERE e.status IN ('acknowledged', 'erased') AND s.status <> 'completed'"
        " UNION ALL SELECT user_id, status, NULL, NULL FROM erasure AS e WHERE status IN ('acknowledged', 'erased')"
        " AND NOT EXISTS (SELECT FROM erasure_step AS s WHERE (s.user_id, s.erasure_id) = (e.user_id, e.erasure_id))"
        " ORDER BY 1, 3 LIMIT $1",
        MOST,
    )


@check(
    mend="Ask for the erasure again: caravan send request_erasure as an admin; it is done once more, and the file goes."
)
async def no_file_of_who_is_erased(db: Db) -> list[Any]:
    """Of who is erased, with nothing asked for since, there is no file, and nothing that is agreed to."""
    return await db.fetch(
        "SELECT user_id, 'file' AS what FROM erasure JOIN export_file USING (user_id) WHERE erasure.status = 'erased'"
        " AND NOT EXISTS (SELECT FROM effects WHERE agent = 'exports' AND convert_from(key, 'UTF8') = user_id)"
        " UNION ALL SELECT user_id, purpose FROM erasure JOIN consent USING (user_id) WHERE erasure.status = 'erased' AND given"
        " ORDER BY 1, 2 LIMIT $1",
        MOST,
    )
