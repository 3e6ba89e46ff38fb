"""What domains hold back is submitted for moderation; which domains do is found in their contracts."""

from typing import Any

from streams import discover
from streams.agent import Policy
from streams.contract import Topic
from streams.holding import CONTENT_HELD, Held
from streams.personal import FROM_TOPIC
from streams.sink import Fact
from topics.governance import GOVERNANCE, SubmitForModeration


def submit(fact: Fact[Any]) -> SubmitForModeration:
    """A revision of content waits: this is what there is to look at."""
    event = fact.event
    held = event.topic.commands[event.command].held
    assert isinstance(held, Held), "it was declared so"
    shown = {"title": held.title, "text": held.text, "media_ids": held.media}
    given = {name: value for name, field in shown.items() if field and (value := event.payload.get(field)) is not None}
    if isinstance(given.get("media_ids"), str):
        given["media_ids"] = [given["media_ids"]]
    about = {"subject": event.subject, "revision": event.revision, "kind": event.kind, "author_id": event.author_id}
    return SubmitForModeration.model_validate({**about, **given}, context=FROM_TOPIC)  # personal fields stay sealed


def submissions(topic: Topic) -> list[Policy]:
    """Of a domain that holds content back."""
    held = topic.events.get(CONTENT_HELD)
    return [Policy(f"held-by-{topic.domain}", topic, GOVERNANCE, on={held: submit})] if held else []


SUBMISSIONS = [policy for domain in discover.domains() for policy in submissions(discover.topic(domain))]
