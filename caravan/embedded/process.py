"""A child process that never outlives us, writes to a log file, and is ended politely, then firmly."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from caravan.errors import DiskFull, StartFailed

CHILD = Path(__file__).with_name("child.py")
ROTATE = 10 << 20  # bytes of a log above which it is put aside at the next start
GUARD = "pdeath" if sys.platform == "linux" else "pipe"
NO_SPACE = "No space left on device"
TELLING = ("FATAL", "PANIC", "ERROR", "Exception", "Error")
TAIL = 16 << 10  # bytes of a log looked at for the reason of a failure


class User(NamedTuple):
    """Whom a child runs as, where that is not ourselves."""

    uid: int
    gid: int


@dataclass
class Child:
    """One guarded process. Must be started by the main thread: Linux ties `death` to the thread that forked."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    user: User | None = None
    polite: signal.Signals = signal.SIGTERM  # asks it to stop
    death: signal.Signals = signal.SIGKILL  # what it gets when we die
    guard: str = GUARD
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Start it; its output goes to the end of the log."""
        rotate(self.log)
        user = f"{self.user.uid}:{self.user.gid}" if self.user else "-"
        shim = [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), str(int(self.death)), user, self.guard, "--"]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*shim, *self.command],
                stdin=subprocess.PIPE if self.guard == "pipe" else subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=None if self.env is None else dict(self.env),
                cwd=self.cwd,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which ends us in order
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self.process.poll() if self.process is not None else 0

    def check(self) -> None:
        """Raise StartFailed with the log's last words if it has ended."""
        status = self.ended()
        if status is not None:
            if NO_SPACE in last_words(self.log, NO_SPACE):
                raise DiskFull(
                    f"{self.name} ended: the disk of {self.log.parent.parent} is full; free some space and run this again"
                )
            raise StartFailed(f"{self.name} ended with status {status}{last_words(self.log)}; see {self.log}")

    def finish(self, limit: float) -> None:
        """Wait for a job to end well within `limit` seconds; raises StartFailed or DiskFull."""
        assert self.process is not None
        try:
            if self.process.wait(limit) != 0:
                self.check()
        except subprocess.TimeoutExpired:
            raise StartFailed(
                f"{self.name} did not end within {limit:.0f} s{last_words(self.log)}; see {self.log}"
            ) from None

    def ask(self) -> None:
        """Ask it to stop; does not wait."""
        if self.ended() is None:
            self._send(self.polite)

    def reap(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic), then kill what is left."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def stop(self, grace: float) -> None:
        """Ask, wait up to `grace` seconds, kill."""
        self.ask()
        self.reap(time.monotonic() + grace)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def rotate(log: Path) -> None:
    """Put a long log aside as `.1`, replacing the one before."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > ROTATE:
            log.rename(log.with_name(log.name + ".1"))


def last_words(log: Path, *telling: str) -> str:
    """`: ` and the line of the log's end that most likely says why, or nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    words = ([line for line in lines if any(word in line for word in telling or TELLING)] or lines)[-1:]
    return f": {words[0][:300]}" if words else ""
