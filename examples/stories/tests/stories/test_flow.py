"""Stories through the shipped loop, with store and broker in memory: nobody reads what no moderator has approved."""

from collections.abc import Iterator
from typing import Any

import pytest
from topics.stories import PublishStory

from streams.testing import Kit, user
from topics.governance import ApproveContent, BanUser, RejectContent, ReportContent, UnbanUser

ANN, MODERATOR = user("ann"), user("mo", "Admin")
REVISION: dict[str, Any] = {"subject": "stories:s", "revision": 1}
STORY: dict[str, Any] = {"story_id": "s", "author_id": "ann", "title": "A walk", "text": "Early."}


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("stories", "governance") as kit:
        yield kit


def told(kit: Kit, name: str) -> int:
    """How many events of this name there are."""
    return sum(envelope.type == name for envelope in kit.envelopes())


def test_a_story_is_read_when_it_was_approved(kit: Kit) -> None:
    waiting = kit.send(PublishStory(**STORY), actor=ANN)
    assert (waiting.status, kit.rows("story"), told(kit, "story_published")) == ("pending", [], 0)

    kit.send(ApproveContent(**REVISION), actor=MODERATOR)
    assert [row[:5] for row in kit.rows("story")] == [("s", "ann", "A walk", "Early.", True)]
    assert {one.status for one in kit.store.schemas["stories"].results.values()} == {"accepted"}


def test_a_story_that_is_rejected_is_never_read_and_its_author_is_told_why(kit: Kit) -> None:
    kit.send(PublishStory(**STORY), actor=ANN)
    kit.send(RejectContent(**REVISION, reason="It is an advertisement."), actor=MODERATOR)

    (refused,) = (one for one in kit.store.schemas["stories"].results.values() if one.status == "rejected")
    assert (refused.code, kit.rows("story"), told(kit, "story_published")) == ("content_rejected", [], 0)


def test_a_story_that_was_reported_and_then_rejected_is_taken_down(kit: Kit) -> None:
    for revision in (1, 2):
        kit.send(PublishStory(**STORY), actor=ANN)
        kit.send(ApproveContent(subject="stories:s", revision=revision), actor=MODERATOR)
    (row,) = kit.rows("story")
    report = ReportContent(subject="stories:s", revision=row[5], reporter_id="bob", category="spam")
    kit.send(report, actor=user("bob"))
    kit.send(
        RejectContent(subject="stories:s", revision=row[5], case=2, reason="It is an advertisement."), actor=MODERATOR
    )

    (row,) = kit.rows("story")
    assert (row[5], row[4]) == (2, False)


def test_the_stories_of_the_banned_are_hidden_until_the_ban_is_over(kit: Kit) -> None:
    kit.send(BanUser(user_id="ann", sanction_id="b1", reason="Insults"), actor=MODERATOR)
    assert kit.rows("author") == [("ann", True)]
    kit.send(UnbanUser(user_id="ann", sanction_id="b1", reason="An apology"), actor=MODERATOR)
    assert kit.rows("author") == [("ann", False)]


def test_its_rows_can_be_built_from_its_events_alone(kit: Kit) -> None:
    kit.send(PublishStory(**STORY), actor=ANN)
    kit.send(ApproveContent(**REVISION), actor=MODERATOR)

    assert kit.rebuilt().schemas["stories"].rows == kit.store.schemas["stories"].rows
