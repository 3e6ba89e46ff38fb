"""The platform's processes as children of the test, which may kill them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from streams.settings import Settings

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "caravan")


class Child:
    """`python -m caravan ...`, its output in a file."""

    def __init__(self, arguments: Sequence[str], settings: Settings, log: Path) -> None:
        """Start it."""
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*PROGRAM, *arguments],
                cwd=ROOT,
                env=os.environ | environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def says(self, words: str) -> bool:
        """Whether it has written this; raises when it ended."""
        text = self.log.read_text("utf-8", "replace")
        if words not in text and self._process.poll() is not None:
            raise AssertionError(f"it ended with {self._process.returncode}:\n{text}")
        return words in text

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it as an operator would; kill it when it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


def environment(settings: Settings) -> dict[str, str]:
    """Settings as the environment tells them to a process."""
    return {
        "CARAVAN_KAFKA": settings.kafka,
        "CARAVAN_POSTGRES": settings.postgres,
        "CARAVAN_NAMESPACE": settings.namespace,
        "CARAVAN_SIGNING_KEYS": ",".join(f"{name}:{key.hex()}" for name, key in settings.signing_keys),
        "CARAVAN_JWT_SECRET": settings.jwt_secret or "",
        "CARAVAN_CLOCK": settings.clock,
    }
