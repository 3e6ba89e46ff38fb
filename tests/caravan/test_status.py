"""What `caravan status` tells people."""

from typing import Any

from caravan.commands import table_of


def at(partition: int, **changed: Any) -> dict[str, Any]:
    row = {"domain": "points", "agent": "points", "topic": "points.commands", "partition": partition}
    return {**row, "position": 10, "lag": partition, "parked": 0, "rate": 1.5, "owner": "w1", "stopped": None} | changed


def lines(*rows: dict[str, Any]) -> list[list[str]]:
    told = table_of({"agents": list(rows), "disk": {}})
    return [line.split() for line in told.splitlines()[1:]]


def test_partitions_that_stand_alike_are_one_line() -> None:
    """With the sums of what is counted."""
    (line,) = lines(*map(at, range(4)))
    assert line == ["points", "points", "points.commands", "0-3", "40", "6", "0", "6/s", "w1"]


def test_a_partition_of_another_worker_or_one_that_stands_still_has_its_own() -> None:
    rows = (at(0), at(1, owner="w2"), at(2, stopped="gone"), at(3), at(0, agent="sales"))
    assert [line[1:4:2] + line[8:] for line in lines(*rows)] == [
        ["points", "0,3", "w1"],
        ["points", "2", "w1", "gone"],
        ["points", "1", "w2"],
        ["sales", "0", "w1"],
    ]
