"""The example of a domain that becomes moderated by one line, in a checkout of its own: found by its name, as any domain is."""

import shutil
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from caravan.commands import signed_token
from caravan.instance import Instance
from streams.settings import Settings
from tests.caravan.conftest import ROOT, clean, starting, until
from tests.caravan.running import Running
from tests.caravan.test_up import READY, answer

EXAMPLE = ROOT / "examples" / "stories"
LINE = '    held=until_approved(title="title", text="text", down="take_story_down"),\n'
PARTS = ("agents", "api", "caravan", "sinks", "streams", "topics", "tests/caravan", "tests/conftest.py", "tests/__init__.py", "pyproject.toml")  # fmt: skip
PUBLISH = """
from streams.testing import Kit, user
from topics.stories import PublishStory
with Kit.of("stories", "governance") as kit:
    story = PublishStory(story_id="s", author_id="ann", title="A walk", text="Early.")
    print(kit.send(story, actor=user("ann")).status, len(kit.rows("story")), len(kit.rows("moderation_case", "governance")))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's code with the example laid over it."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return Path(shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")))


def python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python there, with the code of that folder."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=clean({}), capture_output=True, text=True, check=False
    )


@pytest.mark.req("SR097")
def test_the_example_passes_its_tests(checkout: Path) -> None:
    tested = python(checkout, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests/stories")

    assert tested.returncode == 0, tested.stdout


@pytest.mark.req("SR097")
def test_without_the_line_a_story_is_published_at_once(checkout: Path) -> None:
    contract = checkout / "topics" / "stories.py"
    text = contract.read_text()
    contract.write_text(text.replace(LINE, ""))
    told = python(checkout, "-c", PUBLISH)
    contract.write_text(text)

    assert text.count(LINE) == 1
    assert told.stdout == "accepted 1 0\n", told.stderr


@pytest.mark.full
def test_its_contracts_are_exported_with_what_holding_back_adds(checkout: Path) -> None:
    done = python(checkout, "-m", "caravan", "contracts", "export")
    assert done.returncode == 0, done.stdout + done.stderr
    written = {
        path.name.split(".")[0] for path in (checkout / "docs" / "contracts" / "schemas" / "stories").rglob("*.json")
    }

    assert written >= {"content_held", "content_released", "content_discarded", "publish_content", "story_published"}


@pytest.mark.full
@pytest.mark.req("SR097")
@pytest.mark.req("SR098")
@pytest.mark.timeout(400)
def test_on_a_platform_a_story_waits_for_its_moderator_and_goes_with_its_author(
    checkout: Path, infra: Running, namespace: str, free_port: int, tmp_path: Path
) -> None:
    """Through Kafka and Postgres, by HTTP alone."""
    environment = {"CARAVAN_KAFKA": infra.kafka, "CARAVAN_POSTGRES": infra.postgres, "CARAVAN_NAMESPACE": namespace}
    environment["CARAVAN_DATA_DIR"] = str(tmp_path / "data")
    url, about = f"http://127.0.0.1:{free_port}/v1", {"subject": "stories:s", "revision": 1}
    with starting(tmp_path) as start:
        one = start("up", "--port", str(free_port), cwd=checkout, **environment)
        one.says(READY)
        settings = Settings.from_env(Instance(tmp_path / "data").environment(environment))
        ann, moderator = (signed_token(settings, *who, 600) for who in (("ann", "User"), ("mo", "Admin")))

        def shown() -> Any:
            try:
                return answer(f"{url}/stories/story/s")
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                return None

        story = {"story_id": "s", "author_id": "ann", "title": "A walk", "text": "Early."}
        told = answer(f"{url}/stories/publish_story", ann, story)
        until(lambda: answer(f"{url}/governance/moderation_queue", moderator)["items"], "it waits for its moderator")
        assert (answer(f"{url}/commands/{told['command_id']}?domain=stories", ann)["status"], shown()) == (
            "pending",
            None,
        )

        approved = answer(f"{url}/governance/approve_content", moderator, about, prefer="wait=20")
        assert approved["status"] == "accepted"
        until(shown, "it is published")
        assert answer(f"{url}/commands/{told['command_id']}?domain=stories", ann)["status"] == "accepted"

        ban = {"user_id": "ann", "sanction_id": "b1", "reason": "Insults"}
        assert answer(f"{url}/governance/ban_user", moderator, ban, prefer="wait=20")["status"] == "accepted"
        until(lambda: shown() is None, "the stories of the banned are hidden", limit=5)
