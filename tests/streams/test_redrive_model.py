"""A rule that is mended and redriven gives what it would have given at first; and a flood of bad records harms nobody else."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import redriving
from streams.ids import uuid7
from streams.store import Work
from tests.streams.asking import ask, mend, mended, put
from tests.streams.rig import COMMANDS, Owner, Rig, until
from tests.streams.tally import A, Add, B, C, How, account

ACCOUNTS = (A, B, C)


class Step(NamedTuple):
    """A command is sent, or sent once more, or the operator asks for one of the parked records, too early perhaps."""

    kind: str
    which: int
    amount: int
    how: How
    quiet: bool


steps = st.builds(
    Step,
    st.sampled_from(["send"] * 6 + ["again", "redrive"]),
    st.integers(0, 99),
    st.integers(1, 4),
    st.sampled_from(["well", "well", "well", "raise", "nul", "deny", "silent", "many"]),
    st.booleans(),
)


def send(rig: Rig, step: Step, offset: int) -> None:
    """The n-th command has the n-th id."""
    command_id = uuid7(int(rig.clock.now().timestamp() * 1000) + offset)
    rig.send(Add(account=ACCOUNTS[step.which % 3], amount=step.amount, how=step.how), command_id=command_id)


async def ill_at_first(script: Sequence[Step], size: int) -> Rig:
    """The rule raises and the store refuses for a while, operators ask now and then; in the end the rule is mended and all is redriven."""
    rig = Rig()
    owner = rig.decider(size=size)
    for step in script:
        records = rig.broker._topics[COMMANDS][0]
        if step.kind == "redrive":
            if parked := rig.parked():
                await put(rig, owner, "redrive", parked[step.which % len(parked)].offset)
        elif step.kind == "again" and records:
            record = records[step.which % len(records)]
            rig.broker.add(COMMANDS, 0, record.key, record.value, record.headers)
        else:
            send(rig, step, len(records))
        if step.quiet:
            await rig.quiet()
    await rig.quiet()
    mend(owner)
    while parked := rig.parked():
        await ask(rig, owner, "redrive", random.Random(size).choice(parked).offset)
    await rig.quiet()
    return rig


async def well_from_the_start(was: Rig) -> Rig:
    """The same records, with the mended rule."""
    rig = Rig()
    rig.broker._topics[COMMANDS][0] = list(was.broker._topics[COMMANDS][0])
    rig.decider(agent=mended())
    await rig.quiet()
    return rig


def outcome(rig: Rig, key: str) -> dict[str, Any]:
    """All that came of a key's commands. Only the numbers of its events among those of other keys are left out: these count what ran when."""
    commands = [event for event in rig.events() if event.aggregate_id == key]
    events = {(event.event_id, event.aggregate_seq, event.occurred_at, bytes(event.payload)) for event in commands}
    ids = {event.command_id for event in commands}
    return {
        "rows": rig.entries(key),
        "total": rig.totals().get(key),
        "documents": {k: v._replace(replaces=0) for k, v in rig.schema.states.items() if k.split("/")[0] == key},
        "results": {k: result for k, result in rig.schema.results.items() if str(k) in ids},
        "events": events,
    }


async def same(script: Sequence[Step], size: int) -> None:
    ill = await ill_at_first(script, size)
    well = await well_from_the_start(ill)
    try:
        for key in ACCOUNTS:
            assert outcome(ill, key) == outcome(well, key)
        assert ill.schema.results == well.schema.results
        assert ill.place().duplicates == well.place().duplicates
        assert ill.place().next == well.place().next
    finally:
        await ill.close()
        await well.close()


@settings(max_examples=60, deadline=None)
@given(script=st.lists(steps, max_size=25), size=st.integers(1, 7), run=st.integers(1, 5))
def test_a_rule_mended_and_redriven_gives_what_it_would_have_given_at_first(
    script: list[Step], size: int, run: int
) -> None:
    """Rows, documents, results, and per key the events with their ids, sequence and times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redriving, "RUN", run)
        asyncio.run(same(script, size))


# -- others are not harmed


def watch_memory(rig: Rig, owner: Owner) -> list[int]:
    """How many keys the handler remembers, at each commit."""
    seen, handler, commit = [0], owner.handler, rig.memory.commit

    async def look(slot: Any, epoch: int, work: Work) -> None:
        seen.append(len(handler._holds._parked_here))  # type: ignore[attr-defined]
        await commit(slot, epoch, work)

    rig.memory.commit = look  # type: ignore[method-assign]
    return seen


async def test_a_flood_of_bad_records_stops_nobody_and_fills_no_memory(rig: Rig) -> None:
    rig.send(Add(account=A, amount=1, how="raise"))
    for n in range(20_000):
        rig.broker.add(COMMANDS, 0, b"k%d" % n, b"garbage")
        if n % 10 == 0:
            rig.send(Add(account=A, amount=n))
        if n % 1000 == 0:
            rig.send(Add(account=B, amount=n))
    other = account(1)
    rig.send(Add(account=other, amount=1), partition=1)
    owner, elsewhere = rig.decider(size=200), rig.decider(1)
    seen = watch_memory(rig, owner)
    await until(elsewhere.partition.claimed.is_set)
    await until(lambda: rig.totals().get(other))
    assert rig.place().next < 10_000, "the flood goes on"
    await until(lambda: rig.place().next == rig.broker.end(COMMANDS, 0), 120)
    assert rig.amounts(B) == [*range(0, 20_000, 1000)]
    assert len(rig.parked()) == 22_001
    assert max(seen) <= 1, "one key waits"
    handler: Any = owner.handler
    assert len(handler._recent) == 20
    mend(owner)
    row = await put(rig, owner, "redrive", 0)
    await until(lambda: row.status == "done", 120)
    assert rig.amounts(A) == [1, *range(0, 20_000, 10)]


async def test_what_is_known_of_many_held_keys_is_that_of_two_batches(rig: Rig) -> None:
    keys = [account(0, n) for n in range(300)]
    for name in keys * 3:
        rig.send(Add(account=name, amount=1, how="raise"))
    owner = rig.decider(size=20)
    seen = watch_memory(rig, owner)
    await rig.quiet()
    assert len(rig.parked()) == 900
    assert 20 <= max(seen) <= 40


@pytest.mark.parametrize("how", ["raise", "nul", "odd"])
async def test_poison_delays_other_keys_by_its_own_batch_at_most(rig: Rig, how: How) -> None:
    owner = rig.decider(size=8)
    await until(owner.partition.claimed.is_set)
    for batch in range(3):
        for n in range(8):
            poison = (batch, n) == (0, 3)
            rig.send(Add(account=A if poison else account(0, n + 1), amount=batch, how=how if poison else "well"))
    commits: list[tuple[int, int]] = []
    commit = rig.memory.commit

    async def note(slot: Any, epoch: int, work: Work) -> None:
        await commit(slot, epoch, work)
        commits.append((work.expected, work.next))

    rig.memory.commit = note  # type: ignore[method-assign]
    await rig.quiet()
    assert rig.causes() == [(3, "rule_failed" if how == "raise" else "refused_by_store")]
    assert len(rig.schema.results) == 23
    if how == "raise":
        assert commits == [(0, 8), (8, 16), (16, 24)], "nobody waits at all"
    else:
        first = [part for part in commits if part[1] <= 8]
        assert first == commits[: len(first)]
        assert len(first) <= 8, "the batch is divided until the poison is alone"
        assert len(commits) - len(first) == 2
