"""Replays as operators run them, of code as it is or with something planted, and what Postgres says of them."""

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.ground import ROOT, Ground, Worker
from tests.faults.outside import until

LATE_S = 120.0  # how long a command may take


def begin(ground: Ground, *arguments: str, code: Path = ROOT) -> Worker:
    """Start `caravan` with these; it ends with the ground."""
    log = ground.workers[0].log.parent / f"command-{len(ground.workers)}.log" if ground.workers else None
    assert log is not None, "a worker comes first"
    command = Worker(ground.settings, log, code, arguments)
    ground.workers.append(command)
    return command


async def ended(ground: Ground, command: Worker) -> tuple[int, str]:
    """Wait for its end: its status, and what it said."""

    async def has() -> bool:
        return not command.runs

    await until(has, f"the command ends:\n{command.text}", LATE_S)
    ground.workers.remove(command)
    return command._child.ended() or 0, command.text


async def replay(ground: Ground, *arguments: str, code: Path = ROOT, domain: str = "points") -> tuple[int, str]:
    """Run `caravan replay` to its end: its status, and what it said."""
    return await ended(ground, begin(ground, "replay", domain, *arguments, code=code))


def planted(folder: Path, changes: Mapping[str, tuple[str, str]], files: Mapping[str, str] | None = None) -> Path:
    """The code of all domains with texts changed, and files added."""
    for package in ("agents", "topics"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in changes.items():
        text = (folder / name).read_text("utf-8")
        assert text.count(old) == 1, name
        (folder / name).write_text(text.replace(old, new), "utf-8")
    for name, text in (files or {}).items():
        (folder / name).write_text(text, "utf-8")
    return folder


async def rows(ground: Ground, table: str, suffix: str = "", domain: str = "points") -> Counter[str]:
    """What a table says, save what was read before."""
    found = await ground.outside.rows(f'SELECT * FROM "{ground.settings.namespace}{domain}{suffix}".{table}')
    return Counter(str({name: value for name, value in row.items() if name != "replaces"}) for row in found)


async def oid(ground: Ground, table: str) -> Any:
    """Which table stands in the live place."""
    (found,) = await ground.outside.rows(f"SELECT to_regclass('\"{ground.settings.namespace}points\".{table}')::oid")
    return found[0]


async def schemas(ground: Ground) -> set[str]:
    """The schemas of the namespace."""
    found = await ground.outside.rows(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", ground.settings.namespace
    )
    return {row[0].removeprefix(ground.settings.namespace) for row in found}


async def built(ground: Ground) -> int:
    """How far a replay of points has come, in events."""
    name = f'"{ground.settings.namespace}points_shadow".offsets'
    (there,) = await ground.outside.rows("SELECT to_regclass($1)", name)
    return int((await ground.outside.rows(f"SELECT coalesce(sum(number), 0) FROM {name}"))[0][0]) if there[0] else 0
