"""What tests of scenarios measured, a JSON line each, and the table of docs/reliability.md made of these lines.

`CARAVAN_RELIABILITY=FILE make test-full ARGS="tests/faults"` writes them, `python -m tests.faults.report FILE` prints the table, and with
`--into docs/reliability.md` puts it there.
"""

import argparse
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

FILE = "CARAVAN_RELIABILITY"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
HEAD = (
    "| scenario | what is shown | faults | commands | lost | doubled | longest pause | run it again |\n"
    "|---|---|--:|--:|--:|--:|--:|---|"
)


class Line(NamedTuple):
    """What one test measured."""

    scenarios: list[str]
    test: str
    """As pytest names it."""
    faults: int
    commands: int
    lost: int | None
    doubled: int | None
    """None where no checker counted, and the test itself demands what must hold."""
    pause_s: float | None
    """None where no load went on."""


class Figures:
    """Takes the figures of one test."""

    def __init__(self, scenarios: list[str], test: str) -> None:
        """Of this test, which is marked with these scenarios."""
        self._scenarios, self._test = sorted(scenarios, key=_number), test

    def note(
        self,
        *,
        faults: int,
        commands: int,
        lost: int | None = None,
        doubled: int | None = None,
        pause_s: float | None = None,
    ) -> None:
        """Print them, and add them to the file that CARAVAN_RELIABILITY names.

        `lost` are accepted commands without an effect, `doubled` those with two, `pause_s` is the longest time without an effect while load went on.
        """
        pause = None if pause_s is None else round(pause_s, 2)
        text = json.dumps(Line(self._scenarios, self._test, faults, commands, lost, doubled, pause)._asdict())
        print(text)
        if path := os.environ.get(FILE):
            with Path(path).open("a") as file:
                file.write(text + "\n")


def table(lines: Iterable[str]) -> Iterator[str]:
    """The table in Markdown, by scenario; of a test that was run again the last run counts."""
    found = {line["test"]: Line(**line) for line in map(json.loads, lines)}
    yield HEAD
    for line in sorted(found.values(), key=lambda line: ([_number(name) for name in line.scenarios], line.test)):
        yield f"| {' | '.join(_cells(line))} |"


def insert(text: str, rows: Iterable[str]) -> str:
    """A text with these rows between its marks, in place of what was there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the text has no {BEGIN} before an {END}")
    return "\n".join((before + begin, *rows, end + after))


def _cells(line: Line) -> tuple[str, ...]:
    file, _, name = line.test.rpartition("::")
    pause = "-" if line.pause_s is None else f"{line.pause_s:.1f} s"
    counts = ("-" if number is None else f"{number:,}".replace(",", " ") for number in line[2:6])
    if not file:  # not a test but the soak, with its arguments
        return "all at random", "soak", *counts, pause, f'`make soak ARGS="{name}"`'
    return ", ".join(line.scenarios), _words(name), *counts, pause, f'`make test-full ARGS="{file} -k {_plain(name)}"`'


def _words(name: str) -> str:
    """A test's sentence."""
    return name.removeprefix("test_").replace("_", " ").replace("[", " (").replace("]", ")")


def _plain(name: str) -> str:
    """What `-k` takes to find it."""
    return name.partition("[")[0]


def _number(scenario: str) -> int:
    found = re.search(r"\d+", scenario)
    return int(found.group()) if found else 0


def main() -> None:
    """Print the table, or put it where it belongs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--into", type=Path)
    given = parser.parse_args()
    rows = table(given.lines.read_text("utf-8").splitlines())
    if given.into is None:
        print("\n".join(rows))
    else:
        given.into.write_text(insert(given.into.read_text("utf-8"), rows), "utf-8")


if __name__ == "__main__":
    main()
