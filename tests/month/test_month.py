"""A small month of a town: what the platform shows is what a plain model computes that knows nothing of it, live and replayed."""

import ast
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.settings import Settings
from tests.month import run
from tests.month.compare import differences
from tests.month.generator import Generator

PLAIN = Path(run.__file__).parent / "plain"
SEED = 3


async def lived(settings: Settings, folder: Path, users: int, days: int) -> run.Figures:
    town = run.Wishes(users, days, SEED, workers=1, share=0.6)
    return await run.month(replace(settings, clock="virtual"), folder, town, say=lambda _: None)


@pytest.mark.timeout(300)
async def test_some_days_of_a_village(
    settings: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    figures = await lived(settings, tmp_path, 60, 2)

    assert figures.wrong == []
    record_property("told", figures.told())


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_some_days_of_a_town(
    settings: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    figures = await lived(settings, tmp_path, 400, 8)

    assert figures.wrong == []
    assert figures.odd >= 0.02
    assert set(figures.rejected) >= {"insufficient", "login_taken", "already_redeemed", "expired", "not_found"}
    record_property("told", figures.told())


def test_a_row_that_differs_is_told() -> None:
    """One that is missing, one that is there too often, one with another time; not one that a worker came to a little later."""
    at = datetime(2030, 1, 1, 8, 0, 0, 7000, tzinfo=UTC)
    model = {"points.ledger": [["u1", at.isoformat(), 5], ["u1", at.isoformat(), 5], ["u2", at.isoformat(), 7]]}

    def wrong(*rows: tuple[Any, ...]) -> int:
        return len(differences(model, {"points.ledger": rows}))

    later, wave = at + timedelta(seconds=40), at + timedelta(hours=5)
    assert wrong(("u1", at, 5), ("u1", later, 5), ("u2", later, 7)) == 0
    assert wrong(("u1", at, 5), ("u2", at, 7)) == 1
    assert wrong(("u1", at, 5), ("u1", at, 5), ("u2", at, 7), ("u2", at, 7)) == 1
    assert wrong(("u1", at, 5), ("u1", at, 5), ("u2", wave, 7)) == 2


def test_equal_seeds_give_equal_lines() -> None:
    assert [*Generator(20, 2, 7).lines()] == [*Generator(20, 2, 7).lines()] != [*Generator(20, 2, 8).lines()]


@pytest.mark.parametrize("file", sorted(PLAIN.glob("*.py")), ids=lambda file: file.name)
def test_the_model_imports_nothing_of_ours(file: Path) -> None:
    """Neither did the Python that runs it find anything: it starts without site-packages, in its own folder."""
    kinds = [
        node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    named = {alias.name for node in kinds if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in kinds if isinstance(node, ast.ImportFrom) and not node.level}

    assert named <= {"bisect", "collections", "collections.abc", "datetime", "json", "sys", "typing", "math"}
