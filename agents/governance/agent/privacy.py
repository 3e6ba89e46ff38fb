"""Agents of privacy: the outside that makes files and destroys keys, and who is asked before that."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from sinks.postgres.exports import Exports
from sinks.postgres.keys import Keys
from streams import discover
from streams.agent import Policy
from streams.contract import Event, Topic
from streams.decision import Intent
from streams.effect import Effect, Reply
from streams.erasure import ErasureAnswer, answer_of
from streams.sink import Fact
from topics.governance import (
    GOVERNANCE,
    CompleteDataExport,
    CompleteErasure,
    DataExportExpired,
    DataExportRequested,
    ErasureAcknowledged,
    ErasureRequested,
    FailDataExport,
    NoteErasureStep,
    PlanErasure,
    UserErased,
)

MAKING_S = 600.0  # that making a file may take: it reads all events there are


def make(fact: Fact[DataExportRequested]) -> Intent:
    """Make a file with all that is held of the user, in the place of the one before."""
    event = fact.event
    return Intent("make", {"subject": event.user_id, "export_id": event.export_id, "at": event.requested_at})


def drop(fact: Fact[DataExportExpired]) -> Intent:
    """The file goes, if there is none that is newer."""
    return Intent("drop", {"subject": fact.event.user_id, "export_id": fact.event.export_id})


def drop_any(fact: Fact[UserErased]) -> Intent:
    """Whatever file there is goes; nobody could read it any more."""
    return Intent("drop", {"subject": fact.event.user_id, "export_id": None})


def made(fact: Fact[Any], reply: Reply) -> CompleteDataExport | FailDataExport | None:
    """A file is there, or could not be made; that one is gone is told to nobody."""
    event = fact.event
    if not isinstance(event, DataExportRequested):
        return None
    if reply.status == "done":
        return CompleteDataExport(user_id=event.user_id, export_id=event.export_id, size=reply.data.get("size", 0))
    return FailDataExport(user_id=event.user_id, export_id=event.export_id)


def destroy(fact: Fact[ErasureAcknowledged]) -> Intent:
    """Destroy the key, for ever."""
    return Intent("destroy_key", {"subject": fact.event.user_id})


def destroyed(fact: Fact[ErasureAcknowledged], reply: Reply) -> CompleteErasure:
    """The key is gone. Raises ValueError where it is not: then an operator has to look at it."""
    if reply.status != "done":
        raise ValueError(f"The key was not destroyed: {reply.error}")
    return CompleteErasure(user_id=fact.event.user_id, erasure_id=fact.event.erasure_id)


EXPORTS = Effect(
    "exports",
    GOVERNANCE,
    on={DataExportRequested: make, DataExportExpired: drop, UserErased: drop_any},
    adapter=partial(Exports, domain=GOVERNANCE.domain),
    result=made,
    limit=MAKING_S,
    parallel=1,
)

ERASURES = Effect(
    "erasures",
    GOVERNANCE,
    on={ErasureAcknowledged: destroy},
    adapter=Keys,
    result=destroyed,
    attempts=1_000_000,  # for as long as it takes
)


def plan(asked: Mapping[Topic, type[Event] | None]) -> Callable[[Fact[ErasureRequested]], PlanErasure]:
    """Tell which domains there are, and which of them have to be asked."""

    def planned(fact: Fact[ErasureRequested]) -> PlanErasure:
        return PlanErasure(
            user_id=fact.event.user_id,
            erasure_id=fact.event.erasure_id,
            domains=tuple(topic.domain for topic in asked),
            asked=tuple(topic.domain for topic, answer in asked.items() if answer),
        )

    return planned


def note(fact: Fact[Any]) -> NoteErasureStep:
    """A domain has answered."""
    answer: ErasureAnswer = fact.event
    about = {"user_id": answer.user_id, "erasure_id": answer.erasure_id, "reason": answer.reason}
    return NoteErasureStep(domain=fact.event.topic.domain, **about)


def asking(topics: Iterable[Topic]) -> list[Policy]:
    """What asks these domains, and hears what they answer."""
    asked = {topic: answer_of(topic) for topic in topics}
    heard = [
        Policy(f"erasure_of_{topic.domain}", topic, GOVERNANCE, on={answer: note})
        for topic, answer in asked.items()
        if answer
    ]
    return [Policy("erasure", GOVERNANCE, GOVERNANCE, on={ErasureRequested: plan(asked)}), *heard]


ERASURE = asking(discover.topic(domain) for domain in discover.domains())
"""Every domain takes part by its contract, so that a new one changes no line here."""
