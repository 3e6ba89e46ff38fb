"""Live views: a snapshot, then newer states; never an older one, and always the newest."""

import asyncio
import random
import time
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from api import feeds, live, sse
from api.edge import Edge
from api.live import AWAY
from api.tokens import Tokens
from api.views import View
from sinks.postgres.reader import Reader
from streams.personal import blinded
from streams.settings import Settings
from tests.api.caller import Caller, token
from tests.api.listener import Event, Listener, listening
from tests.api.proxy import wire
from tests.api.test_outage import _behind
from tests.api.writer import PLACE, Writer

VIEW = "/v1/points/balance/u1"
URL = f"{VIEW}/live"


def _inside(edge: Caller) -> Edge:
    assert edge.app is not None
    inside: Edge = edge.app.state.edge
    return inside


async def _until(stream: Listener, available: int) -> list[int]:
    """All that is shown until this."""
    seen: list[int] = []
    while not seen or seen[-1] != available:
        seen.append((await stream.event()).data["active"])
    return seen


async def test_a_snapshot_and_then_each_newer_state(edge: Caller, writer: Writer) -> None:
    """Headers that keep proxies from collecting or keeping it; data is the answer of the view; what stays the same is not repeated."""
    await writer.put(5)
    async with listening(edge, URL, "u1") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
        assert "content-length" not in stream.headers
        assert await stream.block() == "retry: 1000"
        first = await stream.event()
        assert (first.name, first.data) == ("message", (await edge.get(VIEW, "u1")).json())
        await writer.put(5, 6)
        await writer.put(7)

        second = await stream.event()

        assert (second.name, second.data["active"]) == ("message", 7)
        assert second.id != first.id


async def test_what_is_not_there_yet_is_waited_for(edge: Caller, writer: Writer) -> None:
    """The event `absent`, then the state; `absent` again when it is gone."""
    async with listening(edge, URL, "u1") as stream:
        assert (await stream.event())[::2] == ("absent", None)
        await writer.put(3)
        assert (await stream.event()).data["active"] == 3
        await writer.delete(4)
        assert (await stream.event())[::2] == ("absent", None)


async def test_many_changes_arrive_as_one_and_the_newest_last(edge: Caller, writer: Writer) -> None:
    """While no read is free a hundred changes happen; one message tells them all."""
    reading = _inside(edge).feeds.reading
    await writer.put(1)
    async with listening(edge, URL, "u1") as stream:
        assert await _until(stream, 1) == [1]
        for _ in range(4):
            await reading.acquire()
        for n in range(2, 103):
            await writer.put(n)
        for _ in range(4):
            reading.release()

        assert await _until(stream, 102) == [102]


async def test_commits_of_others_cost_nothing(edge: Caller, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker tells which keys it changed; the view is read when its own is among them."""
    query, reads = View.query, []

    async def counted(view: View, db: Reader, given: dict[str, Any]) -> Any:
        reads.append(given)
        return await query(view, db, given)

    monkeypatch.setattr(feeds, "GAP_S", 0.0)
    monkeypatch.setattr(feeds, "REREAD_S", 1000.0)
    monkeypatch.setattr(live, "BEAT_S", 1000.0)
    await writer.put(1)
    async with listening(edge, URL, "u1") as stream:
        await stream.event()
        monkeypatch.setattr(View, "query", counted)
        for n in range(2, 50):
            await writer.others(n)
        await writer.put(50)

        assert await _until(stream, 50) == [50]
        assert len(reads) < 5  # one, and what the first state's own notification may cost


async def test_a_storm_of_changes_ends_at_the_newest(edge: Caller, writer: Writer) -> None:
    """States come in order; fewer than there were."""
    async with listening(edge, URL, "u1") as stream:
        await stream.event()
        seen = asyncio.create_task(_until(stream, 200))
        for n in range(1, 201):
            await writer.put(n)

        told = await seen
        assert told == sorted(set(told))
        assert len(told) < 200


async def test_a_lost_notification_only_delays(edge: Caller, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view is read again now and then."""
    monkeypatch.setattr(feeds, "REREAD_S", 0.2)
    async with listening(edge, URL, "u1") as stream:
        await stream.event()
        await writer.put(1, told=False)
        assert await _until(stream, 1) == [1]


async def test_silence_is_broken_by_comments(edge: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no proxy takes it for dead."""
    monkeypatch.setattr(live, "BEAT_S", 0.1)
    async with listening(edge, URL, "u1") as stream:
        await stream.event()
        async with asyncio.timeout(30):
            assert [await stream.block() for _ in range(3)] == [": "] * 3


@pytest.mark.parametrize("seed", range(2))
async def test_whoever_comes_back_is_shown_nothing_older_and_the_newest(
    edge: Caller, writer: Writer, seed: int
) -> None:
    """Clients come and go at random while somebody writes; some notifications are lost with their client away."""
    chance = random.Random(seed)
    ended = asyncio.Event()

    async def write() -> None:
        for n in range(1, 301):
            await writer.put(n, told=chance.random() < 0.9)
        await writer.tell(300)
        ended.set()

    async def follow(client: random.Random) -> list[int]:
        seen: list[int] = []
        last = ""
        while not seen or seen[-1] != 300:
            async with listening(edge, URL, "u1", {"Last-Event-ID": last}) as stream:
                for _ in range(client.randrange(1, 4)):
                    told = await stream.event()
                    last = told.id
                    seen.append(told.data["active"] if told.data else 0)
                    if seen[-1] == 300:
                        break
        return seen

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        followers = [group.create_task(follow(random.Random(f"{seed}-{n}"))) for n in range(4)]
    for task in followers:
        seen = task.result()
        assert seen == sorted(seen)
        assert seen[-1] == 300


async def test_a_server_that_is_behind_keeps_silent_until_it_is_not(
    edge: Caller, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that does not have what the client saw shows nothing, neither the old nor what comes between."""
    monkeypatch.setattr(live, "BEAT_S", 0.05)  # each comment tells of a read that showed nothing
    ident = Tokens(edge.settings.signing_keys).wrap(f"live {URL}", msgspec.msgpack.encode({PLACE: 10}))
    await writer.put(7)
    async with listening(edge, URL, "u1", {"Last-Event-ID": ident}) as stream, asyncio.timeout(60):
        assert await stream.block() == "retry: 1000"
        for n in (8, 9):
            assert [await stream.block() for _ in range(3)] == [": "] * 3
            await writer.put(n)
        assert [await stream.block() for _ in range(3)] == [": "] * 3
        await writer.put(10)

        assert await _until(stream, 10) == [10]


async def test_an_id_covers_all_that_its_state_shows(
    edge: Caller, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is committed while the view is read: a server that lacks it would show something older."""
    query = View.query

    async def between(view: View, db: Reader, given: dict[str, Any]) -> Any:
        await writer.put(42, told=False)
        return await query(view, db, given)

    await writer.put(41)
    monkeypatch.setattr(View, "query", between)
    async with listening(edge, URL, "u1") as stream:
        told = await stream.event()
    assert told.data["active"] == 42
    body = Tokens(edge.settings.signing_keys).unwrap(f"live {URL}", told.id)
    assert body is not None
    assert msgspec.msgpack.decode(body, strict=False)[0] == {PLACE: 42}


async def test_ids_are_ours_and_of_this_view(edge: Caller) -> None:
    """Forged, cut, of another key or view."""
    async with listening(edge, URL, "u1") as stream:
        ident = (await stream.event()).id
    forged = Tokens([("k1", b"another key of the same kind....")]).wrap(f"live {URL}", b"\x80")
    cases = [(URL, text) for text in (forged, ident[:-1], ident[1:], ident + "AAAA", "x", "A" * 600, "=", "\u00e9")]
    bearer = (b"authorization", edge.headers("root/Admin")["Authorization"].encode())
    for url, text in [*cases, ("/v1/points/balance/u2/live", ident), ("/v1/points/statement/u1/live", ident)]:
        async with asyncio.timeout(30):  # a stream would not end
            answer = await edge.client.get(url, headers=[bearer, (b"last-event-id", text.encode("latin-1"))])
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_event_id"), (url, text)


async def test_rights_are_those_of_the_view(edge: Caller) -> None:
    """The owner and Admins; to others it does not exist."""
    for who, status in ((None, 401), ("u2", 404), ("x/Partner", 403)):
        assert (await edge.get(URL, who)).status_code == status
    assert (await edge.get(URL, headers={"Authorization": "Bearer x"})).status_code == 401
    for who in ("u1", "root/Admin"):
        async with listening(edge, URL, who) as stream:
            assert stream.status == 200
        head = await edge.client.head(URL, headers=edge.headers(who))
        assert (head.status_code, head.content) == (200, b"")
    for query in ("surplus=1", "after=x", "limit=1", "cursor=x"):
        assert (await edge.get(f"{URL}?{query}", "u1")).status_code == 422
    answer = await edge.post(URL, {}, "u1")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_a_view_without_a_key_has_no_stream(edge: Caller) -> None:
    """Neither a route nor words in the document; every keyed view has both."""
    paths = (await edge.get("/openapi.json")).json()["paths"]
    assert (await edge.get("/v1/lab/samples/live")).status_code == 404
    assert {path for path in paths if path.endswith("/live")} == {
        f"{path}/live" for path, item in paths.items() if "}" in path and path.startswith("/v1/") and "get" in item
        and not path.endswith("/live") and not path.startswith(("/v1/commands", "/v1/parked"))
    }  # fmt: skip
    told = paths["/v1/points/balance/{user_id}/live"]["get"]
    assert "text/event-stream" in told["responses"]["200"]["content"]
    assert {"$ref": "#/components/parameters/LastEventId"} in told["parameters"]


async def test_it_ends_when_the_token_expires(edge: Caller, writer: Writer) -> None:
    """Cleanly; with that token it does not begin again."""
    bearer = {"Authorization": f"Bearer {token(edge.settings, exp=int(time.time()) + 5)}"}
    async with listening(edge, URL, headers=bearer) as stream:
        assert [one.name for one in await stream.end()] == ["absent"]
        assert stream.over
    assert (await edge.get(URL, headers=bearer)).status_code == 401


async def test_a_client_that_left_leaves_nothing(edge: Caller, writer: Writer) -> None:
    """No place, no listener, no task; in the middle of a read, too."""
    inside = _inside(edge)
    for n in range(20):
        async with listening(edge, URL, "u1") as stream:
            await stream.event()
            assert inside.streams.open == 1
            await writer.put(n + 1, told=n % 2 == 0)
    assert inside.streams.open == 0
    assert "points" not in inside.store.moves._waiting
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("stream:", "feed"))]
    assert (await edge.get(VIEW, "u1")).status_code == 200


async def test_there_are_only_so_many(edge: Caller) -> None:
    """The next one is told so, and may come when another has left; a failed begin takes no place."""
    streams = _inside(edge).streams
    streams.most = 1
    assert (await edge.get("/v1/lab/sample/99999999999999999999/live")).status_code == 422
    async with listening(edge, URL, "u1"):
        answer = await edge.get(URL, "u1")
        assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
        assert answer.headers["retry-after"] == "1"
    async with listening(edge, URL, "u1") as stream:
        assert stream.status == 200


async def test_a_process_that_ends_ends_its_streams(edge: Caller) -> None:
    """And begins no other."""
    async with listening(edge, URL, "u1") as stream:
        await stream.event()
        _inside(edge).streams.end()
        assert await stream.end() == []
        assert "this process ends, come back" in stream.heard
    assert (await edge.get(URL, "u1")).json()["code"] == "not_ready"


async def test_a_command_of_ones_own_is_covered(edge: Caller, writer: Writer) -> None:
    """`after` holds the first message back; a parked command and a strange token are told as the view tells them."""
    body = {"user_id": "u1", "amount": 5}
    sent = [await edge.post("/v1/points/spend_points", body, "u1") for _ in range(2)]
    places = [(await edge.record(answer))["offset"] for answer in sent]
    url = f"{URL}?after={sent[0].json()['token']}"
    await writer.put(0, places[0])

    async def first() -> Event:
        async with listening(edge, url, "u1") as stream:
            return await stream.event()

    asking = asyncio.create_task(first())
    await writer.put(5, places[0] + 1)

    assert (await asking).data["active"] == 5
    await edge.sql(
        'INSERT INTO parked (agent, topic, partition, "offset", headers, cause, error, holds) '
        "VALUES ('points', 'points.commands', $1, $2, '[]', 'held', '', true)",
        PLACE, places[1],
    )  # fmt: skip
    await writer.put(5, places[1] + 1)
    answer = await edge.get(f"{URL}?after={sent[1].json()['token']}", "u1")
    assert (answer.status_code, answer.json()["code"]) == (409, "parked")
    assert (await edge.get(f"/v1/lab/sample/1/live?after={sent[1].json()['token']}")).status_code == 422


async def test_lists_show_their_first_part(edge: Caller) -> None:
    """For the limit that was asked for, with a cursor to the next."""
    columns = await edge.sql(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'ledger' AND table_schema = $1",
        f"{edge.settings.namespace}points",
    )
    values = {"bigint": "n", "integer": "n", "uuid": "gen_random_uuid()", "timestamp with time zone": "now()"}
    row = {c["column_name"]: values.get(c["data_type"], "'x'") for c in columns} | {"user_id": "'u1'", "note": "null"}
    await edge.sql(
        f"INSERT INTO ledger ({', '.join(row)}) SELECT {', '.join(row.values())} FROM generate_series(1, 5) n"
    )
    async with listening(edge, "/v1/points/statement/u1/live?limit=2", "u1") as stream:
        page: Any = (await stream.event()).data
    assert [item["seq"] for item in page["items"]] == [5, 4]
    assert page == (await edge.get("/v1/points/statement/u1?limit=2", "u1")).json()
    assert (await edge.get("/v1/points/statement/u1/live?cursor=x", "u1")).status_code == 422


async def test_a_key_may_be_asked_in_the_dark(edge: Caller) -> None:
    """A blind parameter is hashed as for the view; a segment may be called `live`."""
    async with listening(edge, "/v1/lab/hashed/ANN@example.org/live") as stream:
        [told, _] = (await stream.event()).data
    [row] = await edge.sql("SELECT key FROM subject_keys WHERE subject = '/blind'", domain="edge")
    assert told == blinded("ann@example.org", "email", row["key"])
    assert (await edge.get("/v1/lab/hashed/live")).status_code == 200
    assert (await edge.get(f"/v1/lab/secret/{quote('a/b')}/live")).status_code == 404


async def test_without_postgres_it_says_so_and_goes_on_later(prepared: Settings, writer: Writer) -> None:
    """New streams are told 503 meanwhile; what was open is then shown the newest."""
    await writer.put(1)
    async with wire(prepared.postgres) as line, _behind(prepared, postgres=line) as caller:
        await caller.until("/ready", 200)
        async with listening(caller, URL, "u1") as stream, asyncio.timeout(60):
            await stream.event()
            await line.cut()
            while await stream.block() != AWAY.decode().strip():
                """Beats may come before."""
            answer = await caller.get(URL, "u1")
            assert (answer.status_code, answer.json()["code"]) == (503, "postgres_unavailable")
            await writer.put(2)
            await line.open()
            assert await _until(stream, 2) == [2]


async def test_what_a_client_has_is_not_shown_again(edge: Caller, writer: Writer) -> None:
    """Neither when nothing happened nor when only others moved; ids of an edge that knew no marks are shown the newest."""
    await writer.put(5)
    async with listening(edge, URL, "u1") as stream:
        first = await stream.event()
    for position in (5, 6):
        await writer.put(5, position)
        async with listening(edge, URL, "u1", {"Last-Event-ID": first.id}) as stream:
            assert await stream.block() == "retry: 1000"
            await writer.put(position + 10)
            assert (await stream.event()).data["active"] == position + 10
            await writer.put(5, position + 11)
            first = await stream.event()
            assert first.data["active"] == 5
    old = Tokens(edge.settings.signing_keys).wrap(f"live {URL}", msgspec.msgpack.encode({PLACE: 5}))
    async with listening(edge, URL, "u1", {"Last-Event-ID": old}) as stream:
        assert (await stream.event()).data["active"] == 5


async def test_one_caller_has_only_so_many(edge: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others begin theirs; Guests, who are one caller, share half of all."""
    monkeypatch.setattr(sse, "MAX_OF_CALLER", 2)
    _inside(edge).streams.most = 6
    other, public = "/v1/points/balance/u2/live", "/v1/lab/sample/1/live"
    async with listening(edge, URL, "u1"), listening(edge, URL, "u1"):
        answer = await edge.get(URL, "u1")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams_of_caller")
        assert answer.headers["retry-after"] == "1"
        async with listening(edge, other, "u2") as another:
            assert another.status == 200
    async with (
        listening(edge, URL, "u1"),
        listening(edge, URL, "u1"),
        listening(edge, public),
        listening(edge, public),
        listening(edge, public),
    ):
        assert (await edge.get(public)).json()["code"] == "too_many_streams_of_caller"
    assert _inside(edge).streams.open == 0
