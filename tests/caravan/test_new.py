"""`caravan new`: a domain in three places and no edit elsewhere, on a checkout of its own."""

import hashlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from caravan import new
from caravan.commands import signed_token
from caravan.errors import BadInput
from caravan.instance import Instance
from streams.settings import Settings
from tests.caravan.conftest import CARAVAN, ROOT, Start, caravan, caravan_in, clean, until
from tests.caravan.running import Running as Infra
from tests.caravan.test_up import READY, answer

PARTS = ("agents", "api", "caravan", "sinks", "streams", "topics", "tests/caravan", "tests/conftest.py", "tests/__init__.py", "pyproject.toml")  # fmt: skip
WRITTEN = {"topics", "agents", "tests"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project's code in a folder of its own."""
    folder = tmp_path / "checkout"
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """What is in every file."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def python(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python there, with the code of that folder."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=clean(environment), capture_output=True, text=True, check=False
    )


@pytest.mark.req("SR054")
def test_a_new_domain_passes_its_own_tests_and_changes_no_file(checkout: Path) -> None:
    """What it writes is said, with what to do next."""
    before = hashes(checkout)
    done = caravan_in(checkout, ("new", "stories", "--yes"), {})
    after = hashes(checkout)
    added = sorted(set(after) - set(before))
    tested = python(checkout, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests/stories")

    assert done.returncode == 0, done.stderr
    assert [
        line.removeprefix("wrote ") for line in sorted(done.stdout.splitlines()) if line.startswith("wrote ")
    ] == added
    assert {path.split("/")[0] for path in added} == WRITTEN
    assert {path: after[path] for path in before} == before
    assert "curl -s localhost:8000/v1/stories/create_story" in done.stdout
    assert tested.returncode == 0, tested.stdout
    assert caravan_in(checkout, ("new", "stories", "--yes"), {}).stderr.startswith(
        "caravan: topics/stories.py is there already"
    )
    assert hashes(checkout) == after


@pytest.mark.full
@pytest.mark.parametrize(
    "names",
    [
        ("orders", "--aggregate", "order", "--key", "user", "--command", "sell", "--event", "sold"),
        ("x1", "--aggregate", "a"),
        (f"{'very_' * 7}long", "--command", f"{'begin_' * 7}it", "--key", f"{'some_' * 9}id"),
    ],
)
def test_what_is_written_passes_every_check(checkout: Path, names: tuple[str, ...]) -> None:
    """Lint, format, types and import contracts, whatever the names are; and its own tests."""
    done = caravan_in(checkout, ("new", *names, "--yes"), {})
    domain = names[0]
    paths = [f"topics/{domain}.py", f"agents/{domain}", f"tests/{domain}"]
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"

    assert done.returncode == 0, done.stderr
    for command in (
        ("-m", "ruff", "check", "--no-cache", *paths),
        ("-m", "ruff", "format", "--no-cache", "--check", *paths),
        ("-m", "mypy", "--cache-dir", str(checkout / "types"), *paths),
        ("-c", lint),
        ("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", f"tests/{domain}"),
    ):
        checked = python(checkout, *command)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("class", "means something else in Python"),
        ("match", "means something else in Python"),
        ("list", "means something else in Python"),
        ("edge", "the edge has a schema of that name"),
        ("commands", "/v1/commands tells what became of commands"),
        ("my-orders", "lower-case words joined by _"),
        ("Orders", "lower-case words joined by _"),
        ("_orders", "lower-case words joined by _"),
        ("orders_", "lower-case words joined by _"),
        ("orders_2", "lower-case words joined by _"),
        ("../orders", "lower-case words joined by _"),
        ("", "lower-case words joined by _"),
        ("x" * 41, "at most 40 characters"),
        ("pg_orders", "choose another name"),
        ("orders_shadow", "choose another name"),
        ("streams", "tests/streams is there already"),
        ("points", "is there already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(domain: str, words: str) -> None:
    """With the reason and the mend."""
    with pytest.raises(BadInput, match=words):
        new.check_domain(domain, ROOT)


@pytest.mark.parametrize(
    "given",
    [
        {"aggregate": "state"},
        {"aggregate": "results"},
        {"key": "text"},
        {"key": "topic"},
        {"key": "model_dump"},
        {"command": "order"},
        {"command": "create-order"},
        {"command": "place_order", "event": "place_order"},
        {"event": "import"},
    ],
)
def test_a_name_inside_that_cannot_be_is_refused(given: dict[str, str | None]) -> None:
    """What two things would share, or what the core needs."""
    names: dict[str, Any] = {"aggregate": None, "key": None, "command": None, "event": None, **given}
    with pytest.raises(BadInput):
        new.named("orders", names, lambda _question, usual: usual)


@pytest.mark.parametrize(
    ("domain", "aggregate", "event"),
    [("invoices", "invoice", "invoice_created"), ("stories", "story", "story_created"), ("news", "new", "new_created")],
)
def test_usual_names(domain: str, aggregate: str, event: str) -> None:
    """What is meant when nothing is said."""
    names = new.named(domain, dict.fromkeys(("aggregate", "key", "command", "event")), lambda _question, usual: usual)

    assert names == new.Names(domain, aggregate, f"{aggregate}_id", f"create_{aggregate}", event)


@pytest.mark.parametrize(
    ("command", "event"),
    [("pay_bill", "bill_paid"), ("apply", "applied"), ("place_order", "order_placed"), ("play_song", "song_played")],
)
def test_the_past_of_a_command(command: str, event: str) -> None:
    """Events are facts."""
    assert new.past(command) == event


def test_a_folder_that_is_no_checkout_is_told(tmp_path: Path) -> None:
    """Nothing is written there."""
    done = caravan("new", "stories", "--yes", "--into", str(tmp_path))

    assert (done.returncode, done.stderr.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
    assert "is no checkout of Caravan" in done.stderr


def test_on_a_terminal_it_asks(checkout: Path) -> None:
    """A bad answer is told and asked for again; an empty line takes what is offered."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(checkout)
        os.execve(sys.executable, [*CARAVAN, "new", "stories"], clean({"TERM": "dumb"}))
    os.write(terminal, b"state\ntale\n\ntell_tale\n\n")
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # its end
        pass
    os.close(terminal)

    assert os.waitpid(pid, 0)[1] == 0, shown.decode()
    assert b"has a meaning in every domain" in shown
    assert 'Topic("stories", key="tale_id")' in (checkout / "topics" / "stories.py").read_text()
    assert "class TaleTelled(Event" in (checkout / "topics" / "stories.py").read_text()


@pytest.mark.req("SR054")
@pytest.mark.full
@pytest.mark.timeout(400)
def test_a_domain_is_added_beside_the_running_platform(
    checkout: Path, infra: Infra, namespace: str, start: Start, free_port: int, tmp_path: Path
) -> None:
    """`up --reload` serves it by itself; code that is broken replaces nothing, and no existing file changes."""
    environment = {"CARAVAN_KAFKA": infra.kafka, "CARAVAN_POSTGRES": infra.postgres, "CARAVAN_NAMESPACE": namespace}
    environment["CARAVAN_DATA_DIR"] = str(tmp_path / "data")
    one = start("up", "--reload", "--port", str(free_port), cwd=checkout, **environment)
    one.says(READY)
    before = hashes(checkout)
    done = caravan_in(checkout, ("new", "stories", "--yes"), environment)
    one.says(": reloaded in ")
    settings = Settings.from_env(Instance(tmp_path / "data").environment(environment))
    token, url = signed_token(settings, "u1", "User", 600), f"http://127.0.0.1:{free_port}/v1/stories"
    made = answer(f"{url}/create_story", token, {"story_id": "s1", "text": "Once"}, prefer="wait=20")
    read = answer(f"{url}/story/s1?after={made['token']}", token)
    after = hashes(checkout)
    rules = checkout / "agents" / "stories" / "rules.py"
    whole = rules.read_text()
    rules.write_text(whole + "def broken(:\n")
    one.says("what ran goes on until that is mended")
    goes_on = answer(f"{url}/story/s1", token)
    rules.write_text(whole.replace("_exists", "_is_known"))
    until(lambda: one.text().count(": reloaded in ") == 2, "it is mended")
    again = caravan_in(checkout, ("send", "-"), environment, given=told_again())
    one.process.terminate()

    assert done.returncode == 0, done.stderr
    assert (made["status"], read["text"], goes_on) == ("accepted", "Once", read)
    assert {path: after[path] for path in before} == before
    assert f"agents/stories/rules.py:{whole.count(chr(10)) + 1}: SyntaxError" in one.text()
    assert "  story_is_known  1" in again.stdout, again.stderr
    assert one.status() == 0


def told_again() -> str:
    """A command file with the same story once more."""
    data = '{"story_id": "s1", "text": "Twice"}'
    return f'{{"command": "stories.create_story", "id": "{uuid4()}", "as": {{"user": "u1", "role": "User"}}, "data": {data}}}'
