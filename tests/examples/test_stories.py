"""The example of a domain that becomes moderated by one line, in a checkout of its own: found by its name, as any domain is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.caravan.conftest import ROOT, clean

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
