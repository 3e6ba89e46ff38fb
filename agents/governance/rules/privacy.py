"""The rules of privacy: consents, exports of what is held of a user, and erasure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from agents.governance.rules.concern import Change, Concern, Documents, Rule
from streams.decision import Case, Decision, Refuse, State, Timer
from topics.governance.privacy import (
    AskErasureAgain,
    CompleteDataExport,
    CompleteErasure,
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
    ExpireDataExport,
    FailDataExport,
    NoteErasureStep,
    PlanErasure,
    RecordConsent,
    RequestDataExport,
    RequestErasure,
    UserErased,
    WithdrawConsent,
)

OF_CONSENTS, OF_EXPORT, OF_ERASURE = "consents", "export", "erasure"
FILE_STAYS = timedelta(days=7)
FILE_IS_NEW = timedelta(days=1)  # since it was asked for; until then there is no other
ERASED_WITHIN = timedelta(days=30)
ASKED_EVERY = timedelta(days=1)
BY_ERASURE = "erasure"  # the channel on which whoever is erased withdraws


class Consent(State, frozen=True):
    """Which version of the text is agreed to, and since when any was without a break."""

    text_version: str
    since: datetime


class Consents(State, frozen=True):
    """What the user agrees to, by purpose."""

    given: dict[str, Consent] = msgspec.field(default_factory=dict)


class Export(State, frozen=True):
    """The last export; `status` is empty where there was none."""

    status: Literal["", "in_progress", "ready", "failed", "expired"] = ""
    export_id: str = ""
    requested_at: datetime | None = None
    expires_at: datetime | None = None
    size: int | None = None


class Erasure(State, frozen=True):
    """The last erasure: who is still asked, and who has to wait for what. `status` is empty where there was none.

    A user who was erased once stays so (`erased_at`), whatever is asked for again.
    """

    status: Literal["", "requested", "asked", "acknowledged", "erased"] = ""
    erasure_id: str = ""
    requested_at: datetime | None = None
    due_by: datetime | None = None
    asked: tuple[str, ...] = ()
    deferred: dict[str, str] = msgspec.field(default_factory=dict)
    again_at: datetime | None = None
    overdue: bool = False
    erased_at: datetime | None = None

    def is_at(self, command: Any) -> bool:
        """Whether the command is about this erasure, and it is not at its end."""
        return command.erasure_id == self.erasure_id and self.status != "erased"


Changes = Mapping[str, State]


# -- consents


def record(state: Documents, command: RecordConsent, case: Case) -> Decision:
    """The same again is nothing new."""
    if state[OF_ERASURE].erased_at:
        return Refuse("user_erased")
    given = state[OF_CONSENTS].given.get(command.purpose)
    if given is not None and given.text_version == command.text_version:
        return []
    return [ConsentRecorded(**dict(command), since=given.since if given else case.now, at=case.now)]


def withdraw(state: Documents, command: WithdrawConsent, case: Case) -> Decision:
    """What was never given cannot be withdrawn."""
    given = state[OF_CONSENTS].given.get(command.purpose)
    if given is None:
        return Refuse("not_given")
    return [_withdrawn(command.user_id, command.purpose, given, command.channel, case)]


def _withdrawn(user_id: str, purpose: str, given: Consent, channel: str, case: Case) -> ConsentWithdrawn:
    about = {"user_id": user_id, "purpose": purpose, "text_version": given.text_version, "since": given.since}
    return ConsentWithdrawn(**about, channel=channel, at=case.now)


def evolve_consents(state: Documents, event: ConsentRecorded | ConsentWithdrawn) -> Changes:
    """What is agreed to after an event."""
    others = {name: given for name, given in state[OF_CONSENTS].given.items() if name != event.purpose}
    if isinstance(event, ConsentRecorded):
        others[event.purpose] = Consent(event.text_version, event.since)
    return {OF_CONSENTS: Consents(others)}


# -- exports


def request_export(state: Documents, command: RequestDataExport, case: Case) -> Decision:
    """One at a time, and one a day."""
    export: Export = state[OF_EXPORT]
    if state[OF_ERASURE].erased_at:
        return Refuse("user_erased")
    if export.status == "in_progress":
        return Refuse("export_in_progress")
    if export.status == "ready" and export.requested_at is not None and case.now < export.requested_at + FILE_IS_NEW:
        return Refuse("export_ready")
    return [DataExportRequested(user_id=command.user_id, export_id=case.command_id, requested_at=case.now)]


def end_export(state: Documents, command: CompleteDataExport | FailDataExport, case: Case) -> Decision:
    """The file is there, or there will be none."""
    export: Export = state[OF_EXPORT]
    if (export.status, export.export_id) != ("in_progress", command.export_id):
        return Refuse("export_ended")
    if isinstance(command, FailDataExport):
        return [DataExportFailed(**dict(command))]
    return [DataExportCompleted(**dict(command), completed_at=case.now, expires_at=case.now + FILE_STAYS)]


def expire_export(state: Documents, command: ExpireDataExport, case: Case) -> Decision:
    """The time has come."""
    export: Export = state[OF_EXPORT]
    if (export.status, export.export_id) != ("ready", command.export_id):
        return Refuse("export_ended")
    if export.expires_at is None or case.now < export.expires_at:
        return Refuse("not_due")
    return [DataExportExpired(**dict(command))]


def evolve_export(state: Documents, event: Any) -> Changes:
    """The export after an event."""
    export: Export = state[OF_EXPORT]
    match event:
        case DataExportRequested():
            return {OF_EXPORT: Export("in_progress", event.export_id, event.requested_at)}
        case DataExportCompleted():
            return {OF_EXPORT: replace(export, status="ready", expires_at=event.expires_at, size=event.size)}
        case DataExportFailed():
            return {OF_EXPORT: replace(export, status="failed")}
        case DataExportExpired():
            return {OF_EXPORT: replace(export, status="expired")}
    raise NotImplementedError(event.wire_name)


# -- erasure


def request_erasure(state: Documents, command: RequestErasure, case: Case) -> Decision:
    """One at a time."""
    if state[OF_ERASURE].status not in ("", "erased"):
        return Refuse("erasure_in_progress")
    about = {"user_id": command.user_id, "erasure_id": case.command_id}
    return [ErasureRequested(**about, requested_at=case.now, due_by=case.now + ERASED_WITHIN)]


def plan(state: Documents, command: PlanErasure, case: Case) -> Decision:
    """Who has nothing to do has done it; the others are asked."""
    erasure: Erasure = state[OF_ERASURE]
    if not erasure.is_at(command) or erasure.status != "requested":
        return Refuse("erasure_ended")
    about = {"user_id": command.user_id, "erasure_id": command.erasure_id}
    done = [ErasureStepCompleted(**about, domain=domain) for domain in command.domains if domain not in command.asked]
    if not command.asked:
        return [*done, ErasureAcknowledged(**about)]
    return [*done, ErasureAsked(**about, domains=command.asked, again_at=case.now + ASKED_EVERY)]


def note(state: Documents, command: NoteErasureStep, _case: Case) -> Decision:
    """An answer counts once; the last one lets the key go."""
    erasure: Erasure = state[OF_ERASURE]
    if not erasure.is_at(command) or command.domain not in erasure.asked:
        return Refuse("not_asked")
    about = {"user_id": command.user_id, "erasure_id": command.erasure_id}
    if command.reason is not None:
        if erasure.deferred.get(command.domain) == command.reason:
            return []
        return [ErasureStepDeferred(**about, domain=command.domain, reason=command.reason)]
    done = ErasureStepCompleted(**about, domain=command.domain)
    return [done, ErasureAcknowledged(**about)] if erasure.asked == (command.domain,) else [done]


def ask_again(state: Documents, command: AskErasureAgain, case: Case) -> Decision:
    """Day by day; when the time of the law is over, that is told once."""
    erasure: Erasure = state[OF_ERASURE]
    if not erasure.is_at(command) or erasure.status != "asked":
        return Refuse("erasure_ended")
    if erasure.again_at is None or erasure.due_by is None or case.now < erasure.again_at:
        return Refuse("not_due")
    about = {"user_id": command.user_id, "erasure_id": command.erasure_id, "domains": erasure.asked}
    late = [ErasureOverdue(**about)] if case.now >= erasure.due_by and not erasure.overdue else []
    return [*late, ErasureAsked(**about, again_at=case.now + ASKED_EVERY)]


def complete_erasure(state: Documents, command: CompleteErasure, case: Case) -> Decision:
    """The key is gone: the user is erased, and agrees to nothing any more."""
    erasure: Erasure = state[OF_ERASURE]
    if not erasure.is_at(command) or erasure.status != "acknowledged":
        return Refuse("not_acknowledged")
    withdrawn = [
        _withdrawn(command.user_id, purpose, given, BY_ERASURE, case)
        for purpose, given in sorted(state[OF_CONSENTS].given.items())
    ]
    return [*withdrawn, UserErased(**dict(command), erased_at=case.now)]


def evolve_erasure(state: Documents, event: Any) -> Changes:
    """The erasure after an event."""
    erasure: Erasure = state[OF_ERASURE]
    match event:
        case ErasureRequested():
            again = Erasure("requested", event.erasure_id, event.requested_at, event.due_by)
            return {OF_ERASURE: replace(again, erased_at=erasure.erased_at)}
        case ErasureAsked():
            return {OF_ERASURE: replace(erasure, status="asked", asked=event.domains, again_at=event.again_at)}
        case ErasureStepCompleted():
            asked = tuple(domain for domain in erasure.asked if domain != event.domain)
            deferred = {domain: reason for domain, reason in erasure.deferred.items() if domain != event.domain}
            return {OF_ERASURE: replace(erasure, asked=asked, deferred=deferred)}
        case ErasureStepDeferred():
            return {OF_ERASURE: replace(erasure, deferred=erasure.deferred | {event.domain: event.reason})}
        case ErasureOverdue():
            return {OF_ERASURE: replace(erasure, overdue=True)}
        case ErasureAcknowledged():
            return {OF_ERASURE: replace(erasure, status="acknowledged", again_at=None)}
        case UserErased():
            return {OF_ERASURE: replace(erasure, status="erased", erased_at=event.erased_at)}
    raise NotImplementedError(event.wire_name)


# -- time


def export_timer(key: str, _sub_key: str, export: Export) -> Timer | None:
    """A file goes."""
    if export.status != "ready" or export.expires_at is None:
        return None
    return Timer(export.expires_at, ExpireDataExport(user_id=key, export_id=export.export_id))


def erasure_timer(key: str, _sub_key: str, erasure: Erasure) -> Timer | None:
    """Domains that have not done their part are asked again."""
    if erasure.status != "asked" or erasure.again_at is None:
        return None
    return Timer(erasure.again_at, AskErasureAgain(user_id=key, erasure_id=erasure.erasure_id))


def of_all(_message: Any) -> Iterable[str]:
    """All that privacy knows of a user."""
    return OF_CONSENTS, OF_EXPORT, OF_ERASURE


def of_consents(_message: Any) -> Iterable[str]:
    """What the user agrees to."""
    return (OF_CONSENTS,)


def of_export(_message: Any) -> Iterable[str]:
    """The last export."""
    return (OF_EXPORT,)


def of_erasure(_message: Any) -> Iterable[str]:
    """The last erasure."""
    return (OF_ERASURE,)


PRIVACY = Concern(
    documents={OF_CONSENTS: Consents, OF_EXPORT: Export, OF_ERASURE: Erasure},
    rules={
        RecordConsent: Rule(record, of_all),
        WithdrawConsent: Rule(withdraw, of_consents),
        RequestDataExport: Rule(request_export, of_all),
        CompleteDataExport: Rule(end_export, of_export),
        FailDataExport: Rule(end_export, of_export),
        ExpireDataExport: Rule(expire_export, of_export),
        RequestErasure: Rule(request_erasure, of_erasure),
        PlanErasure: Rule(plan, of_erasure),
        NoteErasureStep: Rule(note, of_erasure),
        AskErasureAgain: Rule(ask_again, of_erasure),
        CompleteErasure: Rule(complete_erasure, of_all),
    },
    changes={
        **dict.fromkeys((ConsentRecorded, ConsentWithdrawn), Change(evolve_consents, of_consents)),
        **dict.fromkeys(
            (DataExportRequested, DataExportCompleted, DataExportFailed, DataExportExpired),
            Change(evolve_export, of_export),
        ),
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
            Change(evolve_erasure, of_erasure),
        ),
    },
    timers={Export: export_timer, Erasure: erasure_timer},
)
"""What privacy adds to governance."""
