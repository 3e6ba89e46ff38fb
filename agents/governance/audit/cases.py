"""What must add up in moderation: one open case per revision, one decision per case, nobody on what is their own."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay governance builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def one_case_of_a_revision_is_open(db: Db) -> list[Any]:
    """Of each revision only the last case is undecided, and only one was a submission."""
    return await db.fetch(
        "SELECT subject, revision FROM moderation_case GROUP BY subject, revision"
        " HAVING count(*) FILTER (WHERE decided_at IS NULL) > 1 OR count(*) FILTER (WHERE origin = 'submission') > 1"
        " OR max(number) <> count(*) OR min(number) FILTER (WHERE decided_at IS NULL) < max(number) ORDER BY 1, 2 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def a_case_has_one_decision(db: Db) -> list[Any]:
    """A case is decided if and only if its events tell of one decision, and of one more where an appeal overturned it; whoever rejects says why."""
    return await db.fetch(
        "SELECT subject, revision, number, status, told FROM moderation_case LEFT JOIN ("
        "SELECT subject, revision, number, count(*) AS told FROM case_event WHERE event IN ('content_approved', 'content_rejected')"
        " GROUP BY subject, revision, number) AS decisions USING (subject, revision, number)"
        " WHERE coalesce(told, 0) <> (decided_at IS NOT NULL)::int + (appeal = 'overturned')::int"
        " OR (decided_at IS NULL) <> (status IN ('open', 'claimed', 'escalated')) OR status = 'rejected' AND (reason IS NULL OR decided_by IS NULL)"
        " ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def nobody_decides_on_their_own(db: Db) -> list[Any]:
    """No case is decided by the author of its content, nor by whom it is about, and no appeal by whoever had rejected it."""
    return await db.fetch(
        "SELECT subject, revision, number, decided_by FROM moderation_case"
        " WHERE decided_by = author_id OR decided_by = substr(subject, strpos(subject, ':') + 1)"
        " UNION ALL SELECT a.subject, a.revision, a.number, a.by FROM case_event AS a JOIN case_event AS r USING (subject, revision, number)"
        " WHERE a.event = 'appeal_decided' AND r.event = 'content_rejected' AND a.by = r.by ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def a_case_counts_its_reports(db: Db) -> list[Any]:
    """A case has as many reports as were made in it and not dismissed."""
    return await db.fetch(
        "WITH open AS (SELECT subject, revision, r.number, count(*) AS reports FROM report AS r"
        " LEFT JOIN dismissal AS d USING (subject, revision, reporter_id) WHERE d.reporter_id IS NULL GROUP BY 1, 2, 3)"
        " SELECT subject, revision, number, c.reports, coalesce(open.reports, 0) AS made FROM moderation_case AS c"
        " FULL JOIN open USING (subject, revision, number) WHERE c.reports IS DISTINCT FROM coalesce(open.reports, 0)"
        " ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )
