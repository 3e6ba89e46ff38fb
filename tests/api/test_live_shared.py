"""Streams that share a question, and those that do not: who is slow, who may not see something, what is read once for all."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest

from api import feeds, sse
from api.edge import Edge
from api.views import View
from sinks.postgres.reader import Reader
from streams.personal import seal
from tests.api.caller import Caller
from tests.api.listener import Listener, listening
from tests.api.writer import Writer
from tests.faults import outside

U1, U2 = "/v1/points/balance/u1/live", "/v1/points/balance/u2/live"
STATEMENT = "/v1/points/statement/u1/live"


def inside(edge: Caller) -> Edge:
    """The edge behind the caller."""
    assert edge.app is not None
    found: Edge = edge.app.state.edge
    return found


async def until(stream: Listener, available: int) -> list[int]:
    """All that is shown until this."""
    seen: list[int] = []
    while not seen or seen[-1] != available:
        seen.append((await stream.event()).data["active"])
    return seen


async def test_what_many_ask_is_read_once(edge: Caller, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty streams of one balance, and each of twenty changes is read once for all; with the last stream the feed ends."""
    query, reads = View.query, list[Any]()

    async def counted(view: View, db: Reader, given: dict[str, Any]) -> Any:
        reads.append(given)
        return await query(view, db, given)

    monkeypatch.setattr(feeds, "REREAD_S", 1000.0)
    monkeypatch.setattr(feeds, "GAP_S", 0.0)
    await writer.put(1)
    async with AsyncExitStack() as stack:
        who = ["u1", "root/Admin"] * 10
        streams = [await stack.enter_async_context(listening(edge, U1, one)) for one in who]
        for stream in streams:
            assert await until(stream, 1) == [1]
        monkeypatch.setattr(View, "query", counted)
        for n in range(2, 22):
            await writer.put(n)
            assert {tuple(seen) for seen in await asyncio.gather(*(until(stream, n) for stream in streams))} == {(n,)}
        assert len(reads) <= 25  # one a change, and what the first state's own notification may cost
        assert len(inside(edge).feeds._all) == 1
    assert inside(edge).feeds._all == {}


async def test_a_new_stream_is_shown_what_stands_now(edge: Caller, writer: Writer) -> None:
    """Not what the others of its question were shown last, even if nobody was told of what came since."""
    await writer.put(1)
    async with listening(edge, U1, "u1") as first:
        assert await until(first, 1) == [1]
        await writer.put(2, told=False)
        async with listening(edge, U1, "u1") as second:
            assert await until(second, 2) == [2]
        assert await until(first, 2) == [2]


async def test_who_asks_otherwise_is_answered_otherwise(edge: Caller, writer: Writer) -> None:
    """Another limit, another user: nothing is shared."""
    for n in (1, 2, 3):
        await writer.enter("u1", n)
    async with (
        listening(edge, f"{STATEMENT}?limit=1", "u1") as one,
        listening(edge, f"{STATEMENT}?limit=2", "u1") as two,
        listening(edge, U2, "u2") as other,
    ):
        assert len((await one.event()).data["items"]) == 1
        assert len((await two.event()).data["items"]) == 2
        assert (await other.event()).data is None
        assert len(inside(edge).feeds._all) == 3


async def test_who_reads_slowly_misses_states_and_gets_the_newest(edge: Caller, writer: Writer) -> None:
    """Nothing waits for it; what is kept for it is what it is being sent."""
    async with listening(edge, U1, "u1") as slow, listening(edge, U1, "u1") as quick:
        for stream in (slow, quick):
            assert (await stream.event()).name == "absent"
        slow.reads.clear()
        for n in range(1, 51):
            await writer.put(n)
            assert await until(quick, n) == [n]
        slow.reads.set()
        seen = await until(slow, 50)
        assert len(seen) <= 2  # the one that it was being sent, and the newest


async def test_who_does_not_read_is_dropped_and_told_why(
    edge: Caller, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place is free, and the others see everything as before."""
    monkeypatch.setattr(sse, "SLOW_S", 0.2)
    streams = inside(edge).streams
    async with listening(edge, U1, "u1") as quick:
        async with listening(edge, U1, "u1") as deaf:
            for stream in (deaf, quick):
                assert (await stream.event()).name == "absent"
            deaf.reads.clear()
            number = 0
            async with asyncio.timeout(60):
                while streams.open == 2:
                    number += 1
                    await writer.put(number)
                    assert await until(quick, number) == [number]
            assert (streams.open, streams.dropped) == (1, 1)
            assert "slow" in deaf.dropped
            deaf.reads.set()
            [*_, last] = await deaf.end()
            assert (last.name, last.data) == ("dropped", {"code": "too_slow"})
        await writer.put(number + 1)
        assert await until(quick, number + 1) == [number + 1]


async def test_tables_that_are_exchanged_are_read_again(
    edge: Caller, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay puts others in their place, at the same positions, so nobody is told of a move."""
    monkeypatch.setattr(feeds, "REREAD_S", 0.4)
    monkeypatch.setattr(feeds, "LOOK_S", 0.1)
    await writer.put(1)
    role = f"{edge.settings.namespace}edge"
    async with listening(edge, U1, "u1") as stream:
        assert await until(stream, 1) == [1]
        [(feed, _)] = inside(edge).feeds._all.values()

        async def at_rest() -> bool:
            return feed.stands is not None and not feed._due and not feed._reading

        await outside.until(at_rest, "the domain was looked at")
        await edge.sql(
            f"DO $$ BEGIN CREATE TABLE other (LIKE balance INCLUDING ALL); GRANT SELECT ON other TO {role};"
            " INSERT INTO other (user_id, available, held) VALUES ('u1', 2, 0);"
            " ALTER TABLE balance RENAME TO before; ALTER TABLE other RENAME TO balance; END $$"
        )
        assert await until(stream, 2) == [2]


async def test_an_open_stream_opens_nothing_to_others(edge: Caller, writer: Writer) -> None:
    """What is shared is the answer, not the right to it; rows of other owners are not in it."""
    await writer.enter("u1", 1)
    async with listening(edge, STATEMENT, "u1") as stream:
        assert [row["seq"] for row in (await stream.event()).data["items"]] == [1]
        for who, status in ((None, 401), ("u2", 404), ("x/Partner", 403)):
            assert (await edge.get(STATEMENT, who)).status_code == status
        await writer.enter("u2", 2)
        await writer.enter("u1", 3)
        assert [row["seq"] for row in (await stream.event()).data["items"]] == [3, 1]
        assert '"seq":2' not in stream.heard


async def test_personal_fields_are_as_the_view_shows_them(edge: Caller) -> None:
    """In the clear for who may read them, and gone from the next state on once they are erased."""
    await edge.post("/v1/lab/take_sample", {"sample": "s9", "note": "x"})
    [row] = await edge.sql("SELECT key FROM subject_keys WHERE subject = 's9'", domain="edge")
    text = seal("from mother", "s9", row["key"])
    url = f"/v1/lab/secret/{quote(text)}"
    async with listening(edge, f"{url}/live") as stream:
        first = await stream.event()
        assert first.data == {"note": "from mother", "plain": text} == (await edge.get(url)).json()
        await edge.sql("DELETE FROM subject_keys", domain="edge")
        await edge.moved(0, 1, "lab")
        assert (await stream.event()).data == {"note": None, "plain": text}
