"""The rules of moderation: content is submitted and decided on; one open case per revision, one decision per case, nobody on what is their own."""

from agents.governance.rules.case import (
    CASE,
    REPORT,
    Moderation,
    Report,
    about,
    case_of,
    evolve,
    evolve_report,
    found,
    no_words,
    report_of,
    undecidable,
)
from agents.governance.rules.checking import (
    KINDS,
    LISTS,
    SUBMISSIONS,
    Kinds,
    Lists,
    Submissions,
    conclude,
    count,
    counted,
    kind_set,
    list_set,
    of_kinds,
    set_kind,
    set_list,
)
from agents.governance.rules.concern import Change, Concern, Documents, Rule
from agents.governance.rules.objecting import decide_appeal, dismiss, file_appeal, report
from streams.decision import Case, Decision, Refuse
from topics.governance import (
    AppealDecided,
    AppealFiled,
    ApproveContent,
    ClaimCase,
    ConcludeCheck,
    ContentApproved,
    ContentAutoFlagged,
    ContentChecked,
    ContentRejected,
    ContentReported,
    CountSubmission,
    DecideAppeal,
    DismissReport,
    EscalateCase,
    FileAppeal,
    ModerationCaseClaimed,
    ModerationCaseEscalated,
    ModerationKindSet,
    ModerationListSet,
    ModerationRequested,
    RejectContent,
    ReportContent,
    ReportDismissed,
    SetModerationKind,
    SetModerationList,
    SubmissionCounted,
    SubmitForModeration,
)


def submit(state: Documents, command: SubmitForModeration, case: Case) -> Decision:
    """A case begins with a revision that was never submitted."""
    moderation = found(state, command)
    if moderation.is_undecided:
        return Refuse("case_open", details={"case": moderation.number})
    if moderation.submitted:
        return Refuse("already_submitted", details={"status": moderation.status})
    told = {**dict(command), "case": moderation.number + 1, "origin": "submission", "at": case.now}
    return [ModerationRequested.model_validate(told, extra="allow")]


def claim(state: Documents, command: ClaimCase, case: Case) -> Decision:
    """A moderator takes a case on, from another one only if that is said."""
    moderation = found(state, command)
    if refusal := undecidable(moderation, command, case, take_over=command.take_over):
        return refusal
    if moderation.moderator_id == case.actor.id:
        return []
    return [ModerationCaseClaimed(**about(command), moderator_id=case.actor.id)]


def approve(state: Documents, command: ApproveContent, case: Case) -> Decision:
    """The decision that the content may be published."""
    moderation = found(state, command)
    if refusal := undecidable(moderation, command, case):
        return refusal
    return [
        ContentApproved(
            **about(command),
            kind=moderation.kind,
            author_id=moderation.author_id,
            by="moderator",
            at=case.now,
            moderator_id=case.actor.id,
            note=command.note,
        )
    ]


def reject(state: Documents, command: RejectContent, case: Case) -> Decision:
    """The decision that the content may not be published."""
    moderation = found(state, command)
    if refusal := no_words(command.reason) or undecidable(moderation, command, case):
        return refusal
    return [
        ContentRejected(
            **about(command),
            kind=moderation.kind,
            author_id=moderation.author_id,
            at=case.now,
            moderator_id=case.actor.id,
            reason=command.reason,
        )
    ]


def escalate(state: Documents, command: EscalateCase, case: Case) -> Decision:
    """Whoever had the case on gives it to others."""
    moderation = found(state, command)
    if refusal := no_words(command.reason) or undecidable(moderation, command, case):
        return refusal
    if moderation.status == "escalated":
        return Refuse("already_escalated")
    return [ModerationCaseEscalated(**about(command), moderator_id=case.actor.id, reason=command.reason)]


CASES = Concern(
    documents={CASE: Moderation, REPORT: Report, SUBMISSIONS: Submissions, LISTS: Lists, KINDS: Kinds},
    rules={
        SubmitForModeration: Rule(submit, case_of),
        CountSubmission: Rule(count, lambda _: (SUBMISSIONS,), of_kinds),
        ConcludeCheck: Rule(conclude, case_of, of_kinds),
        ClaimCase: Rule(claim, case_of),
        ApproveContent: Rule(approve, case_of),
        RejectContent: Rule(reject, case_of),
        EscalateCase: Rule(escalate, case_of),
        ReportContent: Rule(report, report_of),
        DismissReport: Rule(dismiss, report_of),
        FileAppeal: Rule(file_appeal, case_of),
        DecideAppeal: Rule(decide_appeal, case_of),
        SetModerationList: Rule(set_list, lambda _: (LISTS,)),
        SetModerationKind: Rule(set_kind, lambda _: (KINDS,)),
    },
    changes={
        ModerationRequested: Change(evolve, case_of),
        ContentChecked: Change(evolve, case_of),
        ContentAutoFlagged: Change(evolve, case_of),
        ModerationCaseClaimed: Change(evolve, case_of),
        ModerationCaseEscalated: Change(evolve, case_of),
        ContentApproved: Change(evolve, case_of),
        ContentRejected: Change(evolve, case_of),
        ContentReported: Change(evolve_report, report_of),
        ReportDismissed: Change(evolve_report, report_of),
        AppealFiled: Change(evolve, case_of),
        AppealDecided: Change(evolve, case_of),
        SubmissionCounted: Change(counted, lambda _: (SUBMISSIONS,)),
        ModerationListSet: Change(list_set, lambda _: (LISTS,)),
        ModerationKindSet: Change(kind_set, lambda _: (KINDS,)),
    },
)
