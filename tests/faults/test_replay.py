"""A domain is replayed beside live traffic: compared, swapped in and back, while commands go on; and nothing is left of it in the end."""

import pytest

from caravan.replay.run import NotNow, Replay, Wishes
from tests.faults.ground import Ground
from tests.faults.load import orders
from tests.faults.replays import oid, schemas

TABLES = {"ledger", "balance", "expiring", "state", "timers"} | {
    "active_rule",
    "pending",
    "rule",
    "tally",
    "tier",
    "tiers",
}


@pytest.mark.req("SR073")
async def test_a_domain_is_replayed_swapped_and_swapped_back_under_traffic(ground: Ground) -> None:
    """Each time all of its tables change places at once, nothing of the traffic is lost, and both sets say the same in the end."""
    await ground.worker()
    await ground.load.send(orders(1, 200))
    before = await schemas(ground)
    async with Replay(ground.settings, "points", Wishes()) as run:
        with pytest.raises(NotNow, match="there is no replay of points"):
            await run.swap(None)
        async with ground.load.steady(900):
            comparison = await run.build()
            assert comparison.diff is None, [result.shown for result in comparison.results]
            assert {result.table for result in comparison.results} == TABLES
            assert all(
                result.rows > 0 for result in comparison.results if result.table in ("ledger", "balance", "state")
            )
            with pytest.raises(NotNow, match="nothing differs"):
                await run.swap("c0ffee")
            ours, tables = await oid(ground, "balance"), []
            for exchange in (run.swap, run.swap, run.swap_back, run.swap_back, run.swap):  # each is done once
                known = await exchange(*([None] if exchange == run.swap else []))
                tables.append(await oid(ground, "balance"))
                await ground.goes_on()
            assert known.state == "swapped"
            assert [table == ours for table in tables] == [False, False, True, True, False]
            with pytest.raises(NotNow, match="swapped in already"):
                await run.build()
        await ground.settle()
        await run.swap_back()
        assert (await run.build()).diff is None
        ends = await ground.outside.ends("points.events")
        await run.abort()

    assert await schemas(ground) == before
    assert await ground.outside.ends("points.events") == ends, "a replay tells nothing"
    assert await ground.outside.rows("SELECT FROM parked") == []
    assert await ground.broken() == []
