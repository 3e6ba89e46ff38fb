"""The contract of views: one query per function, its readers declared beside it::

    @view(roles=("User",), owner="user_id")
    async def balance(db: Db, user_id: str) -> Balance | None: ...

is `GET /v1/points/balance/{user_id}`: parameters without default are path segments, others come from the query; the
return annotation is the schema; None is answered with 404. A parameter annotated `Paging` makes it a list with an opaque
cursor; it returns `Page[T]`.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from streams.contract import ROLES, permits
from streams.envelope import Actor
from streams.errors import CaravanError, ContractError

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
T = TypeVar("T")
MAX_LIMIT = 200


class BadCursor(CaravanError):
    """The cursor is not one of this list's; ask again without it."""


class Db(Protocol):
    """What a view may do: read. Tables are named without schema."""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row or None."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first value of the first row or None."""
        ...


class Page(BaseModel, Generic[T]):
    """A part of a list; `next` is the cursor of the following part, None at the end."""

    items: list[T]
    next: str | None = None


@dataclass(frozen=True)
class Paging:
    """What part of a list is asked for: the rows after `after` (a JSON value, None at the start), at most `limit`."""

    after: Any = None
    limit: int = 50

    @classmethod
    def read(cls, cursor: str | None, limit: int) -> "Paging":
        """From a request; raises BadCursor."""
        if cursor is None:
            return cls(None, limit)
        try:
            return cls(json.loads(base64.urlsafe_b64decode(cursor.encode())), limit)
        except (ValueError, RecursionError) as error:
            raise BadCursor(BadCursor.__doc__) from error

    def page(self, items: Sequence[T], position: Callable[[T], Any]) -> Page[T]:
        """Cut `limit` + 1 fetched items to a page; `position` gives the JSON value from which to go on."""
        kept = list(items[: self.limit])
        more = len(items) > self.limit
        cursor = base64.urlsafe_b64encode(json.dumps(position(kept[-1])).encode()).decode() if more else None
        return Page(items=kept, next=cursor)


@dataclass(frozen=True)
class Readers:
    """Who may read a view; `owner` is the parameter that must equal the reader's id unless the reader is an Admin."""

    roles: tuple[str, ...]
    owner: str | None
    services: tuple[str, ...]

    def admit(self, actor: Actor, parameters: dict[str, Any]) -> bool:
        """Whether this actor may read with these parameters."""
        if actor.type == "service":
            return actor.id in self.services
        if not permits(self.roles, actor.role):
            return False
        return self.owner is None or actor.role == "Admin" or parameters.get(self.owner) == actor.id


def view(*, roles: Sequence[str] = (), owner: str | None = None, services: Sequence[str] = ()) -> Callable[[F], F]:
    """Declare a query function as a view with its readers; raises ContractError when nobody could read it."""
    if not roles and not services:
        raise ContractError("A view without readers: declare roles or services.")
    if unknown := set(roles) - set(ROLES):
        raise ContractError(f"Unknown role {min(unknown)!r}; the roles are {', '.join(ROLES)}.")

    def declare(function: F) -> F:
        function.__readers__ = Readers(tuple(roles), owner, tuple(services))  # type: ignore[attr-defined]
        return function

    return declare


class Standing(NamedTuple):
    """What is kept from a user at the edge.

    The `banned` may command nothing, `until` then or for ever; the `restricted` nothing of these domains, each until then or for ever; commands whose contract says
    `despite_sanctions` are taken all the same. Tokens issued before `not_before` are worth nothing. The edge goes by what stands here and looks at no clock: whoever
    tells a standing also tells when it is over.
    """

    user_id: str
    banned: bool = False
    until: datetime | None = None
    restricted: Mapping[str, datetime | None] = MappingProxyType({})
    not_before: datetime | None = None


Standings = Callable[[Db], Awaitable[Sequence[Standing]]]
"""Of all users from whom something is kept; who is not among them may what their role may."""

S = TypeVar("S", bound=Standings)


def standing(function: S) -> S:
    """Declare a function of a `view.py` as what tells the edge of standings; it has no route, and the edge asks it after each commit of its domain's decider."""
    function.__standing__ = True  # type: ignore[attr-defined]
    return function
