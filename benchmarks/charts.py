"""`python -m benchmarks.charts`: the saved results as pictures in `docs/benchmarks`; equal results give equal files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.results import Result, load

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks"
OURS, OTHERS, TEXT, FAINT = "#0b7285", "#b4bcc4", "#343a40", "#868e96"
PARTS = {"worker": "#0b7285", "postgres": "#74b3bf", "broker": "#f2b880"}
LOOK: dict[Any, Any] = {
    "svg.hashsalt": "caravan",  # else each run names its parts anew
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
WIDTH = 7.6  # inches
ROW = 0.34  # inches of a bar


def draw(results: Sequence[Result], folder: Path = FOLDER) -> list[Path]:
    """Each chart whose figures there are; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{name}.svg" for name, chart in CHARTS.items() if _drawn(chart, results, folder / f"{name}.svg")]


def _drawn(chart: Callable[[Sequence[Result]], bool], results: Sequence[Result], path: Path) -> bool:
    with mpl.rc_context(LOOK):
        there = chart(results)
        if there:
            plt.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
        plt.close("all")
    return there


def projection(results: Sequence[Result]) -> bool:
    """Events a second of every system."""
    shown = _first_load(results, "projection")
    return _bars(shown, "projection: events a second into state, ledger and balances")


def decider(results: Sequence[Result]) -> bool:
    """Commands a second."""
    return _bars(_rates(results, "decider"), "decider: commands a second")


def edge(results: Sequence[Result]) -> bool:
    """The edge's works as shares of what FastAPI's hello gives."""
    works = {"edge-commands": "command POSTs", "edge-views": "view GETs"}
    rates = {work: {one.system: one for one in _rates(results, work)} for work in works}
    rates = {work: found for work, found in rates.items() if {"fastapi-hello", "caravan"} <= found.keys()}
    if not rates:
        return False
    _, every = plt.subplots(1, len(rates), figsize=(WIDTH, 1.9), squeeze=False)
    for axes, (work, found) in zip(every[0], rates.items(), strict=True):
        hello = found["fastapi-hello"].median
        _horizontal(axes, list(found.values()), "{:.2f}", hello)
        axes.set_title(f"{works[work]}, bare hello = 1", fontsize=10, loc="left")
    plt.tight_layout()
    return True


def command_to_view(results: Sequence[Result]) -> bool:
    """Percentiles at each rate."""
    found: dict[str, dict[str, Result]] = {}
    for result in results:
        if result.work == "command-to-view" and ", " in result.load:
            rate, percentile = result.load.split(", ")
            found.setdefault(rate, {})[percentile] = result
    if not found:
        return False
    _, axes = plt.subplots(figsize=(WIDTH, 2.6))
    rates = sorted(found, key=lambda words: int(words.split()[0]))
    percentiles = list(found[rates[0]])
    for index, (percentile, colour) in enumerate(zip(percentiles, (OURS, "#74b3bf", "#c5dde2"), strict=False)):
        shown = [found[rate][percentile] for rate in rates]
        places = [position + 0.27 * (index - 1) for position in range(len(rates))]
        bars = axes.bar(places, [one.median for one in shown], 0.25, color=colour, label=percentile)
        axes.errorbar(places, [one.median for one in shown], _spread(shown), fmt="none", ecolor=TEXT, elinewidth=0.8)
        axes.bar_label(bars, [f"{one.median:.3g}" for one in shown], padding=5, fontsize=8)
    axes.set_xticks(range(len(rates)), rates)
    axes.set_ylabel("ms from due time to view")
    axes.legend(frameon=False, ncols=3, loc="upper left")
    axes.margins(y=0.25)
    return True


def scaling(results: Sequence[Result]) -> bool:
    """Where the processor time of an event goes, by partitions and workers."""
    pattern = re.compile(r"partitions: (\d) workers?, 1 domain of (\d+) partitions?, .*, (worker|postgres|broker)")
    costs: dict[tuple[int, int], dict[str, float]] = {}
    for result in results:
        if result.work == "scaling" and (match := pattern.fullmatch(result.load)):
            workers, partitions, part = match.groups()
            costs.setdefault((int(partitions), int(workers)), {})[part] = result.median
    if not costs:
        return False
    _, axes = plt.subplots(figsize=(WIDTH, 2.8))
    order = sorted(costs)
    below = [0.0] * len(order)
    for part, colour in PARTS.items():
        heights = [costs[key].get(part, 0.0) for key in order]
        axes.bar(range(len(order)), heights, 0.7, bottom=below, color=colour, label=part)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set_xticks(range(len(order)), [f"{partitions}\n{workers} w" for partitions, workers in order])
    axes.set_xlabel("partitions and workers")
    axes.set_ylabel("processor time, us an event")
    axes.legend(frameon=False, ncols=3, loc="upper right")
    axes.margins(y=0.2)
    return True


CHARTS = {
    "projection": projection,
    "decider": decider,
    "edge": edge,
    "command-to-view": command_to_view,
    "scaling": scaling,
}


def _rates(results: Sequence[Result], work: str) -> list[Result]:
    return [one for one in results if one.work == work and one.unit.endswith("/s")]


def _first_load(results: Sequence[Result], work: str) -> list[Result]:
    """Each system on the first load that it was measured with."""
    first: dict[str, Result] = {}
    for result in _rates(results, work):
        first.setdefault(result.system, result)
    return list(first.values())


def _bars(results: Sequence[Result], title: str) -> bool:
    if not results:
        return False
    _, axes = plt.subplots(figsize=(WIDTH, ROW * len(results) + 0.6))
    _horizontal(axes, results, "{:,.0f}")
    axes.set_title(title, fontsize=10, loc="left")
    return True


def _horizontal(axes: Axes, results: Sequence[Result], form: str, unit: float = 1) -> None:
    """The most at the top; the line across a bar goes from the lowest to the highest round."""
    shown = sorted(results, key=lambda one: one.median)
    figures = [one.median / unit for one in shown]
    spread = [[length / unit for length in side] for side in _spread(shown)]
    colours = [OURS if one.system == "caravan" else OTHERS for one in shown]
    line: dict[str, Any] = {"ecolor": TEXT, "error_kw": {"elinewidth": 0.8}}
    bars = axes.barh([one.system for one in shown], figures, xerr=spread, color=colours, **line)
    axes.bar_label(bars, [form.format(value).replace(",", " ") for value in figures], padding=6)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.margins(x=0.15)


def _spread(results: Sequence[Result]) -> list[list[float]]:
    return [[one.median - one.low for one in results], [one.high - one.median for one in results]]


if __name__ == "__main__":
    for path in draw(load()[1]):
        print(path)
