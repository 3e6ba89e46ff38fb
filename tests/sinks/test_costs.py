"""What a batch costs on its way into Postgres, counted on the wire and not timed.

A limit may be lowered whenever the code allows. Whoever raises one writes here why it is worth it.
"""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from sinks.postgres.migrations import migrate
from sinks.postgres.store import PostgresStore
from streams.settings import Settings
from streams.store import Work
from tests.sinks.test_store import ENTRIES, SLOT, TOTALS, document, new_id, outgoing, result, work
from tests.sinks.wire import Wire


class Limit(NamedTuple):
    """Of one commit, once its statements are known: round trips, and statements sent."""

    trips: int
    statements: int


LIMITS = {
    ("decider", 2): Limit(
        3, 3
    ),  # BEGIN with role, time-out and lock; all rows and the fence; COMMIT with the word to those who wait
    ("projection", 2): Limit(3, 3),  # the same
    ("position", 0): Limit(3, 3),  # the fence stands alone
    ("decider", 2000): Limit(11, 8),  # three COPYs of two trips each; two tables merged; the fence
    ("projection", 2000): Limit(7, 6),  # one COPY; two tables merged; the fence
}


@pytest.fixture
async def wire(settings: Settings, tally: None) -> AsyncIterator[Wire]:
    await migrate(settings.postgres, settings.namespace)
    there = urlsplit(settings.postgres)
    async with Wire(there.hostname or "", there.port or 5432) as line:
        yield line


@pytest.fixture
async def store(settings: Settings, wire: Wire) -> AsyncIterator[PostgresStore]:
    """A store whose connections lead through the wire."""
    there = urlsplit(settings.postgres)
    login = there.netloc.rpartition("@")[0]
    dsn = there._replace(netloc=f"{login}@127.0.0.1:{wire.port}", query="sslmode=disable").geturl()
    store = PostgresStore(dsn, settings.namespace)
    await store.start()
    yield store
    await store.stop()


def batch(kind: str, size: int, nth: int) -> Work:
    """The nth batch of that many records, each of which changes a key that it had changed before."""
    begin = nth * size
    if kind == "position":
        return work(nth, nth + 1, number=0)
    records = range(begin, begin + size)
    content: dict[str, Any] = {
        "rows": {ENTRIES: [("a", n, 5, None) for n in records], TOTALS: [(f"k{n - begin}", n) for n in records]},
        "states": [document(f"k{n:05}", nth + 1, nth) for n in range(size)],
    }
    if kind == "decider":
        content["results"] = [result(new_id(), offset=n) for n in records]
        content["outbox"] = [outgoing(n + 1) for n in records]
    return work(begin, begin + size, **content)


@pytest.mark.parametrize(("kind", "size"), LIMITS)
async def test_a_commit_takes_no_more_than_is_written_here(
    store: PostgresStore, wire: Wire, kind: str, size: int
) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, batch(kind, size, 0))
    wire.begin()
    await store.commit(SLOT, claim.epoch, batch(kind, size, 1))
    assert (wire.counts["trips"], wire.counts["statements"]) == LIMITS[kind, size]
    assert wire.counts["parsed"] == 0  # each is planned once
