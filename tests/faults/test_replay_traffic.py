"""Reads through a real edge while tables are swapped, swapped back and swapped again: none fails, and none has rows of both."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.edges import EdgeProcess, edges_of
from tests.faults.ground import ROOT, Ground
from tests.faults.load import awards
from tests.faults.outside import until
from tests.faults.replays import planted, replay
from tests.faults.report import Figures
from tests.faults.test_replay_cases import diff_in

RATE = 200  # reads a second
SOME = 150  # reads between two swaps
QUIET = [f"q{n}" for n in range(8)]
"""Users about whom no command comes."""

VIEW = '''

class Whole(BaseModel):
    """Rows of two tables, by two queries."""

    held: int
    mark: str | None


@view(roles=("User",), owner="user_id")
async def whole(db: Db, user_id: str) -> Whole | None:
    """Both, with some time between them."""
    held = await db.fetchval("SELECT held FROM balance WHERE user_id = $1", user_id)
    await db.fetchval("SELECT pg_sleep(0.04)")
    return Whole(held=held, mark=await db.fetchval("SELECT reference FROM ledger WHERE user_id = $1", user_id))
'''
LAST = "    return paging.page([Entry(**row) for row in found], lambda entry: entry.seq)\n"


class Reads:
    """Asks at a fixed rate, whatever comes back, and counts what came."""

    def __init__(self, edge: EdgeProcess) -> None:
        """Nothing is asked yet."""
        self.answers: Counter[Any] = Counter()
        self._edge = edge

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """While the block runs; then all have come back."""
        asking = asyncio.create_task(self._ask())
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with asyncio.TaskGroup() as group:
            try:
                for n in range(10**9):
                    await asyncio.sleep(begin + n / RATE - loop.time())
                    group.create_task(self._one(QUIET[n % len(QUIET)], "whole" if n % 2 else "balance"))
            except asyncio.CancelledError:
                return

    async def _one(self, user: str, view: str) -> None:
        try:
            answer = await self._edge.client.get(f"/v1/points/{view}/{user}", headers=self._edge.by(user))
        except Exception as error:  # noqa: BLE001 - whatever it is, a read failed
            self.answers[view, repr(error)] += 1
            return
        if answer.status_code != 200:
            self.answers[view, answer.text] += 1
        elif view == "whole":
            told = answer.json()
            self.answers[view, "old" if told["held"] >= 1_000_000 else "new", told["mark"] or "new"] += 1
        else:
            self.answers[view, "old" if answer.json()["held"] >= 1_000_000 else "new"] += 1


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.req("SR073")
async def test_no_read_fails_or_mixes_while_tables_are_exchanged(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    """Commands go on all the while, and none is lost."""
    await ground.worker()
    await ground.load.send(awards(QUIET, len(QUIET), 7))
    await ground.settle()
    assert (await replay(ground))[0] == 0
    users = ", ".join(
        f"'{user}'" for user in QUIET
    )  # what the swap takes away is marked, so that it can be told from what it brings
    await ground.outside.execute(f"UPDATE balance SET held = held + 1000000 WHERE user_id IN ({users})")
    await ground.outside.execute(f"UPDATE ledger SET reference = 'old' WHERE user_id IN ({users})")
    status, said = await replay(ground)
    assert (status, "points: 16 rows differ" in said) == (1, True), said
    code = planted(tmp_path / "code", {"agents/points/view.py": (LAST, LAST + VIEW)})
    async with edges_of(ground, tmp_path) as edges:
        edge = await edges.start("/usr/bin/env", "-C", str(code), f"PYTHONPATH={ROOT}")
        reads = Reads(edge)
        async with ground.load.steady(970), reads.going_on():
            for n, exchange in enumerate((["--swap", "--accept-diff", diff_in(said)], ["--swap-back"], ["--swap"])):
                told = reads.answers.total()
                await until(partial(enough, reads, told), "reads go on")
                status, words = await replay(ground, *exchange)
                assert status == 0, (n, words)
                await ground.goes_on()
            told = reads.answers.total()
            await until(partial(enough, reads, told), "reads go on")
    await ground.settle()

    assert set(reads.answers) == {
        ("whole", "old", "old"),
        ("whole", "new", "new"),
        ("balance", "old"),
        ("balance", "new"),
    }
    figures.note(faults=3, **await ground.account())
    assert await ground.broken() == []


async def enough(reads: Reads, before: int) -> bool:
    """Whether some more reads have come back."""
    return reads.answers.total() >= before + SOME
