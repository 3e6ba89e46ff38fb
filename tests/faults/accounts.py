"""What a run came to: commands given, lost and doubled, and for how long nothing happened while load went on."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import groupby, pairwise
from typing import Any, TypedDict

from tests.faults.outside import COMMANDS, EVENTS, PARTITIONS, Outside


class Account(TypedDict):
    """As `Figures.note` takes it."""

    commands: int
    lost: int
    doubled: int
    pause_s: float | None


async def account(outside: Outside, acknowledged: Collection[str], spans: Iterable[tuple[float, float]]) -> Account:
    """Asked once all is settled; load went on in `spans` (Unix time)."""
    await outside.read_on()
    kept = {
        str(row[0]) for table in ("results", "parked") for row in await outside.rows(f"SELECT command_id FROM {table}")
    }
    told = Counter(name for n in PARTITIONS for name in told_in(outside.records(EVENTS, n)))
    pauses = [pause(outside.records(EVENTS, n), span) for n in PARTITIONS for span in spans]
    return Account(
        commands=sum(len(outside.records(COMMANDS, n)) for n in PARTITIONS),
        lost=len(set(acknowledged) - kept),
        doubled=sum(times > 1 for times in told.values()),
        pause_s=max(pauses, default=None),
    )


def told_in(records: Iterable[Any]) -> Iterable[str]:
    """The command of each group of events, a number that came again left out."""
    seen, fresh = 0, []
    for event in (json.loads(record.value) for record in records):
        if event["number"] > seen:
            seen = event["number"]
            fresh.append(event["command_id"])
    return (name for name, _ in groupby(fresh))


def pause(records: Iterable[Any], span: tuple[float, float]) -> float:
    """Seconds, at most, between two events of one partition while load went on."""
    begin, end = span
    times = [begin, *(at for record in records if (at := record.timestamp / 1000) > begin)]
    return max((b - a for a, b in pairwise(times) if a < end), default=0.0)
