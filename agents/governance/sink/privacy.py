"""Rows of privacy: consents, exports and erasures as they stand."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from agents.governance.rules.privacy import OF_ERASURE, OF_EXPORT, Erasure, Export
from agents.governance.sink.row import Row
from streams.sink import Fact, rows
from topics.governance import (
    ConsentRecorded,
    ConsentWithdrawn,
    DataExportCompleted,
    DataExportExpired,
    DataExportFailed,
    DataExportRequested,
    ErasureAcknowledged,
    ErasureAsked,
    ErasureOverdue,
    ErasureRequested,
    ErasureStepCompleted,
    ErasureStepDeferred,
    UserErased,
)

State = Mapping[str, Any]


@rows("consent", key=("user_id", "purpose"))
class ConsentRow(NamedTuple):
    user_id: str
    purpose: str
    text_version: str
    channel: str
    since: datetime
    at: datetime
    given: bool


@rows("data_export", key=("user_id",))
class ExportRow(NamedTuple):
    user_id: str
    export_id: str
    status: str
    requested_at: datetime | None
    expires_at: datetime | None
    size: int | None


@rows("erasure", key=("user_id",))
class ErasureRow(NamedTuple):
    user_id: str
    erasure_id: str
    status: str
    requested_at: datetime | None
    due_by: datetime | None
    overdue: bool
    erased_at: datetime | None


@rows("erasure_step", key=("user_id", "erasure_id", "domain"))
class StepRow(NamedTuple):
    user_id: str
    erasure_id: str
    domain: str
    status: str
    reason: str | None
    at: datetime


def consent(fact: Fact[Any], _state: State) -> Iterable[Any]:
    """The user agrees, or agreed until now."""
    event: ConsentRecorded | ConsentWithdrawn = fact.event
    given = isinstance(event, ConsentRecorded)
    return [ConsentRow(event.user_id, event.purpose, event.text_version, event.channel, event.since, event.at, given)]


def export(fact: Fact[Any], state: State) -> Iterable[Any]:
    """The last export as it is."""
    last: Export = state[OF_EXPORT]
    return [ExportRow(fact.key, last.export_id, last.status, last.requested_at, last.expires_at, last.size)]


def erasure(fact: Fact[Any], state: State) -> Iterable[Any]:
    """The last erasure as it is, and the domains that an event is about."""
    last: Erasure = state[OF_ERASURE]
    yield ErasureRow(
        fact.key, last.erasure_id, last.status, last.requested_at, last.due_by, last.overdue, last.erased_at
    )
    match fact.event:
        case ErasureAsked(domains=domains):
            for domain in domains:
                if domain not in last.deferred:
                    yield StepRow(fact.key, last.erasure_id, domain, "asked", None, fact.at)
        case ErasureStepDeferred(domain=domain, reason=reason):
            yield StepRow(fact.key, last.erasure_id, domain, "deferred", reason, fact.at)
        case ErasureStepCompleted(domain=domain):
            yield StepRow(fact.key, last.erasure_id, domain, "completed", None, fact.at)


PRIVACY: Mapping[type[Any], Row] = {
    **dict.fromkeys((ConsentRecorded, ConsentWithdrawn), consent),
    **dict.fromkeys((DataExportRequested, DataExportCompleted, DataExportFailed, DataExportExpired), export),
    **dict.fromkeys(
        (
            ErasureRequested,
            ErasureAsked,
            ErasureStepCompleted,
            ErasureStepDeferred,
            ErasureOverdue,
            ErasureAcknowledged,
            UserErased,
        ),
        erasure,
    ),
}
