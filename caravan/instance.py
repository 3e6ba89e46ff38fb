"""One data folder is one instance: its ports, secrets and parts, written once to `run.json` and kept.

The supervisor holds the folder's lock while it runs; the kernel drops it however the supervisor ends.
"""

import base64
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import psutil

from caravan.errors import AlreadyRunning, BadData, NotRunning, PortBusy

VERSION = 1  # of the folder's layout; raise it together with a step in `_upgraded`
LOOPBACK = "127.0.0.1"
PORTS = range(20000, 32000)  # below the ports that systems hand out for outgoing connections
EDGE = 8000
OURS = ("run.json", "kafka", "postgres")


@dataclass
class Run:
    """What `run.json` holds. Later versions of the program may add fields, and older ones keep them out of `version`."""

    instance: str
    kafka_port: int
    controller_port: int
    postgres_port: int
    postgres_password: str
    signing_keys: str
    jwt_secret: str
    host: str = LOOPBACK
    port: int = 0  # of the edge; 0 until one is chosen
    clock: str = "system"  # or virtual, for edge and workers
    cluster: str = "postgres"  # folder of the Postgres cluster, absolute where it lies outside
    made: list[str] = field(default_factory=list)  # parts that were set up: "kafka", "postgres"
    children: dict[str, tuple[int, float]] = field(default_factory=dict)  # name -> pid and start, to find leftovers
    pid: int = 0  # of the supervisor that wrote this last
    version: int = VERSION

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class Instance:
    """A data folder and its `run.json`."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()
        self.file = self.folder / "run.json"
        self.logs = self.folder / "logs"
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        if self._run is None:
            self._run = self._read() or self._new()
        return self._run

    def read(self) -> Run:
        """What `run.json` says now, of an instance that another process runs."""
        self._run = self._read()
        return self.run

    def exists(self) -> bool:
        return self.file.exists()

    def save(self) -> None:
        """Write `run.json` whole or not at all, readable by its owner only."""
        part = self.file.with_suffix(".part")
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self.run), file, indent=2)
        part.rename(self.file)

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """`given`, completed by what this instance knows: CARAVAN_* that are set win, but the folder is this one."""
        return {**self.exports(), **given, "CARAVAN_DATA_DIR": str(self.folder)}

    def exports(self) -> dict[str, str]:
        """The CARAVAN_* that reach this instance."""
        run = self.run
        return {
            "CARAVAN_KAFKA": f"kafka://{LOOPBACK}:{run.kafka_port}",
            "CARAVAN_POSTGRES": f"postgresql://caravan:{run.postgres_password}@{LOOPBACK}:{run.postgres_port}/caravan",
            "CARAVAN_SIGNING_KEYS": run.signing_keys,
            "CARAVAN_JWT_SECRET": run.jwt_secret,
            "CARAVAN_DATA_DIR": str(self.folder),
            **({"CARAVAN_CLOCK": run.clock} if run.clock != "system" else {}),
        }

    @property
    def cluster(self) -> Path:
        """The folder of the Postgres cluster."""
        return self.folder / self.run.cluster

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the folder's one supervisor; raises AlreadyRunning, saying where it runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        with (self.folder / "lock").open("a") as lock:
            if not _locked(lock.fileno()):
                raise AlreadyRunning(self._where())
            try:
                self._end_leftovers()
                self.run.pid = os.getpid()
                self.save()
                yield
            finally:
                with contextlib.suppress(FileNotFoundError):  # the folder may have been removed under us
                    self.run.pid = 0
                    self.run.children.clear()
                    self.save()

    def running(self) -> bool:
        """Whether a supervisor holds the folder."""
        try:
            with (self.folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def require(self) -> None:
        """Raise NotRunning unless there is a `run.json` to take the URLs from."""
        if not self.exists():
            raise NotRunning(
                f"no instance in {self.folder}: start one with `caravan up` (or `caravan infra`), name its folder with "
                "--data-dir, or set CARAVAN_KAFKA and CARAVAN_POSTGRES"
            )

    def _where(self) -> str:
        # A supervisor that has just begun may not have written its line yet.
        deadline = time.monotonic() + 2  # s
        while not self.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        run = self._read()
        if run is None or not run.port:
            return f"already running on {self.folder} (process {run.pid if run else '?'}); stop it with: caravan down"
        return f"already running at {run.url} (process {run.pid}, data in {self.folder}); stop it with: caravan down"

    def _read(self) -> Run | None:
        try:
            data = json.loads(self.file.read_text())
            version = int(data["version"])
        except FileNotFoundError:
            return None
        except PermissionError:
            raise BadData(
                f"{self.file} belongs to another user; run this as that user or use another --data-dir"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise BadData(f"{self.file} is damaged; restore it, or start afresh with: rm -r '{self.folder}'") from None
        if version > VERSION:
            raise BadData(
                f"{self.folder} was made by a newer caravan (layout {version}, this one knows {VERSION}); "
                "upgrade caravan or use another --data-dir"
            )
        known = {one.name for one in fields(Run)}
        return Run(**{name: value for name, value in data.items() if name in known})

    def _new(self) -> Run:
        left = [name for name in OURS if (self.folder / name).exists()]
        if left:
            raise BadData(
                f"{self.folder} has {' and '.join(left)} but no run.json with their secrets; restore it, "
                f"or start afresh with: rm -r '{self.folder}'"
            )
        kafka, controller, postgres = free_ports(3)
        return Run(
            instance=new_id(),
            kafka_port=kafka,
            controller_port=controller,
            postgres_port=postgres,
            postgres_password=secrets.token_urlsafe(24),
            signing_keys=f"k1:{secrets.token_hex(32)}",
            jwt_secret=secrets.token_hex(32),
        )

    def _end_leftovers(self) -> None:
        """Kill what a supervisor left behind where the system does not end children with their parent."""
        left = []
        for pid, started in self.run.children.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if abs(process.create_time() - started) < 1:  # s; else the number was given to another
                    left += [process, *process.children(recursive=True)]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                # Postgres frees its shared memory only when told; the others need no farewell.
                process.send_signal(signal.SIGQUIT if process.name() == "postgres" else signal.SIGKILL)
        for process in psutil.wait_procs(left, timeout=5)[1]:
            process.kill()
        self.run.children.clear()

    def register(self, name: str, pid: int) -> None:
        """Remember a child across the supervisor's death."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.run.children[name] = (pid, psutil.Process(pid).create_time())
            self.save()


def _locked(file: int) -> bool:
    """Take the lock; a look by `running` may hold it for a moment."""
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def new_id() -> str:
    """A Kafka cluster id, which stamps every part of the instance: 16 bytes, and no leading dash."""
    while (name := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return name


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, picked at random so that two instances rarely think of the same."""
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(PORTS)
        if port not in found and is_free(LOOPBACK, port):
            found.append(port)
    return found


def is_free(host: str, port: int) -> bool:
    """Whether we could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def claim_port(host: str, port: int, what: str, mend: str) -> None:
    """Raise PortBusy if another program listens there."""
    if not is_free(host, port):
        raise PortBusy(f"port {port} for {what} is in use by another program; stop it, or {mend}")
