"""A month from its lines to its figures."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from streams.settings import Settings
from tests.acceptance.children import environment
from tests.faults.ground import ROOT
from tests.month.compare import QUERIES, Row, differences
from tests.month.generator import SHARE, Generator
from tests.month.ground import Ground, Line

HERE = Path(__file__).parent
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """How large a town, for how long; `share` of its users do something in a wave."""

    users: int
    days: int
    seed: int
    workers: int = 1
    share: float = SHARE


@dataclass
class Figures:
    """What a month came to; `wrong` tells whatever does not hold, in words."""

    wrong: list[str] = field(default_factory=list)
    lines: int = 0
    refused: int = 0
    repeated: int = 0
    late: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    events: int = 0
    seconds: float = 0.0
    replay_s: float = 0.0
    found: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def rows(self) -> dict[str, int]:
        """How many of each table were compared."""
        return {name: len(rows) for name, rows in self.found.items()}

    @property
    def odd(self) -> float:
        """The share of lines that no door lets in, that are late or repeated; what rules reject is not counted."""
        return (self.refused + self.repeated + self.late) / max(1, self.lines)

    def told(self) -> str:
        """In words."""
        return (
            f"{self.lines} lines, of which {self.refused} were refused at the door, {self.rejected.total()} rejected by rules, {self.repeated} repeated,"
            f" {self.late} late ({self.odd:.1%}); {self.commands} commands and {self.events} events in {self.seconds:.0f} s"
            f" ({self.commands / max(self.seconds, 0.1):.0f} and {self.events / max(self.seconds, 0.1):.0f} a second);"
            f" {sum(self.rows.values())} rows equal those of the model"
            + (f", and again after a replay of {self.replay_s:.0f} s" if self.replay_s else "")
        )


def written(path: Path, users: int, days: int, seed: int, share: float) -> list[Line]:
    """The lines of a month, as they stand in a file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in Generator(users, days, seed, share).lines())
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def modelled(path: Path) -> Any:
    """What the plain model makes of the file, in a Python that finds nothing of ours."""
    command = [sys.executable, "-S", "-m", "plain.town"]
    with path.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, cwd=HERE, env={}, check=False)
    assert not done.returncode, done.stderr.decode()
    return json.loads(done.stdout)


async def month(settings: Settings, folder: Path, town: Wishes, *, say: Say = print) -> Figures:
    """Generate, model, run, compare; then replay and compare again."""
    path, figures = folder / "lines.jsonl", Figures()
    lines = written(path, town.users, town.days, town.seed, town.share)
    expected = modelled(path)
    waves = [line for line in lines if "clock" in line]
    say(f"{len(lines) - len(waves)} lines in {len(waves)} waves; the model has {sum(map(len, expected.values()))} rows")
    async with Ground(settings, folder, town.workers) as ground:
        began = time.monotonic()
        for number, (clock, wave) in enumerate(_waves(lines), 1):
            await ground.move(clock)
            await ground.send(wave)
            if number % 10 == 0:
                say(f"wave {number} of {len(waves)}: {time.monotonic() - began:.0f} s")
        figures.seconds = time.monotonic() - began
        await _count(figures, ground, lines)
        figures.wrong += [f"parked: {one}" for one in await ground.parked()]
        figures.wrong += _outcomes(expected["outcomes"], await ground.outcomes(), ground.refused)
        await _compare(figures, ground, expected)
        if not figures.wrong:
            figures.replay_s = await _replayed(settings, figures, say)
            await _compare(figures, ground, expected, beside=True)
    return figures


async def _compare(figures: Figures, ground: Ground, expected: Any, *, beside: bool = False) -> None:
    if figures.wrong:
        return
    found = {name: await ground.rows(name.split(".")[0], query, beside=beside) for name, query in QUERIES.items()}
    figures.found = found
    where = "replayed: " if beside else ""
    figures.wrong += [where + words for words in differences(expected, found)]


def _waves(lines: Iterable[Line]) -> Iterator[tuple[datetime, list[Line]]]:
    clock, wave = None, list[Line]()
    for line in lines:
        if "clock" in line:
            if clock:
                yield clock, wave
            clock, wave = datetime.fromisoformat(line["clock"]), []
        else:
            wave.append(line)
    if clock:
        yield clock, wave


async def _count(figures: Figures, ground: Ground, lines: list[Line]) -> None:
    named = [line for line in lines if "id" in line]
    ids = Counter(line["id"] for line in named)
    outcomes = await ground.outcomes()
    ends = await ground.ends()
    figures.lines, figures.refused = len(named), len(ground.refused)
    figures.repeated = sum(times - 1 for times in ids.values())
    figures.rejected = Counter(
        str(code) for name in ids for status, code in [outcomes.get(name, ("", None))] if status == "rejected"
    )
    figures.late = sum(clock > datetime.fromisoformat(line["at"]) for clock, wave in _waves(lines) for line in wave)
    figures.commands = sum(end for (topic, _), end in ends.items() if topic.endswith(".commands"))
    figures.events = await ground.events()


def _outcomes(expected: list[list[Any]], found: dict[str, Any], refused: set[str]) -> list[str]:
    """Lines of which something else became than the model says."""
    wrong = []
    for name, status, code in expected:
        there = ("refused", None) if name in refused else found.get(name, ("accepted", None))
        if tuple(there) != (status, code):
            wrong.append(f"{name} is {there}, and {status, code} in the model")
    return [f"{len(wrong)} outcomes differ: {'; '.join(wrong[:5])}"] if wrong else []


async def _replayed(settings: Settings, figures: Figures, say: Say) -> float:
    """Build every domain's tables beside the live ones, and have them compared; the seconds that took."""
    began = time.monotonic()
    for domain in sorted({name.split(".")[0] for name in QUERIES}):
        command = [sys.executable, "-m", "caravan", "replay", domain]
        env = os.environ | environment(settings)
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        say(done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr)
        if done.returncode:
            figures.wrong.append(f"replay of {domain}: {done.stdout[-1500:]}{done.stderr.strip()}")
    return time.monotonic() - began
