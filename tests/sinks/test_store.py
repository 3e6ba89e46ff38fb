"""One suite for the port `streams.store.Store`, over the store in memory and the one on Postgres."""

from typing import Any
from uuid import UUID

import pytest

from streams.ids import uuid7
from streams.sink import Rows
from streams.store import BadData, Duplicate, Lost, Outgoing, Parked, Result, Settled, Slot, Store, Stored, Work

SLOT = Slot("tally", "tally", "tally.commands", 1)
ENTRIES = Rows("entries", ("account", "seq", "amount", "note"))
TOTALS = Rows("totals", ("account", "total"), ("account",))
NOW_MS = 1_795_000_000_000


def new_id(n: int = 0) -> UUID:
    return uuid7(NOW_MS + n)


FIRST = new_id(1)


def result(command_id: UUID, status: str = "accepted", offset: int = 0, **changes: Any) -> Result:
    return Result(command_id, status, None, None, '[["e1","added"]]', "hash", "user:u1", 1, offset)._replace(**changes)


def document(key: str, version: int, replaces: int, data: str = '{"total":1}') -> Stored:
    return Stored(key, version, replaces, 1, 1_000_000 * version, data)


def outgoing(number: int, *, more: bool = False) -> Outgoing:
    return Outgoing(1, number, "a", b"event %d" % number, more, "00-trace" if number % 2 else None)


def record(offset: int, key: bytes | None, *, holds: bool = True, **changes: Any) -> Parked:
    headers = [("h", b"\x00\xff"), ("caravan-sig", b"sig")]
    return Parked(offset, key, b"\xffvalue", headers, "rule_failed", "words", new_id(), "user:u1", holds)._replace(
        **changes
    )


def work(expected: int, following: int, **content: Any) -> Work:
    return Work(expected, following, content.pop("number", following), f"id{following}", partitions=2, **content)


async def snapshot(store: Store, ids: Any = (), keys: Any = ()) -> Any:
    """Everything that the port tells, without a claim."""
    return (
        await store.load(SLOT, ["a", "b", "c"]),
        await store.known(SLOT, ids),
        await store.held(SLOT, keys or [b"a", b"b"]),
        await store.unsent(SLOT, 0, 100),
    )


# -- claim


async def test_the_first_claim_begins_at_zero(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    assert claim == (0, 1, 0, 0, None, None, False, False)


async def test_each_new_owner_raises_the_epoch_and_finds_the_position(store: Store) -> None:
    first = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, first.epoch, work(0, 5, number=3, relayed=2))
    assert await store.claim(SLOT, "you", None) == (5, 2, 3, 2, "id5", 2, False, False)
    assert (await store.claim(SLOT, "me", first.epoch)).epoch == 3


async def test_an_epoch_that_still_stands_is_kept(store: Store) -> None:
    first = await store.claim(SLOT, "me", None)
    assert (await store.claim(SLOT, "me", first.epoch)).epoch == first.epoch


async def test_slots_stand_apart(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 5, parked=[record(1, b"a")]))
    for other in (
        SLOT._replace(partition=0),
        SLOT._replace(agent="policy"),
        SLOT._replace(topic="tally.events"),
        SLOT._replace(domain="other"),
    ):
        assert await store.claim(other, "me", None) == (0, 1, 0, 0, None, None, False, False)
        assert await store.held(other, [b"a"]) == set()


async def test_a_position_may_begin_elsewhere_and_only_once(store: Store) -> None:
    first = await store.claim(SLOT, "me", None, 7)
    assert first.next == 7
    assert (await store.claim(SLOT, "me", None, 9)).next == 7


# -- commit


async def test_a_commit_writes_every_kind_of_row_and_moves_the_position(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    ids = [new_id(n) for n in range(3)]
    await store.commit(
        SLOT,
        claim.epoch,
        work(
            0,
            4,
            number=2,
            results=[result(command_id, offset=n) for n, command_id in enumerate(ids)],
            outbox=[outgoing(1), outgoing(2)],
            rows={ENTRIES: [("a", 1, 5, None), ("a", 2, 6, "näh")], TOTALS: [("b", 5), ("a", 5), ("a", 11)]},
            states=[document("a", 2, 0), document("a/note/1", 1, 0)],
            parked=[record(3, b"b")],
        ),
    )
    assert dict(await store.load(SLOT, ["a", "a/note/1", "x"])) == {
        "a": document("a", 2, 0),
        "a/note/1": document("a/note/1", 1, 0),
    }
    assert await store.known(SLOT, [*ids, new_id()]) == set(ids)
    assert await store.unsent(SLOT, 0, 10) == [outgoing(1), outgoing(2)]
    assert await store.held(SLOT, [b"a", b"b"]) == {b"b"}
    assert await store.claim(SLOT, "me", claim.epoch) == (4, 1, 2, 0, "id4", 2, True, False)


@pytest.mark.parametrize("count", [1, 200])
async def test_rows_of_a_key_replace_each_other_and_others_are_appended(store: Store, tables: Any, count: int) -> None:
    claim = await store.claim(SLOT, "me", None)
    entries = [("a", n, 5, None) for n in range(count)]
    await store.commit(SLOT, claim.epoch, work(0, 4, rows={ENTRIES: entries, TOTALS: [("b", 5), ("a", 5), ("a", 7)]}))
    await store.commit(SLOT, claim.epoch, work(4, 5, rows={ENTRIES: [("b", 1, 5, "x")], TOTALS: [("a", 9), ("c", 1)]}))
    assert await tables("totals") == [("a", 9), ("b", 5), ("c", 1)]
    assert await tables("entries") == [*entries, ("b", 1, 5, "x")]


async def test_nothing_but_the_position_may_move(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 4, number=0))
    assert (await store.claim(SLOT, "me", claim.epoch)).next == 4


def whole(**content: Any) -> Work:
    """A batch with something of each kind."""
    base: dict[str, Any] = {
        "results": [result(new_id(7))],
        "outbox": [outgoing(8)],
        "rows": {ENTRIES: [("z", 1, 5, None)], TOTALS: [("z", 5)]},
        "states": [document("b", 1, 0)],
        "parked": [record(9, b"b")],
    }
    return work(4, 9, **(base | content))


async def refused(store: Store, epoch: int, batch: Work, error: type[Exception]) -> None:
    """The batch is refused, and nothing of it is there."""
    ids = [one.command_id for one in batch.results]
    before = await snapshot(store, ids)
    with pytest.raises(error):
        await store.commit(SLOT, epoch, batch)
    assert await snapshot(store, ids) == before
    assert (await store.claim(SLOT, "me", epoch)).next == 4


@pytest.fixture
async def begun(store: Store) -> tuple[Store, int]:
    """A store whose position is 4, with a document `a` of version 2 and one command in its inbox."""
    claim = await store.claim(SLOT, "me", None)
    first = work(0, 4, number=1, results=[result(FIRST)], outbox=[outgoing(1)], states=[document("a", 2, 0)])
    await store.commit(SLOT, claim.epoch, first)
    return store, claim.epoch


async def test_a_stale_epoch_changes_nothing(begun: tuple[Store, int]) -> None:
    store, epoch = begun
    with pytest.raises(Lost):
        await store.commit(SLOT, epoch - 1, whole())
    await store.claim(SLOT, "you", None)
    with pytest.raises(Lost):
        await store.commit(SLOT, epoch, whole())
    assert await store.load(SLOT, ["b"]) == {}


async def test_a_position_that_moved_changes_nothing(begun: tuple[Store, int]) -> None:
    store, epoch = begun
    for expected in (3, 5):
        batch = whole()
        batch.expected = expected
        await refused(store, epoch, batch, Lost)


async def test_a_slot_that_nobody_claimed_cannot_be_moved(store: Store) -> None:
    with pytest.raises(Lost):
        await store.commit(SLOT, 1, work(0, 4))


async def test_an_id_of_the_inbox_changes_nothing(begun: tuple[Store, int]) -> None:
    store, epoch = begun
    await refused(store, epoch, whole(results=[result(new_id(9)), result(FIRST)]), Duplicate)
    await refused(store, epoch, whole(results=[*(result(new_id(n)) for n in range(100)), result(FIRST)]), Duplicate)


@pytest.mark.parametrize("copies", [2, 100])
async def test_an_id_twice_in_a_batch_changes_nothing(begun: tuple[Store, int], copies: int) -> None:
    store, epoch = begun
    batch = whole(results=[*(result(new_id(n)) for n in range(copies)), *[result(new_id(500))] * 2])
    await refused(store, epoch, batch, Duplicate)


@pytest.mark.parametrize(
    "bad",
    [
        {"rows": {ENTRIES: [("a", 1, 5, "a\0b")]}},
        {"rows": {ENTRIES: [("a", n, 5, "a\0b") for n in range(100)]}},
        {"rows": {ENTRIES: [("a", 1, 5, "\ud800")]}},
        {"rows": {TOTALS: [("a\0", 5)]}},
        {"rows": {TOTALS: [("a", 1 << 63)]}},
        {"rows": {ENTRIES: [("a", -(1 << 63) - 1, 5, None)]}},
        {"results": [result(new_id(3), actor="user:\0")]},
        {"results": [result(new_id(3), code="\0")]},
        {"states": [document("b\0", 1, 0)]},
    ],
)
async def test_data_that_no_store_takes_changes_nothing(begun: tuple[Store, int], bad: dict[str, Any]) -> None:
    store, epoch = begun
    await refused(store, epoch, whole(**bad), BadData)


async def test_what_is_parked_may_hold_anything(begun: tuple[Store, int]) -> None:
    """A parked record is what others refused; its own words must always fit."""
    store, epoch = begun
    wild = record(5, b"\0\xff", holds=True, error="\0 and \ud800", actor="user:\0", headers=[("\0\ud800", b"\0")])
    empty = record(6, None, holds=False, value=None, headers=[], command_id=None, actor=None)
    await store.commit(SLOT, epoch, work(4, 9, parked=[wild, empty]))
    assert await store.held(SLOT, [b"\0\xff", b"x"]) == {b"\0\xff"}


@pytest.mark.parametrize("replaces", [0, 1, 3])
async def test_a_document_of_another_version_changes_nothing(begun: tuple[Store, int], replaces: int) -> None:
    store, epoch = begun
    await refused(store, epoch, whole(states=[document("a", 9, replaces), document("b", 1, 0)]), Lost)


async def test_a_document_is_replaced_by_the_next_version(begun: tuple[Store, int]) -> None:
    store, epoch = begun
    await store.commit(SLOT, epoch, work(4, 5, states=[document("a", 3, 2), document("b", 1, 0)]))
    await store.commit(SLOT, epoch, work(5, 6, states=[document("a", 7, 3, '{"x":"\\u0000"}')]))
    assert (await store.load(SLOT, ["a"]))["a"] == document("a", 7, 3, '{"x":"\\u0000"}')


async def test_duplicates_are_counted(store: Store, places: Any) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 4, duplicates=2))
    await store.commit(SLOT, claim.epoch, work(4, 5, duplicates=3))
    assert (await places())["duplicates"] == 5


# -- timers


async def test_timers_are_listed_earliest_first_set_moved_and_ended(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 1, timers={"c": 30, "a": 20, "b/x": 20, "d": 10}))
    assert await store.timers(SLOT, 3) == [("d", 10), ("a", 20), ("b/x", 20)]
    await store.commit(SLOT, claim.epoch, work(1, 2, timers={"d": 40, "a": None, "unknown": None, "e": 5}))
    assert await store.timers(SLOT, 9) == [("e", 5), ("b/x", 20), ("c", 30), ("d", 40)]


async def test_timers_of_another_partition_or_domain_are_not_listed(store: Store) -> None:
    elsewhere = [SLOT._replace(partition=0), SLOT._replace(domain="other", agent="other")]
    for n, slot in enumerate([SLOT, *elsewhere]):
        claim = await store.claim(slot, "me", None)
        await store.commit(slot, claim.epoch, work(0, 1, timers={f"k{n}": 10}))
    assert await store.timers(SLOT, 9) == [("k0", 10)]


async def test_a_stale_owner_moves_no_timer(begun: tuple[Store, int]) -> None:
    store, epoch = begun
    await store.claim(SLOT, "you", None)
    with pytest.raises(Lost):
        await store.commit(SLOT, epoch, work(5, 6, timers={"a": 1}))
    assert await store.timers(SLOT, 9) == []


# -- results that come later


async def test_a_pending_command_is_settled_once(store: Store, outcomes: Any) -> None:
    claim = await store.claim(SLOT, "me", None)
    pending, done, missing = new_id(1), new_id(2), new_id(3)
    await store.commit(SLOT, claim.epoch, work(0, 4, results=[result(pending, "pending"), result(done)]))
    settle = [Settled(command_id, "rejected", "late", '{"status":409}') for command_id in (pending, done, missing)]
    await store.commit(SLOT, claim.epoch, work(4, 5, settled=settle, results=[result(new_id(4))]))
    again = [Settled(pending, "accepted", None, None)]
    await store.commit(SLOT, claim.epoch, work(5, 6, settled=again))
    assert await outcomes(pending) == ("rejected", "late", '{"status":409}')
    assert await outcomes(done) == ("accepted", None, None)


async def test_a_command_may_be_settled_in_the_batch_that_began_it(store: Store, outcomes: Any) -> None:
    claim = await store.claim(SLOT, "me", None)
    pending = new_id(1)
    batch = work(0, 4, results=[result(pending, "pending")], settled=[Settled(pending, "accepted", None, None)])
    await store.commit(SLOT, claim.epoch, batch)
    assert await outcomes(pending) == ("accepted", None, None)


# -- the outbox


async def test_unsent_events_come_in_order_and_by_whole_commands(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    ends = {2, 3, 8, 9}
    rows = [outgoing(n, more=n not in ends) for n in range(1, 10)]
    await store.commit(SLOT, claim.epoch, work(0, 4, outbox=rows))
    for limit in range(1, 12):
        after, seen = 0, []
        while found := await store.unsent(SLOT, after, limit):
            assert not found[-1].more, "a command is cut"
            seen += found
            after = found[-1].number
        assert seen == rows
    assert await store.unsent(SLOT._replace(partition=0), 0, 100) == []


async def test_what_kafka_has_is_not_unsent(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 4, outbox=[outgoing(n) for n in range(1, 6)]))
    await store.sent(SLOT, claim.epoch, 3)
    assert [row.number for row in await store.unsent(SLOT, 0, 100)] == [4, 5]
    await store.sent(SLOT, claim.epoch, 2)
    assert (await store.claim(SLOT, "me", claim.epoch)).relayed == 3, "it never goes back"


async def test_a_former_owner_cannot_tell_what_was_sent(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 4, outbox=[outgoing(1)]))
    await store.claim(SLOT, "you", None)
    await store.sent(SLOT, claim.epoch, 1)
    assert (await store.unsent(SLOT, 0, 100)) == [outgoing(1)]
    assert (await store.claim(SLOT, "you", None)).relayed == 0


async def test_a_commit_tells_what_was_sent_and_never_less(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 4, relayed=7))
    await store.commit(SLOT, claim.epoch, work(4, 5, relayed=6))
    assert (await store.claim(SLOT, "me", claim.epoch)).relayed == 7


# -- keys that wait, partitions that stand still


async def test_only_records_that_hold_make_their_key_wait(store: Store) -> None:
    claim = await store.claim(SLOT, "me", None)
    await store.commit(SLOT, claim.epoch, work(0, 4, parked=[record(1, b"a", holds=False), record(2, None)]))
    assert await store.held(SLOT, [b"a"]) == set()
    await store.commit(SLOT, claim.epoch, work(4, 6, parked=[record(4, b"a"), record(5, b"a")]))
    assert await store.held(SLOT, [b"a", b"b"]) == {b"a"}
    assert (await store.claim(SLOT, "me", claim.epoch)).holds


async def test_a_stopped_partition_says_why(store: Store, places: Any) -> None:
    await store.claim(SLOT, "me", None)
    await store.stopped(SLOT, "Because.")
    assert (await places())["stopped"] == "Because."
    await store.stopped(SLOT, None)
    assert (await places())["stopped"] is None
