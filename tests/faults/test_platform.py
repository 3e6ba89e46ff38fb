"""The whole platform, edges and workers, while its only broker is away, and several clients who do not give up."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from examples.journeys import Journeys
from streams.settings import Settings
from tests.faults.infrastructure import Own
from tests.faults.outside import until
from tests.faults.platform import running
from tests.faults.report import Figures

SEED, LINES = 5, 1500
TIMES = 3
SOME = 20  # answers, or tries without one


async def started(kafka: Own) -> None:
    """A killed broker comes back."""
    await kafka.start()


async def thawed(kafka: Own) -> None:
    """A frozen broker goes on."""
    kafka.thaw()


FAULTS = {"killed": (Own.kill, started), "frozen": (Own.freeze, thawed)}


@pytest.mark.full
@pytest.mark.req("SR030")
@pytest.mark.scenario("S8")
@pytest.mark.scenario("S15")
@pytest.mark.timeout(600)  # s
@pytest.mark.parametrize(("end", "again"), FAULTS.values(), ids=FAULTS)
async def test_no_answer_is_false_while_the_broker_is_away(
    settings: Settings,
    tmp_path: Path,
    figures: Figures,
    end: Callable[[Own], None],
    again: Callable[[Own], Awaitable[None]],
) -> None:
    """What was answered with 202 is done once, what was not can be sent again; reads show what their token covers."""
    with Own("kafka") as kafka:
        here = replace(settings, kafka=kafka.url)
        async with running(here, here, tmp_path, SEED) as platform:
            acts = Journeys(SEED, sets=1).acts(LINES)
            await platform.crowd.send(acts.opening)
            begin = time.time()
            sending = asyncio.create_task(platform.crowd.send(acts.bustle))
            for _ in range(TIMES):
                await more(lambda: platform.crowd.counts["answered"], sending)
                end(kafka)
                await more(lambda: platform.crowd.unanswered, sending)
                await again(kafka)
            await sending
            span = begin, time.time()
            await platform.crowd.finished()
            await platform.settle()
            wrong = await platform.wrong()

            figures.note(faults=TIMES, **platform.account(wrong, span))
            assert platform.crowd.counts["read"] > 0
            assert wrong == []


async def more(number: Callable[[], int], sending: asyncio.Task[None]) -> None:
    """Wait until it has grown by some."""
    begin = number()

    async def grown() -> bool:
        return sending.done() or number() >= begin + SOME

    await until(grown, "clients are answered, or not any more")
