"""What must add up in the audit log; that it was not altered is what `caravan audit-log verify` looks at."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
VERIFY = "caravan audit-log verify --topics says which entries are wrong; caravan replay governance builds the log anew from the events."
_HEADS = (
    "SELECT substr(split_part(key, '/', 2), 11) AS domain, split_part(key, '/', 3)::int AS partition,"
    " coalesce((data::json->>'last')::bigint, 0) AS last, coalesce(data::json->>'hash', '') AS hash FROM state WHERE key LIKE '/audit\\_log.%'"
)


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
    found = await db.fetch(
        "SELECT DISTINCT ON (domain, partition) domain, partition, number + events - 1 AS last, encode(hash, 'hex') AS hash"
        " FROM audit_log ORDER BY domain, partition, number DESC"
    )
    known, there = ({tuple(row)[:2]: tuple(row)[2:] for row in rows} for rows in (await heads(db), found))
    return [
        {"domain": place[0], "partition": place[1], "head": known.get(place), "entry": there.get(place)}
        for place in sorted(known.keys() | there.keys())
        if known.get(place) != there.get(place)
    ]


async def heads(db: Db) -> list[Any]:
    """Where the log knows each of its chains to end."""
    return await db.fetch(_HEADS)


async def chains(db: Db) -> list[Any]:
    """The domains and partitions of which there are entries, and from which number on."""
    return await db.fetch("SELECT domain, partition, min(number) AS number FROM audit_log GROUP BY 1, 2 ORDER BY 1, 2")
