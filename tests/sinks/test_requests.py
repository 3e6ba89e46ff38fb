"""Requests and parked records, held to the port's suite over both stores; and how a process hears of a request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import pytest

from sinks.postgres import requests
from sinks.postgres.store import PostgresStore
from streams.memory import MemoryStore
from streams.settings import Settings
from streams.store import Acted, BadData, Call, Lost, Parked, Request, Slot, Store
from tests.sinks.test_store import SLOT, new_id, record, work

OTHERS = (SLOT._replace(partition=0), SLOT._replace(agent="policy"), SLOT._replace(topic="tally.events"))
Ask = Callable[..., Awaitable[Request]]


class Row(NamedTuple):
    """A request as it stands there."""

    status: str
    outcome: str | None
    ran: int
    key: bytes | None
    value: bytes | None
    cause: str | None


@pytest.fixture
def ask(store: Any, namespace: str) -> Ask:
    """Write a request, as an operator does."""

    async def write(offset: int, action: Any = "redrive", slot: Slot = SLOT, **more: Any) -> Request:
        request = Request(more.pop("id", uuid4()), offset, action, by="user:operator", **more)
        if isinstance(store, MemoryStore):
            await store.ask(slot, request)
            return request
        async with store._write.acquire() as connection:
            await connection.execute(
                f'INSERT INTO "{namespace}{slot.domain}".requests (id, agent, topic, partition, "offset", action, value, by, reason) '
                "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
                request.id, *slot[1:], offset, action, request.value, request.by, request.reason,
            )  # fmt: skip
        return request

    return write


@pytest.fixture
def row(store: Any, namespace: str) -> Any:
    """Look at a request."""

    async def look(request: Request) -> Row:
        if isinstance(store, MemoryStore):
            there = store.schemas["tally"].requests[SLOT, request.id]
            was = there.record
            parts = (was.key, was.value, was.cause) if was else (None, None, None)
            return Row(there.status, there.outcome, there.request.ran, *parts)
        async with store._read.acquire() as connection:
            return Row(
                *await connection.fetchrow(
                    f'SELECT status, outcome, ran, record_key, record_value, cause FROM "{namespace}tally".requests WHERE id = $1',
                    request.id,
                )
            )

    return look


async def begun(store: Store, *parked: Parked, **content: Any) -> int:
    """A claim of the slot, with these records parked; the epoch. The position is 100."""
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 100, parked=[*parked], **content))
    return claim.epoch


# -- requests


async def test_requests_wait_in_the_order_in_which_they_were_asked(store: Store, ask: Ask) -> None:
    assert not (await store.claim(SLOT, "me", None)).asked
    asked = [await ask(7), await ask(3, "skip", reason="why"), await ask(9, "edit", value=b"\0new")]
    for slot in OTHERS:
        await ask(1, slot=slot)
        assert [request.offset for request in await store.asked(slot, 9)] == [1]
    assert await store.asked(SLOT, 9) == asked
    assert await store.asked(SLOT, 2) == asked[:2]
    assert (await store.claim(SLOT, "me", None)).asked


async def test_a_request_is_written_once(store: Store, ask: Ask) -> None:
    first = await ask(7)
    await ask(8, id=first.id)
    assert await store.asked(SLOT, 9) == [first]


async def test_what_became_of_a_request_is_kept_with_what_was_parked(store: Store, ask: Ask, row: Any) -> None:
    was = record(7, b"\xffa", error="words")
    epoch = await begun(store, was)
    request = await ask(7)
    assert await row(request) == ("waiting", None, 0, None, None, None)
    part = Acted(request.id, "waiting", "2 so far.", 2, was)
    await store.commit(SLOT, epoch, work(100, 100, acted=[part]))
    assert await store.asked(SLOT, 9) == [request._replace(begun=True, ran=2, key=b"\xffa")]
    assert await row(request) == ("waiting", "2 so far.", 2, b"\xffa", b"\xffvalue", "rule_failed")
    await store.commit(SLOT, epoch, work(100, 100, acted=[Acted(request.id, "done", "5 in all. \0\ud800", 5)]))
    assert await store.asked(SLOT, 9) == []
    assert not (await store.claim(SLOT, "me", epoch)).asked
    status, outcome, *rest = await row(request)
    assert (status, rest) == ("done", [5, b"\xffa", b"\xffvalue", "rule_failed"])
    assert outcome.startswith("5 in all.")


async def test_a_request_for_a_record_without_key_and_value_counts_as_begun(store: Store, ask: Ask) -> None:
    was = record(7, None, value=None, headers=[], holds=False)
    epoch = await begun(store, was)
    request = await ask(7, "edit", value=b"new")
    await store.commit(SLOT, epoch, work(100, 100, acted=[Acted(request.id, "waiting", "Edited.", 0, was)]))
    (found,) = await store.asked(SLOT, 9)
    assert (found.begun, found.key) == (True, None)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_request_that_waits_no_longer_changes_nothing(store: Store, ask: Ask, gone: bool) -> None:
    epoch = await begun(store, record(7, b"a"), record(8, b"b"))
    request = await ask(7)
    if not gone:
        await store.commit(SLOT, epoch, work(100, 100, acted=[Acted(request.id, "refused", "No.")]))
    acted = Acted(uuid4() if gone else request.id, "done", "Again.")
    with pytest.raises(Lost):
        await store.commit(SLOT, epoch, work(100, 100, unparked=[7], parked=[record(9, b"c")], acted=[acted]))
    assert await store.held(SLOT, [b"a", b"b", b"c"]) == {b"a", b"b"}


async def test_a_stale_owner_does_nothing_of_what_was_asked(store: Store, ask: Ask, row: Any) -> None:
    epoch = await begun(store, record(7, b"a"))
    request = await ask(7)
    await store.claim(SLOT, "you", None)
    with pytest.raises(Lost):
        await store.commit(
            SLOT, epoch, work(100, 100, unparked=[7], acted=[Acted(request.id, "done", "1.", 1, record(7, b"a"))])
        )
    assert (await row(request)).status == "waiting"
    assert await store.parked(SLOT, 7) is not None


# -- parked records


async def test_a_parked_record_is_found_as_it_was(store: Store) -> None:
    wild = record(5, b"\0\xff", headers=[("h", b"\0\xff"), ("h", b"again")], timestamp=1_795_000_000_123, attempts=3)
    empty = record(6, None, holds=False, value=None, headers=[], command_id=None, actor=None)
    timer = record(-77, b"a", before=4)
    await begun(store, wild, empty, timer)
    assert [await store.parked(SLOT, offset) for offset in (5, 6, -77)] == [wild, empty, timer]
    assert await store.parked(SLOT, 7) is None
    for slot in OTHERS:
        assert await store.parked(slot, 5) is None


async def test_records_of_a_key_stand_in_the_order_in_which_they_were_to_run(store: Store) -> None:
    """Timers, whose offsets are below zero, stand before the record that came next; those of one moment in the order of their times."""
    early, late = new_id(1), new_id(2)
    lined = [
        record(3, b"a"),
        record(-900, b"a", before=9, command_id=early),
        record(-5000, b"a", before=9, command_id=late),
        record(9, b"a"),
        record(10, b"a", command_id=None),
        record(-1, b"a", before=11),
    ]
    await begun(store, *reversed(lined), record(4, b"b"), record(5, b"a", holds=False), record(-3, b"b", before=1))
    assert await store.queue(SLOT, b"a", 99) == (lined, False)
    assert await store.queue(SLOT, b"a", 6) == (lined, False)
    assert await store.queue(SLOT, b"a", 2) == (lined[:2], True)
    assert await store.queue(SLOT, b"c", 2) == ([], False)
    for slot in OTHERS:
        assert await store.queue(slot, b"a", 9) == ([], False)


async def test_a_queue_is_bounded_in_bytes_and_has_its_first_record_at_least(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.store.QUEUE_BYTES", 1000)
    lined = [record(n, b"a", value=b"x" * size) for n, size in enumerate((2000, 400, 400, 400))]
    epoch = await begun(store, *lined)
    assert await store.queue(SLOT, b"a", 99) == (lined[:1], True)
    await store.commit(SLOT, epoch, work(100, 100, unparked=[0]))
    assert await store.queue(SLOT, b"a", 99) == (lined[1:3], True)


async def test_a_record_that_is_parked_again_has_its_new_cause(store: Store) -> None:
    epoch = await begun(store, record(7, b"a"), record(8, b"a", cause="held"))
    again = record(7, b"a", cause="refused_by_store", error="other", attempts=2, value=b"edited", headers=[])
    await store.commit(SLOT, epoch, work(100, 100, parked=[again]))
    assert (await store.queue(SLOT, b"a", 9)).records[0] == again


async def test_that_a_key_waits_says_nothing_new_of_a_record_that_holds_it(store: Store) -> None:
    first, loose = record(7, b"a"), record(8, b"a", holds=False)
    epoch = await begun(store, first, loose)
    waits = [one._replace(cause="held", error="waits", holds=True) for one in (first, loose)]
    await store.commit(SLOT, epoch, work(100, 100, parked=waits))
    assert (await store.queue(SLOT, b"a", 9)).records == [first, waits[1]]


async def test_what_is_unparked_holds_nothing_any_more(store: Store) -> None:
    epoch = await begun(store, record(7, b"a"), record(8, b"a"), record(9, b"b"))
    await store.commit(SLOT, epoch, work(100, 100, unparked=[7, 9, 55]))
    assert await store.held(SLOT, [b"a", b"b"]) == {b"a"}
    await store.commit(SLOT, epoch, work(100, 100, unparked=[8]))
    assert await store.held(SLOT, [b"a", b"b"]) == set()
    assert not (await store.claim(SLOT, "me", epoch)).holds


async def test_a_refused_commit_unparks_nothing(store: Store) -> None:
    epoch = await begun(store, record(7, b"a"))
    bad = record(8, b"b")
    with pytest.raises((BadData, Lost)):
        await store.commit(SLOT, epoch, work(99, 100, unparked=[7], parked=[bad]))
    assert await store.held(SLOT, [b"a", b"b"]) == {b"a"}


async def test_calls_are_found_by_their_events(store: Store) -> None:
    calls = [
        Call(n, n + 10, b"a", b"v", [("h", b"\xff")], '{"act":"write"}', 5, "parked", error="e") for n in (1, 2, 3)
    ]
    await begun(store, calls=calls)
    assert await store.calls_of(SLOT, [1, 3, 9]) == [calls[0], calls[2]]
    assert await store.calls_of(SLOT._replace(partition=0), [1]) == []


# -- how a process hears of it


async def heard(found: "asyncio.Queue[Slot]") -> Slot:
    async with asyncio.timeout(30):
        return await found.get()


async def listener(
    postgres: PostgresStore, domains: set[str], returned: Callable[[], None] = lambda: None
) -> tuple[Any, "asyncio.Queue[Slot]"]:
    found: asyncio.Queue[Slot] = asyncio.Queue()
    listener = postgres.listen(domains, found.put_nowait, returned)
    await listener.start()
    return listener, found


async def put(admin: Any, namespace: str, slot: Slot) -> None:
    await admin.execute(
        f'INSERT INTO "{namespace}{slot.domain}".requests (id, agent, topic, partition, "offset", action, by) '
        "VALUES (gen_random_uuid(), $1, $2, $3, 0, 'redrive', 'me')",
        *slot[1:],
    )


async def test_a_process_hears_what_is_asked_in_its_domains(
    postgres: PostgresStore, admin: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "LOOK_S", 3600)  # what is heard was told
    other = SLOT._replace(domain="other", agent="other")
    await put(admin, namespace, other)
    listening, found = await listener(postgres, {"tally", "other"})
    deaf, nothing = await listener(postgres, {"other"})
    assert await heard(found) == other, "what was asked before"
    assert await heard(nothing) == other
    await put(admin, namespace, SLOT)
    assert await heard(found) == SLOT
    await put(admin, namespace, other._replace(partition=0))
    assert {await heard(found), await heard(found)} == {other, other._replace(partition=0)}
    assert {await heard(nothing), await heard(nothing)} == {other, other._replace(partition=0)}, "and nothing of others"
    for each in (listening, deaf):
        await each.stop()


async def test_a_word_that_was_lost_is_made_up_for(
    postgres: PostgresStore, admin: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "LOOK_S", 0.05)
    listening, found = await listener(postgres, {"tally"})
    await admin.execute(f'ALTER TABLE "{namespace}tally".requests DISABLE TRIGGER requested')
    await put(admin, namespace, SLOT)
    assert await heard(found) == SLOT
    await listening.stop()


async def test_a_session_that_ended_is_begun_again(
    settings: Settings, postgres: PostgresStore, admin: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "AWAY_S", 0.01)
    monkeypatch.setattr(requests, "LOOK_S", 3600)
    sessions: list[Any] = []
    connect = asyncpg.connect

    async def connected(*args: Any, **more: Any) -> Any:
        sessions.append(await connect(*args, **more))
        return sessions[-1]

    monkeypatch.setattr(asyncpg, "connect", connected)
    await put(admin, namespace, SLOT)
    returns: list[int] = []
    listening, found = await listener(postgres, {"tally"}, lambda: returns.append(len(sessions)))
    assert await heard(found) == SLOT
    assert returns == []
    await admin.execute("SELECT pg_terminate_backend($1)", sessions[0].get_server_pid())
    assert await heard(found) == SLOT
    assert len(sessions) == 2
    assert returns == [2], "what was committed last may be gone, and is looked for"
    await listening.stop()
