"""`caravan infra` through its life: first start, second start, everything that a user or a power cut may do to it."""

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from caravan.embedded import jars
from tests.caravan.conftest import OFFLINE, PATIENCE, Start, caravan, gone, until

READY = "Ctrl-C ends both"


def ports(data: Path) -> tuple[int, int]:
    """Kafka's and Postgres', as the instance chose them."""
    run = json.loads((data / "run.json").read_text())
    return run["kafka_port"], run["postgres_port"]


@pytest.mark.req("SR002")
def test_the_life_of_an_instance(data: Path, start: Start) -> None:
    """It starts from nothing, prints what reaches it, is one per folder, stops when told, and starts again without a network."""
    first = start("infra", "--data-dir", str(data))
    first.says(READY)
    exports, psql = first.text().split("# Paste")[0], first.text().split("SQL:\n")[1].splitlines()[0]
    shell = f"{exports}{psql} -XAtc 'select 40 + 2'"
    answered = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True, timeout=PATIENCE)
    second = caravan("infra", "--data-dir", str(data))
    family = first.family()
    stopped = caravan("down", "--data-dir", str(data))

    assert answered.stdout == "42\n"
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert f"already running on {data}" in second.stderr
    assert stopped.stdout == f"stopped what ran on {data}\n"
    assert first.status() == 0
    gone(family)
    assert (data / "run.json").stat().st_mode & 0o777 == 0o600

    kept = ports(data)
    again = start("infra", "--data-dir", str(data), **OFFLINE)
    again.says(READY)

    assert ports(data) == kept


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_while_it_is_still_starting(data: Path, start: Start, number: signal.Signals) -> None:
    """Even then nothing is left, and the next start is a whole one."""
    one = start("infra", "--data-dir", str(data))
    until(lambda: len(one.family()) > 2, "the first children run")
    family = one.family()
    one.send(number)

    assert one.status() == 0
    gone(family)


@pytest.mark.req("SR002")
@pytest.mark.full
def test_a_start_killed_half_way_heals(data: Path, start: Start) -> None:
    """The first start is killed while the data folders are being made, the second finds stale files and does it anew."""
    one = start("infra", "--data-dir", str(data))
    until(lambda: (data / "kafka.part").exists() and (data / "postgres.part").exists(), "both are being made")
    family = one.family()
    one.send(signal.SIGKILL)
    gone(family)
    (data / "kafka").mkdir()
    (data / "kafka" / ".lock").touch()
    two = start("infra", "--data-dir", str(data))
    two.says(READY)


@pytest.mark.req("SR002")
def test_a_killed_supervisor_leaves_nothing_and_stale_locks_heal(data: Path, start: Start) -> None:
    """SIGKILL of the supervisor ends broker and Postgres; what they leave does not stop the next start."""
    one = start("infra", "--data-dir", str(data))
    one.says(READY)
    family = one.family()
    one.send(signal.SIGKILL)
    gone(family)
    # The worst that can be left: a lock of a process number that someone else has now.
    (data / "postgres" / "postmaster.pid").write_text(f"1\n{data / 'postgres'}\n0\n{ports(data)[1]}\n")
    two = start("infra", "--data-dir", str(data))
    two.says(READY)

    assert {process.name() for process in two.family()} >= {"java", "postgres"}


@pytest.mark.req("SR002")
def test_a_dead_broker_is_started_again(data: Path, start: Start) -> None:
    """The supervisor says so, waits a little and starts it."""
    one = start("infra", "--data-dir", str(data))
    one.says(READY)
    broker = next(process for process in one.family() if process.name() == "java")
    broker.kill()
    one.says("kafka: ended with status -9")
    until(lambda: any(p.name() == "java" and p.pid != broker.pid for p in one.family()), "another broker runs")


@pytest.mark.full
def test_two_instances_run_side_by_side(folders: Callable[[], Path], start: Start) -> None:
    """Each has its own ports and secrets."""
    both = [folders(), folders()]
    for one in [start("infra", "--data-dir", str(data)) for data in both]:
        one.says(READY)

    assert len({*ports(both[0]), *ports(both[1])}) == 4


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an instance leaves it that was made, without the cost of making it: stamps are all that is looked at."""
    folder = tmp_path_factory.mktemp("stopped")
    run = {
        "version": 1, "instance": "AAAAAAAAAAAAAAAAAAAAAA", "kafka_port": 20001, "controller_port": 20002, "postgres_port": 20003,
        "postgres_password": "p", "signing_keys": "k1:" + "00" * 32, "jwt_secret": "s" * 32, "made": ["kafka", "postgres"],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "kafka").mkdir()
    (folder / "kafka" / "meta.properties").write_text("version=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")
    (folder / "postgres").mkdir()
    (folder / "postgres" / "caravan.instance").write_text("AAAAAAAAAAAAAAAAAAAAAA\n")
    return folder


@pytest.fixture
def made(stopped: Path, data: Path) -> Path:
    """A copy of it to break."""
    shutil.copytree(stopped, data)
    return data


def refused(data: Path, **environment: str) -> str:
    """The one line with which `infra` does not start."""
    done = caravan("infra", "--data-dir", str(data), **environment)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


@pytest.mark.req("SR002")
@pytest.mark.parametrize(("gone", "kept"), [("kafka", "postgres"), ("postgres", "kafka")])
def test_one_part_wiped_under_the_other_is_refused(made: Path, gone: str, kept: str) -> None:
    """Half an instance would be silently wrong."""
    shutil.rmtree(made / gone)

    assert f"the {gone} data of {made} is gone while {kept} was kept" in refused(made)
    assert f"start afresh with: rm -r '{made}'" in refused(made)


def test_a_part_of_another_instance_is_refused(made: Path) -> None:
    """As after restoring the wrong copy."""
    (made / "kafka" / "meta.properties").write_text("version=1\ncluster.id=BBBBBBBBBBBBBBBBBBBBBB\n")

    assert "the kafka data" in (line := refused(made))
    assert "belongs to another instance" in line


def test_data_of_a_newer_version_is_refused(made: Path) -> None:
    """An older program would spoil it."""
    run = json.loads((made / "run.json").read_text())
    (made / "run.json").write_text(json.dumps({**run, "version": 99}))

    assert "made by a newer caravan (layout 99" in refused(made)


@pytest.mark.parametrize("words", ["", "{", "[]", "{}"])
def test_a_damaged_run_file_is_refused(made: Path, words: str) -> None:
    """And says how to go on."""
    (made / "run.json").write_text(words)

    assert "run.json is damaged; restore it, or start afresh" in refused(made)


def test_a_lost_run_file_is_refused(made: Path) -> None:
    """The secrets of the data are in it."""
    (made / "run.json").unlink()

    assert "has kafka and postgres but no run.json" in refused(made)


def test_a_busy_port_is_named(made: Path) -> None:
    """With how to choose another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = json.loads((made / "run.json").read_text())
        (made / "run.json").write_text(json.dumps({**run, "kafka_port": port}))

        assert f"port {port} for Kafka is in use by another program; stop it, or let caravan choose" in refused(made)


@pytest.mark.req("SR002")
def test_a_first_start_without_network_says_so(data: Path, tmp_path: Path) -> None:
    """The jars come from the network once."""
    line = refused(data, CARAVAN_CACHE=str(tmp_path / "empty"), **OFFLINE)

    assert "the first start needs the network; check the connection or HTTPS_PROXY" in line


def test_a_folder_that_cannot_be_made_is_named() -> None:
    """As where a file of that name is."""
    done = caravan("infra", "--data-dir", "/dev/null/data")

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "/dev/null" in done.stderr


@pytest.mark.req("SR002")
@pytest.mark.full
def test_a_private_folder_works_too(data: Path, start: Start) -> None:
    """Root's Postgres runs as another user, who cannot enter it: then the cluster lies elsewhere, and no mode is changed."""
    data.parent.chmod(0o700)
    one = start("infra", "--data-dir", str(data))
    one.says(READY)
    postgres = next(process for process in one.family() if process.name() == "postgres")

    assert data.parent.stat().st_mode & 0o777 == 0o700
    assert postgres.uids().real != 0


def test_the_jars_are_pinned() -> None:
    """Every jar has a checksum, and a cut-off or forged file is never used."""
    pinned = jars.pinned()

    assert {jar.name for jar in pinned} >= {
        "kafka_2.13-4.3.1.jar",
        "kafka-clients-4.3.1.jar",
        "log4j-slf4j-impl-2.25.4.jar",
    }
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in pinned)
    assert "://" not in jars.LOCK.read_text()


@pytest.mark.full
def test_a_download_is_shown_and_a_killed_one_heals(data: Path, tmp_path: Path, start: Start) -> None:
    """A first start on an empty cache, killed half-way, then run to its end."""
    cache = str(tmp_path / "cache")
    one = start("infra", "--data-dir", str(data), CARAVAN_CACHE=cache)
    one.says("downloading Kafka")
    one.send(signal.SIGKILL)
    two = start("infra", "--data-dir", str(data), CARAVAN_CACHE=cache)
    two.says(READY)

    assert psutil.pid_exists(two.process.pid)
