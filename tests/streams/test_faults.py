"""Whatever happens to store, log, consumer and owners: the rows are those of a sequential fold of the commands."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.memory import MemoryStore
from streams.store import Lost, Unavailable
from tests.streams.rig import COMMANDS, EVENTS, Rig, until
from tests.streams.tally import Add, How, account

ACCOUNTS = [account(0, n) for n in range(5)]
HOWS: Sequence[How] = ("well", "well", "well", "well", "many", "deny", "silent", "nul", "raise", "unread")
Sent = tuple[int, int, How, bool]

command = st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from(HOWS), st.booleans())


def fold(sent: Sequence[Sent]) -> tuple[dict[str, list[int]], set[str]]:
    """What the rules say, one command after the other: amounts per account, and the accounts that wait."""
    amounts: defaultdict[str, list[int]] = defaultdict(list)
    held: set[str] = set()
    for number, amount, how, _ in sent:
        name = ACCOUNTS[number]
        if name in held or how in {"deny", "silent"}:
            continue
        if how in {"nul", "raise", "unread"}:
            held.add(name)
        else:
            amounts[name] += [1] * amount if how == "many" else [amount]
    return dict(amounts), held


class Trouble:
    """Draws faults by chance and puts them before and after the calls of a rig's ports."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.chance = rig, random.Random(seed)
        for name in ("commit", "load", "claim", "known", "held", "unsent", "sent", "stopped"):
            rig.store.before[name].extend(self._some(Unavailable("away"), Lost("fenced") if name == "commit" else None))
        rig.store.after["commit"].extend(self._some(Lost("no answer"), OSError("no answer")))
        for name in ("append", "bounds", "read"):
            rig.broker.before[name].extend(self._some(OSError("away")))
        rig.broker.after["append"].extend(self._some(OSError("no answer")))

    def _some(self, *errors: Exception | None) -> list[Exception | None]:
        return [self.chance.choice(errors) if self.chance.random() < 0.3 else None for _ in range(12)]

    def own(self) -> None:
        """A process takes the partition, with a consumer that loses deliveries."""
        owner = self.rig.decider(size=self.chance.choice([1, 3, 10]), limit=self.chance.choice([1, 3000, 1 << 20]))
        owner.feed.lose.extend([self.chance.random() < 0.2 for _ in range(20)])
        owner.feed.stale.extend([self.chance.random() < 0.2 for _ in range(20)])
        owner.feed.errors.extend([OSError("not assigned")] * self.chance.randrange(2))

    async def stir(self) -> None:
        """Something happens to some owner."""
        owner = self.chance.choice(self.rig.owners)
        match self.chance.randrange(5):
            case 0 if not owner.task.done():
                await owner.die()
            case 1 if not owner.task.done():
                await owner.leave()
            case 2:
                self.own()
            case 3:
                owner.partition.reassign()
        for _ in range(self.chance.randrange(10)):
            await asyncio.sleep(0)


async def play(sent: Sequence[Sent], seed: int) -> None:
    rig = Rig()
    trouble = Trouble(rig, seed)
    trouble.own()
    for number, amount, how, twice in sent:
        made = rig.send(Add(account=ACCOUNTS[number], amount=amount, how=how))
        if twice:
            rig.send(Add(account=ACCOUNTS[number], amount=amount, how=how), command_id=made)
        if trouble.chance.random() < 0.3:
            await trouble.stir()
    for owner in rig.owners:
        if not owner.task.done():
            await owner.leave()
    rig.decider()
    await rig.quiet()
    await check(rig, sent)
    await rig.close()


async def check(rig: Rig, sent: Sequence[Sent]) -> None:
    amounts, held = fold(sent)
    assert {name: found for name in ACCOUNTS if (found := rig.amounts(name))} == {k: v for k, v in amounts.items() if v}
    assert rig.totals() == {name: sum(found) for name, found in amounts.items() if found}
    assert {(parked.key or b"").decode() for parked in rig.parked() if parked.holds} == held
    last = rig.place().number
    await until(lambda: len(set(rig.numbers())) == last)
    assert list(dict.fromkeys(rig.numbers())) == list(range(1, last + 1)), (
        "first appearances are in order, without a gap"
    )
    by_number: dict[int, str] = {}
    for event in rig.events():
        assert by_number.setdefault(event.number, str(event.event_id)) == str(event.event_id)
    built = MemoryStore()
    rig.projection(built)
    await rig.quiet()
    assert built.schemas["tally"].rows == rig.schema.rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(st.lists(command, max_size=40), st.integers(0, 1 << 30))
def test_any_faults_leave_the_rows_of_a_sequential_fold(sent: list[Sent], seed: int) -> None:
    asyncio.run(play(sent, seed))


@pytest.mark.parametrize("seed", [343, 391, 553])
def test_an_end_that_comes_together_with_a_wake_is_not_overheard(seed: int) -> None:
    """`asyncio.wait_for` swallowed it in these runs, before Python 3.12: a partition that had lost went on for ever."""
    chance = random.Random(seed)
    sent: list[Sent] = [
        (chance.randrange(5), chance.randrange(4), chance.choice(HOWS), chance.random() < 0.5)
        for _ in range(chance.randrange(41))
    ]

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await play(sent, seed)

    asyncio.run(bounded())


async def test_a_shard_that_forgets_often_keeps_results_right(rig: Rig) -> None:
    rig.decider(size=3, limit=1)
    for n in range(200):
        rig.send(Add(account=ACCOUNTS[n % 5], amount=n))
    await rig.quiet()
    assert rig.totals() == {name: sum(range(n, 200, 5)) for n, name in enumerate(ACCOUNTS)}
    assert rig.store.calls["load"] > 20
    assert rig.store.calls["claim"] == 1, "a document of an uncommitted batch is never loaded"
    assert rig.broker.end(EVENTS, 0) == rig.broker.end(COMMANDS, 0)
