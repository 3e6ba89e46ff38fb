"""One suite for the calls that effects owe, over the store in memory and the one on Postgres."""

import json
from typing import Any

import pytest

from sinks.postgres import effects
from sinks.postgres.effects import _row
from streams.store import Call, Claim, Lost, Parked, Slot, Store, Work

SLOT = Slot("tally", "receipts", "tally.events", 1)
NOW = 1_795_000_000_000_000  # Unix microseconds


def call(number: int, key: str = "a", **changes: Any) -> Call:
    """A call that was just taken in."""
    headers = [("caravan-sig", b"sig\x00\xff"), ("traceparent", b"00-1")]
    new = Call(
        number, number + 10, key.encode(), b"\xffvalue", headers, '{"act":"write","data":{"n":"\\u0000"}}', NOW + number
    )
    return new._replace(**changes)


def claimed(one: Call, epoch: int, **changes: Any) -> Call:
    """The same, claimed for a minute."""
    new = one._replace(status="claimed", epoch=epoch, attempts=one.attempts + 1, due=NOW + 60_000_000)
    return new._replace(**changes)


class Owner:
    """The owner of the effect's partition."""

    def __init__(self, store: Store, claim: Claim, slot: Slot) -> None:
        self.store, self.epoch, self.next, self.slot = store, claim.epoch, claim.next, slot

    async def commit(self, *calls: Call, by: int = 0, **content: Any) -> None:
        work = Work(self.next, self.next + by, self.next + by, "id", partitions=2, calls=list(calls), **content)
        await self.store.commit(self.slot, self.epoch, work)
        self.next += by

    async def owed(self, limit: int = 100) -> list[Call]:
        return await self.store.owed(self.slot, limit)

    async def numbers(self, limit: int = 100) -> list[int]:
        return [call.number for call in await self.owed(limit)]


async def take(store: Store, slot: Slot = SLOT) -> Owner:
    return Owner(store, await store.claim(slot, "me", None), slot)


@pytest.fixture
async def owner(store: Store) -> Owner:
    return await take(store)


async def test_a_call_comes_back_as_it_was_written(owner: Owner) -> None:
    calls = [
        call(1),
        call(2, "b", status="waiting", unknown=True, attempts=3, epoch=2, error="näh"),
        call(3, "c", status="claimed", attempts=1, epoch=1),
        call(4, "d", status="answered", outcome='{"status":"done","data":{"x":"\\u0000"}}', due=0),
    ]
    await owner.commit(*calls, by=4)
    assert await owner.owed() == [calls[3], *calls[:3]]


async def test_only_the_first_of_each_key_is_owed_now(owner: Owner) -> None:
    await owner.commit(call(1), call(2, "b"), call(3), call(4, "b"), by=4)
    await owner.commit(call(5), call(6, "c"), by=2)
    assert await owner.numbers() == [1, 2, 6]


async def test_when_one_is_done_the_next_of_its_key_comes(owner: Owner) -> None:
    calls = [call(n) for n in range(1, 5)] + [call(5, "b")]
    await owner.commit(*calls, by=5)
    seen = []
    while numbers := await owner.numbers():
        seen.append(numbers)
        (first,) = [one for one in await owner.owed() if one.number == numbers[0]]
        await owner.commit(first._replace(status="done"))
    assert seen == [[1, 5], [2, 5], [3, 5], [4, 5], [5]]
    await owner.commit(call(6), by=1)
    assert await owner.numbers() == [6]


async def test_several_of_a_key_may_be_done_at_once(owner: Owner) -> None:
    calls = [call(n) for n in range(1, 5)] + [call(n, "b") for n in range(5, 8)]
    await owner.commit(*calls, by=7)
    await owner.commit(*(calls[n]._replace(status="done") for n in (0, 1, 4)))
    assert await owner.numbers() == [3, 6]


async def test_those_due_first_come_first(owner: Owner) -> None:
    dues = [5, 3, 9, 0, 7]
    await owner.commit(*(call(n, f"k{n}", due=due) for n, due in enumerate(dues)), by=5)
    assert await owner.numbers() == [3, 1, 0, 4, 2]
    assert await owner.numbers(2) == [3, 1]


async def test_a_parked_call_keeps_its_key_waiting(owner: Owner) -> None:
    await owner.commit(call(1), call(2), call(3, "b"), by=3)
    record = Parked(11, b"a", b"v", [], "effect_unknown", "words", None, None, holds=True)
    await owner.commit(call(1, status="parked"), parked=[record])
    await owner.commit(call(4), by=1)
    assert await owner.numbers() == [3]
    assert await owner.store.held(SLOT, [b"a", b"b"]) == {b"a"}
    await owner.commit(call(1))
    assert await owner.numbers() == [1, 3]


async def test_a_change_leaves_the_event_alone(owner: Owner) -> None:
    await owner.commit(call(1), by=1)
    changed = claimed(call(1), owner.epoch)
    await owner.commit(changed._replace(value=b"other", intent="{}", key=b"other"))
    (there,) = await owner.owed()
    assert (there.status, there.attempts, there.due) == (changed.status, changed.attempts, changed.due)


async def test_calls_and_position_go_together(store: Store, owner: Owner) -> None:
    await owner.commit(call(1), by=1)
    await take(store)
    with pytest.raises(Lost):
        await owner.commit(call(2, "b"), by=1)
    with pytest.raises(Lost):
        await owner.commit(call(1, status="done"))
    assert await owner.numbers() == [1]


async def test_slots_stand_apart(store: Store, owner: Owner) -> None:
    others = [await take(store, SLOT._replace(partition=0)), await take(store, SLOT._replace(agent="copies"))]
    await owner.commit(call(1), call(2), by=2)
    for n, other in enumerate(others):
        assert await other.owed() == []
        await other.commit(call(1, due=n), by=1)
    await others[0].commit(call(1, status="done"))
    assert (await owner.numbers(), await others[0].numbers(), await others[1].numbers()) == ([1], [], [1])


# -- answers


async def test_an_answer_is_written_down(store: Store, owner: Owner) -> None:
    await owner.commit(call(1), by=1)
    mine = claimed(call(1), owner.epoch)
    await owner.commit(mine)
    told = mine._replace(status="answered", outcome='{"status":"done"}', due=0, error="a\0b \udcff")
    assert await store.answer(SLOT, told)
    (there,) = await owner.owed()
    assert (there.status, there.outcome, there.due) == ("answered", '{"status":"done"}', 0)
    assert there.error


async def test_an_answer_may_ask_for_another_attempt(store: Store, owner: Owner) -> None:
    await owner.commit(call(1), by=1)
    mine = claimed(call(1), owner.epoch)
    await owner.commit(mine)
    again = mine._replace(status="waiting", unknown=True, due=NOW + 5, error="lost")
    assert await store.answer(SLOT, again)
    assert await owner.owed() == [again]


async def test_whoever_made_the_call_may_answer_when_others_own_the_partition(store: Store, owner: Owner) -> None:
    await owner.commit(call(1), by=1)
    mine = claimed(call(1), owner.epoch)
    await owner.commit(mine)
    await take(store)
    assert await store.answer(SLOT, mine._replace(status="answered", outcome="{}"))


@pytest.mark.parametrize(
    "acted", [{"attempts": 2}, {"epoch": 9}, {"status": "waiting"}, {"status": "answered"}, {"status": "done"}]
)
async def test_an_answer_comes_too_late_when_somebody_has_acted(store: Store, owner: Owner, acted: Any) -> None:
    await owner.commit(call(1), by=1)
    mine = claimed(call(1), owner.epoch)
    await owner.commit(mine)
    await owner.commit(mine._replace(**acted))
    before = await owner.owed()
    assert not await store.answer(SLOT, mine._replace(status="answered", outcome="{}"))
    assert await owner.owed() == before


async def test_a_thousand_calls_at_once(owner: Owner) -> None:
    await owner.commit(*(call(n, f"k{n % 300}") for n in range(1000)), by=1000)
    assert sorted(await owner.numbers(2000)) == list(range(300))


async def test_a_backlog_of_any_length_is_looked_at_by_index_only(postgres: Any, admin: Any, namespace: str) -> None:
    """Also before Postgres has statistics: no statement reads more than a few pages of 20 000 rows."""
    schema = f'"{namespace}tally"'
    await admin.execute(
        f"INSERT INTO {schema}.effects SELECT 'r', 0, n, n, ('k' || n % 500)::bytea, repeat('v', 400)::bytea, '[]', '{{}}', n <= 500, n, "
        "'waiting', false, 0, 0, NULL, NULL FROM generate_series(1, 20000) n"
    )
    columns = zip(*(_row(call(n, "k1", attempts=1)) for n in (1, 30_000)), strict=True)
    for query, arguments in (
        (effects._CALLS, [72]),
        (effects._PUT, columns),
        (effects._END, [[1, 2, 3]]),
        (effects._NEXT, [[b"k1", b"k2"]]),
        (effects._ANSWER, [5, 1, 1, 0, "answered", False, "{}", None]),
    ):
        asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query.format(schema=schema)}"
        told = json.loads(await admin.fetchval(asked, "r", 0, *arguments))
        plan = told[0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 200, json.dumps(plan, indent=1)
