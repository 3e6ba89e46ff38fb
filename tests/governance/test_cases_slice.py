"""Moderation through the loop in memory: commands in, results, events, documents and rows out."""

from collections.abc import Iterator

import pytest

from streams.testing import Kit
from topics.governance import SubmitForModeration


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("governance") as kit:
        yield kit


@pytest.mark.req("SR097")
def test_a_revision_has_one_case(kit: Kit) -> None:
    command = SubmitForModeration(subject="notes:n1", revision=1, kind="note", author_id="u1")

    assert kit.send(command).status == "accepted"
    assert kit.send(command).code == "case_open"
    assert [row[:7] for row in kit.rows("moderation_case")] == [("notes:n1", 1, 1, "note", "u1", "submission", "open")]
