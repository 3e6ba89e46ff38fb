"""A worker that gets stuck in one of the ways in which programs do, by code that hangs at one user's commands."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.faults.ground import Ground, Worker
from tests.faults.load import Order, awards, orders
from tests.faults.outside import until
from tests.faults.planted import QUICK, planted
from tests.faults.report import Figures
from topics.points import AwardPoints

VICTIM, AMOUNT = "stuck-1", 7_000_003
HANGS = "it hangs from now on"
Change = Mapping[str, tuple[str, str]]
LOAD = '''        """The documents of these keys, those that there are."""
        rows ='''
DELIVER = '        """Records have come, which are of everyone who reads their topic."""\n'
RULE = "    account: Account = state[ROOT]\n    decided"


def load_hangs(times: int) -> Change:
    """Reading the victim's documents waits for ever, so many times."""
    code = f"""        if "{VICTIM}" in keys and (hung := self.__dict__.setdefault("hung", [])).append(1) is None and len(hung) <= {times}:
            print("{HANGS}", flush=True)
            await asyncio.Event().wait()
"""
    return {"sinks/postgres/store.py": (LOAD, LOAD.replace("        rows =", code + "        rows ="))}


FEED_FORGETS = {
    "streams/app.py": (
        DELIVER,
        DELIVER
        + f"""        there = any(r.key == b"{VICTIM}" for records, _ in delivery.parts for r in records)
        if there and self.__dict__.setdefault("forgot", tp) == tp and self.forgot:
            self.forgot = None
            self.consumer.pause_partitions([tp])
            return
""",
    )
}
"""The first delivery with the victim's command is lost, and its partition paused by mistake."""


def rule_hangs(code: str) -> Change:
    """A rule never ends at the victim's amount."""
    line = f'    if getattr(command, "amount", 0) == {AMOUNT}:\n        print("{HANGS}", flush=True)\n        {code}\n'
    return {"agents/points/rules/__init__.py": (RULE, line + RULE)}


SPINS = rule_hangs("while True: pass")
BACKTRACKS = rule_hangs('__import__("re").match("(a+)+$", "a" * 60 + "b")')  # it keeps every other thread waiting
SLEEPS = rule_hangs('__import__("time").sleep(100_000)')


async def stuck_worker(ground: Ground, folder: Path, change: Change) -> Worker:
    """A worker, ready, that is watched closely."""
    worker = ground.start_worker(code=planted(folder / "code", QUICK, change))
    await worker.said("worker ready: points")
    return worker


async def ended(worker: Worker) -> int | None:
    """Its status, once it ended by itself."""

    async def over() -> bool:
        return not worker.runs

    await until(over, f"it ends:\n{worker.text}")
    return worker._child.ended()


async def settled(ground: Ground, figures: Figures) -> None:
    """All is done, and right."""
    await ground.settle()
    assert await ground.broken() == []
    figures.note(faults=1, **await ground.account())


@pytest.mark.parametrize(
    ("change", "stood"),
    [(load_hangs(1), "store.py"), (FEED_FORGETS, "_awake")],
    ids=["a wait that never ends", "a feed that stays paused"],
)
@pytest.mark.full
async def test_a_partition_that_is_stuck_is_started_anew(
    ground: Ground, tmp_path: Path, figures: Figures, change: Change, stood: str
) -> None:
    worker = await stuck_worker(ground, tmp_path, change)
    await ground.load.send(orders(11, 200))
    await ground.load.send(awards([VICTIM], 1))
    await ground.load.send(orders(12, 200))
    await worker.said("Restart 1. It stands at:")
    assert stood in worker.text.partition("It stands at:")[2]
    await settled(ground, figures)
    assert worker.runs
    assert "Restart 2" not in worker.text
    assert {row["stopped"] for row in await ground.outside.rows("SELECT stopped FROM offsets")} == {None}
    assert await worker.leave() == 0


@pytest.mark.full
async def test_a_worker_in_which_new_tasks_do_not_help_ends_with_a_word(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    worker = await stuck_worker(ground, tmp_path, load_hangs(1000))
    await ground.load.send(orders(11, 200))
    await ground.load.send(awards([VICTIM], 1))
    await worker.said("Restart 2")
    (shown,) = await ground.outside.rows("SELECT stopped FROM offsets WHERE stopped IS NOT NULL")
    assert "records waiting" in shown["stopped"]
    assert "restarted" in shown["stopped"]
    assert await ended(worker) == 1
    assert "3 restarts did not help. The worker ends" in worker.text
    await ground.worker()
    await settled(ground, figures)


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "status"),
    [
        (SPINS, 70),
        (SLEEPS, 70),
        (BACKTRACKS, -27),
    ],
    ids=["it computes", "it sleeps", "it lets no thread in"],
)
async def test_a_worker_whose_loop_hangs_ends_and_shows_where(
    ground: Ground, tmp_path: Path, figures: Figures, change: Change, status: int
) -> None:
    worker = await stuck_worker(ground, tmp_path, change)
    await ground.load.send(orders(11, 200))
    await ground.load.send([Order(AwardPoints(user_id=VICTIM, amount=AMOUNT))])
    assert await ended(worker) == status
    assert 'agents/points/rules/__init__.py", line' in worker.text
    await ground.worker()
    await settled(ground, figures)


@pytest.mark.full
async def test_a_frozen_worker_is_no_hang(ground: Ground, tmp_path: Path, figures: Figures) -> None:
    """Frozen for longer than any watch has patience, and woken: nothing is restarted and nothing ends."""
    worker = await stuck_worker(ground, tmp_path, {})
    await ground.load.send(orders(11, 200))
    await ground.settle()
    worker.freeze()
    other = ground.start_worker()

    async def has_all() -> bool:
        return await ground.owners() == {other.pid}

    await until(has_all, "the other has all")
    await ground.load.send(orders(12, 200))
    worker.thaw()
    await until(ground.shared, "it takes part again")
    await settled(ground, figures)
    assert worker.runs
    assert "Restart" not in worker.text
