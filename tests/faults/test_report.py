"""The table of what scenarios measured."""

import json
from pathlib import Path

import pytest

from tests.faults.report import FILE, HEAD, Figures, insert, table


def test_the_last_run_of_each_test_is_a_line_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, str(tmp_path / "lines"))
    figures = Figures(["S10"], "tests/faults/test_a.py::test_relays_meet[two]")
    for pause_s in (9.0, 1.234):
        figures.note(faults=3, commands=12_000, lost=0, doubled=1, pause_s=pause_s)
    Figures(["S2"], "tests/faults/test_b.py::test_b").note(faults=1, commands=5, lost=0, doubled=0)

    assert list(table((tmp_path / "lines").read_text().splitlines())) == [
        HEAD,
        '| S2 | b | 1 | 5 | 0 | 0 | - | `make test-full ARGS="tests/faults/test_b.py -k test_b"` |',
        '| S10 | relays meet (two) | 3 | 12 000 | 0 | 1 | 1.2 s | `make test-full ARGS="tests/faults/test_a.py -k test_relays_meet"` |',
    ]


def test_figures_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(FILE, raising=False)
    Figures([], "t").note(faults=0, commands=0, lost=0, doubled=0, pause_s=0.5)

    assert json.loads(capsys.readouterr().out)["pause_s"] == 0.5


def test_a_soak_is_a_line_too() -> None:
    line = {
        "scenarios": ["S1"],
        "test": "--minutes 9 --seed 4",
        "faults": 1,
        "commands": 2,
        "lost": 0,
        "doubled": 0,
        "pause_s": 3.0,
    }

    assert list(table([json.dumps(line)]))[1] == (
        '| all at random | soak | 1 | 2 | 0 | 0 | 3.0 s | `make soak ARGS="--minutes 9 --seed 4"` |'
    )


def test_the_table_replaces_the_one_before() -> None:
    text = "a\n<!-- figures -->\nold\n<!-- end of figures -->\nb\n"

    assert insert(text, ["new"]) == text.replace("old", "new")
    assert insert(insert(text, []), ["old"]) == text
    with pytest.raises(ValueError, match="no <!-- figures"):
        insert("a", [])
