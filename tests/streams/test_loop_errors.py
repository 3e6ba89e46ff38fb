"""What nobody foresaw: an error of ours ends no partition without a word, and is tried again."""

from collections.abc import Sequence
from typing import Any

import pytest

from streams.handler import Position
from streams.loop import PARTS
from streams.store import Work
from tests.streams.rig import Owner, Rig, until
from tests.streams.tally import A, Add, B


class Bugs:
    """Has `prepare` of an owner's handler raise so many times."""

    def __init__(self, owner: Owner, times: int) -> None:
        self.left, self._prepare = times, owner.handler.prepare
        owner.handler.prepare = self.prepare  # type: ignore[method-assign,assignment]

    async def prepare(self, records: object, at: Position, careful: bool) -> object:
        if self.left:
            self.left -= 1
            raise KeyError("a bug")
        return await self._prepare(records, at, careful)  # type: ignore[arg-type]


async def test_an_error_of_ours_is_told_with_its_traceback_and_tried_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    bugs = Bugs(owner, 3)
    rig.send(Add(account=A, amount=5))
    await until(lambda: rig.place().next == 1)
    assert bugs.left == 0
    assert rig.amounts(A) == [5]
    assert caplog.text.count("KeyError('a bug')") == 3
    assert caplog.text.count("Traceback") == 1, "the same error is shown in full once"
    await until(lambda: rig.place().stopped is None)


async def test_while_it_lasts_the_store_says_so(rig: Rig) -> None:
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    bugs = Bugs(owner, 1_000_000)
    rig.send(Add(account=A, amount=5))
    claims = rig.store.calls["claim"]
    await until(lambda: rig.store.calls["claim"] > claims + 2)
    assert "KeyError('a bug'), which nobody foresaw" in rig.place().stopped, "and a claim alone does not take it back"
    bugs.left = 0
    await until(lambda: rig.place().stopped is None)
    assert rig.amounts(A) == [5]


@pytest.mark.parametrize("method", ["claim", "commit", "load", "stopped"])
async def test_an_error_of_the_store_that_nobody_foresaw_is_tried_again(rig: Rig, method: str) -> None:
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    rig.store.before[method].append(ZeroDivisionError("a bug"))
    owner.partition.reassign()
    rig.send(Add(account=A, amount=5))
    rig.send(Add(account=A, amount=1, how="raise"))
    await until(lambda: rig.place().next == 2)
    assert rig.amounts(A) == [5]
    assert not owner.task.done()
    await until(lambda: rig.place().stopped is None)


async def test_an_error_while_it_leaves_leaves_its_batch_to_the_next_owner(rig: Rig) -> None:
    owner = rig.decider()
    await until(owner.partition.claimed.is_set)
    gate = rig.store.close("commit")
    rig.store.before["commit"].append(ZeroDivisionError("a bug"))
    rig.send(Add(account=A, amount=5))
    await until(lambda: rig.store.calls["commit"] == 1)
    owner.partition.leave()
    gate.set()
    await owner.task
    rig.decider()
    await until(lambda: rig.place().next == 1)
    assert rig.amounts(A) == [5]


async def test_hints_that_fail_stop_no_later_ones(rig: Rig) -> None:
    owner = rig.decider()
    hint = owner.feed.hint
    failed: list[object] = []

    async def failing(*args: object) -> None:
        if not failed:
            failed.append(args)
            raise ZeroDivisionError("a bug")
        await hint(*args)  # type: ignore[arg-type]

    owner.feed.hint = failing  # type: ignore[assignment]
    rig.send(Add(account=A, amount=5))
    await until(lambda: failed)
    rig.send(Add(account=A, amount=5))
    await until(lambda: owner.feed.hints)


async def test_a_record_that_the_store_refuses_costs_the_others_one_more_batch_of_work(rig: Rig) -> None:
    number, bad = 512, 300
    for n in range(number):
        rig.send(Add(account=B if n == bad else A, amount=n, how="nul" if n == bad else "well"))
    owner = rig.decider(size=number)
    prepare, prepared = owner.handler.prepare, list[int]()

    async def counted(records: Sequence[Any], at: Position, careful: bool) -> Work:
        prepared.append(len(records))
        return await prepare(records, at, careful)

    owner.handler.prepare = counted  # type: ignore[method-assign]
    await rig.quiet()
    assert rig.causes() == [(bad, "refused_by_store")]
    assert rig.amounts(A) == [n for n in range(number) if n != bad]
    assert sum(prepared) <= 2.1 * number
    assert rig.store.calls["commit"] <= 3 * PARTS + 2
