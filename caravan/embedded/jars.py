"""The jars of the embedded broker: pinned by checksum in `jars.lock`, kept in one per-user cache, fetched once.

`python -m caravan.embedded.jars` resolves the versions below anew and writes the lock.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from caravan import cache
from caravan.errors import BadData, NoNetwork

KAFKA = "4.3.1"
# Each is resolved on its own: together, log4j's dependency management would turn kafka-clients into 3.8.0.
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4")
LOCK = Path(__file__).with_name("jars.lock")
PARALLEL = 4  # downloads at a time
TIMEOUT = 30  # s without a byte


class Jar(NamedTuple):
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int  # bytes

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned() -> list[Jar]:
    """The jars that make the broker's class path."""
    lines = [line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    return [_jar(coordinate, sha256, size) for coordinate, sha256, size in lines]


def _jar(coordinate: str, sha256: str, size: str) -> Jar:
    group, artifact, version = coordinate.split(":")
    return Jar(group, artifact, version, sha256, int(size))


def folder() -> Path:
    """Where the jars are, whether fetched yet or not."""
    return cache.root() / f"kafka-{KAFKA}"


def ensure() -> Path:
    """The folder with every pinned jar in it, fetched if any is missing: a complete cache needs no network.

    Raises NoNetwork when a download fails, BadData when a file is not the pinned one, DiskFull when it does not fit.
    """
    home = folder()
    if not _missing(home):
        return home
    with cache.exclusive("kafka"):
        missing = _missing(home)  # another process may have fetched them meanwhile
        if missing:
            cache.need(home, sum(jar.size for jar in missing) + cache.MARGIN, f"Kafka {KAFKA}")
            _fetch(missing, home)
    return home


def _missing(home: Path) -> list[Jar]:
    """Files get their name only when whole and verified, so the size is all there is to compare."""

    def there(jar: Jar) -> bool:
        try:
            return (home / jar.name).stat().st_size == jar.size
        except FileNotFoundError:
            return False

    return [jar for jar in pinned() if not there(jar)]


def _fetch(jars: list[Jar], home: Path) -> None:
    part = home.with_name(home.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir(parents=True)
    home.mkdir(parents=True, exist_ok=True)
    total = sum(jar.size for jar in jars)
    with cache.progress(f"Kafka {KAFKA} ({len(jars)} files)", total) as advance:
        download = _downloader(part, advance)
        with ThreadPoolExecutor(PARALLEL) as pool:
            for jar, path in zip(jars, pool.map(download, jars), strict=True):
                path.rename(home / jar.name)
    shutil.rmtree(part)


def _downloader(part: Path, advance: Callable[[int], None]) -> Callable[[Jar], Path]:
    import requests
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def meter(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance

    context = MavenContext(PythonResolver(progress_callback=meter), repo_cache=part, local_repos=[], timeout=TIMEOUT)

    def download(jar: Jar) -> Path:
        try:
            path = Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())
        except (requests.RequestException, RuntimeError) as error:
            raise NoNetwork(
                f"cannot download {jar.name} ({type(error).__name__}): the first start needs the network; "
                "check the connection or HTTPS_PROXY and run this again"
            ) from error
        if _sha256(path) != jar.sha256:
            raise BadData(
                f"{jar.name} as downloaded is not the file that jars.lock pins; check the proxy or mirror in use"
            )
        return path

    return download


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock() -> None:
    """Resolve ROOTS and write `jars.lock`."""
    from jgo.maven import Dependency, MavenContext

    context = MavenContext(repo_cache=cache.root() / "resolve", local_repos=[], timeout=TIMEOUT)
    found: dict[tuple[str, str], Jar] = {}
    for root in ROOTS:
        group, artifact, version = root.split(":")
        asked = [Dependency(context.project(group, artifact).at_version(version).artifact())]
        for dependency in [part for parts in context.resolver.resolve(asked) for part in parts]:
            path = Path(dependency.artifact.resolve())
            jar = Jar(dependency.groupId, dependency.artifactId, dependency.version, _sha256(path), path.stat().st_size)
            found.setdefault((jar.group, jar.artifact), jar)
    head = f"# Made by `python -m caravan.embedded.jars` from {' and '.join(ROOTS)}: coordinate, sha256, bytes.\n"
    rows = [f"{jar.group}:{jar.artifact}:{jar.version} {jar.sha256} {jar.size}\n" for _, jar in sorted(found.items())]
    LOCK.write_text(head + "".join(rows))
    print(f"{len(rows)} jars, {sum(jar.size for jar in found.values()) / 1e6:.0f} MB")


if __name__ == "__main__":
    lock()
