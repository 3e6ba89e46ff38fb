"""`caravan clock`: the platform's clock where it is a virtual one, which moves edge and workers together."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from caravan.commands import seconds, settings
from caravan.errors import BadInput
from sinks.postgres import clock
from streams.settings import Settings

MEND = "start it with: caravan up --clock virtual"


def show(folder: Path) -> None:
    """Print what time it is on the platform."""
    ours = settings(folder)
    ahead = asyncio.run(clock.read_offset(ours.postgres, ours.namespace)) if ours.clock == "virtual" else timedelta()
    kind = (
        "a virtual clock" if ours.clock == "virtual" else f"the system's clock; to have one that can be moved, {MEND}"
    )
    print(f"{_told(ahead)} ({kind})")


def advance(folder: Path, by: str) -> None:
    """Move the clock on; raises BadInput where it is the system's."""
    ours = settings(folder)
    _check(ours)
    step = timedelta(seconds=seconds(by))
    try:
        ahead = asyncio.run(clock.advance(ours.postgres, ours.namespace, step))
    except OverflowError:
        raise BadInput(f"{by} is too far; the clock ends with the year 9999") from None
    print(_told(ahead))


def _check(ours: Settings) -> None:
    if ours.profile == "production":
        raise BadInput("in production the clock is the system's, and nobody moves it")
    if ours.clock != "virtual":
        raise BadInput(f"the clock of this platform is the system's; to have one that can be moved, {MEND}")


def _told(ahead: timedelta) -> str:
    now = (datetime.now(UTC) + ahead).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{now}, {span(ahead)} ahead" if ahead else now


def span(time: timedelta) -> str:
    """`2 d 3 h`, to the second."""
    left, parts = int(time.total_seconds()), []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
