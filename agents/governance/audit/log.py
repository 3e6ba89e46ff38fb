"""What must add up in the audit log; that it was not altered is what `caravan audit-log verify` looks at."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
VERIFY = "caravan audit-log verify --topics says which entries are wrong; caravan replay governance builds the log anew from the events."


@check(mend=VERIFY)
async def every_number_has_its_entry(db: Db) -> list[Any]:
    """The entries of a partition tell of all numbers, each once."""
    return await db.fetch(
        "SELECT domain, partition, number, told FROM (SELECT domain, partition, number,"
        " lag(number + events) OVER (PARTITION BY domain, partition ORDER BY number) AS told FROM audit_log) AS e"
        " WHERE number <> told ORDER BY 1, 2, 3 LIMIT $1",
        MOST,
    )


@check(mend=VERIFY)
async def the_head_is_the_last_entry(db: Db) -> list[Any]:
    """The chain of a partition ends with the entry that was written last."""
    return await db.fetch(
        "WITH last AS (SELECT DISTINCT ON (domain, partition) domain, partition, number, events, hash FROM audit_log ORDER BY domain, partition, number DESC),"
        " head AS (SELECT substr(split_part(key, '/', 2), 11) AS domain, split_part(key, '/', 3)::int AS partition, data::json AS data"
        " FROM state WHERE key LIKE '/audit\\_log.%')"
        " SELECT domain, partition, number, data->>'last' AS head FROM last FULL JOIN head USING (domain, partition)"
        " WHERE (data->>'last')::bigint IS DISTINCT FROM number + events - 1 OR data->>'hash' IS DISTINCT FROM encode(hash, 'hex')"
        " ORDER BY 1, 2 LIMIT $1",
        MOST,
    )
