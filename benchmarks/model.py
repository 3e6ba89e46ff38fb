"""What a load needs, by what one piece of work costs: `python -m benchmarks.model --commands 5000 --views 20000 --cores 16`.

Costs add up, and a core gives a million microseconds a second: whoever first needs more cores than it has is where a deployment saturates. A worker and an edge
have one core each, since Python runs one thread at a time; Postgres and the broker take what they get. docs/scaling.md holds the prediction against measurements.
"""

import argparse
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from math import ceil, inf

FULL = 0.7  # of a core that is planned for a process: above it what waits grows quickly
SHARE = 4  # partitions for each worker, so that they come out even


@dataclass(frozen=True)
class Cost:
    """Processor microseconds by who spends them; times a rate in millions a second, cores."""

    worker: float = 0
    edge: float = 0
    postgres: float = 0
    broker: float = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Both."""
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float) -> "Cost":
        """So many of it."""
        return Cost(*(value * times for value in astuple(self)))

    @property
    def parts(self) -> dict[str, float]:
        """By name, and all together."""
        return {**{part.name: getattr(self, part.name) for part in fields(self)}, "machine": sum(astuple(self))}


COSTS: Mapping[str, Cost] = {  # of docs/scaling.md, which says where each is from
    "counted": Cost(worker=25, postgres=4, broker=2.5),
    "projected": Cost(worker=21, postgres=5.5, broker=0.6),
    "commands": Cost(worker=158, edge=176, postgres=67, broker=62),
    "views": Cost(edge=195, postgres=60),
}
MEANING = {
    "counted": "events folded into documents alone",
    "projected": "events folded into documents and rows",
    "commands": "commands posted and decided",
    "views": "views read",
}


def cores(load: Mapping[str, float], costs: Mapping[str, Cost] = COSTS) -> Cost:
    """The cores that a load keeps busy: pieces of work a second, by their names in `costs`."""
    return sum((costs[name] * (rate / 1e6) for name, rate in load.items()), Cost())


def processes(busy: float) -> int:
    """How many processes of one core each that makes."""
    return ceil(busy / FULL)


def saturates(
    load: Mapping[str, float], limits: Mapping[str, float], costs: Mapping[str, Cost] = COSTS
) -> tuple[str, float]:
    """Who is the first to need more cores than `limits` gives it when all of this load grows, and at how many times the load."""
    busy = cores(load, costs).parts
    room = {name: limit / busy[name] if busy[name] else inf for name, limit in limits.items()}
    first = min(room, key=room.__getitem__)
    return first, room[first]


def main() -> None:
    """Print what a load needs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model", description=__doc__)
    for name, words in MEANING.items():
        parser.add_argument(f"--{name}", type=float, default=0, help=f"{words}, a second")
    parser.add_argument("--cores", type=float, help="of a machine that has all of it")
    options = parser.parse_args()
    load = {name: getattr(options, name) for name in MEANING}
    for line in told(load, options.cores):
        print(line)


def told(load: Mapping[str, float], machine: float | None) -> list[str]:
    """Lines for a person."""
    busy = cores(load)
    workers, edges = processes(busy.worker), processes(busy.edge)
    lines = [f"{name:8} {value:6.2f} cores" for name, value in busy.parts.items()]
    lines.append(
        f"that is {workers} workers ({SHARE * workers} partitions or more) and {edges} edges, each {FULL:.0%} busy"
    )
    if machine is not None and any(load.values()):
        limits = {"machine": machine, "worker": workers, "edge": edges}
        first, times = saturates(load, limits)
        lines.append(f"on {machine:g} cores it saturates at {times:.1f} times this load: {first}")
    return lines


if __name__ == "__main__":
    main()
