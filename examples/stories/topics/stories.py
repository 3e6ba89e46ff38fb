"""Stories: keyed by the story that each message is about. What users write is published when a moderator has approved it."""

from streams.contract import Command, Event, Id, Name, Reason, Text, Topic
from topics.governance import until_approved

STORIES = Topic("stories", key="story_id")


class PublishStory(
    Command,
    topic=STORIES,
    roles=("User",),
    owner="author_id",
    held=until_approved(title="title", text="text", down="take_story_down"),
    examples=({"story_id": "story-1", "author_id": "u1", "title": "A walk", "text": "We set out early."},),
):
    """Tell a story, or tell it anew; its id is the author's choice, and a story of somebody else is `not_author`."""

    story_id: Id
    author_id: Name
    title: Reason
    text: Text


class TakeStoryDown(Command, topic=STORIES, services=("stories",)):
    """Show it no more."""

    story_id: Id


class StoryPublished(Event, topic=STORIES):
    """There is a story to read."""

    story_id: Id
    author_id: Name
    title: Reason
    text: Text


class StoryTakenDown(Event, topic=STORIES):
    """It is there no longer."""

    story_id: Id
