"""The contract of a sink: a pure function from an event to the rows of the views.

A row is a NamedTuple declared with `@rows`; its fields are the columns. A view row belongs to one aggregate key and
holds no offset, serial or clock value, so a replay reproduces it::

    @rows("balance", key=("user_id",))
    class BalanceRow(NamedTuple):
        user_id: str
        active: int

    def project(fact: Fact, state: Mapping[str, State]) -> Iterable[tuple]: ...
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple

from typing_extensions import TypeVar

from streams.contract import Event
from streams.decision import State
from streams.envelope import Actor, EventEnvelope
from streams.errors import ContractError

_new: Callable[..., Any] = tuple.__new__  # a NamedTuple made so costs a third of a call of its class
E = TypeVar("E", bound=Event, default=Event)


class Fact(NamedTuple, Generic[E]):
    """An event where it stands: what projections and policies are given.

    `seq` is the aggregate's sequence, `at` the rule's `now`, `actor` who issued the command behind it.
    """

    event: E
    event_id: str
    key: str
    seq: int
    at: datetime
    actor: Actor
    command_id: str


def fact_of(envelope: EventEnvelope, event: Event) -> Fact:
    """An event as it was read from its topic."""
    fact: Fact = _new(
        Fact,
        (
            event,
            envelope.event_id,
            envelope.aggregate_id,
            envelope.aggregate_seq,
            envelope.occurred_at,
            envelope.actor,
            envelope.command_id,
        ),
    )
    return fact


class Line(NamedTuple):
    """A record of an event topic as it stands, the core's own too: what a projection of whole partitions is given in the place of an event and of a fact.

    `witness` signs with the platform's key, and says the same of the same bytes whenever the record is folded.
    """

    envelope: EventEnvelope
    witness: Callable[[bytes], str]

    @property
    def key(self) -> str:
        """The partition: its document is the one that all its records share."""
        return str(self.envelope.source.partition)

    @property
    def seq(self) -> int:
        """The record's number."""
        return self.envelope.number

    @property
    def at(self) -> datetime:
        """When it happened."""
        return self.envelope.occurred_at


Project = Callable[[Any, Mapping[str, State]], Iterable[Any]]
"""Called once per event, as a Fact (or once per Line), with the state after it; the returned rows go into the same transaction."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A view's table: appended to (no `key`), or upserted so that the last row of a key stands."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()


def rows_of(projected: Iterable[Any]) -> list[tuple[Rows, Any]]:
    """What `project` returned, each row with its table; raises what it raises, or AttributeError for what is no row."""
    made = []
    for row in projected:
        made.append((row.__rows__, row))  # noqa: PERF401 - a comprehension is a call, and costs more than these few rows
    return made


def rows(name: str, key: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Declare a NamedTuple as the rows of table `name`; with `key` (the first columns) rows replace each other."""

    def declare(row: type) -> type:
        columns: tuple[str, ...] = row._fields  # type: ignore[attr-defined]  # a NamedTuple has them
        if columns[: len(key)] != key:
            raise ContractError(f"{row.__name__}: the key {key} must be its first columns.")
        row.__rows__ = Rows(name, columns, key)  # type: ignore[attr-defined]
        return row

    return declare
