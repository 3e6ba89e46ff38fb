"""Moderation: revisions of what domains have are submitted, checked, decided on, reported and appealed.

A case is one look at one revision of a subject. The first one begins when the revision is submitted, another one when it is reported after it was decided on. While
a case is undecided there is no other of that revision; each has one decision, by whoever comes first. Nobody decides on what is their own.

    submitted -> open -> claimed -> approved | rejected
                         escalated -> approved | rejected
    rejected -> appeal filed -> upheld | overturned (and approved)
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from streams.contract import Command, Event, Id, Moment, Name, Reason, Text
from streams.personal import Personal
from topics.governance.terms import GOVERNANCE, PROGRAM, Program, Revision, Subject

MOST_LISTS = 20
MOST_ENTRIES = 1000  # of a list
MOST_KINDS = 200
MOST_PER_HOUR = 1000
REMEMBERED = 50  # texts of an author that a new one may be a copy of

CaseNumber = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
"""Which look at a revision; the first one is 1."""

Content = Annotated[str, Field(strict=True, max_length=10_000, pattern=r"^[^\x00]*$")]
"""What somebody wrote to be published, of at most 10 000 characters."""

CaseOrigin = Literal["submission", "reports"]
"""Why a revision is looked at."""

CaseStatus = Literal["open", "claimed", "escalated", "approved", "rejected"]

ReportCategory = Literal["spam", "abuse", "illegal", "misleading", "other"]

ContentAppealOutcome = Literal["upheld", "overturned"]
"""What became of an appeal: the content stays rejected, or it is approved."""

Check = Literal["text", "author", "classifier"]
"""What is looked at without a person: words and links; how much the author submits, and what of it again; what a classifier says."""

Flag = Annotated[str, Field(strict=True, min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")]
"""Why content needs a person: `list:<list_id>`, `rate`, `duplicate`, `classifier:<label>`, or `<check>:failed` where a check could not be made."""

Flags = Annotated[tuple[Flag, ...], Field(max_length=50)]

Fingerprint = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{32}$")]
"""A keyed hash of a text: equal for equal texts of one author, and of no use to others."""

ApprovedBy = Literal["moderator", "checks", "reports_dismissed", "appeal"]
"""Who approved: a person, the checks, a person by dismissing the last report, or a person who decided an appeal."""

ListOf = Literal["words", "links"]


class OfRevision(BaseModel):
    """What is about one revision of a subject."""

    subject: Subject
    revision: Revision


class OfCase(OfRevision):
    """What is about one look at a revision."""

    case: CaseNumber = 1


class Submitted(BaseModel):
    """What is submitted: whose it is, and what moderators and checks are shown of it. Texts may be sealed for the author."""

    kind: Id
    author_id: Name
    title: Personal[Content] | None = None
    text: Personal[Content] | None = None
    media_ids: Annotated[tuple[Name, ...], Field(max_length=20)] = ()


class SubmitForModeration(
    Submitted,
    OfRevision,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    owner="author_id",
    services=("governance",),
    examples=tuple(
        {"subject": f"notes:{name}", "revision": 1, "kind": "note", "author_id": "u1", "text": text}
        for name, text in (("n1", "Good morning"), ("n2", "Buy now"), ("n3", "Buy at once"), ("n4", "Who knows"))
    ),
):
    """A revision of a subject waits to be approved; of one revision once.

    Its words, its links, its author's rate and a classifier are checked. What is flagged, and whatever is of a kind that is not `automatic`, waits for a person.
    Refused: `case_open`, `already_submitted`.
    """


class CountSubmission(Command, topic=GOVERNANCE, services=("governance",)):
    """How much an author submits, and what of it twice, is counted with the author."""

    user_id: Name
    subject: Subject
    revision: Revision
    case: CaseNumber
    kind: Id
    fingerprint: Fingerprint | None = None


class ConcludeCheck(OfCase, Command, topic=GOVERNANCE, key="subject", services=("governance",)):
    """What a check found; refused (`already_checked`) when nobody waits for it."""

    check: Check
    flags: Flags = ()
    fingerprint: Fingerprint | None = None


class ClaimCase(
    OfCase,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    examples=({"subject": "notes:n3", "revision": 1},),
    after=("submit_for_moderation",),
):
    """A moderator takes a case on; the others decide on it only after they took it over. Refused: `case_not_found`, `case_decided`, `own_content`, `claimed_by_other`."""

    take_over: bool = False


class ApproveContent(
    OfCase,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    examples=({"subject": "notes:n1", "revision": 1},),
    after=("submit_for_moderation",),
):
    """The content may be published, or stay so. Refused: `case_not_found`, `case_decided`, `own_content` (403), `claimed_by_other`."""

    note: Reason | None = None


class RejectContent(
    OfCase,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    examples=({"subject": "notes:n2", "revision": 1, "reason": "It is an advertisement."},),
    after=("submit_for_moderation",),
):
    """The content may not be published, and is taken down where it was; the author is told the reason. Refused as `approve_content` is, and `reason_missing` (422)."""

    reason: Reason


class EscalateCase(
    OfCase,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    examples=({"subject": "notes:n4", "revision": 1, "reason": "It may be against the law."},),
    after=("submit_for_moderation",),
):
    """Others shall look at it, before all that is not escalated. Refused as `approve_content` is, `already_escalated`, and `reason_missing` (422)."""

    reason: Reason


class ReportContent(
    OfRevision,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("User",),
    owner="reporter_id",
    examples=(
        {"subject": "notes:n1", "revision": 1, "reporter_id": "u2", "category": "spam", "note": "He sells something."},
        {"subject": "notes:n1", "revision": 1, "reporter_id": "u3", "category": "other"},
    ),
    after=("approve_content",),
):
    """Tell the moderators about content, once: it is looked at, again if it had been. Refused: `already_reported`, `already_rejected`."""

    reporter_id: Name
    category: ReportCategory
    note: Personal[Text] | None = None


class DismissReport(
    OfRevision,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    examples=({"subject": "notes:n1", "revision": 1, "reporter_id": "u2"},),
    after=("report_content",),
):
    """There is nothing in a report. With the last one the case that reports had opened is over, and the content stays.

    Refused: `report_not_found`, `report_closed`, `own_content` (403), `claimed_by_other`.
    """

    reporter_id: Name
    note: Reason | None = None


class FileAppeal(
    OfCase,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("User",),
    owner="author_id",
    examples=({"subject": "notes:n2", "revision": 1, "author_id": "u1", "text": "It is none."},),
    after=("reject_content",),
    despite_sanctions=True,
):
    """The author asks that somebody else looks at a rejection, once. Refused: `case_not_found` (also for whoever is not the author), `not_rejected`, `already_appealed`."""

    author_id: Name
    text: Personal[Annotated[Text, Field(min_length=1)]]


class DecideAppeal(
    OfCase,
    Command,
    topic=GOVERNANCE,
    key="subject",
    roles=("Admin",),
    examples=({"subject": "notes:n2", "revision": 1, "outcome": "overturned", "reason": "It is no advertisement."},),
    after=("file_appeal",),
):
    """Decide an appeal; overturned, the content is approved.

    Refused: `case_not_found`, `not_appealed`, `already_decided`, `own_content` (403), `own_decision` (403) for whoever rejected it, `reason_missing` (422).
    """

    outcome: ContentAppealOutcome
    reason: Reason


class SetModerationList(
    Command,
    topic=GOVERNANCE,
    key="program",
    roles=("Admin",),
    examples=(
        {"list_id": "gambling", "of": "words", "entries": ["casino*", "place your bets"]},
        {"list_id": "phishing", "of": "links", "entries": ["phish.example"]},
    ),
):
    """Words or hosts that flag what has them; without entries the list is no more. Refused: `too_many_lists`, `bad_entry` (422) for one without a letter or digit.

    Words are compared without regard to case and width, as whole words; one entry may have several, and a last `*` stands for any end. A host stands for
    its subdomains too.
    """

    program: Program = PROGRAM
    list_id: Id
    of: ListOf
    entries: Annotated[
        tuple[Annotated[Text, Field(min_length=1, max_length=100)], ...], Field(max_length=MOST_ENTRIES)
    ] = ()


class SetModerationKind(
    Command,
    topic=GOVERNANCE,
    key="program",
    roles=("Admin",),
    examples=({"kind": "comment", "automatic": True, "most_per_hour": 60},),
):
    """How content of a kind is dealt with: whether what no check flags is approved at once, and how many an author may submit in an hour without being flagged.

    Refused: `too_many_kinds`.
    """

    program: Program = PROGRAM
    kind: Id
    automatic: bool = False
    most_per_hour: Annotated[int, Field(strict=True, ge=1, le=MOST_PER_HOUR)] = 20


class ModerationRequested(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """A case is open. One that reports opened says whose the content is and of what kind if it was ever submitted."""

    origin: CaseOrigin
    at: Moment
    kind: Id | None = None
    author_id: Name | None = None
    title: Personal[Content] | None = None
    text: Personal[Content] | None = None
    media_ids: tuple[Name, ...] = ()


class ContentChecked(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """A check is made."""

    kind: Id
    author_id: Name
    check: Check
    fingerprint: Fingerprint | None = None


class ContentAutoFlagged(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """A check found something: a person has to look."""

    check: Check
    flags: Flags


class SubmissionCounted(Event, topic=GOVERNANCE):
    """An author submitted something."""

    user_id: Name
    subject: Subject
    revision: Revision
    case: CaseNumber
    kind: Id
    fingerprint: Fingerprint | None = None
    at: Moment
    flags: Flags


class ModerationCaseClaimed(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """A moderator takes a case on."""

    moderator_id: Text


class ModerationCaseEscalated(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """Others shall look at a case."""

    moderator_id: Text
    reason: Reason


class ContentApproved(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """The content may be published, or stay so."""

    kind: Id | None = None
    author_id: Name | None = None
    by: ApprovedBy
    at: Moment
    moderator_id: Text | None = None
    note: Reason | None = None


class ContentRejected(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """The content may not be published."""

    kind: Id | None = None
    author_id: Name | None = None
    at: Moment
    moderator_id: Text
    reason: Reason


class ContentReported(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """Somebody told the moderators about content; the case is the one in which it is looked at."""

    reporter_id: Name
    category: ReportCategory
    note: Personal[Text] | None = None


class ReportDismissed(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """There is nothing in a report."""

    reporter_id: Name
    moderator_id: Text
    note: Reason | None = None


class AppealFiled(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """The author asks that somebody else looks at a rejection."""

    author_id: Name
    text: Personal[Text]


class AppealDecided(OfCase, Event, topic=GOVERNANCE, key="subject"):
    """An appeal is decided; `content_approved` follows where it is overturned."""

    author_id: Name
    outcome: ContentAppealOutcome
    moderator_id: Text
    reason: Reason


class ModerationListSet(Event, topic=GOVERNANCE, key="program"):
    """These are the entries of a list now."""

    program: Program
    list_id: Id
    of: ListOf
    entries: tuple[Text, ...]


class ModerationKindSet(Event, topic=GOVERNANCE, key="program"):
    """So content of a kind is dealt with from now on."""

    program: Program
    kind: Id
    automatic: bool
    most_per_hour: int
