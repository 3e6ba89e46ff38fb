"""A domain's tables built once more from its events, beside live traffic: the same rows, whatever is killed on the way."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.faults.ground import Ground
from tests.faults.load import USERS
from tests.faults.outside import EVENTS, until
from tests.faults.report import Figures

SHADOWED = "state", "ledger", "balance", "timers"


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S11")
@pytest.mark.scenario("S13")
async def test_a_rebuild_beside_live_traffic_gives_the_live_rows(ground: Ground, figures: Figures) -> None:
    """Tables rebuilt == those that the decider wrote == what SQL adds up, at the same number of every partition."""
    await ground.worker()
    for user in USERS:
        await ground.load.heap(user, 300)
    kills = 0
    async with ground.load.steady(700):
        rebuild = ground.start_worker("--rebuild", "points")
        for _ in range(3):
            await until(further(ground, await built(ground)), f"the rebuild moves; see {rebuild.log}")
            rebuild.kill()
            kills += 1
            rebuild = ground.start_worker("--rebuild", "points", "--instance", "rebuild")
        second = ground.start_worker("--rebuild", "points")  # another one joins while it is under way
        await ground.goes_on()
    await ground.settle()
    ends = await ground.outside.ends(EVENTS)
    await until(lambda: reached(ground, ends), f"the rebuild is where the events end; see {rebuild.log}")

    assert second.runs
    for table in SHADOWED:
        assert await rows(ground, table, "_shadow") == await rows(ground, table), table
    sums = await ground.outside.rows(SUMS)
    assert sums == [], "balances are not the sums of the ledger"
    assert await ground.outside.ends(EVENTS) == ends, "a rebuild tells nothing"
    assert await ground.outside.rows(f"SELECT FROM {shadow(ground)}.results") == []
    assert await ground.outside.rows(f"SELECT FROM {shadow(ground)}.outbox") == []
    figures.note(faults=kills + 1, **await ground.account())
    assert await ground.broken() == []


# What the ledger adds up to, of each user whose balance differs.
SUMS = """
    SELECT user_id, account, points, amount FROM (
        SELECT user_id, unnest(ARRAY['available', 'held']) AS account, unnest(ARRAY[available, held]) AS points FROM balance) b
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(CASE WHEN credit = name THEN amount ELSE 0 END - CASE WHEN debit = name THEN amount ELSE 0 END), 0) AS amount
        FROM ledger l, concat('user:', b.user_id, ':', account) AS name WHERE l.user_id = b.user_id) s
    WHERE points <> amount"""


def shadow(ground: Ground) -> str:
    """The schema that is built."""
    return f'"{ground.settings.namespace}points_shadow"'


async def rows(ground: Ground, table: str, suffix: str = "") -> Counter[str]:
    """What a table says."""
    schema = f'"{ground.settings.namespace}points{suffix}"'
    found = await ground.outside.rows(f"SELECT * FROM {schema}.{table}")
    return Counter(str({name: value for name, value in row.items() if name != "replaces"}) for row in found)


async def built(ground: Ground) -> dict[int, Any]:
    """Partition -> where the rebuild stands."""
    there = await ground.outside.rows("SELECT to_regclass($1)", f"{shadow(ground)}.offsets")
    if there[0][0] is None:
        return {}
    found = await ground.outside.rows(f"SELECT partition, next FROM {shadow(ground)}.offsets")
    return {row["partition"]: row["next"] for row in found}


def further(ground: Ground, before: dict[int, Any]) -> Callable[[], Awaitable[bool]]:
    """Whether it stands further than before somewhere."""

    async def moved() -> bool:
        return any(at > before.get(n, 0) for n, at in (await built(ground)).items())

    return moved


async def reached(ground: Ground, ends: dict[int, int]) -> bool:
    """Whether it stands at these offsets."""
    return await built(ground) == {n: end for n, end in ends.items() if end}
