"""Events in batches, as Arrow tables or as data frames made of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pyarrow as pa

from streams.client.columns import columns
from streams.client.places import Position
from streams.client.sieve import Kept, Sifted, Unread, chosen
from streams.client.sync import synchronous
from streams.client.tables import Tables
from streams.contract import Event
from streams.reading import Place

if TYPE_CHECKING:
    from streams.client.subscription import Subscription

F = TypeVar("F")
Chunk = dict[Place, list[Sifted]]


class Batch(Mapping[type[Event] | str, F]):
    """Tables by event class, or by its name: one for every type that was subscribed to, empty ones too."""

    def __init__(self, tables: Mapping[type[Event], F], rows: int) -> None:
        """`rows` counts those of all tables."""
        self._tables, self.rows = dict(tables), rows
        self._named = {kind.wire_name: kind for kind in tables}

    def __getitem__(self, kind: type[Event] | str) -> F:
        """The table of this type."""
        return self._tables[self._named[kind] if isinstance(kind, str) else kind]

    def __iter__(self) -> Iterator[type[Event]]:
        """The event classes."""
        return iter(self._tables)

    def __len__(self) -> int:
        """How many types there are."""
        return len(self._tables)


class _Made(NamedTuple):
    """A batch on its way, and where the subscription stands behind it."""

    batch: Batch[Any]
    unread: list[Unread]
    after: dict[Place, Position]


class Batches(Generic[F]):
    """What `Subscription.arrow`, `.polars` and `.pandas` give."""

    def __init__(self, subscription: "Subscription[Any]", rows: int, form: str) -> None:
        """Connects to nothing yet."""
        self._subscription, self._rows, self._form = subscription, rows, FORMS[form]
        kinds = {kind for wanted in subscription.topics.values() for kind in wanted.kinds.values()}
        self._tables = {kind: Tables(kind) for kind in sorted(kinds, key=lambda kind: kind.wire_name)}

    def __aiter__(self) -> AsyncGenerator[Batch[F]]:
        """Batches as they come."""
        return self._subscription.opened(self._batches())

    def __iter__(self) -> Generator[Batch[F]]:
        """As with `async for`, for programs without a loop."""
        return self._subscription.opened(self._plain_batches())

    async def _batches(self) -> AsyncGenerator[Batch[F]]:
        async with aclosing(self._made()) as made:
            async for one in made:
                yield self._taken(one)

    def _plain_batches(self) -> Generator[Batch[F]]:
        with synchronous(self._made) as made:
            for one in made:
                yield self._taken(one)

    async def collect(self) -> Batch[F]:
        """All up to the end as one batch."""
        async with aclosing(self._made()) as made:
            return self._joined([self._arrow_taken(one) async for one in made])

    def all(self) -> Batch[F]:
        """All up to the end as one batch, for programs without a loop."""
        with synchronous(self._made) as made:
            return self._joined([self._arrow_taken(one) for one in made])

    # -- inside

    def _taken(self, made: _Made) -> Batch[F]:
        return self._formed(self._arrow_taken(made))

    def _arrow_taken(self, made: _Made) -> Batch[Any]:
        self._subscription.report(made.unread)
        self._subscription.stands(made.after)
        return made.batch

    def _formed(self, batch: Batch[Any]) -> Batch[F]:
        return Batch({kind: self._form(batch[kind]) for kind in self._tables}, batch.rows)

    def _joined(self, batches: list[Batch[Any]]) -> Batch[F]:
        tables = {
            kind: pa.concat_tables([columns(kind).schema.empty_table(), *(batch[kind] for batch in batches)])
            for kind in self._tables
        }
        return self._formed(Batch(tables, sum(batch.rows for batch in batches)))

    async def _made(self) -> AsyncGenerator[_Made]:
        """Arrow makes a batch in a thread while the next one is fetched."""
        coming: asyncio.Task[_Made] | None = None
        try:
            async with aclosing(self._chunks()) as chunks:
                async for chunk, full in chunks:
                    before, coming = coming, asyncio.create_task(self._batch(chunk))
                    if before is not None:
                        yield await before
                    if not full:  # the next one may be long in coming
                        last, coming = coming, None
                        yield await last
            if coming is not None:
                last, coming = coming, None
                yield await last
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _chunks(self) -> AsyncGenerator[tuple[Chunk, bool]]:
        """What was sifted, gathered until there are enough rows (True), or until the end, or of a live one until nothing came for a moment."""
        chunk: Chunk = {}
        count = 0
        async with aclosing(self._subscription.sifted()) as sifted:
            async for found, behind in sifted:
                for place, one in found.items():
                    chunk.setdefault(place, []).append(one)
                    count += len(one.kept.heads)
                if count >= self._rows or (chunk and not found and not behind):
                    yield chunk, count >= self._rows and bool(behind)
                    chunk, count = {}, 0
        if chunk:
            yield chunk, False

    async def _batch(self, chunk: Chunk) -> _Made:
        tables, unread = await asyncio.to_thread(self._read, chunk)
        opened: Mapping[str, bytes | None] = {}
        if self._subscription.opens:
            subjects = await asyncio.to_thread(self._subjects, tables)
            opened = await self._subscription.granted(subjects)
        shown = await asyncio.to_thread(
            lambda: {kind: self._tables[kind].opened(table, opened) for kind, table in tables.items()}
        )
        after = {place: parts[-1].position for place, parts in chunk.items()}
        return _Made(Batch(shown, sum(table.num_rows for table in shown.values())), unread, after)

    def _subjects(self, tables: Mapping[type[Event], Any]) -> set[str]:
        return set().union(*(self._tables[kind].subjects(table) for kind, table in tables.items()))

    def _read(self, chunk: Chunk) -> tuple[dict[type[Event], Any], list[Unread]]:
        unread = [one for parts in chunk.values() for part in parts for one in part.unread]
        found: dict[type[Event], list[Any]] = {kind: [columns(kind).schema.empty_table()] for kind in self._tables}
        for place, parts in chunk.items():
            kinds = self._subscription.topics[place.topic].kinds
            kept = Kept(
                [record for part in parts for record in part.kept.records],
                [head for part in parts for head in part.kept.heads],
            )
            there = {head.type for head in kept.heads}
            for name in there:
                rows = kept if len(there) == 1 else chosen(kept, {name})
                if kind := kinds.get(name):
                    found[kind].append(self._tables[kind].table(place, rows, unread))
                else:
                    words = f"{place.topic} has no {name}."
                    unread += [Unread(place, record.offset, "unknown_type", words) for record in rows.records]
        return {kind: pa.concat_tables(tables) for kind, tables in found.items()}, unread


def _polars(table: Any) -> Any:
    import polars as pl

    return pl.from_arrow(table)


def _pandas(table: Any) -> Any:
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


FORMS: Mapping[str, Callable[[Any], Any]] = {"arrow": lambda table: table, "polars": _polars, "pandas": _pandas}
