"""The one broker and one Postgres of a test run, whoever of its processes needs them first.

A process of its own runs them (`python -m tests.caravan.running FOLDER CONTROLLER-PID HOW`), so that they outlive the
test process that asked first; it ends them when the run says so, or when the run's controller is no more.
"""

import asyncio
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from caravan.infra import Infra
from caravan.instance import Instance

START = 180.0  # s, with the download of a first start
STOP = 20.0  # s
POLL = 0.1  # s
DOCKER = 1.0  # s that a Docker engine has to answer
TESTS = 10  # that share a database


@dataclass(frozen=True)
class Running:
    """Where the run's infrastructure answers."""

    kafka: str
    postgres: str


def given(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The URLs that the user gave, by part."""
    found = {}
    for part in ("kafka", "postgres"):
        name = part.upper()
        if url := environment.get(f"CARAVAN_TEST_{name}") or environment.get(f"CARAVAN_{name}"):
            found[part] = url
    return found


def how() -> str:
    """`given`, `docker` or `embedded`: the first of these that there is."""
    if len(given()) == 2:
        return "given"
    return "docker" if docker_answers() else "embedded"


def docker_answers() -> bool:
    """Whether a Docker engine answers a ping in time."""
    host = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    local = host.scheme == "unix"
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as peer, suppress(OSError):
        peer.settimeout(DOCKER)
        peer.connect(host.path if local else (host.hostname, host.port or 2375))
        peer.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        return peer.recv(12).startswith(b"HTTP/1.")
    return False


class Run:
    """What the processes of one test run share: a folder."""

    def __init__(self, folder: Path, controller: int, kind: str) -> None:
        self.folder, self.controller, self.kind = folder, controller, kind

    @classmethod
    def begin(cls) -> "Run":
        """The controller's call."""
        folder = Path(tempfile.mkdtemp(prefix="caravan-tests-"))
        folder.chmod(0o755)  # as root, Postgres runs as another user
        return cls(folder, os.getpid(), how())

    def infra(self) -> Running:
        """Any test process's call: start it, or wait until whoever was first has."""
        if self.kind == "given":
            return Running(**given())
        ready = self.folder / "ready.json"
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                self._start(ready)
        return Running(**json.loads(ready.read_text()))

    def _start(self, ready: Path) -> None:
        log = self.folder / "infra.log"
        command = [sys.executable, "-m", "tests.caravan.running", str(self.folder), str(self.controller), self.kind]
        with log.open("ab") as out:
            runner = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=Path(__file__).parents[2]
            )  # fmt: skip
        (self.folder / "pid").write_text(str(runner.pid))
        deadline = time.monotonic() + START
        while not ready.exists():
            if runner.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no {self.kind} infrastructure for the tests:\n{log.read_text()}")
            time.sleep(POLL)
        runner.returncode = 0  # it outlives this process; not a child that was forgotten

    def end(self) -> None:
        """The controller's call."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            runner = psutil.Process(int((self.folder / "pid").read_text()))
            runner.send_signal(signal.SIGTERM)
            with suppress(psutil.TimeoutExpired):
                runner.wait(STOP)
        subprocess.run(["rm", "-rf", str(self.folder)], check=True)


class Databases:
    """Databases of the run's own Postgres, a new one every so many tests.

    To migrate takes the longer, the more schemas a database holds already, and those of tests stay until the run ends.
    A Postgres that the user gave has one database, and it stays so.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._asked, self._dsn = run, 0, ""

    def dsn(self) -> str:
        """The database for one more test."""
        dsn = self._run.infra().postgres
        if "postgres" in given():
            return dsn
        if self._asked % TESTS == 0:
            name = f"tests_{secrets.token_hex(4)}"
            with ThreadPoolExecutor(1) as aside:  # where no event loop is in the way
                aside.submit(asyncio.run, _make(dsn, name)).result()
            self._dsn = urlsplit(dsn)._replace(path=f"/{name}").geturl()
        self._asked += 1
        return self._dsn


async def _make(dsn: str, database: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE DATABASE {database}")
    await connection.close()


def containers(stack: ExitStack) -> Running:
    """Both parts in containers that end with the stack."""
    from testcontainers.community.kafka import KafkaContainer
    from testcontainers.community.postgres import PostgresContainer

    kafka = stack.enter_context(KafkaContainer("apache/kafka:4.3.1"))
    postgres = stack.enter_context(PostgresContainer("postgres:18", username="caravan", dbname="caravan", driver=None))
    return Running(f"kafka://{kafka.get_bootstrap_server()}", postgres.get_connection_url())


def embedded(stack: ExitStack, folder: Path) -> Running:
    """Both parts as children of this process; the database of a test need not survive a power loss."""
    instance = Instance(folder / "data")
    stack.enter_context(instance.hold())
    infra = Infra(instance, {}, fsync="off", full_page_writes="off", max_connections="400")
    stack.callback(infra.stop)
    infra.start()
    exports = instance.exports()
    return Running(exports["CARAVAN_KAFKA"], exports["CARAVAN_POSTGRES"])


def main(folder: Path, controller: int, kind: str) -> None:
    """Run the parts until SIGTERM, or until the controller is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watched = psutil.Process(controller)
    with ExitStack() as stack:
        running = containers(stack) if kind == "docker" else embedded(stack, folder)
        part = folder / "ready.part"
        part.write_text(json.dumps({**running.__dict__, **given()}))
        part.rename(folder / "ready.json")
        while watched.is_running() and watched.status() != psutil.STATUS_ZOMBIE and not stop.wait(POLL):
            pass
    if not watched.is_running():
        subprocess.run(["rm", "-rf", str(folder)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
