"""What every test may ask for: the run's broker and Postgres, a namespace of its own, settings for it."""

import os
import secrets
import signal
from pathlib import Path

import hypothesis
import pytest

from caravan import instance
from streams.settings import Settings
from tests.caravan.running import Databases, Run, Running, given

pytest_plugins = ["tests.caravan.left_open"]
SHARED = "CARAVAN_TEST_RUN"  # tells the test processes of a run what its controller has begun
RUN = pytest.StashKey[Run]()
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine breaks no law
hypothesis.settings.load_profile("untimed")
WORDS = {
    "given": "the Kafka and Postgres of CARAVAN_TEST_* or CARAVAN_*",
    "docker": "containers, since a Docker engine answers",
    "embedded": "embedded Kafka and Postgres, since no URLs are given and no Docker engine answers",
}


def pytest_configure(config: pytest.Config) -> None:
    # A run in the background of a script ignores these, and what it starts would too.
    for ignored, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, usual)
    if hasattr(config, "workerinput"):
        folder, controller, kind = os.environ[SHARED].split(os.pathsep)
        config.stash[RUN] = Run(Path(folder), int(controller), kind)
        return
    run = config.stash[RUN] = Run.begin()
    os.environ[SHARED] = os.pathsep.join((str(run.folder), str(run.controller), run.kind))


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and RUN in config.stash:
        config.stash[RUN].end()


def pytest_report_header(config: pytest.Config) -> str:
    kind = config.stash[RUN].kind
    note = f"; of the user: {', '.join(given())}" if given() and kind != "given" else ""
    return f"infrastructure: {WORDS[kind]}{note}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what tests want to be told of them though they passed: `record_property("told", ...)`."""
    for report in terminalreporter.getreports("passed"):
        for name, told in report.user_properties:
            if name == "told" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}\n{told}")


@pytest.fixture(scope="session")
def infra(pytestconfig: pytest.Config) -> Running:
    """The run's one broker and one Postgres: `.kafka` is a URL, `.postgres` a DSN."""
    return pytestconfig.stash[RUN].infra()


@pytest.fixture
def namespace() -> str:
    """A prefix that no other test has."""
    return f"t{secrets.token_hex(3)}_"


@pytest.fixture(scope="session")
def databases(pytestconfig: pytest.Config) -> Databases:
    """Databases of the run's Postgres, for tests that are many."""
    return Databases(pytestconfig.stash[RUN])


@pytest.fixture
def settings(infra: Running, databases: Databases, namespace: str) -> Settings:
    """Settings of a namespace of its own on the run's infrastructure."""
    postgres = databases.dsn()
    return Settings(
        kafka=infra.kafka,
        postgres=postgres,
        postgres_read=postgres,
        namespace=namespace,
        signing_keys=(("k1", bytes(range(32))),),
        jwt_secret="a-secret-that-only-the-tests-use-0123456789",
    )


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago."""
    return instance.free_ports(1)[0]
