"""The model of docs/scaling.md: costs add up, and who is first to be full is named."""

import pytest

from benchmarks.model import Cost, cores, processes, saturates, told

COSTS = {"commands": Cost(worker=40, edge=100, postgres=20, broker=40), "views": Cost(edge=100, postgres=50)}


def test_costs_add_up() -> None:
    """1000 commands and 4000 views a second keep half a core busy here, and two there."""
    busy = cores({"commands": 1000, "views": 4000}, COSTS)

    assert busy.parts == pytest.approx({"worker": 0.04, "edge": 0.5, "postgres": 0.22, "broker": 0.04, "machine": 0.8})


@pytest.mark.parametrize(
    ("limits", "first", "times"),
    [
        ({"machine": 4.0, "edge": 1.0}, "edge", 2.0),
        ({"machine": 1.2, "edge": 1.0}, "machine", 1.5),
        ({"machine": 4.0, "edge": 4.0, "worker": 0.06}, "worker", 1.5),
    ],
)
def test_who_is_first_to_be_full(limits: dict[str, float], first: str, times: float) -> None:
    """One edge is a core; more of them leave it to the machine."""
    who, load = saturates({"commands": 1000, "views": 4000}, limits, COSTS)

    assert (who, round(load, 9)) == (first, times)


def test_a_load_of_nothing_needs_nobody() -> None:
    """And nothing is full."""
    assert processes(cores({}, COSTS).worker) == 0
    assert saturates({"views": 0}, {"edge": 1.0}, COSTS)[1] == float("inf")


def test_processes_are_not_planned_full() -> None:
    """A core has room for what comes at once."""
    assert [processes(busy) for busy in (0.1, 0.7, 0.71, 1.5)] == [1, 1, 2, 3]


def test_it_is_told_in_lines() -> None:
    """For a person."""
    lines = told({"commands": 1000, "views": 1000}, 2)

    assert any("workers" in line for line in lines)
    assert lines[-1].startswith("on 2 cores it saturates at ")
