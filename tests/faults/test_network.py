"""What networks do between a worker and Kafka or Postgres, under load: connections are cut, hang, and answers get lost."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import pytest

from streams.settings import Settings
from tests.faults.ground import Ground, Worker
from tests.faults.group import members
from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, until
from tests.faults.proxy import Proxy, wires
from tests.faults.report import Figures

TIMES = 5
NOTICE_S = 120.0
SLOW_S = 0.02


class Net(NamedTuple):
    """The ways of a worker; nobody else goes there."""

    settings: Settings
    kafka: Proxy
    postgres: Proxy


@pytest.fixture
async def net(settings: Settings) -> AsyncIterator[Net]:
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(wires(settings.kafka))
        postgres = await stack.enter_async_context(wires(settings.postgres))
        ways = replace(settings, kafka=kafka.url, postgres=postgres.url, postgres_read=postgres.url)
        yield Net(ways, kafka.one, postgres.one)


@pytest.mark.scenario("S7")
async def test_the_answer_to_a_commit_is_lost(ground: Ground, net: Net, figures: Figures) -> None:
    """The connection is cut when the COMMIT was sent and done, and before its answer came."""
    worker = await ground.worker(settings=net.settings)
    async with ground.load.steady(910):
        for _ in range(TIMES):
            await ground.goes_on()
            net.postgres.hold_answer_to(b"COMMIT")
            await until(lambda: _is_set(net.postgres), "a COMMIT was sent")
            await until(lambda: no_transaction(ground, worker), "all that was sent is done")
            net.postgres.cut_held()
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=TIMES, **await ground.account())
    assert "The COMMIT got no answer" in worker.text  # a held COMMIT may also have been that of a claim
    assert await ground.broken() == []


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "cut": Proxy.cut,
    "hung": Proxy.black_hole,
    "deaf": lambda proxy: proxy.black_hole("up"),
    "mute": lambda proxy: proxy.black_hole("down"),
}


@pytest.mark.full
@pytest.mark.scenario("S6")
@pytest.mark.timeout(400)  # s; a worker takes 30 s for an answer that is late
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_way_to_postgres_is_broken_and_healed(ground: Ground, net: Net, figures: Figures, fault: str) -> None:
    """Sessions that hang go on in Postgres and hold their locks; the worker takes its partitions back nevertheless."""
    worker = await ground.worker(settings=net.settings)
    async with ground.load.steady(920):
        for _ in range(TIMES):
            await ground.goes_on()
            async with broken_way(net.postgres, fault):
                await stands(ground)
        await ground.goes_on()
        noticed = retreats(worker)
        async with broken_way(net.postgres, fault):
            await until(lambda: is_above(lambda: retreats(worker), noticed), "the worker sees it", NOTICE_S)
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=TIMES + 1, **await ground.account())
    assert worker.runs
    assert await ground.broken() == []


@pytest.mark.full
@pytest.mark.scenario("S8")
@pytest.mark.timeout(400)  # s
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_way_to_kafka_is_broken_and_healed(ground: Ground, net: Net, figures: Figures, fault: str) -> None:
    """The last time for so long that the group gives the worker up."""
    worker = await ground.worker(settings=net.settings)
    async with ground.load.steady(930):
        for _ in range(TIMES):
            await ground.goes_on()
            async with broken_way(net.kafka, fault):
                await stands(ground)
        async with broken_way(net.kafka, fault):
            await until(lambda: is_given_up(ground), "the group gives it up", NOTICE_S)
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=TIMES + 1, **await ground.account())
    assert worker.runs
    assert await ground.broken() == []


@pytest.mark.full
@pytest.mark.scenario("S18")
async def test_slow_lines_lose_and_double_nothing(ground: Ground, net: Net, figures: Figures) -> None:
    worker = await ground.worker(settings=net.settings)
    for proxy in (net.kafka, net.postgres):
        proxy.delay(SLOW_S, jitter=SLOW_S)
    async with ground.load.steady(940):
        for _ in range(TIMES):
            await ground.goes_on()
    await ground.settle()

    figures.note(faults=2, **await ground.account())
    assert worker.runs
    assert await ground.broken() == []


@pytest.mark.full
@pytest.mark.scenario("S1")
@pytest.mark.scenario("S10")
async def test_killed_between_commit_and_relay(ground: Ground, net: Net, figures: Figures) -> None:
    """The events stand in Postgres and nothing of them is in Kafka; the successor sends them."""
    worker = await ground.worker("--instance", "one", settings=net.settings)
    async with ground.load.steady(950):
        await ground.goes_on()
        net.kafka.black_hole("up")
        await until(lambda: is_behind(ground), "events are committed and not in Kafka")
        worker.kill()
        net.kafka.cut()
        net.kafka.heal()
        await ground.worker("--instance", "one", settings=net.settings)
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=1, **await ground.account())
    assert await ground.broken() == []


@pytest.mark.full
@pytest.mark.scenario("S2")
@pytest.mark.scenario("S10")
async def test_two_relays_at_once(ground: Ground, net: Net, figures: Figures) -> None:
    """Events are on their way when their worker is cut off; the other sends them too; then the first ones arrive."""
    cut_off = await ground.worker(settings=net.settings)
    async with ground.load.steady(960):
        await ground.goes_on()
        net.kafka.black_hole("up")
        await until(lambda: is_behind(ground), "events are committed and not in Kafka")
        cut_off.freeze()
        other = ground.start_worker()
        await until(lambda: owns_all(ground, other), "the other has all")
        await ground.goes_on()
        net.kafka.heal()
        await until(lambda: came_late(ground), "the events of the first arrive")
        cut_off.thaw()
        await until(ground.shared, "it takes part again")
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=2, **await ground.account())
    assert await ground.broken() == []


@asynccontextmanager
async def broken_way(proxy: Proxy, fault: str) -> AsyncIterator[None]:
    """Nobody gets through while the block runs; then what hung is cut."""
    FAULTS[fault](proxy)
    proxy.refuse()
    try:
        yield
    finally:
        proxy.cut()
        proxy.heal()
        await proxy.start()


def retreats(worker: Worker) -> int:
    """How often it wrote that it begins again."""
    return worker.text.count("Trying again") + worker.text.count("Claiming again")


async def is_above(number: Callable[[], int], limit: int) -> bool:
    """Whether it has grown."""
    return number() > limit


async def is_given_up(ground: Ground) -> bool:
    """Whether the group of points has no members."""
    return await members(ground.settings, "points") == 0


async def _is_set(proxy: Proxy) -> bool:
    return proxy.held.is_set()


async def no_transaction(ground: Ground, worker: Worker) -> bool:
    """Whether Postgres has done what the session whose answers are held asked for: one that others do not use any more."""
    return not await ground.outside.rows(
        "SELECT FROM pg_stat_activity WHERE application_name = $1 AND query LIKE 'COMMIT%' AND state <> 'idle'",
        worker.session,
    )


async def stands(ground: Ground) -> None:
    """Wait until nothing was decided between two looks while commands came in."""

    async def state() -> tuple[dict[int, int], dict[int, int]]:
        return await ground.positions(), await ground.outside.ends(COMMANDS)

    last = await state()

    async def stood() -> bool:
        nonlocal last
        before, last = last, await state()
        return last[0] == before[0] and last[1] != before[1]

    await until(stood, "nothing is decided")


async def is_behind(ground: Ground) -> bool:
    """Whether some partition has committed events that Kafka has not."""
    await ground.outside.read_on()
    rows = await ground.outside.offsets(COMMANDS)
    return any(row["number"] > ground.outside.last_number(n) for n, row in rows.items())


async def owns_all(ground: Ground, worker: Worker) -> bool:
    """Whether it holds everything."""
    return await ground.owners() == {worker.pid}


async def came_late(ground: Ground) -> bool:
    """Whether some events came once more."""
    await ground.outside.read_on()
    ids = Counter(record.value for n in PARTITIONS for record in ground.outside.records(EVENTS, n))
    return ids.total() > len(ids)
