"""The batch loop: in order and exactly once, whatever the consumer, the store and other owners do."""

import asyncio
import gc
from copy import deepcopy

import pytest

from streams.store import Duplicate, Lost, Unavailable
from streams.waiting import Delivery
from tests.streams.rig import COMMANDS, Rig, until
from tests.streams.tally import A, Add, B, C


def add(account: str, *amounts: int) -> list[Add]:
    return [Add(account=account, amount=amount) for amount in amounts]


async def send(rig: Rig, *commands: Add) -> None:
    """Send them one delivery after the other, as far as the feeds cut them."""
    for command in commands:
        rig.send(command)
    await rig.quiet()


async def test_commands_take_effect_in_order_and_once(rig: Rig) -> None:
    rig.decider(size=7)
    for n in range(100):
        rig.send(Add(account=(A, B, C)[n % 3], amount=n))
    await rig.quiet()
    assert rig.entries() == [((A, B, C)[n % 3], n // 3 + 1, n, "") for n in range(100)]
    assert rig.totals() == {a: sum(range(n, 100, 3)) for n, a in enumerate((A, B, C))}
    assert rig.numbers() == list(range(1, 101))
    assert [str(i) for i in rig.schema.results] == [str(event.command_id) for event in rig.events()]
    assert rig.place().next == 100


async def test_a_repeated_command_takes_effect_once(rig: Rig) -> None:
    rig.decider()
    first = rig.send(Add(account=A, amount=1))
    rig.send(Add(account=A, amount=1), command_id=first)  # in the same batch
    await rig.quiet()
    rig.send(Add(account=A, amount=1), command_id=first)  # among the recent ids
    await rig.quiet()
    assert rig.amounts(A) == [1]
    assert rig.place().duplicates == 2
    assert rig.store.calls["known"] == 0, "quick repeats are remembered, and cost no look-up"


async def test_a_repeat_that_only_the_inbox_remembers_is_dropped_and_others_go_on(rig: Rig) -> None:
    owner = rig.decider()
    first = rig.send(Add(account=A, amount=1))
    await rig.quiet()
    await owner.leave()
    owner = rig.decider()  # remembers nothing
    rig.send(Add(account=B, amount=2))
    rig.send(Add(account=A, amount=1), command_id=first)
    rig.send(Add(account=A, amount=3))
    await rig.quiet()
    assert rig.amounts(A) == [1, 3]
    assert rig.amounts(B) == [2]
    assert rig.place().duplicates == 1
    looked = rig.store.calls["known"]
    await send(rig, *add(C, 1))
    assert rig.store.calls["known"] == looked + 1, "for a while ids are looked up first"
    assert rig.store.calls["claim"] == 2, "a duplicate costs no claim"


async def test_a_repeat_in_the_batch_behind_the_one_that_commits_is_dropped(rig: Rig) -> None:
    rig.decider()
    await until(rig.owners[0].partition.claimed.is_set)
    gate = rig.store.close("commit")
    first = rig.send(Add(account=A, amount=1))
    await until(lambda: rig.store.calls["commit"] == 1)
    rig.send(Add(account=A, amount=1), command_id=first)
    rig.send(Add(account=A, amount=2))
    gate.set()
    await rig.quiet()
    assert rig.amounts(A) == [1, 2]


# -- continuity


async def test_a_lost_delivery_is_sought_back_once_and_nothing_is_lost(rig: Rig) -> None:
    owner = rig.decider(size=5)
    await until(owner.partition.claimed.is_set)
    seeks = len(owner.feed.seeks)
    owner.feed.lose.extend([False, True, False, False])
    await send(rig, *add(A, *range(40)))
    assert rig.amounts(A) == list(range(40))
    assert [offset for _, offset in owner.feed.seeks[seeks:]] == [5]


async def test_a_delivery_lost_again_after_the_seek_is_no_gap_while_the_log_has_the_record(rig: Rig) -> None:
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    owner.feed.held = True
    seeks = len(owner.feed.seeks)
    for command in add(A, *range(20)):
        rig.send(command)
    owner.feed.hand(0, 4)
    for lost in (1, 2, 3):
        owner.feed.hand(10, 14)
        await until(lambda: len(owner.feed.seeks) == seeks + lost)  # noqa: B023 - waited for at once
        assert owner.feed.seeks[-1][1] == 5
    owner.feed.held = False
    owner.feed.pump()
    await rig.quiet()
    assert rig.amounts(A) == list(range(20))


async def test_what_another_agents_seek_brings_again_is_cut_off(rig: Rig) -> None:
    """Agents of one app share the consumer of a topic: one of them may go back."""
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    owner.feed.held = True
    for command in add(A, *range(10)):
        rig.send(command)
    owner.feed.hand(0, 4)
    owner.feed.hand(0, 2, later=1)
    owner.feed.hand(3, 6, later=1)
    owner.feed.hand(7, 9, later=1)
    await rig.quiet()
    assert rig.amounts(A) == list(range(10))
    assert rig.place().duplicates == 0
    assert rig.store.calls["claim"] == 1


async def test_the_first_delivery_after_a_claim_may_be_lost_too(rig: Rig) -> None:
    for command in add(A, *range(20)):
        rig.send(command)
    owner = rig.decider(size=5)
    owner.feed.lose.extend([True])
    await rig.quiet()
    assert rig.amounts(A) == list(range(20))


async def test_what_was_fetched_before_the_last_seek_is_dropped(rig: Rig) -> None:
    owner = rig.decider(size=5)
    await until(owner.partition.claimed.is_set)
    owner.feed.stale.extend([False, True, False])
    await send(rig, *add(A, *range(20)))
    assert rig.amounts(A) == list(range(20))


async def test_a_stale_delivery_is_no_reason_to_seek(rig: Rig) -> None:
    owner = rig.decider(size=5)
    await until(owner.partition.claimed.is_set)
    await send(rig, *add(A, 0, 1))
    seeks = len(owner.feed.seeks)
    records = rig.broker.records(COMMANDS)
    generation = owner.feed.readers[owner.partition.slot].generation
    owner.partition.offer(Delivery.of([records[0]._replace(offset=9)], generation - 1))
    await send(rig, *add(A, 2))
    assert len(owner.feed.seeks) == seeks
    assert rig.amounts(A) == [0, 1, 2]


async def test_overlapping_deliveries_take_effect_once(rig: Rig) -> None:
    owner = rig.decider(size=5)
    await send(rig, *add(A, 0, 1, 2))
    rig.send(Add(account=A, amount=3))
    generation = owner.feed.readers[owner.partition.slot].generation
    owner.partition.offer(Delivery.of(rig.broker.records(COMMANDS), generation))
    await rig.quiet()
    assert rig.amounts(A) == [0, 1, 2, 3]


async def test_a_gap_of_the_log_itself_is_told_and_passed(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    for command in add(A, *range(10)):
        rig.send(command)
    rig.broker.drop(COMMANDS, 0, {4, 5})
    rig.decider(size=4)
    await rig.quiet()
    assert rig.amounts(A) == [0, 1, 2, 3, 6, 7, 8, 9]
    assert "no records from 4 to 5" in caplog.text


async def test_unread_records_deleted_while_it_works_stop_the_partition(rig: Rig) -> None:
    rig.decider(size=4)
    await send(rig, *add(A, 0, 1))
    for command in add(A, *range(2, 8)):
        rig.send(command)
    rig.broker.drop(COMMANDS, 0, set(range(5)))
    await until(lambda: rig.place().stopped)
    assert "begins at offset 5" in rig.place().stopped
    assert rig.amounts(A) == [0, 1]


async def test_a_partition_that_is_behind_is_paused_and_resumed(rig: Rig) -> None:
    owner = rig.decider(size=1)
    await until(owner.partition.claimed.is_set)
    gate = rig.store.close("commit")
    for command in add(A, *range(30)):
        rig.send(command)
    await until(lambda: owner.feed.pauses)
    assert len(owner.partition._queue) <= 2
    gate.set()
    await rig.quiet()
    assert rig.amounts(A) == list(range(30))


# -- other owners


async def test_a_fenced_owner_drops_its_memory_and_claims_again(rig: Rig) -> None:
    first = rig.decider()
    await send(rig, *add(A, 1))
    second = rig.decider()
    await until(second.partition.claimed.is_set)
    await send(rig, *add(A, 10, 100))  # both are handed them
    assert rig.amounts(A) == [1, 10, 100]
    assert rig.totals() == {A: 111}
    assert rig.place().epoch > 2, "the one that lost the fence claimed again"
    assert first.partition.claimed.is_set()


async def test_an_owner_that_was_away_does_not_go_on_from_its_memory(rig: Rig) -> None:
    """Its position is right again after the next claim; its documents would not be."""
    away = rig.decider()
    await send(rig, *add(A, 1))
    away.feed.readers[away.partition.slot].flowing = False  # frozen
    other = rig.decider()
    await send_to(rig, other, *add(A, 10))
    await other.leave()
    away.partition.reassign()
    await send(rig, *add(A, 100))
    assert rig.store.calls["claim"] == 3, "it learns so from its claim, not from a refused commit"
    assert rig.totals() == {A: 111}
    assert rig.entries(A)[-1][1] == 3


async def send_to(rig: Rig, owner: object, *commands: Add) -> None:
    for command in commands:
        rig.send(command)
    await until(lambda: rig.place().next == rig.broker.end(COMMANDS, 0))


async def test_memory_is_kept_under_the_same_epoch(rig: Rig) -> None:
    owner = rig.decider()
    await send(rig, *add(A, 1))
    loads = rig.store.calls["load"]
    owner.partition.reassign()
    await until(lambda: rig.store.calls["claim"] == 2)
    await send(rig, *add(A, 2))
    assert rig.store.calls["load"] == loads
    assert rig.place().epoch == 1
    assert rig.totals() == {A: 3}


async def test_commits_that_a_failover_took_back_are_missed_before_anything_new_comes(rig: Rig) -> None:
    rig.decider()
    policy = rig.policy().partition.slot
    await send(rig, *add(A, 1))
    kept = deepcopy(rig.memory.schemas)
    await send(rig, *add(A, 2))
    await until(lambda: rig.schema.places[policy].next == 2)
    results = dict(rig.schema.results)
    rig.memory.schemas = kept
    for owner in rig.owners:
        owner.partition.reassign()
    await until(lambda: rig.place().next == 2 and rig.schema.places[policy].next == 2)
    assert (rig.schema.results, rig.totals()) == (results, {A: 3})


async def test_two_owners_for_long_lose_and_double_nothing(rig: Rig) -> None:
    rig.decider(size=3)
    rig.decider(size=4)
    for n in range(120):
        rig.send(Add(account=(A, B)[n % 2], amount=n))
        if n % 10 == 0:
            await asyncio.sleep(0)
    await rig.quiet()
    assert rig.amounts(A) == list(range(0, 120, 2))
    assert rig.amounts(B) == list(range(1, 120, 2))
    assert sorted(set(rig.numbers())) == list(range(1, 121))


async def test_an_owner_that_leaves_does_not_pause_its_successor_in_the_same_process(rig: Rig) -> None:
    """A partition that goes and comes back quickly has two tasks on one consumer for a moment."""
    old = rig.decider()
    await until(old.partition.claimed.is_set)
    gate = rig.store.close("commit")
    rig.send(Add(account=A, amount=1))
    await until(lambda: rig.store.calls["commit"] == 1)
    old.partition.leave()
    new = rig.decider()
    new.partition._feed = old.feed
    old.feed.readers[old.partition.slot].partition = new.partition
    await until(new.partition.claimed.is_set)
    gate.set()  # the old one is fenced now
    await until(old.task.done)
    rig.send(Add(account=A, amount=2))
    await until(lambda: rig.place().next == 2)
    assert rig.amounts(A) == [1, 2]


# -- the store


async def test_a_commit_without_an_answer_that_was_applied_takes_effect_once(rig: Rig) -> None:
    rig.decider(size=2)
    rig.store.after["commit"].extend([None, Lost("The COMMIT got no answer.")])
    await send(rig, *add(A, *range(8)))
    assert rig.amounts(A) == list(range(8))
    assert sorted(set(rig.numbers())) == list(range(1, 9))
    assert rig.place().epoch == 2


async def test_a_commit_without_an_answer_that_was_not_applied_is_done_again(rig: Rig) -> None:
    rig.decider(size=2)
    rig.store.before["commit"].extend([None, Lost("The COMMIT got no answer.")])
    await send(rig, *add(A, *range(8)))
    assert rig.amounts(A) == list(range(8))


async def test_the_batch_prepared_behind_a_failed_one_is_dropped(rig: Rig) -> None:
    rig.decider(size=2)
    await until(rig.owners[0].partition.claimed.is_set)
    gate = rig.store.close("commit")
    for command in add(A, 1, 2, 4, 8):
        rig.send(command)
    await until(lambda: rig.store.calls["commit"] == 1)
    rig.store.before["commit"].append(Unavailable("gone"))
    await until(lambda: rig.owners[0].partition._ahead.next == 4)
    gate.set()
    await rig.quiet()
    assert rig.amounts(A) == [1, 2, 4, 8]
    assert rig.totals() == {A: 15}


async def test_a_transaction_begins_after_the_one_before_it_ended(rig: Rig) -> None:
    rig.decider(size=1)
    await until(rig.owners[0].partition.claimed.is_set)
    gate = rig.store.close("commit")
    for command in add(A, 1, 2, 3):
        rig.send(command)
    await until(lambda: rig.owners[0].partition._ahead.next == 2)
    assert rig.store.calls["commit"] == 1
    gate.set()
    await rig.quiet()


async def test_what_waits_while_a_batch_is_worked_is_the_next_one(rig: Rig) -> None:
    owner = rig.decider(size=2)
    owner.feed.apart = False
    await until(owner.partition.claimed.is_set)
    gate = rig.store.close("load")
    rig.send(Add(account=A, amount=0))
    await until(lambda: rig.store.calls["load"])
    for command in add(A, *range(1, 8)):
        rig.send(command)
    await until(lambda: len(owner.partition._queue) == 4)
    gate.set()
    await rig.quiet()
    assert rig.amounts(A) == list(range(8))
    assert rig.store.calls["commit"] == 2


@pytest.mark.parametrize("method", ["claim", "load", "commit", "held", "stopped"])
async def test_a_store_that_is_away_for_a_while_delays_and_loses_nothing(rig: Rig, method: str) -> None:
    owner = rig.decider(size=2)
    await send(rig, *add(A, 0, 1))
    rig.store.before[method].extend([Unavailable("away")] * 4)
    owner.partition.reassign()
    await send(rig, *add(B, *range(8)), *[Add(account=C, amount=1, how="raise")], *add(A, 2, 3))
    await send(rig, *add(A, 4, 5))
    assert rig.amounts(A) == [0, 1, 2, 3, 4, 5]
    assert rig.amounts(B) == list(range(8))


async def test_two_errors_at_once_are_one_warning(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """The commit under way fails while the batch behind it cannot be loaded."""
    rig.decider(size=1)
    await until(rig.owners[0].partition.claimed.is_set)
    commits = rig.store.close("commit")
    rig.send(Add(account=A, amount=1))
    await until(lambda: rig.store.calls["commit"] == 1)
    loads = rig.store.close("load")
    rig.store.before["commit"].append(Unavailable("away"))
    rig.store.before["load"].append(Unavailable("away"))
    rig.send(Add(account=B, amount=2))
    await until(lambda: rig.store.calls["load"] == 2)
    commits.set()
    await until(lambda: not rig.store.before["commit"])
    loads.set()
    await rig.quiet()
    gc.collect()
    assert "never retrieved" not in caplog.text
    assert rig.totals() == {A: 1, B: 2}


async def test_a_consumer_that_cannot_seek_is_asked_again(rig: Rig) -> None:
    owner = rig.decider()
    owner.feed.errors.extend([OSError("not assigned here any more")] * 3)
    await send(rig, *add(A, 1))
    assert rig.amounts(A) == [1]


async def test_an_id_that_comes_into_the_inbox_from_elsewhere_makes_it_claim_again(rig: Rig) -> None:
    rig.decider()
    rig.store.before["commit"].extend([Duplicate("once"), Duplicate("and while ids were looked up first")])
    await send(rig, *add(A, 1, 2))
    assert rig.amounts(A) == [1, 2]
    assert rig.place().epoch == 2


async def test_leaving_finishes_what_is_under_way(rig: Rig) -> None:
    owner = rig.decider(size=1)
    await until(owner.partition.claimed.is_set)
    gate = rig.store.close("commit")
    rig.send(Add(account=A, amount=1))
    await until(lambda: rig.store.calls["commit"] == 1)
    leaving = asyncio.create_task(owner.leave())
    gate.set()
    await leaving
    assert rig.amounts(A) == [1]
    assert rig.numbers() == [1]


async def test_kafka_is_told_the_position(rig: Rig) -> None:
    owner = rig.decider()
    await send(rig, *add(A, 1, 2, 3))
    slot = owner.partition.slot
    await until(lambda: owner.feed.hints[-1:] == [(slot, 3)])


async def test_records_do_not_pile_up(rig: Rig) -> None:
    """The queue is bounded in deliveries, and a paused feed hands over no more."""
    owner = rig.decider(size=50)
    longest = 0
    for command in add(A, *range(1000)):
        rig.send(command)
    while not rig._idle(owner):
        longest = max(longest, len(owner.partition._queue))
        await asyncio.sleep(0)
    assert longest <= 2
    assert rig.amounts(A) == list(range(1000))


async def test_a_relay_that_is_begun_again_runs_once(rig: Rig) -> None:
    owner = rig.decider()
    await send(rig, *add(A, 1))
    relay = owner.handler.relay  # type: ignore[attr-defined]
    task = relay._task
    await until(lambda: relay._wake._waiters)
    relay.offer([])
    relay.start(1, 1)
    await until(task.done, 5)
    assert relay._task is not task
