"""What may be asked about the audit log, by admins."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from streams.view import Db, Page, Paging, view


class AuditEntry(BaseModel):
    """What became of a command: `action` is its type, `target` the aggregate that it was about, `number` that of the first of the `events` that it left.

    With `settles` the command was the last step of another one that was pending, and `outcome` and `code` are those of that one. `hash` binds the entry to the one before it.
    """

    domain: str
    partition: int
    number: int
    events: int
    at: datetime
    action: str
    actor_type: str
    actor: str
    role: str
    target: str
    outcome: Literal["accepted", "rejected", "pending"]
    code: str | None
    command_id: str
    correlation_id: str
    settles: str | None
    hash: str


_ENTRIES = (
    "SELECT domain, partition, number, events, at, action, actor_type, actor, role, target, outcome, code, command_id::text, correlation_id::text,"
    " settles::text, encode(hash, 'hex') AS hash FROM audit_log"
)


@view(roles=("Admin",))
async def audit_log(
    db: Db,
    paging: Paging,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    domain: str | None = None,
    outcome: Literal["accepted", "rejected", "pending"] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[AuditEntry]:
    """What became of commands, newest first: of an actor, on a target, of an action such as `ban_user`, in a time from `since` to before `until`."""
    asked = {
        "actor = ": actor,
        "action = ": action,
        "target = ": target,
        "domain = ": domain,
        "outcome = ": outcome,
        "at >= ": since,
        "at < ": until,
    }
    given = {what: value for what, value in asked.items() if value is not None}
    values: list[Any] = [paging.limit + 1, *given.values()]
    where = [f"{what}${n}" for n, what in enumerate(given, 2)]
    if paging.after is not None:
        at, *place = paging.after
        values += [datetime.fromisoformat(at), *place]
        first = len(values) - 3
        where.append(f"(at, domain, partition, number) < (${first}, ${first + 1}, ${first + 2}, ${first + 3})")
    found = await db.fetch(
        f"{_ENTRIES}{' WHERE ' if where else ''}{' AND '.join(where)}"
        " ORDER BY at DESC, domain DESC, partition DESC, number DESC LIMIT $1",
        *values,
    )
    return paging.page(
        [AuditEntry.model_validate(dict(row)) for row in found],
        lambda entry: [entry.at.isoformat(), entry.domain, entry.partition, entry.number],
    )
