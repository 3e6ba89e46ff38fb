"""What a replay would do, before anything is done."""

import shutil
from pathlib import Path
from typing import Any

from caravan.instance import Instance
from caravan.replay.code import tables
from sinks.postgres.replay import STATE, TIMERS, Beside
from streams.agent import Folds
from streams.reading import Reader
from streams.settings import Settings

NOT_REBUILT = (
    "parked records, and what operators asked for them",
    "credentials and the keys of subjects: personal values stay sealed, those that were erased stay erased",
    "Idempotency-Keys and the answers kept for them",
    "results of commands: they are the inbox, and stay",
    "calls to the outside that are owed: nothing is called or published by a replay",
)
"""What is not made anew by a replay, since it does not follow from the events, or is not the view's."""


async def plan(
    settings: Settings, agents: list[Folds], beside: Beside, chosen: tuple[str, ...] | None, folder: Path
) -> dict[str, Any]:
    """Which tables from which events, how large they are, and the disk that is wanted. Raises CaravanError."""
    kinds = tables(beside.domain)
    names = [*(chosen if chosen is not None else kinds), *([STATE, TIMERS] if chosen is None else [])]
    sizes = await beside.sizes([*names, STATE])
    events: list[dict[str, Any]] = []
    async with Reader(settings) as reader:
        for topic in dict.fromkeys(agent.source.events_topic for agent in agents):
            for place, (start, end) in (await reader.bounds(await reader.places([topic]))).items():
                events.append({"topic": topic, "partition": place.partition, "from": start, "records": end - start})
    instance = Instance(folder)
    return {
        "domain": beside.domain,
        "schema": beside.shadow,
        "agents": [agent.name for agent in agents],
        "tables": [
            {
                "table": name,
                "rows": sizes.get(name, (0, 0))[0],
                "bytes": sizes.get(name, (0, 0))[1],
                "append_only": kinds.get(name, False),
                "lost": name not in sizes,
            }
            for name in names
        ],
        "events": events,
        "disk_wanted": sum(size for _, size in sizes.values()),
        "disk_free": shutil.disk_usage(instance.folder).free if instance.exists() else None,
        "not_rebuilt": list(NOT_REBUILT),
    }
