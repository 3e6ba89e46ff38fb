"""The auditor beside workers that are killed under load: it finds nothing while all goes on, nor when all has settled."""

import asyncio
from contextlib import suppress

import pytest

from caravan.audit import Auditor, audit
from caravan.audit.finding import HARMLESS
from streams.errors import CaravanError
from tests.faults.ground import Ground
from tests.faults.report import Figures

KILLS = 4
PAUSE_S = 0.2  # between two looks
PATIENCE_S = 600.0  # that a machine is slow breaks no promise


async def looked(looks: list[list[str]], before: int) -> bool:
    """Whether it has looked once more."""
    return len(looks) > before


@pytest.mark.full
@pytest.mark.scenario("S1")
@pytest.mark.req("SR030")
async def test_an_audit_under_load_and_kills_finds_nothing_that_is_not_there(ground: Ground, figures: Figures) -> None:
    """And still sees what is planted at the end."""
    looks: list[list[str]] = []

    async def look_on(auditor: Auditor) -> None:
        while True:
            with suppress(CaravanError):  # a domain whose worker never began has nothing to look at
                found = (await auditor.look()).findings
                looks.append([str(one) for one in found if one.check not in HARMLESS])
            await asyncio.sleep(PAUSE_S)

    worker = await ground.worker()
    async with Auditor(ground.settings, ["points"], patience=PATIENCE_S) as auditor:
        looking = asyncio.create_task(look_on(auditor))
        async with ground.load.steady(4000):
            for _ in range(KILLS):
                await ground.goes_on()
                async with ground.held_in_commit(worker):
                    worker.kill()
                worker = await ground.worker()
            await ground.goes_on()
        await ground.settle()
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        settled = [str(one) for one in (await auditor.look()).findings if one.check not in HARMLESS]
    once = [one for one in await audit(ground.settings, ["points"]) if not one.harmless]

    assert [found for found in looks if found] == []
    assert (settled, once, await ground.broken()) == ([], [], [])
    figures.note(faults=KILLS, commands=len(ground.load.acknowledged))

    await ground.outside.execute("UPDATE balance SET available = available + 1 WHERE user_id = 'u1'")
    assert "row_changed" in {one.check for one in await audit(ground.settings, ["points"])}
