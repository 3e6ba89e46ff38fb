"""A small month of a town: what the platform shows is what a plain model computes that knows nothing of it, live and replayed."""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.month import run
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
