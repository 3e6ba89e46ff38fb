"""What is saved: one object per work, system and load in `results/latest.json`, under a header that says where and how."""

import json
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

LATEST = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True)
class Result:
    """`median`, `low` and `high` are over the rounds, in `unit`; `variant` is the fastest of those that were tried."""

    work: str
    system: str
    load: str
    median: float
    low: float
    high: float
    unit: str
    rounds: int
    commit: str
    variant: str = ""


def summarise(values: list[float], *, digits: int, **about: Any) -> Result:
    """One result out of the values of its rounds."""
    low, middle, high = (round(value, digits) for value in (min(values), median(values), max(values)))
    return Result(median=middle, low=low, high=high, rounds=len(values), **about)


def save(header: dict[str, Any], results: list[Result], path: Path = LATEST) -> None:
    """Write the file anew."""
    path.parent.mkdir(exist_ok=True)
    document = {**header, "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def load(path: Path = LATEST) -> tuple[dict[str, Any], list[Result]]:
    """Header and results, as saved."""
    document = json.loads(path.read_text("utf-8"))
    results = [Result(**result) for result in document.pop("results")]
    return document, results


def merged(
    saved: tuple[dict[str, Any], list[Result]],
    new: tuple[dict[str, Any], list[Result]],
    measured: AbstractSet[str] = frozenset(),
) -> tuple[dict[str, Any], list[Result]]:
    """The new results with those saved ones that are not of the works that were `measured` as a whole, nor of the same work, system and load.

    Each says its own commit; the header is the new one, with the commands that gave what was kept.
    """
    (header, old), (now, found) = saved, new
    again = {_of(result) for result in found}
    kept = [result for result in old if result.work not in measured and _of(result) not in again]
    commands = [one for one in header["commands"] if kept and one not in now["commands"]]
    return {**now, "commands": [*commands, *now["commands"]]}, [*kept, *found]


def _of(result: Result) -> tuple[str, str, str]:
    return result.work, result.system, result.load
