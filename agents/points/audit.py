"""What must add up in points: each movement has two sides, balances are what the ledger says, and what is held is in open holds."""

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
        " OR debit NOT IN ('system:issued', 'system:transit', 'user:' || user_id || ':available', 'user:' || user_id || ':held')"
        " OR credit NOT IN ('system:spent', 'system:expired', 'system:transit', 'user:' || user_id || ':available',"
        " 'user:' || user_id || ':held') OR left(debit, 7) = 'system:' AND left(credit, 7) = 'system:' LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def balance_is_its_ledger(db: Db) -> list[Any]:
    """What a user has available and held is what the ledger gave to these accounts less what it took from them."""
    return await db.fetch(
        "WITH moved AS (SELECT credit AS account, amount FROM ledger UNION ALL SELECT debit, -amount FROM ledger),"
        " sums AS (SELECT account, sum(amount) AS amount FROM moved WHERE account LIKE 'user:%' GROUP BY account),"
        " stands AS (SELECT 'user:' || user_id || ':available' AS account, available AS amount FROM balance"
        " UNION ALL SELECT 'user:' || user_id || ':held', held FROM balance)"
        " SELECT account, coalesce(sums.amount, 0)::bigint AS ledger, stands.amount AS balance"
        " FROM sums FULL JOIN stands USING (account) WHERE coalesce(sums.amount, 0) IS DISTINCT FROM coalesce(stands.amount, 0)"
        " ORDER BY account LIMIT $1",
        MOST,
    )


@check(mend=REBUILD)
async def accounts_sum_to_zero(db: Db) -> list[Any]:
    """All that users have, and all that was spent, expired or is on its way, was issued."""
    return await db.fetch(
        "SELECT users::bigint, issued::bigint, gone::bigint FROM (SELECT (SELECT coalesce(sum(available + held), 0) FROM balance) AS users,"
        " coalesce(sum(amount) FILTER (WHERE debit = 'system:issued'), 0) AS issued,"
        " coalesce(sum(amount) FILTER (WHERE credit IN ('system:spent', 'system:expired', 'system:transit')), 0)"
        " - coalesce(sum(amount) FILTER (WHERE debit = 'system:transit'), 0) AS gone FROM ledger) AS s WHERE users + gone <> issued"
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
