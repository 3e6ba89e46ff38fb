"""The rules of stories: what a command leads to, and what an event changes. Nothing here knows that content is held back."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from topics.stories import PublishStory, StoryPublished, StoryTakenDown, TakeStoryDown

from streams.decision import ROOT, Case, Decision, Refuse, State


class Story(State, frozen=True):
    """What is known of one story; one that nothing was heard of has the defaults."""

    author_id: str | None = None
    title: str = ""
    text: str = ""
    shown: bool = False


def decide(state: Mapping[str, Any], command: Any, _case: Case) -> Decision:
    """What a command leads to: events, or a refusal with a stable code."""
    story: Story = state[ROOT]
    match command:
        case PublishStory():
            if story.author_id not in (None, command.author_id):
                return Refuse("not_author", 403)
            return [StoryPublished(**dict(command))]
        case TakeStoryDown():
            return [StoryTakenDown(story_id=command.story_id)] if story.shown else []
    raise NotImplementedError(command.wire_name)


def evolve(state: Mapping[str, Any], event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    match event:
        case StoryPublished():
            return {ROOT: Story(event.author_id, event.title, event.text, shown=True)}
        case StoryTakenDown():
            return {ROOT: replace(state[ROOT], shown=False)}
    return {}
