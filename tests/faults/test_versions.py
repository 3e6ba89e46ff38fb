"""Two versions of a domain's code at the same topics: their records are kept or parked, never lost, and rows are those of the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from streams.producer import signed
from tests.faults.ground import ROOT, Ground
from tests.faults.load import TOPIC, USERS, Order, Signed, awards, orders
from tests.faults.outside import until
from tests.faults.report import Figures
from tests.faults.test_poison import FIRST_LINE, PLANTED, RAISES, on
from tests.faults.test_redrive import ask
from topics.points import AwardPoints

FIELD = "    source: Name | None = None\n    expires_at: Moment | None = None\n\n    @model_validator"
NEW_FIELD = "    campaign: Name | None = None\n"


def newer(folder: Path, *, broken: bool = False) -> Path:
    """The next version of the domain's code: a command has one more field, which may be left out; or else a rule that raises at one amount."""
    for package in ("agents", "topics"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    planted = {"topics/points/commands.py": (FIELD, NEW_FIELD + FIELD)}
    if broken:
        planted["agents/points/rules/__init__.py"] = (FIRST_LINE, PLANTED + FIRST_LINE)
    for name, (old, new) in planted.items():
        text = (folder / name).read_text("utf-8")
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new), "utf-8")
    return folder


def written(ground: Ground, payload: dict[str, Any], **envelope: Any) -> Signed:
    """An award as a newer edge writes it."""
    record = ground.load.record(Order(AwardPoints(user_id=payload["user_id"], amount=payload["amount"])))
    value = json.loads(record.value)
    text = json.dumps(value | envelope | {"payload": value["payload"] | payload}).encode()
    return Signed(record.id, record.key, text, signed(TOPIC, record.key, text, ground.load.signer))


@pytest.mark.full
@pytest.mark.scenario("S17")
@pytest.mark.req("SR112")
async def test_two_versions_share_the_partitions_and_rows_are_those_of_the_model(
    ground: Ground, figures: Figures, tmp_path: Path
) -> None:
    """Half of the partitions are worked by the newer code, and commands of a newer edge come to both."""
    await ground.worker()
    ground.start_worker(code=newer(tmp_path / "newer"))
    await until(ground.shared, "both have partitions")
    async with ground.load.steady(500):
        for n, user in enumerate(USERS):
            payload = {"user_id": user, "amount": n + 1, "campaign": "spring"}
            record = written(ground, payload, trace="a field of the envelope that this code does not know")
            await ground.load._kafka.publish(TOPIC, record.key, record.value, record.headers)
            ground.load.acknowledged.add(record.id)
        await ground.goes_on()
    await ground.settle()

    assert await ground.outside.rows("SELECT FROM parked") == []
    results = {str(row["command_id"]) for row in await ground.outside.rows("SELECT command_id FROM results")}
    assert ground.load.acknowledged <= results
    figures.note(faults=len(USERS), **await ground.account())
    assert await ground.broken() == []


@pytest.mark.full
@pytest.mark.scenario("S5")
@pytest.mark.req("SR112")
async def test_a_newer_version_that_parks_is_taken_back_and_what_it_parked_is_redriven(
    ground: Ground, figures: Figures, tmp_path: Path
) -> None:
    await ground.worker()
    ill = ground.start_worker(code=newer(tmp_path / "newer", broken=True))
    await until(ground.shared, "both have partitions")
    sent = await ground.load.send([order for user in USERS for order in on(user, 10, RAISES, 1)])
    await ground.settle()
    rows = await ground.outside.rows("SELECT partition, key, cause FROM parked")
    parked = {row["key"].decode() for row in rows}
    epochs = await ground.epochs()
    assert {row["cause"] for row in rows} == {"rule_failed", "held"}
    assert 0 < len({row["partition"] for row in rows}) < len(epochs), "only its own partitions"
    assert await ill.leave() == 0
    for user in sorted(parked):
        await ask(ground, "redrive", user)

    async def done() -> bool:
        return not await ground.outside.rows("SELECT FROM requests WHERE status = 'waiting'")

    await until(done, "everything is redriven")
    await ground.load.send([*awards(USERS, 200), *orders(1, 200)])
    await ground.settle()

    assert await ground.outside.rows("SELECT FROM parked") == []
    results = {str(row["command_id"]) for row in await ground.outside.rows("SELECT command_id FROM results")}
    assert {*sent} <= results
    figures.note(faults=len(rows), **await ground.account())
    assert await ground.broken() == []


@pytest.mark.full
@pytest.mark.scenario("S17")
async def test_a_record_of_a_version_to_come_waits_and_a_huge_one_is_not_taken(
    ground: Ground, figures: Figures
) -> None:
    """10 MB get past neither the edge nor the broker; what this code cannot read is parked as it was, and holds nothing back."""
    await ground.worker()
    huge = written(ground, {"user_id": "u1", "amount": 1, "note": "x" * 10_000_000})
    with pytest.raises(MessageSizeTooLargeError):
        await ground.load.write(0, huge.key, huge.value, huge.headers)
    later = written(ground, {"user_id": "u1", "amount": 1}, schema_version=2)
    await ground.load._kafka.publish(TOPIC, later.key, later.value, later.headers)
    await ground.load.send([*awards(["u1"], 5), *orders(1, 100)])
    await ground.settle()

    (parked,) = await ground.outside.rows("SELECT * FROM parked")
    assert (parked["cause"], parked["value"], parked["holds"]) == ("unknown_version", later.value, False)
    figures.note(faults=2, **await ground.account())
    assert await ground.broken() == []
