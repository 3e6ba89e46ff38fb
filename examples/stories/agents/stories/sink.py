"""Rows of stories: one for each story, as it is after its last event; and whose stories are hidden, since they are banned."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from topics.stories import StoryPublished, StoryTakenDown

from streams.decision import ROOT
from streams.holding import shown_revision
from streams.sink import Fact, rows
from topics.governance import UserBanned


@rows("story", key=("story_id",))
class StoryRow(NamedTuple):
    story_id: str
    author_id: str
    title: str
    text: str
    shown: bool
    revision: int
    changed_at: datetime


@rows("author", key=("user_id",))
class AuthorRow(NamedTuple):
    user_id: str
    hidden: bool


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The rows that an event writes; a row replaces the one with the same key."""
    match fact.event:
        case StoryPublished() | StoryTakenDown():
            story = state[ROOT]
            return (
                StoryRow(
                    fact.key, story.author_id, story.title, story.text, story.shown, shown_revision(state), fact.at
                ),
            )
    return ()


def hide(fact: Fact[Any], _state: Mapping[str, Any]) -> Iterable[Any]:
    """Nobody reads the stories of those who are banned."""
    if fact.event.wire_name in ("user_banned", "user_unbanned", "ban_expired"):
        return (AuthorRow(fact.key, isinstance(fact.event, UserBanned)),)
    return ()
