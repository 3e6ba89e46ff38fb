"""Effects through crashes, hand-overs and outages: a call is claimed before it is made, and what came of it is told exactly once."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from streams import effecting
from streams.calling import Caller, idempotency_key
from streams.decision import Intent
from streams.effecting import Effecting
from streams.envelope import decode_command, decode_event
from streams.outside import Outside
from streams.store import BadData, Call, Lost, Slot, Unavailable
from streams.testing import SIGNER
from tests.streams.receipts import RESULTS, effect
from tests.streams.rig import COMMANDS, EVENTS, Owner, Rig, until
from tests.streams.tally import A, Add, B, C

DONE = RESULTS["done"]
LONG = timedelta(minutes=2)  # longer than any claim or pause


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effecting, "PATIENCE_S", (0.001, 0.01))
        patch.setattr(effecting, "DRAIN_S", 0.05)
        yield


class Desk:
    """A decider and any number of owners of its effect on a rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        rig.decider()
        self.owners: list[Owner] = []

    def owner(self, outside: Outside, **changes: Any) -> Owner:
        """Another process takes the effect's partition."""
        agent = effect(**changes)
        slot = Slot("tally", agent.name, EVENTS, 0)
        rig = self.rig
        handler = Effecting(agent, outside, slot, store=rig.store, log=rig.broker, signer=SIGNER, clock=rig.clock)
        owner = rig.open(slot, handler)
        handler.wake = owner.partition.wake
        self.owners.append(owner)
        return owner

    async def kill(self, owner: Owner) -> None:
        """End it in the midst of things."""
        for task in handler(owner)._running.values():
            task.cancel()
        await owner.die()

    def add(self, *amounts: int, account: str = A) -> None:
        for amount in amounts:
            self.rig.send(Add(account=account, amount=amount))

    def advance(self, by: timedelta = LONG) -> None:
        self.rig.clock.advance(by)
        for owner in self.owners:
            owner.partition.wake()

    @property
    def owed(self) -> dict[int, Call]:
        """The calls that are owed, by the number of their event."""
        return {number: call for (_, number), call in sorted(self.rig.schema.calls.items())}

    async def settled(self, amounts: Mapping[str, list[int]]) -> None:
        """Wait until the accounts have these amounts and nothing is owed; what came twice would show."""
        await until(lambda: {name: self.rig.amounts(name) for name in amounts} == dict(amounts) and not self.owed)
        await self.rig.quiet()
        assert {name: self.rig.amounts(name) for name in amounts} == dict(amounts)

    def told(self) -> list[str]:
        """The ids of the commands that the effect has published."""
        found = (decode_command(record.value or b"") for record in self.rig.broker.records(COMMANDS))
        return [str(envelope.command_id) for envelope in found if envelope.causation_id is not None]

    def causes(self) -> list[tuple[int, str]]:
        return self.rig.causes(EVENTS)


@pytest.fixture
async def desk(rig: Rig) -> Desk:
    return Desk(rig)


def handler(owner: Owner) -> Effecting:
    assert isinstance(owner.handler, Effecting)
    return owner.handler


class Gate:
    """An answer that is waited for."""

    def __init__(self, data: Any = None) -> None:
        self.data = data or {}
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> Mapping[str, Any]:
        self.reached.set()
        await self.open.wait()
        return dict(self.data)


# -- the claim


async def test_a_claim_is_committed_before_the_call(desk: Desk) -> None:
    seen: list[Call] = []

    async def look() -> Mapping[str, Any]:
        seen.extend(desk.owed.values())
        return {}

    owner = desk.owner(Outside([look, look]))
    desk.add(5)
    await desk.settled({A: [5, DONE]})
    (call,) = seen
    epoch = desk.rig.schema.places[owner.partition.slot].epoch
    assert (call.status, call.attempts, call.epoch, call.unknown) == ("claimed", 1, epoch, False)
    assert call.due > time.time() * 1_000_000 + 10_000_000, "it lasts longer than the call may"


async def test_without_the_claim_nothing_is_called(desk: Desk) -> None:
    outside = Outside()
    owner = desk.owner(outside)
    await until(owner.partition.claimed.is_set)
    desk.rig.store.before["commit"].extend([None, None, Unavailable("away"), Unavailable("away")])
    desk.add(5)
    await until(lambda: not desk.rig.store.before["commit"])
    await desk.settled({A: [5, DONE]})
    assert len(outside.asked) == 1


async def test_a_claim_whose_commit_got_no_answer_was_not_made_and_is_made_now(desk: Desk) -> None:
    """Not taken for unknown, whether or not the COMMIT went through."""
    outside = Outside()
    owner = desk.owner(outside)
    await until(owner.partition.claimed.is_set)
    desk.rig.store.after["commit"].extend([None, None, Lost("no answer")])  # the decider, the intake, the claim
    desk.add(5)
    await desk.settled({A: [5, DONE]})
    assert not desk.rig.store.after["commit"]
    assert len(outside.asked) == 1
    assert desk.causes() == []


async def test_a_process_that_stood_still_after_its_claim_makes_no_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effecting, "GRACE_S", -1.0)
    outside = Outside()
    desk.owner(outside)
    desk.add(5)
    await until(lambda: [(call.status, call.attempts) for call in desk.owed.values()] == [("waiting", 1)])
    assert outside.asked == []


async def test_after_a_standstill_a_claimed_call_is_not_made(desk: Desk) -> None:
    outside = Outside()
    desk.rig.store.gates.clear()
    owner = desk.owner(Outside([Gate()]))
    desk.add(5)
    await until(lambda: [call.status for call in desk.owed.values()] == ["claimed"])
    (call,) = desk.owed.values()
    caller = Caller(effect(), outside, desk.rig.clock)
    after = await caller.make(call, time.monotonic() - 1)
    assert (outside.asked, after.status, after.unknown) == ([], "waiting", False)
    await desk.kill(owner)


# -- crashes


async def test_a_crash_during_the_call_parks_what_nobody_can_tell(desk: Desk) -> None:
    gate, second = Gate(), Outside()
    first = desk.owner(Outside([gate]))
    desk.add(5)
    await gate.reached.wait()
    await desk.kill(first)
    owner = desk.owner(second)
    await until(owner.partition.claimed.is_set)
    await desk.rig.quiet()
    assert desk.causes() == [], "until the claim has run out, its owner may still write the answer down"
    desk.advance()
    await until(desk.causes)
    desk.advance()
    await desk.rig.quiet()
    assert (second.asked, desk.causes(), desk.rig.amounts(A)) == ([], [(0, "effect_unknown")], [5])


async def test_a_crash_during_the_call_repeats_what_may_be_repeated(desk: Desk) -> None:
    gate = Gate()
    first, second = Outside([gate], repeatable=True), Outside(repeatable=True)
    killed = desk.owner(first)
    desk.add(5)
    await gate.reached.wait()
    await desk.kill(killed)
    await until(desk.owner(second).partition.claimed.is_set)
    desk.advance()
    await desk.settled({A: [5, DONE]})
    assert [asked.key for asked in first.asked] == [asked.key for asked in second.asked]
    assert first.asked[0].intent == second.asked[0].intent


@pytest.mark.parametrize(("found", "again"), [({"id": "r1"}, 0), (None, 1)])
async def test_a_crash_during_the_call_looks_up_what_can_be(desk: Desk, found: Any, again: int) -> None:
    gate, second = Gate(), Outside(found=[found])
    killed = desk.owner(Outside([gate]))
    desk.add(5)
    await gate.reached.wait()
    await desk.kill(killed)
    await until(desk.owner(second).partition.claimed.is_set)
    desk.advance()
    await desk.settled({A: [5, DONE]})
    assert (len(second.sought), len(second.asked)) == (1, again)


async def test_a_crash_after_the_answer_was_written_down_calls_nobody(desk: Desk) -> None:
    first, second = Outside([{"id": "r1"}]), Outside()
    desk.rig.broker.always["append"] = OSError("Kafka is away")
    killed = desk.owner(first)
    desk.rig.send(Add(account=A, amount=5))
    await until(lambda: desk.rig.schema.outbox)
    desk.rig.broker.always.clear()
    gate = desk.rig.store.close("answer")
    await until(lambda: first.asked)
    desk.rig.broker.always["append"] = OSError("Kafka is away")
    gate.set()
    await until(lambda: [call.status for call in desk.owed.values()] == ["answered"])
    await desk.kill(killed)
    desk.rig.broker.always.clear()
    desk.owner(second)
    await desk.settled({A: [5, DONE]})
    assert (len(first.asked), second.asked) == (1, [])


async def test_a_crash_between_the_command_and_the_mark_leaves_one_result(desk: Desk) -> None:
    """The same id is published again, and the decider's inbox drops it."""
    outside = Outside()
    owner = desk.owner(outside)
    await until(owner.partition.claimed.is_set)
    appends = desk.rig.broker.calls["append"]
    answer = desk.rig.store.close("answer")
    desk.add(5)
    await until(lambda: desk.rig.store.calls["answer"])
    desk.rig.store.always["commit"] = Unavailable("away")
    answer.set()
    await until(lambda: desk.rig.broker.calls["append"] > appends + 2)
    await desk.kill(owner)
    desk.rig.store.always.clear()
    desk.owner(outside)
    await desk.settled({A: [5, DONE]})
    assert len(desk.told()) > 1
    assert len(set(desk.told())) == 1
    assert len(outside.asked) == 1


# -- hand-overs


async def test_who_leaves_waits_for_its_calls_and_the_next_owner_tells(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effecting, "DRAIN_S", 10.0)
    gate, second = Gate(), Outside()
    owner = desk.owner(Outside([gate]))
    desk.add(5)
    await gate.reached.wait()
    leaving = asyncio.create_task(owner.leave())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not leaving.done()
    gate.open.set()
    await leaving
    assert [call.status for call in desk.owed.values()] == ["answered"]
    desk.owner(second)
    await desk.settled({A: [5, DONE]})
    assert second.asked == []


async def test_who_lost_the_partition_still_writes_the_answer_down(desk: Desk) -> None:
    gate, second = Gate(), Outside()
    first = desk.owner(Outside([gate]))
    desk.add(5)
    await gate.reached.wait()
    owner = desk.owner(second)
    await until(owner.partition.claimed.is_set)
    gate.open.set()
    await until(lambda: [call.status for call in desk.owed.values()] == ["answered"])
    desk.advance()
    await desk.settled({A: [5, DONE]})
    assert second.asked == []
    await desk.kill(first)


async def test_an_answer_that_comes_after_somebody_acted_changes_nothing(desk: Desk) -> None:
    gate = Gate({"raise": True})
    first, second = Outside([gate], repeatable=True), Outside([{"id": "r2"}], repeatable=True)
    late = desk.owner(first)
    desk.add(5)
    await gate.reached.wait()
    owner = desk.owner(second)
    await until(owner.partition.claimed.is_set)
    desk.rig.clock.advance(LONG)
    owner.partition.wake()
    await desk.settled({A: [5, DONE]})
    gate.open.set()
    await until(lambda: not handler(late)._running)
    assert (desk.owed, desk.causes()) == ({}, [])


# -- outages


async def test_an_outage_of_the_store_during_the_call_repeats_nothing(desk: Desk) -> None:
    """The partition is claimed anew under a higher epoch, and the call under way is still known to be one's own."""
    gate = Gate({"id": "r1"})
    outside = Outside([gate])
    owner = desk.owner(outside)
    desk.add(5)
    await gate.reached.wait()
    epoch = desk.rig.schema.places[owner.partition.slot].epoch
    desk.rig.store.before["commit"].extend([None, Unavailable("away")])
    desk.add(6, account=B)
    await until(lambda: desk.rig.schema.places[owner.partition.slot].epoch > epoch)
    desk.advance()
    await until(lambda: len(outside.asked) == 2)
    desk.rig.store.before["answer"].extend([Unavailable("away"), OSError("away")])
    gate.open.set()
    await desk.settled({A: [5, DONE], B: [6, DONE]})
    assert len(outside.asked) == 2
    assert desk.causes() == []


async def test_a_call_that_takes_too_long_may_have_been_done(desk: Desk) -> None:
    outside = Outside([Gate()])
    desk.owner(outside, limit=0.01)
    desk.add(5)
    await until(desk.causes)
    assert desk.causes() == [(0, "effect_unknown")]
    assert [call.error for call in desk.owed.values()] == ["TimeoutError()"]


async def test_kafka_away_delays_what_is_told_and_doubles_nothing(desk: Desk) -> None:
    outside = Outside()
    owner = desk.owner(outside)
    await until(owner.partition.claimed.is_set)
    desk.rig.broker.before["append"].extend([None, OSError("away"), OSError("away")])
    desk.rig.broker.after["append"].extend([None, OSError("no answer")])
    desk.add(5)
    await desk.settled({A: [5, DONE]})
    assert len(outside.asked) == 1


@pytest.mark.parametrize("commits", [1, 2, 3])  # the intake, the claim, the mark
async def test_what_the_store_refuses_is_parked(desk: Desk, commits: int) -> None:
    outside = Outside()
    owner = desk.owner(outside)
    await until(owner.partition.claimed.is_set)
    slot, commit = owner.partition.slot, desk.rig.memory.commit
    seen = 0

    async def refuse(at: Slot, epoch: int, work: Any) -> None:
        nonlocal seen
        if at == slot and work.calls and not work.parked:
            seen += 1
            if seen >= commits:
                raise BadData("22000: no")
        await commit(at, epoch, work)

    desk.rig.memory.commit = refuse  # type: ignore[method-assign,assignment]
    desk.add(5)
    desk.add(6, account=B)
    await until(lambda: [cause for _, cause in desk.causes() if cause != "held"] == ["refused_by_store"] * 2)
    await desk.rig.quiet()
    assert [call.status for call in desk.owed.values()] == ([] if commits == 1 else ["parked"] * 2)


# -- order, and who waits for whom


async def test_a_key_keeps_its_order_and_others_go_on(desk: Desk) -> None:
    gate = Gate()
    outside = Outside([gate])
    owner = desk.owner(outside)
    desk.add(5, 6, 7)
    await gate.reached.wait()
    desk.add(8, account=B)
    desk.add(9, account=C)
    await until(lambda: len(desk.rig.amounts(C)) == 2)
    assert desk.rig.schema.places[owner.partition.slot].next >= 5, "a slow outside does not block the topic"
    assert [asked.intent.data["amount"] for asked in outside.asked] == [5, 8, 9]
    gate.open.set()
    await desk.settled({A: [5, 6, 7, DONE, DONE, DONE], B: [8, DONE], C: [9, DONE]})
    assert [a.intent.data["amount"] for a in outside.asked if a.intent.data["to"] == A] == [5, 6, 7]


async def test_only_so_many_calls_are_under_way(desk: Desk) -> None:
    gates = [Gate() for _ in range(5)]
    desk.owner(Outside(gates), parallel=2)
    names = [A, B, C, "x", "y"]
    for n, name in enumerate([A, B, C]):
        desk.add(n + 1, account=name)
    await until(lambda: sum(gate.reached.is_set() for gate in gates) == 2)
    await desk.rig.quiet()
    assert [call.status for call in desk.owed.values()] == ["claimed", "claimed", "waiting"]
    assert names[:3] == [call.key.decode() for call in desk.owed.values()]
    gates[1].open.set()
    await gates[2].reached.wait()
    for gate in gates:
        gate.open.set()
    await desk.settled({A: [1, DONE], B: [2, DONE], C: [3, DONE]})


async def test_many_calls_are_all_made(desk: Desk) -> None:
    outside = Outside()
    desk.owner(outside, parallel=3)
    for n in range(300):
        desk.add(n + 1, account=(A, B, C)[n % 3])
    await until(lambda: len(outside.asked) == 300 and not desk.owed)
    await desk.rig.quiet()
    for name in (A, B, C):
        own = [asked.intent.data["amount"] for asked in outside.asked if asked.intent.data["to"] == name]
        assert own == sorted(own)
        assert desk.rig.amounts(name).count(DONE) == 100


@pytest.mark.req("SR067")
async def test_numbers_that_come_again_are_not_called_again(desk: Desk) -> None:
    outside = Outside()
    desk.owner(outside)
    desk.add(5)
    await desk.settled({A: [5, DONE]})
    record = desk.rig.broker._topics[EVENTS][0][0]
    desk.rig.broker.add(EVENTS, 0, record.key, record.value, record.headers)
    await desk.rig.quiet()
    await until(lambda: desk.rig.place(EVENTS, agent="receipts").next == 3)
    assert len(outside.asked) == 1


@pytest.mark.req("SR067")
async def test_an_older_position_asks_again_under_the_same_key_and_tells_nothing_new(desk: Desk) -> None:
    """As after a restore: what the outside does twice it can tell by the key, and the domain hears of it once."""
    outside = Outside()
    owner = desk.owner(outside)
    desk.add(5)
    await desk.settled({A: [5, DONE]})
    await owner.leave()
    place = desk.rig.place(EVENTS, agent="receipts")
    place.next, place.number, place.last_id = 0, 0, None
    desk.owner(outside)
    await until(lambda: len(desk.told()) == 2)
    await desk.settled({A: [5, DONE]})

    first, again = outside.asked
    assert again == first
    assert len(set(desk.told())) == 1


async def test_what_does_not_speak_is_parked_and_holds_nothing(desk: Desk) -> None:
    outside = Outside()
    desk.owner(outside)
    desk.rig.broker.add(EVENTS, 0, A.encode(), b"garbage", [])
    desk.add(5)
    await desk.settled({A: [5, DONE]})
    assert [
        (cause, parked.holds) for parked, (_, cause) in zip(desk.rig.parked(EVENTS), desk.causes(), strict=True)
    ] == [("unsigned", False)]


def test_a_key_is_a_uuid_of_event_and_effect() -> None:
    value = b'{"event_id":"0193a0b0-0000-8000-8000-000000000001","type":"added","schema_version":1,"occurred_at":"2026-01-01T00:00:00Z","domain":"tally","aggregate_id":"a","aggregate_seq":1,"actor":{"type":"user","id":"u"},"command_id":"c","correlation_id":"c","causation_id":"c","number":1,"source":{"partition":0,"offset":0,"hash":""},"payload":{}}'
    call = Call(1, 0, b"a", value, [], "{}", 0)
    key = idempotency_key(effect(), call)
    assert key == idempotency_key(effect(), call._replace(attempts=5, epoch=9, number=7))
    assert key.startswith("0193a0b0-0000-8")


# -- everything at once


class Moody(Outside):
    """Loses one answer in five after it has done what it was asked."""

    def __init__(self, chance: random.Random, *, repeatable: bool) -> None:
        super().__init__(repeatable=repeatable)
        self.chance = chance
        self.done: Counter[str] = Counter()

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        self.done[key] += 1
        if self.chance.random() < 0.2:
            raise ConnectionResetError("lost")
        return {}


async def mischief(desk: Desk, chance: random.Random, outside: Outside) -> None:
    """Perhaps an owner dies, leaves, is overtaken or loses the store."""
    store = desk.rig.store
    match chance.randrange(8):
        case 0:
            await desk.kill(desk.owners[-1])
            desk.owner(outside, attempts=9)
        case 1:
            await desk.owners[-1].leave()
            desk.owner(outside, attempts=9)
        case 2:
            old, new = desk.owners[-1], desk.owner(outside, attempts=9)
            await until(new.partition.claimed.is_set)
            await old.leave()
        case 3:
            store.before["commit"].append(Unavailable("away"))
        case 4:
            store.after["commit"].append(Lost("no answer"))
        case 5:
            store.before["answer"].append(Unavailable("away"))


async def finish(desk: Desk, events: int) -> None:
    """Let time pass until nothing can go on: all calls are done, parked, or behind a parked one."""
    await until(lambda: len({event.number for event in desk.rig.events() if event.hops == 0}) == events)
    for _ in range(30):
        await desk.rig.quiet()
        await until(lambda: not any(handler(owner)._running for owner in desk.owners))
        desk.advance()
    await until(lambda: {call.status for call in desk.owed.values()} <= {"parked", "waiting"})
    await desk.rig.quiet()


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_an_event_is_told_once_and_called_no_more_than_it_may(
    desk: Desk, seed: int, repeatable: bool
) -> None:
    chance = random.Random(seed)
    outside = Moody(chance, repeatable=repeatable)
    desk.owner(outside, attempts=9)
    for n in range(30):
        desk.add(n + 1, account=chance.choice((A, B, C)))
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
        await mischief(desk, chance, outside)
    await finish(desk, 30)
    told = set(desk.told())
    parked = [parked for parked in desk.rig.parked(EVENTS) if decode_event(parked.value or b"").hops == 0]
    assert len(told) == sum(desk.rig.amounts(name).count(DONE) for name in (A, B, C))
    behind = [call for call in desk.owed.values() if call.status == "waiting"]
    assert len(told) + len(parked) + len(behind) == 30
    if repeatable:
        assert (len(told), len(outside.done)) == (30, 30)
    else:
        assert max(outside.done.values()) == 1
        assert {cause for _, cause in desk.causes()} <= {"effect_unknown", "held"}
