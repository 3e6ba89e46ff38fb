"""The command line: help worth reading, errors in one line, tokens."""

import subprocess
from pathlib import Path

import jwt
import pytest

from tests.caravan.conftest import CARAVAN, ROOT, caravan, clean

COMMANDS = (
    "up",
    "down",
    "infra",
    "worker",
    "api",
    "migrate",
    "token",
    "status",
    "send",
    "tail",
    "explain",
    "topics",
    "clock",
    "reset",
)
SECRET = "a-secret-that-only-the-tests-use-0123456789"
ELSEWHERE = {
    "CARAVAN_KAFKA": "kafka://127.0.0.1:9",
    "CARAVAN_POSTGRES": "postgresql://caravan:x@127.0.0.1:9/caravan",
    "CARAVAN_SIGNING_KEYS": f"k1:{'ab' * 32}",
    "CARAVAN_JWT_SECRET": SECRET,
}


def test_help_names_every_command() -> None:
    """The first thing that a user types shows all there is, and shell completion."""
    shown = caravan("--help").stdout

    assert all(f" {name} " in shown for name in (*COMMANDS, "new"))
    assert "--install-completion" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    """Help says what it does, takes --data-dir and shows an example."""
    done = caravan(command, "--help", COLUMNS="160")

    assert done.returncode == 0
    assert "--data-dir" in done.stdout
    assert f"caravan {command}" in done.stdout.split("Examples")[1]


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "words"),
    [
        (("fly",), {}, 2, "No such command 'fly'; see: caravan --help"),
        (("up", "--porty", "1"), {}, 2, "No such option: --porty"),
        (("up", "--port", "99999"), {}, 2, "see: caravan up --help"),
        (("token", "--user", "u1"), {}, 2, "Missing option '--role'"),
        (
            ("token", "--user", "u1", "--role", "King"),
            ELSEWHERE,
            2,
            "the roles are Guest, User, VIP, PRO, Partner, Admin",
        ),
        (("token", "--user", "u1", "--role", "User", "--ttl", "soon"), ELSEWHERE, 2, "write it as 90s, 15m, 12h or 7d"),
        (("worker", "--domains", "nope"), ELSEWHERE, 2, "there is no domain 'nope'; there are: "),
        (("worker",), {}, 1, "start one with `caravan up`"),
        (("api",), {}, 1, "start one with `caravan up`"),
        (("status",), {}, 1, "start one with `caravan up`"),
        (("status",), ELSEWHERE, 1, "Postgres"),
        (("migrate",), ELSEWHERE, 1, "Postgres"),
        (("status",), {**ELSEWHERE, "CARAVAN_SIGNING_KEYS": "?"}, 1, "CARAVAN_SIGNING_KEYS"),
    ],
)
def test_an_error_is_one_line_with_the_mend(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], status: int, words: str
) -> None:
    """No traceback, whatever goes wrong."""
    done = caravan(*arguments, **environment, CARAVAN_DATA_DIR=str(tmp_path / "none"))

    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (status, 1, ""), done.stderr
    assert done.stderr.startswith("caravan: ")
    assert words in done.stderr


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    """CARAVAN_DEBUG=1 is for us."""
    done = caravan("status", "--data-dir", str(tmp_path), CARAVAN_DEBUG="1")

    assert "Traceback" in done.stderr
    assert "NotRunning" in done.stderr


def test_a_full_disk_is_one_line() -> None:
    """What the system says as ENOSPC is said in words."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*CARAVAN, "token", "--user", "u1", "--role", "User"],
            env=clean({**ELSEWHERE, "PYTHONUNBUFFERED": "1"}), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "caravan: the disk is full (while writing): free some space and run this again\n"


def test_a_token_says_who_calls_and_until_when() -> None:
    """The edge needs these claims."""
    done = caravan("token", "--user", "u1", "--role", "PRO", "--ttl", "15m", **ELSEWHERE)
    claims = jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"], audience="caravan", issuer="caravan")

    assert (claims["sub"], claims["role"], claims["exp"] - claims["iat"]) == ("u1", "PRO", 900)


def test_production_has_no_development_tokens() -> None:
    """There the identity provider signs."""
    done = caravan(
        "token", "--user", "u1", "--role", "User", **ELSEWHERE, CARAVAN_PROFILE="production", CARAVAN_JWT_PUBLIC_KEY="x"
    )

    assert done.returncode == 2
    assert "identity provider" in done.stderr


def test_nothing_runs_so_down_has_nothing_to_do(tmp_path: Path) -> None:
    """That is no error: what was asked for is so."""
    done = caravan("down", "--data-dir", str(tmp_path))

    assert done.returncode == 0
    assert done.stdout == f"nothing runs on {tmp_path}\n"
    assert list(tmp_path.iterdir()) == []
