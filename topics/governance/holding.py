"""The line by which a domain holds content back until it is approved here."""

from streams.holding import Held
from topics.governance.cases import ContentApproved, ContentRejected


def until_approved(
    *,
    text: str | None = None,
    title: str | None = None,
    media: str | None = None,
    kind: str | None = None,
    down: str | None = None,
) -> Held:
    """Class argument `held` of a command that publishes something (`streams.holding`)::

        class PublishStory(Command, topic=STORIES, roles=("User",), owner="author_id", held=until_approved(text="text")):

    `text`, `title` and `media` name the fields that are looked at, by checks and by people; `kind` is how the content is called there, and whether
    it may be `automatic`; `down` names the command by which the domain takes down what is rejected after it was published.
    """
    return Held(ContentApproved, ContentRejected, kind, title, text, media, down)
