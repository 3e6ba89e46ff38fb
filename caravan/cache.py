"""The per-user cache of downloads, shared by all instances: one writer at a time, visible progress."""

import fcntl
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from caravan.errors import DiskFull

MARGIN = 64 << 20  # bytes left free on any disk that we write to
QUIET = 2.0  # s between progress lines where there is no terminal


def root() -> Path:
    """CARAVAN_CACHE, else the user's cache folder of this system."""
    return Path(os.environ.get("CARAVAN_CACHE") or platformdirs.user_cache_dir("caravan"))


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """One process at a time, machine-wide; a killed holder leaves nothing behind."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def need(path: Path, size: int, purpose: str) -> None:
    """Raise DiskFull unless the disk of `path` has `size` bytes free."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise DiskFull(
            f"{purpose} needs {size >> 20} MB on the disk of {there}, only {free >> 20} MB are free; "
            "free some space or choose another folder (--data-dir, CARAVAN_CACHE)"
        )


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the bytes just fetched; may be called from any thread."""
    if sys.stderr.isatty():
        with _bar(title, total) as advance:
            yield advance
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        "downloading {task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda size: bar.advance(task, size)


def _lines(title: str, total: int) -> Callable[[int], None]:
    done, shown, guard = 0, 0.0, threading.Lock()

    def advance(size: int) -> None:
        nonlocal done, shown
        with guard:
            done += size
            now = time.monotonic()
            if now - shown >= QUIET or done >= total:
                shown = now
                print(f"downloading {title}: {done >> 20} of {total >> 20} MB", file=sys.stderr, flush=True)

    return advance
