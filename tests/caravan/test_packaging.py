"""What a fresh checkout promises: locks, set-up from a plain Python, containers of the same parts."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft201909Validator

from tests.caravan.conftest import OFFLINE, ROOT, caravan, clean

LOCKS = ("requirements.lock", "deploy/requirements.lock")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SCHEMA = json.loads(
    Path(__file__).with_name("compose-spec.json").read_text()
)  # the Compose Specification's own, Apache-2.0
PLATFORM = [name for name, service in COMPOSE["services"].items() if "build" in service]


def pins(lock: str) -> dict[str, str]:
    """Package to version and hashes."""
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text().strip())
    return {block.split("==")[0].split("[")[0]: block for block in blocks}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_host(lock: str) -> None:
    """Whoever installs from it, from whatever mirror, gets these bytes."""
    assert all("--hash=sha256:" in block for block in pins(lock).values())
    assert "://" not in (ROOT / lock).read_text()


def test_containers_run_the_versions_that_were_tested() -> None:
    """The lock of the image is a part of the developers' lock."""
    tested = pins("requirements.lock")

    assert {name: tested.get(name) for name in pins("deploy/requirements.lock")} == pins("deploy/requirements.lock")


def test_compose_is_valid() -> None:
    """By the schema of the Compose Specification; where it names a service, a volume or a file, there is one."""
    Draft201909Validator(SCHEMA).validate(COMPOSE)
    services = COMPOSE["services"]
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}

    assert mounted == set(COMPOSE["volumes"])
    assert all(other in services for service in services.values() for other in service.get("depends_on", {}))
    assert all("healthcheck" in services[name] for name in services if name not in {"migrate", "worker"})
    assert all((ROOT / services[name]["build"]["dockerfile"]).is_file() for name in PLATFORM)


@pytest.mark.parametrize("service", PLATFORM)
def test_compose_gives_commands_and_settings_that_there_are(service: str) -> None:
    """Its commands are those of the command line, its variables those of the settings."""
    command, *options = COMPOSE["services"][service]["command"]
    shown = caravan(command, "--help", COLUMNS="160")
    settings = (ROOT / "streams" / "settings.py").read_text()

    assert shown.returncode == 0
    assert all(option in shown.stdout for option in options if option.startswith("--"))
    assert all(f'"{name}"' in settings for name in COMPOSE["services"][service]["environment"])


def test_the_image_holds_what_the_command_needs() -> None:
    """Every package of the wheel is copied into it."""
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))

    assert copied == {"caravan", "api", "agents", "sinks", "topics", "streams"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make setup` needs of the project, in a folder with a space in its name."""
    folder = tmp_path / "a folder"
    (folder / "caravan").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "caravan/setup.sh"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run make there."""
    return subprocess.run(
        ["make", "--silent", "-C", str(folder), *arguments],
        env=clean(environment),
        capture_output=True,
        text=True,
        check=False,
    )


def python_that(folder: Path, *lines: str) -> Path:
    """A Python with something added to its start."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text("\n".join(lines))
    wrapper = folder / "python"
    wrapper.write_text(f"#!/bin/sh\nPYTHONPATH='{folder / 'site'}' exec python3 \"$@\"\n")
    wrapper.chmod(0o755)
    return wrapper


def test_where_ensurepip_is_missing_one_line_names_the_package(checkout: Path, tmp_path: Path) -> None:
    """As on a fresh Debian, and no half-made .venv stays."""
    python = python_that(tmp_path, "import sys", "sys.modules['ensurepip'] = None")
    done = make(checkout, "setup", f"PYTHON={python}")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]

    assert done.returncode != 0
    assert len(lines) == 1, done.stderr
    assert re.search(r"install python3\.\d+-venv \(Debian, Ubuntu: apt-get install python3\.\d+-venv\)", lines[0])
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_too_old_is_named(checkout: Path, tmp_path: Path) -> None:
    """With how to give another."""
    python = python_that(tmp_path, "import sys", "sys.version_info = (3, 9, 2)")
    done = make(checkout, "setup", f"PYTHON={python}")

    assert "is Python 3.9, caravan needs 3.11 or later; name one: make setup PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.full
def test_a_set_up_that_fails_leaves_no_half_made_environment(checkout: Path) -> None:
    """Here for want of a network."""
    done = make(
        checkout, "setup", **OFFLINE, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1", PIP_NO_INDEX="1", PIP_FIND_LINKS=""
    )

    assert done.returncode != 0
    assert not (checkout / ".venv").exists()


def test_a_second_set_up_has_nothing_to_do() -> None:
    """It says nothing and changes nothing."""
    stamp = ROOT / ".venv" / "caravan-stamp"
    before = stamp.stat().st_mtime_ns
    done = make(ROOT, "setup")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == before


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("user", ["ourselves", "nobody"])
def test_a_fresh_checkout_runs_for_us_and_for_an_ordinary_user(folders: Callable[[], Path], user: str) -> None:
    """From a plain Python to a running broker and Postgres, with a home of its own, in a folder with a space in its name."""
    place = folders().parent
    folder, home = place / "a folder", place / "home"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    home.mkdir()
    place.chmod(0o755 if user == "nobody" else 0o700)  # as root, Postgres' user then reaches neither folder nor .venv
    become: list[str] = []
    if user == "nobody" and os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody", str(place)], check=True)
        become = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or "python3"
    steps = f"""
        cd '{folder}' && make setup PYTHON={python} && make setup
        export CARAVAN_DATA_DIR='{place / "data"}'
        .venv/bin/python -m caravan infra & child=$!
        trap 'kill $child; wait $child' EXIT
        until grep -sq made "$CARAVAN_DATA_DIR/run.json" && .venv/bin/python -m caravan migrate; do sleep 0.5; kill -0 $child || exit 1; done
    """
    done = subprocess.run(
        [*become, "sh", "-c", steps], env=clean({"HOME": str(home)}), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "created topic points.events" in done.stdout
