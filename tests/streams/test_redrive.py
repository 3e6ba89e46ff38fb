"""Operators' requests: parked records run again in the order of their key, exactly once, by the owner of the partition alone."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from streams import deciding, redriving
from streams.envelope import Actor, Signer, decode_command, encode
from streams.memory.store import Asked
from streams.producer import signed
from streams.store import Lost, Slot, Unavailable
from streams.testing import SIGNER
from tests.streams.asking import ask, mend, mended, new_id, put, told
from tests.streams.rig import COMMANDS, Owner, Rig, until
from tests.streams.tally import A, Add, B, account, decider

DONE = "done"


async def parked(rig: Rig, *amounts: int, owner: Owner | None = None, how: Any = "raise") -> Owner:
    """A decider with as many commands of one key parked, of which the first is the poison."""
    owner = owner or rig.decider()
    for n, amount in enumerate(amounts):
        rig.send(Add(account=A, amount=amount, how=how if n == 0 else "well"))
    await rig.quiet()
    assert len(rig.parked()) == len(amounts)
    return owner


async def test_the_parked_records_of_a_key_run_in_order_and_the_key_waits_no_longer(rig: Rig) -> None:
    owner = await parked(rig, 1, 2, 3)
    rig.send(Add(account=B, amount=50))
    mend(owner)
    row = await ask(rig, owner, "redrive", 0)
    assert told(row) == (DONE, "3 records were run.")
    assert rig.amounts(A) == [1, 2, 3]
    assert rig.parked() == []
    assert (rig.place().next, rig.place().number) == (4, 4), "the position stays where it was"
    rig.send(Add(account=A, amount=4))
    await rig.quiet()
    assert rig.amounts(A) == [1, 2, 3, 4]
    assert rig.numbers() == [1, 2, 3, 4, 5]
    assert len(rig.schema.results) == 5


async def test_any_record_of_the_key_stands_for_all_of_them(rig: Rig) -> None:
    owner = await parked(rig, 1, 2, 3)
    mend(owner)
    assert told(await ask(rig, owner, "redrive", 2)) == (DONE, "3 records were run.")
    assert rig.amounts(A) == [1, 2, 3]


async def test_one_that_fails_again_stays_with_its_new_cause_and_holds_what_is_behind_it(rig: Rig) -> None:
    owner = rig.decider()
    for amount, how in ((1, "raise"), (2, "well"), (3, "unread"), (4, "well")):
        rig.send(Add(account=A, amount=amount, how=how))
    await rig.quiet()
    mend(owner)
    row = await ask(rig, owner, "redrive", 0)
    assert row.status == DONE
    assert row.outcome == (
        "2 records were run. The one at offset 2 failed again (rule_failed): it stays parked, and what is behind it waits."
    )
    assert rig.causes() == [(2, "rule_failed"), (3, "held")]
    assert "which `reads` did not name" in rig.parked()[0].error
    assert [record.attempts for record in rig.parked()] == [2, 1]
    assert rig.amounts(A) == [1, 2]
    rig.send(Add(account=A, amount=5))
    await rig.quiet()
    assert rig.causes() == [(2, "rule_failed"), (3, "held"), (4, "held")]
    await ask(rig, owner, "redrive", 2)
    assert [record.attempts for record in rig.parked()] == [3, 1, 1]


async def test_more_records_than_fit_a_transaction_run_in_several(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redriving, "RUN", 3)
    owner = await parked(rig, *range(10))
    mend(owner)
    commits = rig.store.calls["commit"]
    row = await ask(rig, owner, "redrive", 5)
    assert told(row) == (DONE, "10 records were run.")
    assert rig.amounts(A) == [*range(10)]
    assert rig.store.calls["commit"] == commits + 4
    assert row.record is not None
    assert (row.record.offset, row.record.cause, row.request.ran) == (5, "held", 10)


async def test_large_records_are_taken_up_a_few_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.store.QUEUE_BYTES", 1000)
    owner = await parked(rig, *range(10))
    mend(owner)
    commits = rig.store.calls["commit"]
    await ask(rig, owner, "redrive", 0)
    assert rig.amounts(A) == [*range(10)]
    assert rig.store.calls["commit"] > commits + 2


async def test_commands_that_arrive_between_the_parts_of_a_redrive_come_behind(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redriving, "RUN", 3)
    owner = await parked(rig, *range(8))
    mend(owner)
    gate = rig.store.close("commit")
    await put(rig, owner, "redrive", 0)
    commits = rig.store.calls["commit"]
    await until(lambda: rig.store.calls["commit"] == commits + 1)
    for n in range(8, 20):
        rig.send(Add(account=A, amount=n))
    rig.send(Add(account=B, amount=1))
    gate.set()
    await rig.quiet()
    assert rig.amounts(A) == [*range(20)]
    assert rig.parked() == []


async def redriven_while(rig: Rig, owner: Owner, *commands: Add) -> None:
    """Redrive offset 0, and have these commands prepared while the commit of it is under way."""
    looks, commits = rig.store.close("asked"), rig.store.close("commit")
    made = rig.store.calls["commit"]
    await put(rig, owner, "redrive", 0)
    await until(lambda: rig.store.calls["asked"])
    for command in commands:
        rig.send(command)
    await until(lambda: owner.partition._queue)
    looks.set()
    await until(lambda: owner.partition._ahead.next == rig.broker.end(COMMANDS, 0))
    assert rig.store.calls["commit"] == made + 1, "the redrive is not committed"
    commits.set()


async def test_a_command_that_comes_while_the_last_of_its_key_commits_neither_overtakes_nor_waits(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    mend(owner)
    await redriven_while(rig, owner, Add(account=A, amount=3), Add(account=B, amount=4))
    await rig.quiet()
    assert rig.amounts(A) == [1, 2, 3]
    assert rig.parked() == []


async def test_a_key_that_fails_anew_behind_a_redrive_that_commits_waits_again(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    mend(owner)
    await redriven_while(rig, owner, Add(account=A, amount=3, how="unread"), Add(account=A, amount=4))
    rig.send(Add(account=A, amount=5))
    await rig.quiet()
    assert rig.amounts(A) == [1, 2]
    assert rig.causes() == [(2, "rule_failed"), (3, "held"), (4, "held")]


async def test_a_command_behind_a_redrive_that_fails_to_commit_waits_its_turn(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    mend(owner)
    rig.store.before["commit"].append(OSError("away"))
    await redriven_while(rig, owner, Add(account=A, amount=3))
    await rig.quiet()
    assert rig.amounts(A) == [1, 2, 3]
    assert rig.parked() == []


def answer_late(rig: Rig, done: Callable[[], object]) -> None:
    """The store's answer about held keys is from before a commit, and arrives after it."""
    held = rig.memory.held

    async def late(slot: Slot, keys: Collection[bytes]) -> set[bytes]:
        found = await held(slot, keys)
        rig.store.gates["commit"].set()
        await until(done)
        return found

    rig.memory.held = late  # type: ignore[method-assign]


async def test_a_key_that_is_parked_while_the_store_is_asked_for_it_waits(rig: Rig) -> None:
    owner = rig.decider(size=1)
    await until(owner.partition.claimed.is_set)
    rig.store.close("commit")
    handler: Any = owner.handler
    answer_late(rig, lambda: rig.parked() and not handler._holds._parked_here)
    for how in ("raise", "well"):
        rig.send(Add(account=A, amount=1, how=how))
    await rig.quiet()
    assert rig.causes() == [(0, "rule_failed"), (1, "held")]


async def test_a_key_that_is_freed_while_the_store_is_asked_for_it_does_not_wait(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    mend(owner)
    handler: Any = owner.handler
    looks = rig.store.close("asked")
    rig.store.close("commit")
    await put(rig, owner, "redrive", 0)
    await until(lambda: rig.store.calls["asked"])
    rig.send(Add(account=A, amount=3))
    await until(lambda: owner.partition._queue)
    answer_late(rig, lambda: not rig.parked() and not handler._holds._lifted)
    looks.set()
    await rig.quiet()
    assert rig.amounts(A) == [1, 2, 3]
    assert rig.parked() == []


# -- exactly once


@pytest.mark.parametrize("fault", [OSError("away"), Unavailable("away"), Lost("somebody else"), None])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_that_fails_or_gets_no_answer_runs_nothing_twice(
    rig: Rig, when: str, fault: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redriving, "RUN", 2)
    owner = await parked(rig, *range(6))
    mend(owner)
    getattr(rig.store, when)["commit"].extend([fault, None, fault])
    row = await ask(rig, owner, "redrive", 0)
    assert rig.amounts(A) == [*range(6)]
    assert rig.parked() == []
    assert row.status == DONE
    await until(lambda: [*dict.fromkeys(rig.numbers())] == [1, 2, 3, 4, 5, 6])  # readers drop what a relay repeats


@pytest.mark.req("SR109")
@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("written", [False, True])
async def test_an_owner_that_dies_at_any_step_leaves_the_rest_to_the_next(
    rig: Rig, step: int, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command ends with a result or parked, and none with both, whatever step its owner dies at."""
    monkeypatch.setattr(redriving, "RUN", 2)
    owner = await parked(rig, *range(6))
    mend(owner)
    row = await put(rig, owner, "redrive", 0)
    gate = asyncio.Event()
    calls = 0

    async def through(name: str, call: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        answer = await call(*args) if written or calls <= step else None
        if calls > step:
            gate.set()
            await asyncio.Event().wait()
        return answer

    monkeypatch.setattr(rig.store, "through", through)
    waits = asyncio.create_task(gate.wait())
    await asyncio.wait([waits], timeout=20)
    await owner.die()
    monkeypatch.undo()
    ended = {result.command_id for result in rig.schema.results.values()}
    assert len(ended) + len(rig.parked()) == 6
    assert ended.isdisjoint(record.command_id for record in rig.parked())
    rig.decider(agent=mended())
    await rig.quiet()
    assert row.status == DONE
    assert rig.amounts(A) == [*range(6)]
    assert rig.parked() == []
    await until(lambda: [*dict.fromkeys(rig.numbers())] == [1, 2, 3, 4, 5, 6])  # readers drop what a relay repeats


async def test_the_next_owner_finds_what_was_asked(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    await owner.leave()
    row = await put(rig, owner, "redrive", 0)
    rig.decider(agent=mended())
    await rig.quiet()
    assert row.status == DONE
    assert rig.amounts(A) == [1, 2]


async def test_a_request_is_the_same_however_often_it_is_written(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    mend(owner)
    request_id = uuid4()
    rows = [await ask(rig, owner, "redrive", 0, request_id=request_id) for _ in range(3)]
    assert rows[0] is rows[2]
    assert told(rows[0]) == (DONE, "2 records were run.")
    assert rig.amounts(A) == [1, 2]


@pytest.mark.parametrize("action", ["redrive", "skip", "edit"])
async def test_what_is_not_parked_is_refused(rig: Rig, action: str) -> None:
    owner = await parked(rig, 1, 2)
    mend(owner)
    await ask(rig, owner, "redrive", 0)
    for offset in (0, 1, 77, -5):
        assert told(await ask(rig, owner, action, offset)) == ("refused", "It is not parked (any more).")
    assert rig.amounts(A) == [1, 2]


async def test_many_requests_for_one_key_are_settled_in_order(rig: Rig) -> None:
    owner = await parked(rig, *range(30))
    mend(owner)
    rows = [await put(rig, owner, "redrive", offset) for offset in range(30)]
    await rig.quiet()
    assert [row.status for row in rows] == [DONE] + ["refused"] * 29
    assert rig.amounts(A) == [*range(30)]


async def test_a_command_that_is_parked_twice_runs_once(rig: Rig) -> None:
    owner = rig.decider(size=1)
    ids = [rig.send(Add(account=A, amount=1, how="raise")), rig.send(Add(account=A, amount=2))]
    for command_id, amount, how in ((ids[1], 2, "well"), (ids[0], 1, "raise"), (new_id(rig), 3, "well")):
        rig.send(Add(account=A, amount=amount, how=how), command_id=command_id)
    await rig.quiet()
    assert len(rig.parked()) == 5
    mend(owner)
    await ask(rig, owner, "redrive", 3)
    assert rig.amounts(A) == [1, 2, 3]
    assert rig.parked() == []
    assert rig.place().duplicates == 2
    rig.send(Add(account=A, amount=1), command_id=ids[0])
    await rig.quiet()
    assert rig.amounts(A) == [1, 2, 3]


async def test_a_command_that_has_its_result_is_not_run(rig: Rig) -> None:
    """As after the restore of an older Postgres, whose parked records may have been redriven since."""
    owner = await parked(rig, 1, 2)
    stale = rig.parked()
    mend(owner)
    await ask(rig, owner, "redrive", 0)
    for record in stale:
        rig.schema.parked[owner.partition.slot, record.offset] = record
    await ask(rig, owner, "redrive", 0)
    assert rig.amounts(A) == [1, 2]
    assert rig.parked() == []


async def test_data_that_the_store_refuses_again_stays_parked_alone(rig: Rig) -> None:
    owner = rig.decider()
    for n, how in enumerate(("raise", "well", "nul", "well")):
        rig.send(Add(account=A, amount=n, how=how))
    await rig.quiet()
    handler: Any = owner.handler
    mended_rule = mended().decide

    def decide(state: Any, command: Any, case: Any) -> Any:
        return (mended_rule if command.how == "raise" else decider().decide)(state, command, case)

    handler.decider = replace(handler.decider, decide=decide)
    row = await ask(rig, owner, "redrive", 0)
    assert rig.causes() == [(2, "refused_by_store"), (3, "held")]
    assert rig.parked()[0].attempts == 2
    assert rig.amounts(A) == [0, 1]
    assert row.status == DONE
    assert "The one at offset 2 failed again (refused_by_store)" in (row.outcome or "")
    mend(owner)
    await ask(rig, owner, "redrive", 2)
    assert rig.amounts(A) == [0, 1, 2, 3]


async def test_a_request_that_the_store_does_not_take_ends_refused(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    original = rig.parked()[0]
    rig.schema.parked[owner.partition.slot, 0] = original._replace(command_id=None)
    envelope = msgspec.structs.replace(decode_command(original.value or b""), actor=Actor("user", "a\0b", "Admin"))
    value = encode(envelope)
    headers = signed(COMMANDS, original.key or b"", value, SIGNER)
    rig.schema.parked[owner.partition.slot, 0] = original._replace(value=value, headers=headers)
    row = await ask(rig, owner, "skip", 0)
    assert row.status == "refused"
    assert "22021" in (row.outcome or "")
    assert len(rig.parked()) == 2


# -- what holds nothing


async def test_garbage_is_redriven_alone_and_stays(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    offset = rig.broker.add(COMMANDS, 0, A.encode(), b"garbage")
    offset_without_key = rig.broker.add(COMMANDS, 0, None, None)
    await rig.quiet()
    for at in (offset, offset_without_key):
        row = await ask(rig, owner, "redrive", at)
        assert row.outcome is not None
        assert row.outcome.startswith(f"0 records were run. The one at offset {at} failed again (unsigned)")
    assert [(p.offset, p.attempts, p.holds) for p in rig.parked()] == [
        (0, 1, True), (1, 1, True), (2, 2, False), (3, 2, False),
    ]  # fmt: skip
    assert rig.amounts(A) == []


def read_as(owner: Owner, rig: Rig, *keys: tuple[str, bytes]) -> None:
    """The process accepts the signatures of these keys from now on."""
    handler: Any = owner.handler
    slot = owner.partition.slot
    other = deciding.Deciding(
        handler.decider, slot, store=rig.store, log=rig.broker, signer=Signer(keys), clock=rig.clock
    )
    handler._reader = other._reader


async def test_a_record_that_can_be_read_by_now_is_run(rig: Rig) -> None:
    other = ("other", b"another secret..")
    owner = rig.decider()
    rig.send(Add(account=A, amount=1), signer=Signer([other]))
    rig.send(Add(account=A, amount=2))
    await rig.quiet()
    assert rig.causes() == [(0, "unsigned")]
    read_as(owner, rig, other)
    assert told(await ask(rig, owner, "redrive", 0)) == (DONE, "1 record was run.")
    assert rig.amounts(A) == [2, 1]


async def test_a_record_that_can_be_read_by_now_waits_behind_earlier_ones_of_its_key(rig: Rig) -> None:
    other = ("other", b"another secret..")
    owner = await parked(rig, 1, 2)
    rig.send(Add(account=A, amount=3), signer=Signer([other]))
    rig.send(Add(account=A, amount=4))
    await rig.quiet()
    read_as(owner, rig, other, ("test", b"0123456789abcdef"))
    row = await ask(rig, owner, "redrive", 2)
    assert told(row) == (DONE, "0 records were run. The one at offset 2 waits for an earlier one of its key.")
    assert rig.causes() == [(0, "rule_failed"), (1, "held"), (2, "held"), (3, "held")]
    mend(owner)
    await ask(rig, owner, "redrive", 0)
    assert rig.amounts(A) == [1, 2, 3, 4]


# -- skip


async def test_a_skipped_command_is_rejected_and_what_waited_for_it_runs(rig: Rig) -> None:
    owner = await parked(rig, 1, 2, 3)
    skipped = rig.parked()[0]
    row = await ask(rig, owner, "skip", 0)
    assert told(row) == (DONE, "It was skipped. Behind it 2 records were run.")
    assert row.record == skipped, "the original is kept"
    assert skipped.command_id is not None
    result = rig.result(skipped.command_id)
    assert (result.status, result.code, result.offset) == ("rejected", "skipped", 0)
    assert result.details == '{"status":409,"details":{}}'
    assert [event.type for event in rig.events()] == ["command_rejected", "added", "added"]
    assert rig.events()[0].command_id == str(skipped.command_id)
    assert rig.amounts(A) == [2, 3]
    assert rig.parked() == []
    rig.send(Add(account=A, amount=1), command_id=skipped.command_id)
    await rig.quiet()
    assert rig.amounts(A) == [2, 3], "a repeat of it changes nothing"


async def test_the_last_parked_record_of_a_key_may_be_skipped(rig: Rig) -> None:
    owner = await parked(rig, 1)
    assert told(await ask(rig, owner, "skip", 0)) == (DONE, "It was skipped.")
    rig.send(Add(account=A, amount=2))
    await rig.quiet()
    assert rig.amounts(A) == [2]


async def test_one_from_the_midst_is_skipped_alone(rig: Rig) -> None:
    owner = await parked(rig, 1, 2, 3)
    assert told(await ask(rig, owner, "skip", 1)) == (DONE, "It was skipped.")
    assert rig.causes() == [(0, "rule_failed"), (2, "held")]
    rig.send(Add(account=A, amount=4))
    await rig.quiet()
    assert rig.amounts(A) == []
    mend(owner)
    await ask(rig, owner, "redrive", 0)
    assert rig.amounts(A) == [1, 3, 4]


async def test_a_skip_with_many_behind_takes_several_transactions(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redriving, "RUN", 3)
    owner = await parked(rig, *range(10))
    row = await ask(rig, owner, "skip", 0)
    assert told(row) == (DONE, "It was skipped. Behind it 9 records were run.")
    assert rig.amounts(A) == [*range(1, 10)]
    assert len(rig.schema.results) == 10


async def test_a_skipped_command_whose_follower_fails_says_so(rig: Rig) -> None:
    owner = rig.decider()
    for how in ("raise", "well", "raise", "well"):
        rig.send(Add(account=A, amount=1, how=how))
    await rig.quiet()
    row = await ask(rig, owner, "skip", 0)
    assert row.outcome == (
        "It was skipped. Behind it 1 record was run. "
        "The one at offset 2 failed again (rule_failed): it stays parked, and what is behind it waits."
    )
    assert rig.causes() == [(2, "rule_failed"), (3, "held")]


async def test_garbage_is_skipped_without_a_result(rig: Rig) -> None:
    owner = await parked(rig, 1)
    offset = rig.broker.add(COMMANDS, 0, A.encode(), b"garbage")
    await rig.quiet()
    await ask(rig, owner, "skip", offset)
    assert rig.causes() == [(0, "rule_failed")]
    assert rig.schema.results == {}
    assert rig.events() == []


async def test_a_command_whose_document_cannot_be_read_can_be_skipped(rig: Rig) -> None:
    owner = rig.decider()
    rig.send(Add(account=A, amount=1))
    await rig.quiet()
    await owner.leave()
    rig.schema.states[A] = rig.schema.states[A]._replace(data='{"total": "many"}')
    owner = rig.decider()
    skipped = rig.send(Add(account=A, amount=2))
    await rig.quiet()
    await ask(rig, owner, "skip", 1)
    assert rig.result(skipped).code == "skipped"
    assert (rig.events()[-1].type, rig.events()[-1].aggregate_seq) == ("command_rejected", 1)


# -- edit


def value_of(rig: Rig, offset: int, amount: int = 9, **envelope: Any) -> bytes:
    """The parked command with another amount."""
    (record,) = [record for record in rig.parked() if record.offset == offset]
    was = decode_command(record.value or b"")
    command = Add.from_topic(bytes(was.payload)).model_copy(update={"amount": amount, "how": "well"})
    return encode(msgspec.structs.replace(was, **({"payload": msgspec.Raw(command.to_json())} | envelope)))


async def test_an_edited_command_runs_in_its_place_under_its_id(rig: Rig) -> None:
    owner = await parked(rig, 1, 2)
    original = rig.parked()[0]
    value = value_of(rig, 0)
    row = await ask(rig, owner, "edit", 0, value)
    assert told(row) == (DONE, "It was edited. 2 records were run.")
    assert row.record == original, "the original is kept"
    assert row.request.value == value
    assert rig.amounts(A) == [9, 2]
    assert original.command_id is not None
    assert rig.result(original.command_id).status == "accepted"


async def test_an_edited_follower_waits_its_turn(rig: Rig) -> None:
    owner = await parked(rig, 1, 2, 3)
    row = await ask(rig, owner, "edit", 1, value_of(rig, 1))
    assert row.status == DONE
    assert (row.outcome or "").startswith(
        "It was edited. 0 records were run. The one at offset 0 failed again (rule_failed)"
    )
    assert rig.causes() == [(0, "rule_failed"), (1, "edited"), (2, "held")]
    mend(owner)
    await ask(rig, owner, "redrive", 0)
    assert rig.amounts(A) == [1, 9, 3]


async def test_a_command_whose_payload_could_not_be_read_is_mended_by_an_edit(rig: Rig) -> None:
    owner = rig.decider()
    rig.send(Add(account=A, amount=1))
    good = rig.broker.records(COMMANDS)[0]
    value = encode(
        msgspec.structs.replace(decode_command(good.value or b""), command_id=new_id(rig), payload=msgspec.Raw(b"{}"))
    )
    rig.broker.add(COMMANDS, 0, good.key, value, signed(COMMANDS, good.key or b"", value, SIGNER))
    await rig.quiet()
    assert rig.causes() == [(1, "undecodable")]
    better = msgspec.structs.replace(decode_command(value), payload=decode_command(good.value or b"").payload)
    assert told(await ask(rig, owner, "edit", 1, encode(better))) == (DONE, "It was edited. 1 record was run.")
    assert rig.amounts(A) == [1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"command_id": uuid4()}, "An edit leaves command_id as it is"),
        ({"actor": Actor("user", "somebody", "Admin")}, "An edit leaves actor as it is"),
        ({"aggregate_id": B}, "The record's key or partition is not that of its payload"),
        ({"payload": msgspec.Raw(b'{"account": 1}')}, "add: "),
        ({"payload": msgspec.Raw(Add(account=B, amount=1).to_json())}, "The record's key or partition"),
        ({"type": "subtract"}, "tally has no subtract here."),
        (None, "Not an envelope"),
    ],
)
async def test_an_edit_that_makes_it_another_command_is_refused(
    rig: Rig, change: dict[str, Any] | None, words: str
) -> None:
    owner = await parked(rig, 1, 2)
    before = rig.parked()
    row = await ask(rig, owner, "edit", 0, b"{}" if change is None else value_of(rig, 0, **change))
    assert row.status == "refused"
    assert (row.outcome or "").startswith(words)
    assert rig.parked() == before


@pytest.mark.parametrize("sign", [False, True])
async def test_what_the_platform_never_took_for_a_command_is_not_signed_by_an_edit(rig: Rig, sign: bool) -> None:
    owner = await parked(rig, 1)
    good = value_of(rig, 0)
    headers = signed(COMMANDS, A.encode(), b"garbage", SIGNER) if sign else ()
    rig.broker.add(COMMANDS, 0, A.encode(), b"garbage", headers)
    await rig.quiet()
    row = await ask(rig, owner, "edit", 1, good)
    assert row.status == "refused"
    assert (row.outcome or "").startswith("What is parked is no envelope" if sign else "The platform has not signed")
    assert len(rig.parked()) == 2


# -- bounded


async def test_what_is_remembered_of_held_keys_does_not_grow(rig: Rig) -> None:
    owner = rig.decider(size=50)
    for n in range(400):
        rig.send(Add(account=account(0, n % 200), amount=1, how="raise"))
    await rig.quiet()
    handler: Any = owner.handler
    assert len(rig.parked()) == 400
    assert handler._holds._parked_here == set()
    mend(owner)
    await ask(rig, owner, "redrive", 0)
    assert handler._holds._lifted == set()


def rows_of(rig: Rig, slot: Slot) -> list[Asked]:
    return [row for (at, _), row in rig.schema.requests.items() if at == slot]
