"""The command as a user runs it: subprocesses that are surely ended, data folders that are surely removed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import pytest_asyncio

from caravan.errors import Problem
from caravan.instance import Instance
from streams.settings import Settings
from tests.caravan.audited import Platform, rested_platform
from tests.caravan.running import Running as Infra

ROOT = Path(__file__).parents[2]
CARAVAN = (sys.executable, "-m", "caravan")
PATIENCE = 120.0  # s; a loaded machine is slow, and nobody waits for it in vain
END = 10.0  # s in which everything must have ended
DEAD_PROXY = "http://127.0.0.1:9"
OFFLINE = dict.fromkeys(
    ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), DEAD_PROXY
)


def until(condition: Callable[[], object], what: str, limit: float = PATIENCE) -> None:
    """Wait for the condition."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not after {limit:.0f} s: {what}")
        time.sleep(0.02)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Our own environment without any CARAVAN_* but the cache, and what is given."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith("CARAVAN_") or name == "CARAVAN_CACHE"
    }
    return {**{name: value for name, value in ours.items() if name != "MAKELEVEL"}, **environment}


def caravan(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return caravan_in(ROOT, arguments, environment)


def caravan_in(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], given: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command there to its end, with `given` as its standard input."""
    return subprocess.run(
        [*CARAVAN, *arguments],
        env=clean(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL if given is None else None,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@dataclass
class Running:
    """A command in the foreground of nobody."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def says(self, words: str) -> None:
        """Wait until it has printed this."""

        def said() -> bool:
            if words in self.text():
                return True
            assert self.process.poll() is None, self.text()
            return False

        until(said, f"{words!r} in {self.output}")

    def text(self) -> str:
        return self.output.read_text()

    def family(self) -> list[psutil.Process]:
        """It and everything below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE)


def gone(family: Sequence[psutil.Process]) -> None:
    """Wait until all of them have ended; a zombie has."""

    def left() -> list[psutil.Process]:
        found = []
        for process in family:
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    # Their words are those of now: a process that is ending has no command line any more to ask for.
    until(lambda: not left(), f"all ended: {family}", END)


Start = Callable[..., Running]


@contextmanager
def starting(outputs: Path) -> Iterator[Start]:
    """Starts `caravan …` (or another command) and ends at last whatever it left."""
    running: list[Running] = []
    families: list[psutil.Process] = []

    def begin(*arguments: str, command: Sequence[str] = CARAVAN, cwd: Path = ROOT, **environment: str) -> Running:
        output = outputs / f"output-{len(running)}.txt"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*command, *arguments],
                env=clean(environment),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        running.append(Running(process, output))
        return running[-1]

    try:
        yield begin
    finally:
        for one in running:
            with suppress(psutil.NoSuchProcess):
                families += one.family()
            if one.process.poll() is None:
                one.process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    one.process.wait(END)
        for process in families:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for one in running:
            one.process.wait(END)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `caravan …` and ends it at the test's end."""
    with starting(tmp_path) as begin:
        yield begin


@pytest.fixture
def folders() -> Iterator[Callable[[], Path]]:
    """Makes places for data folders; as root, they are such that Postgres' user can reach them."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="caravan-test-")))
        made[-1].chmod(0o755)
        return made[-1] / "data"

    yield make
    for folder in made:
        with suppress(Problem, OSError):
            instance = Instance(folder / "data")
            if instance.exists() and not instance.cluster.is_relative_to(folder):
                shutil.rmtree(instance.cluster)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data(folders: Callable[[], Path]) -> Path:
    """A data folder that is not there yet."""
    return folders()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def rested(infra: Infra, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """All domains after some work, and an auditor that has looked at it; whoever damages something mends it."""
    settings = Settings(
        kafka=infra.kafka,
        postgres=infra.postgres,
        namespace=f"t{uuid4().hex[:6]}_",
        signing_keys=(("k1", bytes(range(32))),),
    )
    async with rested_platform(settings, tmp_path_factory.mktemp("audited")) as platform:
        yield platform
