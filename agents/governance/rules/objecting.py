"""The rules of objections: users report content, authors appeal against a rejection."""

from typing import Any

from agents.governance.rules.case import Moderation, Report, about, found, is_own, no_words, report_of
from agents.governance.rules.concern import Documents
from streams.decision import Case, Decision, Refuse
from topics.governance import (
    AppealDecided,
    AppealFiled,
    ContentApproved,
    ContentReported,
    DecideAppeal,
    DismissReport,
    FileAppeal,
    ModerationRequested,
    ReportContent,
    ReportDismissed,
)


def report(state: Documents, command: ReportContent, case: Case) -> Decision:
    """A report joins the open case, or opens one."""
    moderation = found(state, command)
    if state[report_of(command)[1]].case:
        return Refuse("already_reported")
    if moderation.status == "rejected":
        return Refuse("already_rejected")
    of = {"subject": command.subject, "revision": command.revision}
    events: list[Any] = []
    number = moderation.number
    if not moderation.is_undecided:
        number += 1
        known = {"kind": moderation.kind, "author_id": moderation.author_id}
        events.append(ModerationRequested(**of, case=number, origin="reports", at=case.now, **known))
    reported = {"reporter_id": command.reporter_id, "category": command.category, "note": command.note}
    return [*events, ContentReported(**of, case=number, **reported)]


def dismiss(state: Documents, command: DismissReport, case: Case) -> Decision:
    """A report leaves its case, which is over with the last one if reports had opened it."""
    moderation, reported = found(state, command), state[report_of(command)[1]]
    if refusal := _undismissible(moderation, reported, command, case):
        return refusal
    of = {"subject": command.subject, "revision": command.revision, "case": reported.case}
    by = {"moderator_id": case.actor.id, "note": command.note}
    dismissed = ReportDismissed(**of, reporter_id=command.reporter_id, **by)
    if moderation.origin == "submission" or moderation.reports > 1:
        return [dismissed]
    whose = {"kind": moderation.kind, "author_id": moderation.author_id}
    return [dismissed, ContentApproved(**of, **whose, by="reports_dismissed", at=case.now, **by)]


def _undismissible(moderation: Moderation, reported: Report, command: DismissReport, case: Case) -> Refuse | None:
    if not reported.case:
        return Refuse("report_not_found", 404)
    if reported.dismissed or reported.case != moderation.number or not moderation.is_undecided:
        return Refuse("report_closed")
    if is_own(moderation, command.subject, case):
        return Refuse("own_content", 403)
    return Refuse("claimed_by_other") if moderation.moderator_id not in (None, case.actor.id) else None


def file_appeal(state: Documents, command: FileAppeal, case: Case) -> Decision:
    """The author objects to a rejection, once; not even an Admin does so for them."""
    moderation = found(state, command)
    if command.case > moderation.number or {command.author_id, case.actor.id} != {moderation.author_id}:
        return Refuse("case_not_found", 404)
    if command.case == moderation.number and moderation.appeal != "none":
        return Refuse("already_appealed", details={"outcome": moderation.appeal})
    if command.case < moderation.number or moderation.status != "rejected":
        return Refuse("not_rejected")
    return [AppealFiled(**about(command), author_id=command.author_id, text=command.text)]


def decide_appeal(state: Documents, command: DecideAppeal, case: Case) -> Decision:
    """Somebody else than who rejected it says whether that stays."""
    moderation = found(state, command)
    if refusal := no_words(command.reason) or _undecidable(moderation, command, case):
        return refusal
    by = {"author_id": moderation.author_id, "moderator_id": case.actor.id}
    decided = AppealDecided(**about(command), **by, outcome=command.outcome, reason=command.reason)
    if command.outcome == "upheld":
        return [decided]
    approved = {"kind": moderation.kind, "by": "appeal", "at": case.now, "note": command.reason}
    return [decided, ContentApproved(**about(command), **by, **approved)]


def _undecidable(moderation: Moderation, command: DecideAppeal, case: Case) -> Refuse | None:
    if command.case > moderation.number:
        return Refuse("case_not_found", 404)
    if command.case < moderation.number or moderation.appeal in ("upheld", "overturned"):
        return Refuse("already_decided", details={"outcome": moderation.appeal})
    if moderation.appeal == "none":
        return Refuse("not_appealed")
    if is_own(moderation, command.subject, case):
        return Refuse("own_content", 403)
    return Refuse("own_decision", 403) if case.actor.id == moderation.decided_by else None
