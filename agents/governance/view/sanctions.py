"""What may be asked about sanctions: those that are on, those of one user, appeals that wait, the admins; and what the edge is told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from streams.personal import Personal
from streams.view import Db, Page, Paging, Standing, standing, view
from topics.governance import SanctionKind

FIRST: list[Any] = ["0001-01-01T00:00:00+00:00", "", ""]  # before every sanction
LAST: list[Any] = ["9999-01-01T00:00:00+00:00", ""]  # behind every sanction
_COLUMNS = "user_id, sanction_id, kind, status, reason, imposed_by, imposed_at, until, scopes, ended_at"
_until_when = msgspec.json.Decoder(dict[str, datetime | None]).decode


class ActiveSanction(BaseModel):
    """A sanction that is on, until then or for ever; `scopes` are the domains of a restriction."""

    user_id: str
    sanction_id: str
    kind: SanctionKind
    status: Literal["active", "expired", "lifted", "overturned"]
    reason: str
    imposed_by: str
    imposed_at: datetime
    until: datetime | None
    scopes: tuple[str, ...]
    ended_at: datetime | None


class MySanction(BaseModel):
    """A sanction as the user sees it, with their appeal; who imposed it and who decided is not told."""

    sanction_id: str
    kind: SanctionKind
    status: Literal["active", "expired", "lifted", "overturned"]
    reason: str
    imposed_at: datetime
    until: datetime | None
    scopes: tuple[str, ...]
    ended_at: datetime | None
    appeal: Literal["none", "filed", "upheld", "overturned"]
    text: Personal[str] | None
    filed_at: datetime | None
    decided_at: datetime | None
    decision: str | None


class OpenAppeal(ActiveSanction):
    """An appeal that waits, and the sanction that it is about, which may be over by now."""

    text: Personal[str] | None
    filed_at: datetime


class ListedAdmin(BaseModel):
    """Somebody who is on the list of admins, since when and by whom."""

    user_id: str
    since: datetime
    by: str


@view(roles=("Admin",))
async def active_sanctions(
    db: Db, paging: Paging, user_id: str | None = None, kind: SanctionKind | None = None
) -> Page[ActiveSanction]:
    """The sanctions that are on, the oldest first; of one user or kind, if asked for."""
    at, user, sanction = paging.after or FIRST
    found = await db.fetch(
        f"SELECT {_COLUMNS} FROM sanction WHERE status = 'active'"  # noqa: S608 - a constant of ours
        " AND (imposed_at, user_id, sanction_id) > ($1::timestamptz, $2, $3)"
        " AND user_id = coalesce($4, user_id) AND kind = coalesce($5, kind)"
        " ORDER BY imposed_at, user_id, sanction_id LIMIT $6",
        datetime.fromisoformat(at), user, sanction, user_id, kind, paging.limit + 1,
    )  # fmt: skip
    items = [ActiveSanction(**_listed(row)) for row in found]
    return paging.page(items, lambda one: [one.imposed_at.isoformat(), one.user_id, one.sanction_id])


@view(roles=("User",), owner="user_id")
async def my_sanctions(db: Db, user_id: str, paging: Paging) -> Page[MySanction]:
    """All sanctions that a user ever had, the newest first; the banned may look as well."""
    at, sanction = paging.after or LAST
    found = await db.fetch(
        "SELECT sanction_id, kind, status, reason, imposed_at, until, scopes, ended_at,"
        " appeal, text, filed_at, decided_at, decision FROM sanction"
        " WHERE user_id = $1 AND (imposed_at, sanction_id) < ($2::timestamptz, $3)"
        " ORDER BY imposed_at DESC, sanction_id DESC LIMIT $4",
        user_id, datetime.fromisoformat(at), sanction, paging.limit + 1,
    )  # fmt: skip
    items = [MySanction(**_listed(row)) for row in found]
    return paging.page(items, lambda one: [one.imposed_at.isoformat(), one.sanction_id])


@view(roles=("Admin",))
async def open_appeals(db: Db, paging: Paging) -> Page[OpenAppeal]:
    """The appeals of sanctions that wait to be decided, the oldest first."""
    at, user, sanction = paging.after or FIRST
    found = await db.fetch(
        f"SELECT {_COLUMNS}, text, filed_at FROM sanction WHERE appeal = 'filed'"  # noqa: S608 - a constant of ours
        " AND (filed_at, user_id, sanction_id) > ($1::timestamptz, $2, $3)"
        " ORDER BY filed_at, user_id, sanction_id LIMIT $4",
        datetime.fromisoformat(at), user, sanction, paging.limit + 1,
    )  # fmt: skip
    items = [OpenAppeal(**_listed(row)) for row in found]
    return paging.page(items, lambda one: [one.filed_at.isoformat(), one.user_id, one.sanction_id])


@view(roles=("Admin",))
async def admins(db: Db, paging: Paging) -> Page[ListedAdmin]:
    """Who is on the list of admins, by their ids."""
    found = await db.fetch(
        "SELECT user_id, since, by FROM admin WHERE since IS NOT NULL AND user_id > $1 ORDER BY user_id LIMIT $2",
        paging.after or "", paging.limit + 1,
    )  # fmt: skip
    return paging.page([ListedAdmin(**row) for row in found], lambda one: one.user_id)


@standing
async def standings(db: Db) -> list[Standing]:
    """From whom something is kept."""
    found = await db.fetch(
        "SELECT user_id, banned, until, restricted, not_before FROM standing"
        " WHERE banned OR not_before IS NOT NULL OR restricted <> '{}'"
    )
    return [
        Standing(row["user_id"], row["banned"], row["until"], _until_when(row["restricted"]), row["not_before"])
        for row in found
    ]


def _listed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "scopes": tuple(row["scopes"].split(",")) if row["scopes"] else ()}
