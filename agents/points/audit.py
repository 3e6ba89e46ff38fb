"""What must add up in points: each movement has two sides, balances and tallies are what the ledger says, what is held is in open holds, and what was taken back was there."""

from typing import Any

from streams.audit import check
from streams.view import Db

MOST = 100  # rows that are told
REBUILD = (
    "The events are the truth: caravan replay points builds the rows anew and compares; find out who changed them."
)


@check(mend=REBUILD)
async def movement_has_two_sides(db: Db) -> list[Any]:
    """Every movement takes a positive amount from one account and gives it to another, and one of the two is its user's."""
    return await db.fetch(
        "SELECT user_id, seq, kind, debit, credit, amount FROM ledger WHERE amount <= 0 OR debit = credit"
        " OR debit NOT IN ('system:issued', 'system:spent', 'system:adjusted', 'system:transit', 'user:' || user_id || ':available',"
        " 'user:' || user_id || ':held', 'user:' || user_id || ':pending')"
        " OR credit NOT IN ('system:spent', 'system:expired', 'system:reversed', 'system:adjusted', 'system:transit',"
        " 'user:' || user_id || ':available', 'user:' || user_id || ':held', 'user:' || user_id || ':pending')"
        " OR left(debit, 7) = 'system:' AND left(credit, 7) = 'system:' LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def balance_is_its_ledger(db: Db) -> list[Any]:
    """What a user has available, held and pending is what the ledger gave to these accounts less what it took from them."""
    return await db.fetch(
        "WITH moved AS (SELECT credit AS account, amount FROM ledger UNION ALL SELECT debit, -amount FROM ledger),"
        " sums AS (SELECT account, sum(amount) AS amount FROM moved WHERE account LIKE 'user:%' GROUP BY account),"
        " stands AS (SELECT 'user:' || user_id || ':available' AS account, available AS amount FROM balance"
        " UNION ALL SELECT 'user:' || user_id || ':held', held FROM balance"
        " UNION ALL SELECT 'user:' || user_id || ':pending', sum(amount)::bigint FROM pending GROUP BY user_id)"
        " SELECT account, coalesce(sums.amount, 0)::bigint AS ledger, stands.amount AS balance"
        " FROM sums FULL JOIN stands USING (account) WHERE coalesce(sums.amount, 0) IS DISTINCT FROM coalesce(stands.amount, 0)"
        " ORDER BY account LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def accounts_sum_to_zero(db: Db) -> list[Any]:
    """All that users have, and all that was spent, expired, taken back or is on its way, was issued, but for adjustments."""
    return await db.fetch(
        "SELECT users::bigint, issued::bigint, gone::bigint FROM ("
        "SELECT (SELECT coalesce(sum(available + held), 0) FROM balance) + (SELECT coalesce(sum(amount), 0) FROM pending) AS users,"
        " coalesce(sum(amount) FILTER (WHERE debit = 'system:issued'), 0) AS issued,"
        " coalesce(sum(amount) FILTER (WHERE left(credit, 7) = 'system:'), 0)"
        " - coalesce(sum(amount) FILTER (WHERE left(debit, 7) = 'system:' AND debit <> 'system:issued'), 0) AS gone FROM ledger) AS s"
        " WHERE users + gone <> issued"
    )


@check(mend=REBUILD)
async def nothing_is_below_zero(db: Db) -> list[Any]:
    """Nobody has less than nothing, and no more arrives than was sent."""
    return await db.fetch(
        "SELECT user_id, available, held FROM balance WHERE available < 0 OR held < 0"
        " UNION ALL SELECT 'system:transit', sent::bigint, 0 FROM (SELECT coalesce(sum(amount) FILTER (WHERE credit = 'system:transit'), 0)"
        " - coalesce(sum(amount) FILTER (WHERE debit = 'system:transit'), 0) AS sent FROM ledger) AS t WHERE sent < 0 LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def held_is_open_holds(db: Db) -> list[Any]:
    """What a user has held is the sum of the holds that are open."""
    return await db.fetch(
        "WITH open AS (SELECT split_part(key, '/', 1) AS user_id, sum((data->>'amount')::bigint) AS amount FROM state"
        " WHERE key LIKE '%/hold/%' AND data->>'status' = 'open' GROUP BY 1)"
        " SELECT user_id, coalesce(held, 0) AS held, coalesce(amount, 0)::bigint AS holds FROM balance FULL JOIN open USING (user_id)"
        " WHERE coalesce(held, 0) <> coalesce(amount, 0) ORDER BY user_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def expiring_is_available(db: Db) -> list[Any]:
    """What expires of a user's points is among those that are available."""
    return await db.fetch(
        "SELECT user_id, sum(amount)::bigint AS expiring, max(available) AS available FROM expiring LEFT JOIN balance USING (user_id)"
        " GROUP BY user_id HAVING sum(amount) > coalesce(max(available), 0) OR min(amount) < 0 ORDER BY user_id LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def tally_is_its_ledger(db: Db) -> list[Any]:
    """What of a user's points was spent, expired, was taken back, adjusted or is on its way is what the ledger says."""
    return await db.fetch(
        "WITH moved AS (SELECT user_id, credit AS account, amount FROM ledger UNION ALL SELECT user_id, debit, -amount FROM ledger),"
        " sums AS (SELECT user_id, account, sum(amount) AS amount FROM moved"
        " WHERE account IN ('system:spent', 'system:expired', 'system:reversed', 'system:adjusted', 'system:transit') GROUP BY 1, 2),"
        " told AS (SELECT user_id, account, amount FROM tally, LATERAL (VALUES ('system:spent', spent), ('system:expired', expired),"
        " ('system:reversed', reversed), ('system:adjusted', -adjusted), ('system:transit', transit)) AS t (account, amount))"
        " SELECT user_id, account, coalesce(sums.amount, 0)::bigint AS ledger, coalesce(told.amount, 0) AS tally"
        " FROM sums FULL JOIN told USING (user_id, account)"
        " WHERE coalesce(sums.amount, 0) <> coalesce(told.amount, 0) ORDER BY user_id, account LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def no_more_is_taken_back_than_there_was(db: Db) -> list[Any]:
    """Of an award, a spend or a captured hold at most all of it is taken back."""
    return await db.fetch(
        "WITH entries AS (SELECT state.key || '/' || award.key AS entry, award.value AS data FROM state, json_each(data::json->'awards') AS award"
        " WHERE state.key LIKE '%/source/%' AND (data::json->'awards') IS NOT NULL"
        " UNION ALL SELECT key, data::json FROM state WHERE key LIKE '%/spend/%' OR key LIKE '%/hold/%')"
        " SELECT entry, (data->>'amount')::bigint AS amount, (data->>'reversed')::bigint AS reversed FROM entries"
        " WHERE (data->>'reversed')::bigint > (data->>'amount')::bigint ORDER BY entry LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def pending_is_not_below_zero(db: Db) -> list[Any]:
    """Nobody has less than nothing that is pending, and nobody is owed anything."""
    return await db.fetch(
        "SELECT user_id, amount, 0 AS owed FROM pending WHERE amount < 0"
        " UNION ALL SELECT user_id, 0, owed FROM tally WHERE owed < 0 OR spent < 0 OR expired < 0 OR reversed < 0 LIMIT $1",
        MOST,
    )
