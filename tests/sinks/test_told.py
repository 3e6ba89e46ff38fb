"""What a commit tells those who wait for rows: the decider's by the keys of its events, a projection's by the keys of its rows, a rebuild's nothing."""

import asyncio
from typing import Any

import pytest

from sinks.postgres.migrations import migrate_beside
from sinks.postgres.moves import message
from sinks.postgres.store import PostgresStore
from streams.settings import Settings
from streams.store import Slot, Work
from tests.sinks.test_store import ENTRIES, TOTALS

PROJECTION = Slot("tally", "by_day", "other.events", 1)


@pytest.fixture
async def heard(admin: Any, namespace: str) -> "asyncio.Queue[str]":
    queue: asyncio.Queue[str] = asyncio.Queue()
    await admin.add_listener(f"{namespace}caravan", lambda *told: queue.put_nowait(told[-1]))
    return queue


def shown(next_: int) -> Work:
    """Rows of a projection."""
    work = Work(0, next_, 5, "id")
    work.rows.update({ENTRIES: [("a", 1, 2, "x")], TOTALS: [("b", 7), ("c", 8)]})
    return work


async def test_a_projection_tells_by_what_its_rows_are_asked(
    postgres: PostgresStore, heard: "asyncio.Queue[str]"
) -> None:
    claim = await postgres.claim(PROJECTION, "me", None)
    await postgres.commit(PROJECTION, claim.epoch, shown(3))
    said = await asyncio.wait_for(heard.get(), 60)

    place, _, marks = said.rpartition(":")
    expected, _, all_marks = message(("tally", "by_day", 1), 3, ["a", "b", "c"]).rpartition(":")
    assert (place, {*marks.split(",")}) == (expected, {*all_marks.split(",")})


async def test_what_is_built_beside_is_told_to_nobody(
    settings: Settings, postgres: PostgresStore, namespace: str, heard: "asyncio.Queue[str]"
) -> None:
    schema = await migrate_beside(settings.postgres, namespace, "tally")
    beside = PostgresStore(settings.postgres, namespace, {"tally": schema})
    await beside.start()
    slot = PROJECTION._replace(agent="by_day.rebuild")
    claim = await beside.claim(slot, "me", None)
    await beside.commit(slot, claim.epoch, shown(3))
    await beside.stop()
    claim = await postgres.claim(PROJECTION, "me", None)
    await postgres.commit(PROJECTION, claim.epoch, shown(4))

    assert (await asyncio.wait_for(heard.get(), 60)).startswith("tally:by_day:1:4:"), "the only one, and the last"


async def test_doubt_is_written_once_and_fences(postgres: PostgresStore) -> None:
    """A row that is not there is made; one that had begun late and seen nothing begins anew; one further on keeps its place."""
    new, late, on = (PROJECTION._replace(agent=name) for name in ("new", "late", "on"))
    claims = {slot: await postgres.claim(slot, "me", None, begin=9) for slot in (late, on)}
    await postgres.commit(on, claims[on].epoch, Work(9, 12, 4, "id", published=1))
    await postgres.doubt([new, late, on], 7)
    await postgres.doubt([new, late, on], 5)
    found = {slot.agent: await postgres.claim(slot, "me", None) for slot in (new, late, on)}

    assert {name: (c.next, c.number, c.relayed) for name, c in found.items()} == {
        "new": (0, 0, 7),
        "late": (0, 0, 7),
        "on": (12, 4, 7),
    }
    assert all(found[slot.agent].epoch > claim.epoch + 1 for slot, claim in claims.items())
    assert await postgres.standing(on) == (12, 4)
    assert await postgres.standing(PROJECTION) == (0, 0)
