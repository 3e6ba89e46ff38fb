"""What may be asked about points: a user's balance, statement and tier, by the user and by admins; rules and tiers; and what became of all points."""

from datetime import datetime

from pydantic import BaseModel, TypeAdapter

from agents.points.rules import BUILT_IN
from streams.personal import Personal
from streams.view import Db, Page, Paging, view


class Expiring(BaseModel):
    """Points that expire together."""

    expires_at: datetime
    amount: int


class Unlocking(BaseModel):
    """Points that are unlocked together."""

    unlocks_at: datetime
    amount: int


class Balance(BaseModel):
    """`active` is all that the user has and may use; of it `held` is set aside and `available` free, and of that `expiring` not for ever.

    `pending` is not there yet, `unlocking` says when it will be. `owed` is taken of what comes in.
    """

    user_id: str
    active: int
    held: int
    available: int
    expiring: list[Expiring] = []
    pending: int = 0
    unlocking: list[Unlocking] = []
    owed: int = 0


class Entry(BaseModel):
    """A movement of points from account `debit` to account `credit`; `reference` is the source, hold or transfer behind it, or the reason."""

    seq: int
    at: datetime
    kind: str
    debit: str
    credit: str
    amount: int
    reference: str | None
    note: Personal[str] | None


class Tier(BaseModel):
    """A step that users reach by so many points earned."""

    tier_id: str
    name: str
    points: int


class Standing(BaseModel):
    """A user's tier, null for none; `points` count for it, and the next one needs `to_next` more. What counts ends with the period, at `until`."""

    user_id: str
    tier: str | None
    points: int
    ever: int
    next_tier: str | None
    to_next: int | None
    until: datetime | None


class Tiers(BaseModel):
    """The tiers of the program, lowest first, and the days of a period; without `period` all that was ever earned counts."""

    revision: int
    tiers: list[Tier]
    period: int | None


class Rule(BaseModel):
    """A revision of a rule; of the revisions of a rule at most one is `active`. `define_points_rule` says what the rest means."""

    rule_id: str
    revision: int
    active: bool = False
    event: str
    condition: str
    amount: str
    cap_per_day: int | None = None
    cap_per_user: int | None = None
    validity: int | None = None
    pending: int | None = None


class Totals(BaseModel):
    """All points that were ever `issued` were `spent`, expired or taken back, are in transit, or are somebody's; adjustments added to them or took away.

    `outstanding` are all that users have, held and pending ones too; `owed` is not part of it.
    """

    issued: int
    adjusted: int
    spent: int
    expired: int
    reversed: int
    in_transit: int
    outstanding: int
    held: int
    pending: int
    owed: int


_TIERS = TypeAdapter(list[Tier])


@view(roles=("User",), owner="user_id")
async def balance(db: Db, user_id: str) -> Balance | None:
    """What the user has now."""
    rows = await db.fetch(
        "SELECT user_id, available + held AS active, held, available, at, amount, unlocks, (SELECT owed FROM tally WHERE user_id = $1) AS owed"
        " FROM balance LEFT JOIN ("
        "SELECT user_id, expires_at AS at, amount, false AS unlocks FROM expiring WHERE user_id = $1 AND amount > 0"
        " UNION ALL SELECT user_id, unlocks_at, amount, true FROM pending WHERE user_id = $1 AND amount > 0) AS e USING (user_id)"
        " WHERE user_id = $1 ORDER BY at",
        user_id,
    )
    if not rows:
        return None
    expiring = [Expiring(expires_at=row["at"], amount=row["amount"]) for row in rows if row["unlocks"] is False]
    unlocking = [Unlocking(unlocks_at=row["at"], amount=row["amount"]) for row in rows if row["unlocks"]]
    return Balance(
        user_id=user_id,
        active=rows[0]["active"],
        held=rows[0]["held"],
        available=rows[0]["available"],
        expiring=expiring,
        pending=sum(one.amount for one in unlocking),
        unlocking=unlocking,
        owed=rows[0]["owed"] or 0,
    )


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


@view(roles=("User",), owner="user_id")
async def tier(db: Db, user_id: str) -> Standing | None:
    """The user's tier, once points were earned; by the tiers as they are now, where the user's own follows at the next award."""
    row = await db.fetchrow(
        "SELECT user_id, tier, ever, greatest(earned, before) AS lately, until, tiers, period"
        " FROM tier LEFT JOIN tiers ON program = 'main' WHERE user_id = $1",
        user_id,
    )
    if row is None:
        return None
    points = row["lately"] if row["period"] else row["ever"]
    above = [one for one in _TIERS.validate_json(row["tiers"] or "[]") if one.points > points]
    return Standing(
        user_id=user_id,
        tier=row["tier"],
        points=points,
        ever=row["ever"],
        next_tier=above[0].tier_id if above else None,
        to_next=above[0].points - points if above else None,
        until=row["until"],
    )


@view(roles=("User", "Partner"))
async def tiers(db: Db) -> Tiers:
    """The tiers as they are now."""
    row = await db.fetchrow("SELECT revision, tiers, period FROM tiers WHERE program = 'main'")
    if row is None:
        return Tiers(revision=0, tiers=[], period=None)
    return Tiers(revision=row["revision"], tiers=_TIERS.validate_json(row["tiers"]), period=row["period"])


@view(roles=("User", "Partner"))
async def rules(db: Db, paging: Paging) -> Page[Rule]:
    """All revisions of all rules, by their ids, newest first."""
    built_in = [
        Rule(rule_id=rule_id, event=event, amount=str(terms.amount), revision=terms.revision, condition=terms.condition)
        for event, there in BUILT_IN.items()
        for rule_id, terms in there.items()
    ]
    kept = await db.fetch("SELECT * FROM rule WHERE program = 'main'")
    active = {rule.rule_id: rule.revision for rule in built_in}
    active |= await db.fetch("SELECT rule_id, revision FROM active_rule WHERE program = 'main'")
    found = [*built_in, *(Rule.model_validate(dict(row)) for row in kept)]
    for rule in found:
        rule.active = active.get(rule.rule_id) == rule.revision
    places = {(one.rule_id, -one.revision): one for one in found}
    after = tuple(paging.after) if paging.after else ("", 0)
    page = [places[place] for place in sorted(places) if place > after]
    return paging.page(page[: paging.limit + 1], lambda one: [one.rule_id, -one.revision])


@view(roles=("Admin",))
async def issued_vs_spent(db: Db) -> Totals | None:
    """What became of all points that there ever were."""
    row = await db.fetchrow(
        "SELECT b.available, b.held, p.pending, t.* FROM"
        " (SELECT coalesce(sum(available), 0)::bigint AS available, coalesce(sum(held), 0)::bigint AS held FROM balance) AS b,"
        " (SELECT coalesce(sum(amount), 0)::bigint AS pending FROM pending) AS p,"
        " (SELECT coalesce(sum(spent), 0)::bigint AS spent, coalesce(sum(expired), 0)::bigint AS expired,"
        " coalesce(sum(reversed), 0)::bigint AS reversed, coalesce(sum(adjusted), 0)::bigint AS adjusted,"
        " coalesce(sum(transit), 0)::bigint AS in_transit, coalesce(sum(owed), 0)::bigint AS owed FROM tally) AS t",
    )
    if row is None:
        return None
    told = dict(row)
    outstanding = told.pop("available") + told["held"] + told["pending"]
    gone = told["spent"] + told["expired"] + told["reversed"] + told["in_transit"]
    return Totals(**told, outstanding=outstanding, issued=outstanding + gone - told["adjusted"])
