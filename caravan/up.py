"""`caravan up`, `infra` and `down`: start everything in order, keep it running, end it in order."""

import asyncio
import os
import shlex
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from caravan.embedded.kafka import Kafka
from caravan.embedded.postgres import Postgres
from caravan.embedded.process import Child, last_words, rotate
from caravan.errors import Problem, StartFailed
from caravan.infra import Infra
from caravan.instance import EDGE, LOOPBACK, Instance, claim_port, free_ports, is_free
from caravan.reload import Reloader
from caravan.supervise import Parent, Service, keep, say, until_stopped

READY = 90.0  # s that a worker or the edge may take to be ready
STOP = 10.0  # s that workers and the edge have to drain, leave their groups and finish requests; each gives itself 8
DOWN = 20.0  # s that `down` waits: these and the infrastructure's
PROMISE = "survives the crash of any process; not a loss of power, nor of this disk"


@dataclass(frozen=True)
class Wishes:
    """What a user may ask of a platform; None keeps what was chosen before."""

    host: str | None = None
    port: int | None = None
    workers: int = 1
    clock: str | None = None
    new_ports: bool = False
    reload: bool = False


def up(folder: Path, wishes: Wishes) -> None:
    """Run the platform until stopped. Raises a Problem when something does not start."""
    instance = Instance(folder)
    with until_stopped(), instance.hold():
        platform = Platform(instance, wishes.workers)
        tell = teller(instance)
        try:
            platform.choose(wishes)
            platform.start(tell)
            say(platform.banner())
            reloader = Reloader(platform, tell) if wishes.reload else None
            if reloader:
                reloader.start()
            keep(platform.services, Parent(), tell, reloader.look if reloader else lambda: None)
        finally:
            platform.stop()


def infra(folder: Path, *, new_ports: bool = False) -> None:
    """Run the broker and Postgres until stopped. Raises a Problem when they do not start."""
    instance = Instance(folder)
    with until_stopped(), instance.hold():
        parts = Infra(instance, {})
        if new_ports:
            parts.renumber()
        try:
            parts.start()
            say(reach(instance, parts))
            keep(parts.services(), Parent(), teller(instance))
        finally:
            parts.stop()


def down(folder: Path) -> None:
    """Ask the supervisor of a folder to stop and wait for it. Raises a Problem if it does not end."""
    instance = Instance(folder)
    if not instance.running():
        say(f"nothing runs on {instance.folder}")
        return
    deadline = time.monotonic() + DOWN
    asked = 0
    while instance.running():
        pid = instance.read().pid
        if pid and pid != asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            asked = pid
        if time.monotonic() > deadline:
            raise Problem(f"process {pid} did not stop within {DOWN:.0f} s; its log is {instance.logs}/up.log")
        time.sleep(0.05)
    say(f"stopped what ran on {instance.folder}")


class Platform:
    """Infrastructure, workers and the edge of one instance."""

    def __init__(self, instance: Instance, workers: int) -> None:
        self.instance = instance
        self.infra = Infra(instance, os.environ)
        names = ["worker"] if workers == 1 else [f"worker-{number}" for number in range(1, workers + 1)]
        self.edge = Service("edge", self._edge)
        self.workers = [Service(name, partial(self._child, name, "worker")) for name in names]

    @property
    def services(self) -> list[Service]:
        return [*self.infra.services(), *self.workers, self.edge]

    def choose(self, wishes: Wishes) -> None:
        """Settle where the edge listens, and which clock there is: as asked, else as before, else a free port and the system's."""
        run = self.instance.run
        if wishes.new_ports:
            self.infra.renumber()
        run.clock = wishes.clock or os.environ.get("CARAVAN_CLOCK") or run.clock
        run.host = wishes.host or LOOPBACK
        if wishes.port or not run.port:
            run.port = wishes.port or (EDGE if is_free(run.host, EDGE) else free_ports(1)[0])
        claim_port(run.host, run.port, "the edge", "choose another with --port")
        self.instance.save()

    def start(self, tell: Callable[[str], None]) -> None:
        """Everything, in order, each waited for. Raises a Problem."""
        if not self.instance.run.made and self.infra.parts:
            tell(f"first start in {self.instance.folder}: setting up the broker and Postgres")
        self.infra.begin()
        if self.instance.environment(os.environ).get("CARAVAN_PROFILE") == "production":
            self.infra.wait()
            self._demand_safe()
        self._migrate_early()
        self._begin()

    def _demand_safe(self) -> None:
        """In production, refuse before anything is made. Raises a Problem."""
        from caravan import profile
        from streams.settings import Settings

        environment = self.instance.environment(os.environ) | {"CARAVAN_CLOCK": self.instance.run.clock}
        asyncio.run(profile.demand(Settings.from_env(environment)))

    def _migrate_early(self) -> None:
        """Begin with the schemas while our own broker, which takes longer than all else, still starts. Raises a Problem."""
        self.infra.wait(Postgres)
        early = ["--early"] if any(isinstance(part, Kafka) for part in self.infra.parts) else []
        job = self._child("migrate", "migrate", *early)
        self.infra.jobs.append(job)  # ended with the infrastructure when that does not start
        self.infra.wait()
        job.finish(READY)

    def migrate(self) -> None:
        """Apply new migrations and make new topics. Raises a Problem."""
        self._child("migrate", "migrate").finish(READY)

    def restart(self) -> None:
        """End workers and edge and start them again, each waited for. Raises a Problem."""
        self._end()
        self._begin()

    def probe(self) -> list[str]:
        """The command that says what is wrong with the code."""
        return [sys.executable, "-m", "caravan", "probe"]

    def stop(self) -> None:
        """Workers and edge first, so that they can still finish what they have begun; then the rest."""
        self._end()
        self.infra.stop()

    def _begin(self) -> None:
        begun = [(service, _length(self._log(service.name)), service.run()) for service in (*self.workers, self.edge)]
        for service, before, child in begun:
            self.instance.register(service.name, child.pid)
            _wait(child, self._edge_answers if service is self.edge else partial(_said_ready, child, before))

    def _end(self) -> None:
        deadline = time.monotonic() + STOP
        children = [service.child for service in (*self.workers, self.edge) if service.child]
        for child in children:
            child.ask()
        for child in children:
            child.reap(deadline)

    def banner(self) -> str:
        """What a person wants to know next."""
        run = self.instance.run
        caravan = "caravan" if _on_path() else f"{shlex.quote(sys.executable)} -m caravan"
        where = (
            ""
            if self.instance.folder == Path(".caravan").absolute()
            else f" --data-dir {shlex.quote(str(self.instance.folder))}"
        )
        lines = [
            "",
            f"  Caravan is ready at {self.url}",
            f"    docs    {self.url}/docs",
            f"    token   {caravan} token --user u1 --role User{where}",
            f"    status  {caravan} status{where}",
            f"    logs    {self.instance.logs}",
        ]
        if self.infra.parts:
            names = " and ".join(part.title for part in self.infra.parts)
            lines.append(f"    data    {self.instance.folder} ({names}: {PROMISE})")
        if run.clock == "virtual":
            lines.append(f"    clock   virtual: {caravan} clock advance 2d{where}")
        if run.host != LOOPBACK:
            lines.append(f"    note    it listens on {run.host}: whoever reaches this machine reaches it")
        return "\n".join([*lines, "  Ctrl-C ends everything.", ""])

    @property
    def url(self) -> str:
        return self.instance.run.url

    def _edge(self) -> Child:
        run = self.instance.run
        return self._child("edge", "api", "--host", run.host, "--port", str(run.port))

    def _child(self, name: str, *arguments: str) -> Child:
        """Start one of our own commands on this instance."""
        command = [sys.executable, "-m", "caravan", *arguments, "--data-dir", str(self.instance.folder)]
        environment = {**self.instance.environment(os.environ), "CARAVAN_CLOCK": self.instance.run.clock}
        child = Child(name, command, self._log(name), env=environment, death=signal.SIGKILL)
        child.start()
        return child

    def _log(self, name: str) -> Path:
        return self.instance.logs / f"{name}.log"

    def _edge_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=2) as answer:  # noqa: S310 (our own URL)
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def reach(instance: Instance, parts: Infra) -> str:
    """Lines for a shell: exports to paste, and comments for a person."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in instance.exports().items()]
    psql = next(part for part in parts.parts if isinstance(part, Postgres)).binary("psql")
    return "\n".join(
        [
            *lines,
            "# Paste the lines above into another shell. SQL:",
            f'{shlex.quote(str(psql))} "$CARAVAN_POSTGRES"',
            f"# Logs: {instance.logs}. What is here {PROMISE}.",
            "# Ctrl-C ends both.",
        ]
    )


def teller(instance: Instance) -> Callable[[str], None]:
    """Says a line to the user and to `up.log`."""
    log = instance.logs / "up.log"
    rotate(log)
    return lambda line: say(line, log)


def _wait(child: Child, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY
    while not ready():
        child.check()
        if time.monotonic() > deadline:
            raise StartFailed(f"{child.name} is not ready after {READY:.0f} s{last_words(child.log)}; see {child.log}")
        time.sleep(0.05)


def _said_ready(child: Child, before: int) -> bool:
    """Whether a worker has said, since its start, that its partitions are claimed."""
    with child.log.open("rb") as log:
        if child.log.stat().st_size >= before:
            log.seek(before)
        return b"worker ready" in log.read()


def _length(log: Path) -> int:
    with suppress(FileNotFoundError):
        return log.stat().st_size
    return 0


def _on_path() -> bool:
    from shutil import which

    return which("caravan") is not None
