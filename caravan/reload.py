"""`caravan up --reload`: workers and edge begin anew when the code that they run has changed.

Code that cannot be imported is told and replaces nothing: what ran goes on until it is mended.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from watchfiles import PythonFilter, watch

from caravan.errors import Problem

WATCHED = ("topics", "agents", "streams", "api", "sinks")
CHECK_S = 60.0  # how long looking at the code may take
QUIET_MS = 200  # an editor or a checkout changes several files at once


class Restartable(Protocol):
    """What is begun anew: a platform."""

    def probe(self) -> list[str]:
        """The command that imports all code and says in one line what is wrong."""
        ...

    def migrate(self) -> None:
        """Apply new migrations and make new topics; raises a Problem."""
        ...

    def restart(self) -> None:
        """End workers and edge, start them again, wait for them; raises a Problem."""
        ...


class Reloader:
    """Watches in a thread of its own, and works on the thread that calls `look`: children belong to the main one."""

    def __init__(self, platform: Restartable, tell: Callable[[str], None]) -> None:
        """Nothing is watched before `start`."""
        self._platform, self._tell = platform, tell
        self._changed: set[str] = set()
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def look(self) -> None:
        """Reload if something has changed; a failure is told, never raised."""
        with self._guard:
            changed, self._changed = sorted(self._changed), set()
        if changed:
            self._reload(f"{changed[0]} and {len(changed) - 1} more" if len(changed) > 1 else changed[0])

    def _watch(self) -> None:
        filtered = PythonFilter(extra_extensions=(".sql",))
        for changes in watch(*folders(), watch_filter=filtered, debounce=QUIET_MS, stop_event=self._ended):
            with self._guard:
                self._changed |= {named(Path(path)) for _, path in changes}

    def _reload(self, what: str) -> None:
        began = time.monotonic()
        if wrong := self._wrong():
            self._tell(f"{what} changed, but {wrong}; what ran goes on until that is mended")
            return
        try:
            self._platform.migrate()
        except Problem as error:
            self._tell(f"{what} changed, but {error}; what ran goes on until that is mended")
            return
        try:
            self._platform.restart()
        except Problem as error:
            self._tell(f"{what} changed, and then {error}")
            return
        self._tell(f"{what} changed: reloaded in {time.monotonic() - began:.1f} s")

    def _wrong(self) -> str | None:
        """What is wrong with the code, None when it can be run."""
        try:
            done = subprocess.run(self._platform.probe(), capture_output=True, text=True, check=False, timeout=CHECK_S)
        except subprocess.TimeoutExpired:
            return f"importing it takes longer than {CHECK_S:.0f} s"
        lines = done.stderr.strip().splitlines()
        return None if done.returncode == 0 else (lines[-1] if lines else f"it ends with status {done.returncode}")


def folders() -> list[Path]:
    """Where the code is that workers and edge run."""
    specs = [find_spec(name) for name in WATCHED]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]


def named(path: Path) -> str:
    """The path as a person knows it: from the package on."""
    return next(
        (str(path.relative_to(folder.parent)) for folder in folders() if path.is_relative_to(folder)), str(path)
    )


def probe() -> None:
    """Import all that workers and edge would; raises SystemExit with one line about what cannot be."""
    from streams import discover
    from streams.agent import agents_of

    try:
        import api.app  # noqa: F401
        import streams.worker  # noqa: F401

        for domain in discover.domains():
            discover.topic(domain)
            agents_of(domain)
            discover.views(domain)
            discover.routes(domain)
    except Exception as error:  # noqa: BLE001 - code may raise anything while it is imported
        print(f"{_place(error)}: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None


def _place(error: BaseException) -> str:
    """The innermost line of ours that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{named(Path(error.filename))}:{error.lineno}"
    place, trace = "the code", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if any(file.is_relative_to(folder) for folder in folders()):
            place = f"{named(file)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
