"""KYC and AML of one user: init, pending, on hold, approved or rejected, expired; and what stands against them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from agents.governance.rules.concern import Change, Concern, Documents, Rule
from streams.decision import Case, Decision, Refuse, State, Timer
from topics.governance.kyc import (
    IDENTITY_DOCUMENTS,
    MOST_DOCUMENTS,
    AmlAlertCleared,
    AmlAlertRaised,
    AmlScreened,
    ClearAmlAlert,
    DecideKyc,
    ExpireKyc,
    KycApproved,
    KycExpired,
    KycPutOnHold,
    KycRejected,
    KycStarted,
    KycSubmitted,
    ScreenAml,
    StartKyc,
    SubmitKycDocument,
)

OF_KYC, OF_AML, OF_SCREENING = "kyc", "aml", "screening"


class KycDocument(State, frozen=True):
    """A document of the attempt."""

    kind: str = ""
    media_id: str = ""


class Kyc(State, frozen=True):
    """How far a user has come; `status` is that of the contract, or empty where nothing began. A rejection is final unless `retry`."""

    status: str = ""
    attempt: int = 0
    documents: tuple[KycDocument, ...] = ()
    started_at: datetime | None = None
    submitted_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    reason: str | None = None
    retry: bool | None = None
    expires_at: datetime | None = None

    def is_complete_with(self, kind: str) -> bool:
        """Whether an identity document and a selfie are there with one of this kind."""
        kinds = {kind, *(one.kind for one in self.documents)}
        return "selfie" in kinds and not kinds.isdisjoint(IDENTITY_DOCUMENTS)


class Aml(State, frozen=True):
    """How many alerts are open."""

    open: int = 0


class Screening(State, frozen=True):
    """What one screening said: `clear`, or else an alert that is `open` until it is `cleared`; empty for one that there was not."""

    status: str = ""
    about: str = ""
    source: str = ""
    hits: tuple[str, ...] = ()
    screened_at: datetime | None = None
    cleared_at: datetime | None = None
    cleared_by: str | None = None
    reason: str | None = None


Changes = Mapping[str, State]


def start(state: Documents, command: StartKyc, case: Case) -> Decision:
    """Nothing is under way; what has expired a moment ago is told so first."""
    kyc = _as_of(state, case.now)
    match kyc.status:
        case "" | "expired":
            started = KycStarted(user_id=command.user_id, attempt=kyc.attempt + 1, started_at=case.now)
            over = [_expired(command.user_id, kyc, case.now)] if state[OF_KYC].status == "approved" else []
            return [*over, started]
        case "approved":
            return Refuse("already_approved")
        case "rejected" if not kyc.retry:
            return Refuse("rejected_for_good")
    return Refuse("kyc_started")


def submit(state: Documents, command: SubmitKycDocument, case: Case) -> Decision:
    """A document belongs to the attempt that is under way, or to the next one that a rejection allows."""
    kyc = _as_of(state, case.now)
    match kyc.status:
        case "" | "expired":
            return Refuse("kyc_not_started")
        case "approved":
            return Refuse("already_approved")
        case "rejected" if not kyc.retry:
            return Refuse("rejected_for_good")
        case "rejected":
            kyc = _begun(kyc.attempt + 1, case.now)
    if any(one.media_id == command.media_id for one in kyc.documents):
        return Refuse("already_submitted")
    if len(kyc.documents) >= MOST_DOCUMENTS:
        return Refuse("too_many_documents", details={"most": MOST_DOCUMENTS})
    return [
        KycSubmitted(
            user_id=command.user_id,
            attempt=kyc.attempt,
            kind=command.kind,
            media_id=command.media_id,
            complete=kyc.is_complete_with(command.kind),
            submitted_at=case.now,
        )
    ]


def decide(state: Documents, command: DecideKyc, case: Case) -> Decision:
    """One decision for an attempt, by somebody else than the user."""
    kyc: Kyc = state[OF_KYC]
    if case.actor.id == command.user_id:
        return Refuse("own_kyc", 403)
    if kyc.status not in ("pending", "on_hold") or command.attempt != kyc.attempt:
        decided = command.attempt < kyc.attempt or kyc.status in ("approved", "rejected", "expired")
        code = "already_decided" if decided else "not_pending"
        return Refuse(code, details={"status": kyc.status, "attempt": kyc.attempt})
    about: dict[str, Any] = {"user_id": command.user_id, "attempt": kyc.attempt}
    about |= {"decided_by": case.actor.id, "decided_at": case.now}
    if command.outcome == "approved":
        if state[OF_AML].open:
            return Refuse("aml_alert_open")
        return [KycApproved(**about, expires_at=case.now + timedelta(days=command.valid_days))]
    if command.outcome == "rejected":
        return [KycRejected(**about, retry=command.retry, reason=command.reason)]
    return Refuse("already_on_hold") if kyc.status == "on_hold" else [KycPutOnHold(**about, reason=command.reason)]


def expire(state: Documents, command: ExpireKyc, case: Case) -> Decision:
    """The time has come."""
    kyc = _as_of(state, case.now)
    due = state[OF_KYC].status == "approved" and kyc.status == "expired" and command.attempt == kyc.attempt
    return [_expired(command.user_id, kyc, case.now)] if due else Refuse("not_due")


def screen(state: Documents, command: ScreenAml, case: Case) -> Decision:
    """What was said is written down once, and raises an alert where there is a hit."""
    if state[_screening(command.screening_id)].status:
        return Refuse("already_screened")
    told: list[Any] = [AmlScreened(**dict(command), screened_at=case.now)]
    if command.hits:
        about = {"user_id": command.user_id, "alert_id": command.screening_id, "hits": command.hits}
        told.append(AmlAlertRaised(**about, open=state[OF_AML].open + 1, raised_at=case.now))
    return told


def clear(state: Documents, command: ClearAmlAlert, case: Case) -> Decision:
    """An alert is cleared once, by somebody else than the user."""
    screening: Screening = state[_screening(command.alert_id)]
    if case.actor.id == command.user_id:
        return Refuse("own_alert", 403)
    if not screening.hits:
        return Refuse("alert_not_found", 404)
    if screening.status == "cleared":
        return Refuse("already_cleared")
    about = {"user_id": command.user_id, "alert_id": command.alert_id, "reason": command.reason}
    return [AmlAlertCleared(**about, cleared_by=case.actor.id, open=state[OF_AML].open - 1, cleared_at=case.now)]


def evolve_kyc(state: Documents, event: Any) -> Changes:
    """The attempt after an event."""
    kyc: Kyc = state[OF_KYC]
    match event:
        case KycStarted():
            return {OF_KYC: _begun(event.attempt, event.started_at)}
        case KycSubmitted():
            if event.attempt != kyc.attempt:
                kyc = _begun(event.attempt, event.submitted_at)
            documents = (*kyc.documents, KycDocument(event.kind, event.media_id))
            status = "pending" if event.complete else "init"
            return {
                OF_KYC: replace(kyc, status=status, documents=documents, submitted_at=event.submitted_at, reason=None)
            }
        case KycExpired():
            return {OF_KYC: replace(kyc, status="expired")}
    decided = replace(kyc, decided_at=event.decided_at, decided_by=event.decided_by)
    match event:
        case KycApproved():
            return {OF_KYC: replace(decided, status="approved", reason=None, expires_at=event.expires_at)}
        case KycRejected():
            return {OF_KYC: replace(decided, status="rejected", reason=event.reason, retry=event.retry)}
        case KycPutOnHold():
            return {OF_KYC: replace(decided, status="on_hold", reason=event.reason)}
    raise NotImplementedError(event.wire_name)


def evolve_aml(state: Documents, event: Any) -> Changes:
    """The screenings after an event."""
    match event:
        case AmlScreened():
            said = Screening("clear", event.about, event.source, event.hits, event.screened_at)
            return {_screening(event.screening_id): said}
        case AmlAlertRaised():
            name = _screening(event.alert_id)
            return {name: replace(state[name], status="open"), OF_AML: Aml(event.open)}
        case AmlAlertCleared():
            name, how = _screening(event.alert_id), {"cleared_by": event.cleared_by, "reason": event.reason}
            cleared = replace(state[name], status="cleared", cleared_at=event.cleared_at, **how)
            return {name: cleared, OF_AML: Aml(event.open)}
    raise NotImplementedError(event.wire_name)


def timer(key: str, _sub_key: str, document: Kyc) -> Timer | None:
    """What is approved expires."""
    if document.status != "approved" or document.expires_at is None:
        return None
    return Timer(document.expires_at, ExpireKyc(user_id=key, attempt=document.attempt))


def _as_of(state: Documents, now: datetime) -> Kyc:
    """How far the user has come; an approval whose time is over has expired, whether or not that was told."""
    kyc: Kyc = state[OF_KYC]
    over = kyc.status == "approved" and kyc.expires_at is not None and now >= kyc.expires_at
    return replace(kyc, status="expired") if over else kyc


def _expired(user_id: str, kyc: Kyc, now: datetime) -> KycExpired:
    return KycExpired(user_id=user_id, attempt=kyc.attempt, expired_at=now)


def _begun(attempt: int, at: datetime) -> Kyc:
    return Kyc("init", attempt, started_at=at)


def _screening(name: str) -> str:
    return f"{OF_SCREENING}/{name}"


def of_kyc(_message: Any) -> tuple[str, ...]:
    """The documents that KYC is decided by."""
    return OF_KYC, OF_AML


def of_screening(message: Any) -> tuple[str, ...]:
    """The documents that a screening or its alert is about."""
    return OF_AML, _screening(getattr(message, "screening_id", None) or message.alert_id)


KYC = Concern(
    documents={OF_KYC: Kyc, OF_AML: Aml, OF_SCREENING: Screening},
    rules={
        StartKyc: Rule(start, of_kyc),
        SubmitKycDocument: Rule(submit, of_kyc),
        DecideKyc: Rule(decide, of_kyc),
        ExpireKyc: Rule(expire, of_kyc),
        ScreenAml: Rule(screen, of_screening),
        ClearAmlAlert: Rule(clear, of_screening),
    },
    changes={
        **dict.fromkeys(
            (KycStarted, KycSubmitted, KycPutOnHold, KycApproved, KycRejected, KycExpired), Change(evolve_kyc, of_kyc)
        ),
        **dict.fromkeys((AmlScreened, AmlAlertRaised, AmlAlertCleared), Change(evolve_aml, of_screening)),
    },
    timers={Kyc: timer},
)
"""What KYC and AML add to governance."""
