"""Postgres refuses again and again with errors that pass by themselves."""

import pytest

from tests.faults.ground import Ground
from tests.faults.outside import until
from tests.faults.report import Figures

TIMES = 30
SHARE = 0.1  # of the statements, and a twentieth of it of the rows at COMMIT
CODES = ("40001", "40P01", "53300", "53400", "57014", "55P03")
"""Serialization failure, deadlock, too many connections, a limit, a cancelled query, a lock that is not to be had."""

PLANT = f"""
    CREATE SEQUENCE planted;
    GRANT ALL ON SEQUENCE planted TO PUBLIC;
    CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF random() < TG_ARGV[0]::float THEN
            PERFORM nextval(format('%I.planted', TG_TABLE_SCHEMA));
            RAISE EXCEPTION 'planted' USING ERRCODE = (ARRAY{list(CODES)}::text[])[1 + floor(random() * {len(CODES)})::int];
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER plant AFTER INSERT ON ledger FOR EACH STATEMENT EXECUTE FUNCTION plant('{SHARE}');
    CREATE CONSTRAINT TRIGGER plant_late AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION plant('{SHARE / 20}')"""


@pytest.mark.scenario("S6")
@pytest.mark.full
async def test_what_passes_is_tried_again_until_it_does(ground: Ground, figures: Figures) -> None:
    """In the midst of a transaction and in its COMMIT; nothing is parked."""
    worker = await ground.worker()
    async with ground.load.steady(1010):
        await ground.goes_on()
        await ground.outside.execute(PLANT)
        await until(lambda: planted(ground, TIMES), "Postgres refuses often")
        await ground.outside.execute("DROP TRIGGER plant ON ledger; DROP TRIGGER plant_late ON ledger")
        await ground.goes_on()
    await ground.settle()

    figures.note(faults=await count(ground), **await ground.account())
    assert worker.runs
    assert not await ground.outside.rows("SELECT FROM parked")
    assert await ground.broken() == []


async def planted(ground: Ground, times: int) -> bool:
    """Whether there were so many."""
    return await count(ground) >= times


async def count(ground: Ground) -> int:
    """How many errors there were."""
    return int((await ground.outside.rows("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM planted"))[0][0])
