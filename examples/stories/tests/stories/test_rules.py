"""The rules of stories, without a platform: they know nothing of moderation."""

from datetime import UTC, datetime

from agents.stories.rules import Story, decide, evolve
from topics.stories import PublishStory, StoryPublished, StoryTakenDown, TakeStoryDown

from streams.decision import ROOT, Case, Refuse

NEW = {ROOT: Story()}
CASE = Case(datetime(2026, 1, 1, tzinfo=UTC), "some-command")
TOLD = {"story_id": "s", "author_id": "ann", "title": "A walk", "text": "Early."}
PUBLISHED = evolve(NEW, StoryPublished(**TOLD))


def test_a_story_is_published_and_told_anew_by_its_author() -> None:
    again = PublishStory(**TOLD | {"text": "Late."})

    assert decide(NEW, PublishStory(**TOLD), CASE) == [StoryPublished(**TOLD)]
    assert decide(PUBLISHED, again, CASE) == [StoryPublished(**TOLD | {"text": "Late."})]
    assert decide(PUBLISHED, PublishStory(**TOLD | {"author_id": "bob"}), CASE) == Refuse("not_author", 403)


def test_a_story_is_taken_down_once() -> None:
    down = evolve(PUBLISHED, StoryTakenDown(story_id="s"))

    assert decide(PUBLISHED, TakeStoryDown(story_id="s"), CASE) == [StoryTakenDown(story_id="s")]
    assert decide(down, TakeStoryDown(story_id="s"), CASE) == []
