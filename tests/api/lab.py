"""A domain that exists in these tests only: it has what points has not, such as commands for Guests and views that fail."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from api.app import Served
from streams.contract import Command, Name, Text, Topic
from streams.personal import Blind, Personal
from streams.view import Db, Page, Paging, view

LAB = Topic("lab", key="sample", partitions=2)
SCHEMA = "CREATE TABLE samples (n bigint PRIMARY KEY, note text NOT NULL); INSERT INTO samples SELECT n, 'note ' || n FROM generate_series(1, 9) n"


class Label(BaseModel, extra="forbid"):
    text: Text


class TakeSample(Command, topic=LAB, roles=("Guest",), examples=({"sample": "s1"},)):
    """Anyone may take one."""

    sample: Name
    grams: Annotated[int, Field(ge=1, le=1000)] | None = None
    labels: tuple[Label, ...] = ()
    series: UUID | None = None
    note: Personal[Text] | None = None


class SignSample(Command, topic=LAB, roles=("Guest",), examples=({"sample": "s1", "email": "Ann@example.org"},)):
    """Says who took one; both can be found by either, as of one kind."""

    sample: Name
    email: Personal[Text] | None = None
    email_login: Annotated[Name | None, Blind("email")] = None
    phone: Personal[Text] | None = None
    phone_login: Annotated[Name | None, Blind("phone", kind="email")] = None
    nick: Personal[Text] | None = None
    nick_login: Annotated[Name, Blind("nick")] | None = None


class FindSample(Command, topic=LAB, roles=("Guest",), examples=({"email": "ann@example.org"},), key="login"):
    """Keyed by what the edge fills."""

    email: Personal[Text] | None = None
    login: Annotated[Name | None, Blind("email")] = None


class KeepSample(Command, topic=LAB, roles=("VIP",), examples=({"sample": "s1", "keeper": "u1"},), owner="keeper"):
    sample: Name
    keeper: Name


class LabelSample(
    Command, topic=LAB, roles=("User",), examples=({"sample": "s1", "keeper": "u1", "label": "x"},), owner="keeper"
):
    """Personal to an owner of any name."""

    sample: Name
    keeper: Text
    label: Personal[Text]


class SellSample(Command, topic=LAB, roles=("Partner",), examples=({"sample": "s1"},)):
    sample: Name


class BreakSample(Command, topic=LAB, services=("points",)):
    """For services alone, so without a route."""

    sample: Name


class Sample(BaseModel):
    n: int
    note: str


class Secret(BaseModel):
    note: Personal[str] | None
    plain: str


@view(roles=("Guest",))
async def sample(db: Db, n: int) -> Sample | None:
    """One sample."""
    row = await db.fetchrow("SELECT n, note FROM samples WHERE n = $1", n)
    return Sample(**row) if row else None


@view(roles=("Guest",))
async def samples(db: Db, paging: Paging, least: int = 0) -> Page[Sample]:
    """All samples, in order."""
    rows = await db.fetch(
        "SELECT n, note FROM samples WHERE n > $1 AND n >= $2 ORDER BY n LIMIT $3",
        paging.after or 0,
        least,
        paging.limit + 1,
    )
    return paging.page([Sample(**row) for row in rows], lambda one: one.n)


@view(roles=("Partner",))
async def prices(db: Db) -> list[int]:
    """Partners read them."""
    return [row["n"] for row in await db.fetch("SELECT n FROM samples")]


@view(roles=("Guest",))
async def slow(db: Db) -> int:
    """Takes longer than Postgres is given."""
    found: int = await db.fetchval("SELECT 1 FROM pg_sleep(60)")
    return found


@view(roles=("Guest",))
async def broken(db: Db) -> int:
    """Has a bug."""
    raise RuntimeError("the password is swordfish")


@view(roles=("Guest",))
async def writes(db: Db) -> int:
    """Tries what a view may not."""
    await db.fetch("DELETE FROM samples")
    return 0


@view(roles=("Guest",))
async def secret(db: Db, text: str) -> Secret:
    """Shows a text as personal, and the same text as one that is not."""
    return Secret.model_construct(note=text, plain=text)


@view(roles=("Guest",))
async def hashed(
    db: Db, email: Annotated[str, Blind()], nick: Annotated[str, Field(min_length=2), Blind(kind="email")] | None = None
) -> list[str | None]:
    """What the query is given."""
    return [email, nick]


@view(services=("points",))
async def inner(db: Db) -> int:
    """For services alone, so without a route."""
    return 0


VIEWS: dict[str, Any] = {f.__name__: f for f in (sample, samples, prices, slow, broken, writes, secret, hashed, inner)}
SERVED = Served(LAB, VIEWS)
