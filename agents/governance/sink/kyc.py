"""Rows of KYC and AML: how far each user has come, what was handed in, and what screenings said."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from agents.governance.rules.kyc import OF_KYC, of_screening
from agents.governance.sink.row import Row
from streams.sink import Fact, rows
from topics.governance.kyc import (
    AmlAlertCleared,
    AmlAlertRaised,
    AmlScreened,
    KycApproved,
    KycExpired,
    KycPutOnHold,
    KycRejected,
    KycStarted,
    KycSubmitted,
)


@rows("kyc", key=("user_id",))
class KycRow(NamedTuple):
    user_id: str
    status: str
    attempt: int
    started_at: datetime | None
    submitted_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
    retry: bool | None
    expires_at: datetime | None


@rows("kyc_document", key=("user_id", "attempt", "media_id"))
class KycDocumentRow(NamedTuple):
    user_id: str
    attempt: int
    media_id: str
    kind: str
    submitted_at: datetime


@rows("aml_screening", key=("user_id", "screening_id"))
class ScreeningRow(NamedTuple):
    user_id: str
    screening_id: str
    about: str
    source: str
    hits: str
    status: str
    screened_at: datetime
    cleared_at: datetime | None
    cleared_by: str | None
    reason: str | None


def standing(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """How far the user has come, and a document that was handed in."""
    event, kyc = fact.event, state[OF_KYC]
    yield KycRow(fact.key, *(getattr(kyc, column) for column in KycRow._fields[1:]))
    if isinstance(event, KycSubmitted):
        yield KycDocumentRow(fact.key, event.attempt, event.media_id, event.kind, event.submitted_at)


def screened(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The screening that an event is about."""
    name = of_screening(fact.event)[1]
    said = state[name]
    told = {column: getattr(said, column) for column in ScreeningRow._fields[2:]}
    return [ScreeningRow(fact.key, name.partition("/")[2], **(told | {"hits": " ".join(said.hits)}))]


KYC: Mapping[type[Any], Row] = {
    **dict.fromkeys((KycStarted, KycSubmitted, KycPutOnHold, KycApproved, KycRejected, KycExpired), standing),
    **dict.fromkeys((AmlScreened, AmlAlertRaised, AmlAlertCleared), screened),
}
