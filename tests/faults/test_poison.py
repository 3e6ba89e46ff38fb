"""Commands that were validly accepted and cannot be worked: a rule raises, or Postgres refuses a row."""

import shutil
from pathlib import Path

import pytest

from tests.faults.ground import ROOT, Ground
from tests.faults.load import Order, orders
from tests.faults.report import Figures
from topics.points import AwardPoints

RAISES, REFUSED = 7_000_001, 7_000_002
FIRST_LINE = "    account: Account = state[ROOT]\n    decided"
PLANTED = f'    if getattr(command, "amount", 0) == {RAISES}:\n        raise RuntimeError("planted")\n'


def code_with_a_bug(folder: Path) -> Path:
    """The domain's code, in which a rule raises at one amount."""
    for package in ("agents", "topics"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    rules = folder / "agents" / "points" / "rules" / "__init__.py"
    text = rules.read_text("utf-8")
    assert FIRST_LINE in text
    rules.write_text(text.replace(FIRST_LINE, PLANTED + FIRST_LINE), "utf-8")
    return folder


def on(user: str, *amounts: int) -> list[Order]:
    """Awards of these amounts."""
    return [Order(AwardPoints(user_id=user, amount=amount)) for amount in amounts]


@pytest.mark.scenario("S5")
async def test_poison_parks_its_record_and_the_followers_of_its_key_only(
    ground: Ground, tmp_path: Path, figures: Figures
) -> None:
    await ground.outside.execute(f"ALTER TABLE ledger ADD CHECK (amount <> {REFUSED})")
    code = code_with_a_bug(tmp_path / "code")
    worker = ground.start_worker(code=code)
    good = await ground.load.send(orders(1, 300))
    held = {}
    for user, amount in {"poor-1": RAISES, "poor-2": REFUSED, "poor-3": RAISES, "poor-4": REFUSED}.items():
        first, *rest = await ground.load.send(on(user, 10, amount, 1, 2))
        good += [first, *await ground.load.send(orders(100 + int(user[-1]), 50))]
        held[user] = rest
    await ground.settle()
    await worker.leave()
    ground.start_worker(code=code)
    for user, ids in held.items():
        ids.extend(await ground.load.send(on(user, 3)))
    good += await ground.load.send(orders(2, 100))
    await ground.settle()

    figures.note(faults=len(held), **await ground.account())
    results = {str(row["command_id"]) for row in await ground.outside.rows("SELECT command_id FROM results")}
    assert set(good) <= results
    rows = await ground.outside.rows('SELECT * FROM parked ORDER BY partition, "offset"')
    parked = {user: [row for row in rows if row["key"] == user.encode()] for user in held}
    assert {user: [str(row["command_id"]) for row in found] for user, found in parked.items()} == held
    for user, found in parked.items():
        first = "rule_failed" if user in {"poor-1", "poor-3"} else "refused_by_store"
        assert [row["cause"] for row in found] == [first, "held", "held", "held"]
        assert all(row["holds"] for row in found)
        assert ("planted" if first == "rule_failed" else "23514") in found[0]["error"]
    assert len(rows) == sum(map(len, held.values()))
    assert await ground.broken() == []
