"""The case of one revision of a subject, and who may decide on it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from msgspec.structs import replace

from agents.governance.rules.concern import Documents
from streams.decision import Case, Refuse, State
from topics.governance import (
    AppealDecided,
    AppealFiled,
    ApprovedBy,
    CaseOrigin,
    Check,
    ContentApproved,
    ContentAutoFlagged,
    ContentChecked,
    ContentRejected,
    ContentReported,
    ModerationCaseClaimed,
    ModerationCaseEscalated,
    ModerationRequested,
    ReportDismissed,
)

CASE, REPORT = "case", "report"
UNDECIDED = ("open", "claimed", "escalated")
CHECKS: tuple[Check, ...] = ("text", "author", "classifier")


class Moderation(State, frozen=True, omit_defaults=True):
    """The last case of one revision of a subject. `submitted` says that one of its cases was a submission, `waiting` which checks are not made yet.

    What is `approved` or `rejected` was so by `decided_by`, where that was a person.
    """

    number: int = 0
    status: Literal["none", "open", "claimed", "escalated", "approved", "rejected"] = "none"
    origin: CaseOrigin = "submission"
    submitted: bool = False
    kind: str | None = None
    author_id: str | None = None
    opened_at: datetime | None = None
    waiting: tuple[Check, ...] = ()
    flags: tuple[str, ...] = ()
    reports: int = 0
    moderator_id: str | None = None
    approved_by: ApprovedBy | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    appeal: Literal["none", "filed", "upheld", "overturned"] = "none"

    @property
    def is_undecided(self) -> bool:
        """Whether a decision is waited for."""
        return self.status in UNDECIDED


class Report(State, frozen=True, omit_defaults=True):
    """What one user reported of one revision, in which case; 0 is nothing."""

    case: int = 0
    dismissed: bool = False


def case_of(message: Any) -> tuple[str, ...]:
    """The document of the case that a message is about."""
    return (f"{CASE}/{message.revision}",)


def report_of(message: Any) -> tuple[str, ...]:
    """The documents of the case and of the report that a message is about."""
    return f"{CASE}/{message.revision}", f"{REPORT}/{message.revision}/{message.reporter_id}"


def found(state: Documents, message: Any) -> Moderation:
    """The case of the revision that a message is about."""
    moderation: Moderation = state[case_of(message)[0]]
    return moderation


def about(command: Any) -> dict[str, Any]:
    """Which case a command is about, for its events."""
    return {"subject": command.subject, "revision": command.revision, "case": command.case}


def undecidable(moderation: Moderation, command: Any, case: Case, *, take_over: bool = False) -> Refuse | None:
    """Why whoever asks decides nothing in this case, if so."""
    if command.case > moderation.number:
        return Refuse("case_not_found", 404)
    if command.case < moderation.number or not moderation.is_undecided:
        return Refuse("case_decided", details=outcome(moderation, command.case))
    if is_own(moderation, command.subject, case):
        return Refuse("own_content", 403)
    if moderation.moderator_id not in (None, case.actor.id) and not take_over:
        return Refuse("claimed_by_other")
    return None


def outcome(moderation: Moderation, number: int) -> dict[str, Any]:
    """What is known of the decision on a case, as details of a refusal."""
    if number < moderation.number or moderation.is_undecided:
        return {"last_case": moderation.number}
    return {"status": moderation.status, "decided_by": moderation.decided_by}


def is_own(moderation: Moderation, subject: str, case: Case) -> bool:
    """Whether the content is of whoever asks: its author's, or what a domain keeps of the user under the user's id."""
    return case.actor.id in (moderation.author_id, subject.partition(":")[2])


def no_words(reason: str) -> Refuse | None:
    """A reason of blanks is none."""
    return None if reason.strip() else Refuse("reason_missing", 422)


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The case after an event."""
    before = found(state, event)
    return {
        case_of(event)[0]: opened(before, event) if isinstance(event, ModerationRequested) else _after(before, event)
    }


def opened(before: Moderation, event: ModerationRequested) -> Moderation:
    """A case that begins; what the revision is and whose stays known."""
    submission = event.origin == "submission"
    return Moderation(
        number=event.case,
        status="open",
        origin=event.origin,
        submitted=before.submitted or submission,
        kind=event.kind,
        author_id=event.author_id,
        opened_at=event.at,
        waiting=CHECKS if submission else (),
    )


def _after(before: Moderation, event: Any) -> Moderation:
    match event:
        case ContentChecked():
            return replace(before, waiting=tuple(check for check in before.waiting if check != event.check))
        case ContentAutoFlagged():
            return replace(before, flags=(*before.flags, *event.flags))
        case ModerationCaseClaimed():
            return replace(before, status="claimed", moderator_id=event.moderator_id)
        case ModerationCaseEscalated():
            return replace(before, status="escalated", moderator_id=None)
        case ContentReported():
            return replace(before, reports=before.reports + 1)
        case ReportDismissed():
            return replace(before, reports=before.reports - 1)
        case AppealFiled():
            return replace(before, appeal="filed")
        case AppealDecided():
            return replace(before, appeal=event.outcome)
    return _decided(before, event)


def _decided(before: Moderation, event: ContentApproved | ContentRejected) -> Moderation:
    approved = isinstance(event, ContentApproved)
    return replace(
        before,
        status="approved" if approved else "rejected",
        moderator_id=None,
        approved_by=event.by if isinstance(event, ContentApproved) else None,
        decided_by=event.moderator_id,
        decided_at=event.at,
        reason=event.note if isinstance(event, ContentApproved) else event.reason,
    )


def evolve_report(state: Documents, event: ContentReported | ReportDismissed) -> Mapping[str, State]:
    """The case and the report after an event about both."""
    dismissed = isinstance(event, ReportDismissed)
    return {**evolve(state, event), report_of(event)[1]: Report(event.case, dismissed)}
