"""`caravan up`: the whole platform by one command, and its end in every way that it can come."""

import json
import os
import pty
import signal
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from caravan import commands, infra, up
from streams import worker
from tests.caravan.conftest import CARAVAN, ROOT, Running, Start, caravan, clean, gone, until
from tests.caravan.running import Running as Infra

READY = "Ctrl-C ends everything"


def answer(url: str, token: str = "", body: dict[str, Any] | None = None, **headers: str) -> Any:
    """What the edge says to a POST of `body`, or to a GET."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, headers)
    request.add_header("content-type", "application/json")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def ready(url: str) -> bool:
    with suppress(OSError):
        return bool(answer(f"{url}/ready")["status"] == "ready")
    return False


def running(one: Running, command: str) -> list[psutil.Process]:
    """Its processes that have this word in their command."""
    found = []
    for process in one.family():
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            found += [process] if command in process.cmdline() else []
    return found


def workers_of(one: Running) -> list[psutil.Process]:
    return running(one, "worker")


@pytest.mark.req("SR003")
def test_the_whole_platform_by_one_command(data: Path, start: Start, free_port: int) -> None:
    """It serves, says where, is one per folder, restarts what dies, tells its status, and ends without a trace."""
    folder = ("--data-dir", str(data))
    one = start("up", *folder, "--port", str(free_port))
    one.says(READY)
    url = f"http://127.0.0.1:{free_port}"
    token = caravan("token", "--user", "root", "--role", "Admin", *folder).stdout.strip()
    second = caravan("up", *folder)
    awarded = answer(f"{url}/v1/points/award_points", token, {"user_id": "u1", "amount": 5}, prefer="wait=20")
    (worker,) = workers_of(one)
    worker.kill()
    one.says("worker: ended with status -9")
    until(lambda: any(other.pid != worker.pid for other in workers_of(one)), "another worker runs")
    told = json.loads(caravan("status", "--json", *folder).stdout)
    shown = caravan("status", *folder).stdout
    family = one.family()
    one.send(signal.SIGINT)

    assert f"Caravan is ready at {url}" in one.text()
    assert second.returncode == 1
    assert second.stderr.startswith(f"caravan: already running at {url} (process ")
    assert awarded["status"] == "accepted"
    assert sum(agent["position"] for agent in told["agents"] if agent["topic"] == "points.commands") == 1
    assert {"lag", "parked", "rate", "owner"} <= set(told["agents"][0])
    assert told["disk"]["postgres"] > 0
    assert "points.commands" in shown
    assert one.status() == 0
    gone(family)


@pytest.fixture
def elsewhere(infra: Infra, namespace: str) -> dict[str, str]:
    """The run's broker and Postgres as external infrastructure: starting a platform on it is cheap."""
    return {"CARAVAN_KAFKA": infra.kafka, "CARAVAN_POSTGRES": infra.postgres, "CARAVAN_NAMESPACE": namespace}


@pytest.mark.req("SR003")
def test_with_urls_it_starts_no_infrastructure(
    data: Path, start: Start, free_port: int, elsewhere: dict[str, str]
) -> None:
    """CARAVAN_KAFKA and CARAVAN_POSTGRES win; two workers share the partitions; SIGKILL of the supervisor ends all."""
    one = start("up", "--data-dir", str(data), "--port", str(free_port), "--workers", "2", **elsewhere)
    one.says(READY)
    family = one.family()
    workers = workers_of(one)
    one.send(signal.SIGKILL)

    assert len(workers) == 2
    assert sorted(path.name for path in data.glob("*")) == ["lock", "logs", "run.json"]
    gone(family)


def test_a_busy_edge_port_is_named(data: Path, start: Start, infra: Infra, elsewhere: dict[str, str]) -> None:
    """Here the broker of this run listens on it."""
    port = infra.kafka.rsplit(":", 1)[1]
    done = caravan("up", "--data-dir", str(data), "--port", port, **elsewhere)

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (
        f"port {port} for the edge is in use by another program; stop it, or choose another with --port" in done.stderr
    )


@pytest.mark.req("SR003")
def test_a_platform_that_cannot_start_says_why(data: Path) -> None:
    """One line from the process that failed."""
    done = caravan(
        "up",
        "--data-dir",
        str(data),
        CARAVAN_KAFKA="kafka://127.0.0.1:9",
        CARAVAN_POSTGRES="postgresql://c:x@127.0.0.1:9/c",
    )

    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "migrate ended with status 1: caravan: Postgres" in done.stderr


@pytest.mark.full
def test_a_broker_that_does_not_start_ends_what_waits_for_it(data: Path, start: Start, free_port: int) -> None:
    """The schemas are seen to while it starts; that ends with it, and the one line is the broker's."""
    folder = ("--data-dir", str(data))
    one = start("infra", *folder)
    one.says("Ctrl-C ends both")
    one.send(signal.SIGINT)
    one.status()
    stamp = data / "kafka" / "meta.properties"
    stamp.write_text(stamp.read_text().replace("node.id=1", "node.id=99"))
    two = start("up", *folder, "--port", str(free_port))
    until(lambda: running(two, "--early"), "the schemas are seen to")
    family = two.family()

    assert two.status() == 1
    assert "caravan: kafka ended with status 1" in two.text()
    gone(family)


@pytest.mark.req("SR002")
@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_make_is_the_end_of_all(
    data: Path, start: Start, free_port: int, elsewhere: dict[str, str], number: signal.Signals
) -> None:
    """A make that is told to end, or that is killed, takes everything along."""
    arguments = f"ARGS=--data-dir {data} --port {free_port}"
    one = start("-C", str(ROOT), "up", arguments, command=["make"], **elsewhere)
    one.says(READY)
    family = one.family()
    one.send(number)
    gone(family)


@pytest.mark.req("SR002")
@pytest.mark.full
def test_the_end_of_the_terminal_is_the_end_of_all(data: Path, free_port: int, elsewhere: dict[str, str]) -> None:
    """As when its window is closed."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [*CARAVAN, "up", "--data-dir", str(data), "--port", str(free_port)], clean(elsewhere))
    family = [psutil.Process(pid)]
    until(lambda: ready(f"http://127.0.0.1:{free_port}"), "the edge is ready")
    family += family[0].children(recursive=True)
    os.close(master)
    gone(family)

    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.full
def test_it_survives_a_terminal_that_is_closed_under_nohup(
    data: Path, start: Start, free_port: int, elsewhere: dict[str, str]
) -> None:
    """`nohup caravan up` goes on."""
    one = start(
        "caravan",
        "up",
        "--data-dir",
        str(data),
        "--port",
        str(free_port),
        command=["nohup", sys.executable, "-m"],
        **elsewhere,
    )
    one.says(READY)
    one.send(signal.SIGHUP)

    assert ready(f"http://127.0.0.1:{free_port}")


def test_an_end_in_order_waits_for_those_who_drain() -> None:
    """Nobody is killed for taking as long as it gives itself; `down` waits for all of that."""
    assert max(worker.LEAVE_S, commands.DRAIN) < up.STOP
    assert up.STOP + infra.STOP < up.DOWN
