"""Moderation: content is submitted, checked, decided on and reported; decisions are appealed."""

from typing import Annotated

from pydantic import BaseModel, Field

from streams.contract import Command, Event, Id, Name, Text
from streams.personal import Personal
from topics.governance.terms import GOVERNANCE, Revision, Subject


class OfCase(BaseModel):
    """What is about one revision of a subject."""

    subject: Subject
    revision: Revision


class SubmitForModeration(
    OfCase,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    services=("governance",),
    examples=({"subject": "notes:n1", "revision": 1, "kind": "note", "author_id": "u1", "text": "Good morning"},),
):
    """A revision of a subject waits for approval."""

    kind: Id
    author_id: Name
    text: Personal[Annotated[Text, Field(max_length=1000)]] | None = None


class ModerationRequested(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """A case is open."""

    kind: Id
    author_id: Name
    text: Personal[Text] | None = None
