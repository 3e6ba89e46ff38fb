"""An operator redrives many records of a key with mended rules, while workers are killed in the midst of it and load goes on."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.faults.ground import ROOT, Ground, Worker
from tests.faults.load import awards, orders
from tests.faults.outside import COMMANDS, until
from tests.faults.report import Figures
from tests.faults.test_poison import RAISES, code_with_a_bug, on

WAITING = 4500  # records of the key: more than two transactions
KEY = "poor-1"
# A deferred trigger runs in the COMMIT, after the fence; there it waits for whoever holds the lock of this number.
SLOW_REQUESTS = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtext(TG_TABLE_SCHEMA), NEW.ran::int);
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON requests DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slow()"""
WAITS = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid::int = hashtext($1) AND objid::int = $2"


async def ask(ground: Ground, action: str, key: str) -> UUID:
    """Ask it for the first parked record of a key."""
    request = uuid4()
    await ground.outside.rows(
        """INSERT INTO requests (id, agent, topic, partition, "offset", action, by)
        SELECT $1, agent, topic, partition, "offset", $2, 'user:operator' FROM parked WHERE key = $3 ORDER BY at LIMIT 1""",
        request, action, key.encode(),
    )  # fmt: skip
    return request


async def killed_after(ground: Ground, worker: Worker, ran: int, *, committed: bool) -> None:
    """Kill the worker while the COMMIT that brings a request to `ran` records does not end; then let it end, or have it rolled back."""
    schema = f"{ground.settings.namespace}points"
    async with ground.outside.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1), $2)", schema, ran)

        async def waits() -> bool:
            return bool(await ground.outside.rows(WAITS, schema, ran))

        await until(waits, f"a COMMIT that brings the request to {ran} records\n{worker.text}")
        worker.kill()
        if not committed:
            await ground.outside.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid::int = hashtext($1)",
                schema,
            )

            async def ended() -> bool:
                return not await ground.outside.rows(WAITS, schema, ran)

            await until(ended, "the session has ended")


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S5")
@pytest.mark.req("SR109")
async def test_a_redrive_goes_on_with_the_next_owner_and_runs_nothing_twice(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    await ground.outside.execute(SLOW_REQUESTS)
    ill = ground.start_worker(code=code_with_a_bug(tmp_path / "code"))
    poison = await ground.load.send(on(KEY, RAISES))
    await ground.load.heap(KEY, WAITING - 1)
    other = await ground.load.send([*on("poor-2", RAISES), *awards(["poor-2"], 20), *orders(1, 100)])
    await ground.settle()
    await ill.leave()
    parked = await ground.outside.rows("SELECT key, count(*) AS count FROM parked GROUP BY key ORDER BY key")
    assert {row["key"]: row["count"] for row in parked} == {KEY.encode(): WAITING, b"poor-2": 21}
    redrive, skip = [await ask(ground, action, key) for action, key in (("redrive", KEY), ("skip", "poor-2"))]

    for ran, committed in ((2000, False), (4000, True)):
        await killed_after(ground, ground.start_worker(code=ROOT), ran, committed=committed)
    ground.start_worker()
    late = await ground.load.send([*awards([KEY, "poor-2"], 100, amount=3), *orders(2, 100)])

    async def done() -> bool:
        return not await ground.outside.rows("SELECT FROM requests WHERE status = 'waiting'")

    await until(done, "what was asked is done")
    await ground.settle()
    figures.note(faults=2, **await ground.account())
    rows = {row["id"]: row for row in await ground.outside.rows("SELECT * FROM requests")}
    ran = rows[redrive]["ran"]
    assert ran >= WAITING, "and those that came meanwhile"
    assert rows[redrive]["outcome"] == f"{ran} records were run."
    assert rows[redrive]["cause"] == "rule_failed"
    assert rows[skip]["outcome"].startswith("It was skipped. Behind it ")
    assert await ground.outside.rows("SELECT FROM parked") == []
    results = {str(row["command_id"]): row for row in await ground.outside.rows("SELECT * FROM results")}
    assert {*poison, *other, *late} <= results.keys()
    assert (results[other[0]]["status"], results[other[0]]["code"]) == ("rejected", "skipped")
    assert await ground.broken() == []


async def test_a_request_wakes_the_owner_of_a_running_worker(ground: Ground) -> None:
    await ground.outside.execute("ALTER TABLE ledger ADD CONSTRAINT planted CHECK (amount <> 7777)")
    await ground.worker()
    held = await ground.load.send(on(KEY, 7777, 1, 2))
    await ground.settle()
    assert len(await ground.outside.rows("SELECT FROM parked")) == 3
    await ground.outside.execute("ALTER TABLE ledger DROP CONSTRAINT planted")
    request = await ask(ground, "redrive", KEY)

    async def done() -> bool:
        return bool(await ground.outside.rows("SELECT FROM requests WHERE id = $1 AND status = 'done'", request))

    await until(done, "the owner has heard of the request")
    await ground.settle()
    results = await ground.outside.rows('SELECT command_id FROM results ORDER BY "offset"')
    assert [str(row["command_id"]) for row in results] == held
    assert (await ground.outside.offsets(COMMANDS)) != {}
    assert await ground.broken() == []
