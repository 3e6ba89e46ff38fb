"""Code of ours with a bug in it, for a worker process that is to meet one."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.faults.ground import ROOT

QUICK = {
    "streams/watching.py": ("WATCH_S = 30.0", "WATCH_S = 3.0"),
    "streams/watchdog.py": ("HUNG_S = 60 ", "HUNG_S = 4 "),
}
"""Watched so closely that a test need not wait long."""


def planted(folder: Path, *changes: Mapping[str, tuple[str, str]]) -> Path:
    """A copy of the packages of these files, with a text put in the place of another; `folder` itself."""
    every = [(Path(name), change) for several in changes for name, change in several.items()]
    for package in {name.parts[0] for name, _ in every}:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (before, after) in every:
        text = (folder / name).read_text("utf-8")
        assert text.count(before) == 1, f"{name} has not just one {before!r}"
        (folder / name).write_text(text.replace(before, after), "utf-8")
    return folder
