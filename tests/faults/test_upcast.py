"""A log that began with version 1 of its messages, on real Kafka and Postgres: the code of version 2 decides what waits, and builds everything from it."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.ground import ROOT, Ground
from tests.faults.load import USERS, awards
from tests.faults.test_restored import rebuilding, restore

AWARD = '    Command,\n    topic=POINTS,\n    roles=("Admin",),\n    services=("points",),\n    examples=(\n        {"user_id": "u1", "amount": 100},'
TENFOLD = '    version=2,\n    upcasts={1: lambda old: {**old, "amount": old["amount"] * 10}},\n'
AWARDED = "class PointsAwarded(Event, topic=POINTS):"
MARKED = 'class PointsAwarded(Event, topic=POINTS, version=2, upcasts={1: lambda old: {**old, "source": "version-1"}}):'
DECIDED, WAITING = 200, 80
EVENTS = "points.events"


def newer(folder: Path) -> Path:
    """The next version of the domain's code: an award says tenths, and an event tells in the ledger that it was read by an upcaster."""
    for package in ("agents", "topics"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    tenfold = AWARD.replace("    topic=POINTS,\n", "    topic=POINTS,\n" + TENFOLD)
    for name, old, new in (("commands", AWARD, tenfold), ("events", AWARDED, MARKED)):
        contract = folder / "topics" / "points" / f"{name}.py"
        text = contract.read_text("utf-8")
        assert text.count(old) == 1
        contract.write_text(text.replace(old, new), "utf-8")
    return folder


async def points(ground: Ground) -> int:
    """What all users have."""
    return int((await ground.outside.rows("SELECT coalesce(sum(available), 0)::bigint FROM balance"))[0][0])


async def marked(ground: Ground) -> int:
    """Rows of the ledger that an upcaster has put its mark on."""
    rows = await ground.outside.rows("SELECT count(*) FROM ledger WHERE reference = 'version-1'")
    return int(rows[0][0])


async def versions(ground: Ground) -> Counter[int]:
    """The versions of the awards on the event topic."""
    await ground.outside.read_on()
    places = ground.outside.all_records()
    told = [json.loads(one.value) for (topic, _), records in places.items() if topic == EVENTS for one in records]
    return Counter(one["schema_version"] for one in told if one["type"] == "points_awarded")


@pytest.mark.full
@pytest.mark.req("SR073")
async def test_records_of_version_1_are_read_for_ever(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ground.worker()
    await ground.load.send(awards(USERS, DECIDED))
    await ground.settle()
    assert (await points(ground), await marked(ground)) == (DECIDED, 0)
    await first.leave()
    await ground.load.send(awards(USERS, WAITING))  # by an edge of version 1, and nobody decides them yet

    code = newer(tmp_path / "newer")
    second = await ground.worker(code=code)
    await ground.settle()
    whole = DECIDED + WAITING * 10
    assert (await points(ground), await marked(ground)) == (whole, 0)
    assert await versions(ground) == {1: DECIDED, 2: WAITING}
    await second.leave()

    await restore(ground, None)
    monkeypatch.setattr("tests.faults.ground.environment", rebuilding)
    await ground.worker(code=code)
    await ground.settle()
    assert (await points(ground), await marked(ground)) == (whole, DECIDED)
    assert await versions(ground) == {1: DECIDED, 2: WAITING}, "no record was written again"
    assert await ground.outside.rows("SELECT FROM parked") == []
