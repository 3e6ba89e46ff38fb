"""`caravan reset` and `caravan clock` where they must not work; where they do, test_daily uses them."""

import json
from pathlib import Path

import pytest

from tests.caravan.conftest import Start, caravan
from tests.caravan.test_cli import ELSEWHERE
from tests.caravan.test_infra import READY


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (ELSEWHERE, "set CARAVAN_NAMESPACE to what is to be deleted"),
        ({**ELSEWHERE, "CARAVAN_NAMESPACE": "try_", "CARAVAN_PROFILE": "production"}, "in production nothing is reset"),
    ],
)
def test_what_belongs_to_others_is_not_reset(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    """One line says why."""
    done = caravan("reset", "--yes", "--data-dir", str(tmp_path), **environment)

    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert words in done.stderr


@pytest.mark.full
def test_an_instance_is_reset_when_it_does_not_run(data: Path, start: Start) -> None:
    """Refused while it runs, refused without a word of consent; then the data is gone, while ports and keys stay."""
    folder = ("--data-dir", str(data))
    nothing = caravan("reset", *folder)
    one = start("infra", *folder)
    one.says(READY)
    running = caravan("reset", "--yes", *folder)
    kept = json.loads((data / "run.json").read_text())
    caravan("down", *folder)
    unasked = caravan("reset", *folder)
    there = (data / "kafka").exists()
    done = caravan("reset", "--yes", *folder)
    after = json.loads((data / "run.json").read_text())
    gone = not (data / "kafka").exists()
    again = start("infra", *folder)
    again.says(READY)

    assert nothing.stdout == f"nothing to delete in {data}\n"
    assert (running.returncode, "stop it with: caravan down" in running.stderr) == (1, True)
    assert (unasked.returncode, there) == (2, True)
    assert "caravan reset --yes" in unasked.stderr
    assert (done.returncode, gone, after["made"]) == (0, True, [])
    assert [after[name] for name in ("kafka_port", "jwt_secret")] == [
        kept[name] for name in ("kafka_port", "jwt_secret")
    ]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "start it with: caravan up --clock virtual"),
        ({"CARAVAN_PROFILE": "production", "CARAVAN_JWT_PUBLIC_KEY": "x"}, "in production the clock is the system's"),
        ({"CARAVAN_CLOCK": "virtual"}, "Postgres cannot be reached"),
    ],
)
def test_a_clock_that_is_not_ours_is_not_moved(environment: dict[str, str], words: str) -> None:
    """One line says why."""
    done = caravan("clock", "advance", "2d", **ELSEWHERE, **environment)

    assert (done.returncode > 0, done.stderr.count("\n"), done.stdout) == (True, 1, "")
    assert words in done.stderr


def test_the_systems_clock_is_shown() -> None:
    """Nobody is asked for it."""
    shown = caravan("clock", **ELSEWHERE)

    assert shown.returncode == 0
    assert "UTC (the system's clock" in shown.stdout
