"""Agents of moderation: what is submitted is checked, by its words, by its author, and by a classifier where there is one."""

import hmac
import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from agents.governance.rules.checking import WordList, flags, plain
from agents.governance.view.cases import ModerationList, moderation_lists
from sinks.http import Questions
from sinks.postgres.keys import SubjectKeys
from sinks.postgres.opening import OneByOne, Opening, Views
from streams.agent import Policy
from streams.decision import Intent
from streams.effect import Adapter, Effect, Reply
from streams.errors import SettingsError
from streams.settings import Settings
from streams.sink import Fact
from topics.governance import (
    GOVERNANCE,
    Check,
    ConcludeCheck,
    ContentChecked,
    CountSubmission,
    ModerationRequested,
    SubmissionCounted,
)

CLASSIFIER = "CARAVAN_CLASSIFIER"
MOST_FLAGS = 20  # of one check
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
SHORTEST = 20  # characters of a text that may be a copy of another; who says thanks twice says the same

Keys = Callable[[Collection[str]], Awaitable[Mapping[str, bytes | None]]]
Lists = Callable[[], Awaitable[Iterable[ModerationList]]]


def count(fact: Fact[ContentChecked]) -> list[CountSubmission]:
    """The text was read: the submission counts for its author."""
    event = fact.event
    if event.check != "text":
        return []
    return [
        CountSubmission(
            user_id=event.author_id,
            subject=event.subject,
            revision=event.revision,
            case=event.case,
            kind=event.kind,
            fingerprint=event.fingerprint,
        )
    ]


def conclude(fact: Fact[SubmissionCounted]) -> ConcludeCheck:
    """The submission is counted: its case hears what that says."""
    return _concluded(fact.event, "author", fact.event.flags)


SUBMISSIONS = Policy("submissions", GOVERNANCE, GOVERNANCE, on={ContentChecked: count, SubmissionCounted: conclude})


def submitted(fact: Fact[ModerationRequested]) -> Intent | None:
    """What checks are shown of a submission; what was only reported is for people."""
    event = fact.event
    if event.origin != "submission":
        return None
    shown = ("subject", "revision", "kind", "author_id", "title", "text", "media_ids")
    return Intent("check", {name: getattr(event, name) for name in shown})


class TextCheck(Adapter):
    """Looks for what is on the lists, and takes a fingerprint with the author's own key: without that key it tells nothing, and compares with nothing."""

    repeatable = True

    def __init__(self, keys: Keys, lists: Lists) -> None:
        """`keys` gives the keys of subjects, `lists` what flags content."""
        self._keys, self._lists = keys, lists

    @classmethod
    def of(cls, settings: Settings) -> Adapter:
        """With the platform's own Postgres; connects when it is first asked."""
        views = Views(settings, GOVERNANCE.domain)
        keys = OneByOne(SubjectKeys(settings.postgres, settings.namespace))
        return Opening(keys, cls(keys, lambda: views(moderation_lists)))

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:  # noqa: ARG002 - to look changes nothing
        """The `flags`, and the `fingerprint` of a text that is long enough."""
        text = "\n".join(intent.data[name] for name in ("title", "text") if intent.data[name])
        if not text:
            return {"flags": []}
        lists = [WordList(one.list_id, one.of, tuple(one.entries)) for one in await self._lists()]
        author = intent.data["author_id"]
        secret = (await self._keys([author]))[author] or author.encode()  # nothing was sealed for who has none
        return {"flags": flags(text, lists), "fingerprint": fingerprint(text, secret)}


def fingerprint(text: str, secret: bytes) -> str | None:
    """A keyed hash of the words of a text, None of one too short to be told from others."""
    words = plain(text)
    return hmac.digest(secret, words.encode(), "sha256").hex()[:32] if len(words) >= SHORTEST else None


def text_checked(fact: Fact[ModerationRequested], reply: Reply) -> ConcludeCheck:
    """What the text check found, or that it could not be made."""
    if reply.status != "done":
        return _concluded(fact.event, "text", ("text:failed",))
    return _concluded(fact.event, "text", reply.data.get("flags", ()), reply.data.get("fingerprint"))


TEXT_CHECK = Effect("text_check", GOVERNANCE, {ModerationRequested: submitted}, TextCheck.of, text_checked)


class NoClassifier(Adapter):
    """Nobody is asked, and nothing is found."""

    repeatable = True

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:  # noqa: ARG002 - nobody looks
        """Nothing."""
        return {"flags": []}


def classifier(settings: Settings, env: Mapping[str, str] = os.environ) -> Adapter:
    """Whoever is asked at the URL in CARAVAN_CLASSIFIER, in the words of docs/classifier.md; nobody while it is unset. Raises SettingsError."""
    url = env.get(CLASSIFIER)
    if not url:
        return NoClassifier()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{CLASSIFIER} is an http or https URL, as in {CLASSIFIER}=http://127.0.0.1:8080/classify")
    return Opening(OneByOne(SubjectKeys(settings.postgres, settings.namespace)), Questions(url))


def classified(fact: Fact[ModerationRequested], reply: Reply) -> ConcludeCheck:
    """The labels that a classifier gave; an answer that is none is a check that could not be made."""
    labels = reply.data.get("flags", []) if reply.status == "done" else None
    if not isinstance(labels, list) or not all(isinstance(label, str) and LABEL.fullmatch(label) for label in labels):
        return _concluded(fact.event, "classifier", ("classifier:failed",))
    return _concluded(fact.event, "classifier", [f"classifier:{label}" for label in dict.fromkeys(labels)][:MOST_FLAGS])


CLASSIFICATION = Effect(
    "classifier", GOVERNANCE, {ModerationRequested: submitted}, classifier, classified, attempts=5, backoff=(1.0, 30.0)
)


def _concluded(
    event: ModerationRequested | SubmissionCounted, check: Check, found: Iterable[str], mark: str | None = None
) -> ConcludeCheck:
    about = {"subject": event.subject, "revision": event.revision, "case": event.case}
    return ConcludeCheck(**about, check=check, flags=tuple(found), fingerprint=mark)
