"""What may be asked about points: a user's balance and statement, by the user and by admins."""

from datetime import datetime

from pydantic import BaseModel

from streams.personal import Personal
from streams.view import Db, Page, Paging, view


class Expiring(BaseModel):
    """Points that expire together."""

    expires_at: datetime
    amount: int


class Balance(BaseModel):
    """`active` is all that the user has; of it `held` is set aside and `available` free to use, and of that `expiring` not for ever."""

    user_id: str
    active: int
    held: int
    available: int
    expiring: list[Expiring] = []


class Entry(BaseModel):
    """A movement of points from account `debit` to account `credit`; `reference` is the source, hold or transfer behind it."""

    seq: int
    at: datetime
    kind: str
    debit: str
    credit: str
    amount: int
    reference: str | None
    note: Personal[str] | None


@view(roles=("User",), owner="user_id")
async def balance(db: Db, user_id: str) -> Balance | None:
    """What the user has now."""
    rows = await db.fetch(
        "SELECT user_id, available + held AS active, held, available, expires_at, amount FROM balance"
        " LEFT JOIN (SELECT user_id, expires_at, amount FROM expiring WHERE amount > 0) AS e USING (user_id)"
        " WHERE user_id = $1 ORDER BY expires_at",
        user_id,
    )
    if not rows:
        return None
    expiring = [Expiring(**row) for row in rows if row["expires_at"] is not None]
    return Balance(**rows[0], expiring=expiring)


@view(roles=("User",), owner="user_id")
async def statement(db: Db, user_id: str, paging: Paging) -> Page[Entry]:
    """The user's movements, newest first."""
    found = await db.fetch(
        "SELECT seq, at, kind, debit, credit, amount, reference, note FROM ledger"
        " WHERE user_id = $1 AND seq < coalesce($2, 9223372036854775807) ORDER BY seq DESC LIMIT $3",
        user_id,
        paging.after,
        paging.limit + 1,
    )
    return paging.page([Entry(**row) for row in found], lambda entry: entry.seq)
