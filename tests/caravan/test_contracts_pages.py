"""The pages of domains: made from the code, whole, and known to be old when the code has changed."""

import json
import re
from pathlib import Path

import pytest

from caravan.contracts import pages
from caravan.contracts.catalogue import discovered
from caravan.contracts.documents import documents
from caravan.contracts.terminal import Stale, check, write_pages
from streams import discover

EXAMPLE = re.compile(r"^### (\w+)$.*?^```json\n(.*?)\n```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    domains = discovered()
    return pages.pages(domains, documents(domains))


@pytest.mark.parametrize("domain", discover.domains())
def test_every_message_has_an_example_that_its_contract_takes(found: dict[str, str], domain: str) -> None:
    topic = discover.topic(domain)
    examples = dict(EXAMPLE.findall(found[f"{domain}.md"]))

    assert set(examples) == {*topic.commands, *topic.events}
    for name, kind in {**topic.commands, **topic.events}.items():
        kind.from_topic(json.dumps(json.loads(examples[name])).encode())


@pytest.mark.parametrize("domain", discover.domains())
def test_a_page_tells_who_views_and_what_holds(found: dict[str, str], domain: str) -> None:
    page = found[f"{domain}.md"]

    assert all(f"* `{name}`: " in page for name in discover.checks(domain))
    assert all(f"/v1/{domain}/{name}" in page for name in discover.views(domain))
    assert f"[{domain}]({domain}.md)" in found["README.md"]


def test_pages_older_than_the_code_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says something else, and one that no domain makes."""
    monkeypatch.setattr("caravan.contracts.terminal._pages", lambda: tmp_path)
    write_pages(None)
    check(None, as_json=False)
    (tmp_path / "points.md").write_text("# Points\n")
    with pytest.raises(Stale, match=r"docs/domains/points\.md is older than the code"):
        check(None, as_json=False)
    write_pages(None)
    (tmp_path / "gone.md").write_text("# Gone\n")
    with pytest.raises(Stale, match=r"gone\.md"):
        check(None, as_json=False)

    write_pages(None)

    assert not (tmp_path / "gone.md").exists()
    check(None, as_json=False)
