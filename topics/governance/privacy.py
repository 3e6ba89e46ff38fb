"""Privacy: what users have agreed to, what the platform holds of them, and that it holds nothing more.

An erasure asks every domain, then destroys the user's key, which makes all that is sealed with it unreadable wherever it is kept, and tells
`user_erased`. Domains take part as `streams.erasure` says.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from streams.contract import Command, Event, Id, Name, Reason
from topics.governance.terms import GOVERNANCE

Domains = Annotated[tuple[Name, ...], Field(max_length=1000)]


class OfConsent(BaseModel):
    """What a user agrees to: to be dealt with for this `purpose`."""

    user_id: Name
    purpose: Id


class RecordConsent(
    OfConsent,
    Command,
    topic=GOVERNANCE,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "purpose": "analytics", "text_version": "2026-01", "channel": "web"},),
):
    """Agree to a purpose, by this version of its text, on this `channel`. Refused: `user_erased`."""

    text_version: Id
    channel: Id


class WithdrawConsent(
    OfConsent,
    Command,
    topic=GOVERNANCE,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "purpose": "analytics", "channel": "app"},),
    after=("record_consent",),
    despite_sanctions=True,
):
    """Agree no longer; what was done until then stays lawful. Refused: `not_given`."""

    channel: Id


class OfExport(BaseModel):
    """One export of what is held of a user; its id is that of the command that asked for it."""

    user_id: Name
    export_id: Name


class RequestDataExport(
    Command,
    topic=GOVERNANCE,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1"},),
    despite_sanctions=True,
):
    """Ask for a file with all that the platform holds of the user; the view `data_export` has it for seven days.

    Refused: `export_in_progress`; `export_ready` within a day of the last one; `user_erased`.
    """

    user_id: Name


class CompleteDataExport(OfExport, Command, topic=GOVERNANCE, services=("governance",)):
    """The file is kept, `size` bytes of JSON."""

    size: Annotated[int, Field(strict=True, ge=0)]


class FailDataExport(OfExport, Command, topic=GOVERNANCE, services=("governance",)):
    """No file was made."""


class ExpireDataExport(OfExport, Command, topic=GOVERNANCE, services=("governance",)):
    """The file has been there long enough."""


class OfErasure(BaseModel):
    """One erasure of a user; its id is that of the command that asked for it."""

    user_id: Name
    erasure_id: Name


class RequestErasure(
    Command,
    topic=GOVERNANCE,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1"},),
    despite_sanctions=True,
):
    """Ask for all that is personal to be made unreadable for ever, within 30 days; it waits while a domain has something open.

    Of a user who is erased it may be asked again: then it is done again, as after a database was restored from an older copy. Refused: `erasure_in_progress`.
    """

    user_id: Name


class PlanErasure(OfErasure, Command, topic=GOVERNANCE, services=("governance",)):
    """The `domains` that there are, and those of them that are `asked` since they have something to do."""

    domains: Domains
    asked: Domains


class NoteErasureStep(OfErasure, Command, topic=GOVERNANCE, services=("governance",)):
    """A domain has answered; with a `reason` it has to wait."""

    domain: Name
    reason: Reason | None = None


class AskErasureAgain(OfErasure, Command, topic=GOVERNANCE, services=("governance",)):
    """Some domains had to wait: perhaps they need not any more."""


class CompleteErasure(OfErasure, Command, topic=GOVERNANCE, services=("governance",)):
    """The key is destroyed."""


class ConsentRecorded(OfConsent, Event, topic=GOVERNANCE):
    """The user agrees, without a break `since` then, and from `at` on to this version of the text."""

    text_version: Id
    channel: Id
    since: datetime
    at: datetime


class ConsentWithdrawn(OfConsent, Event, topic=GOVERNANCE):
    """The user agreed `since` then, at last to this version of the text, and agrees no longer from `at` on."""

    text_version: Id
    channel: Id
    since: datetime
    at: datetime


class DataExportRequested(OfExport, Event, topic=GOVERNANCE):
    """Somebody wants to know what is held of the user."""

    requested_at: datetime


class DataExportCompleted(OfExport, Event, topic=GOVERNANCE):
    """The file is there until `expires_at`."""

    size: int
    completed_at: datetime
    expires_at: datetime


class DataExportFailed(OfExport, Event, topic=GOVERNANCE):
    """There will be no file of this export; another one may be asked for."""


class DataExportExpired(OfExport, Event, topic=GOVERNANCE):
    """The file goes."""


class ErasureRequested(OfErasure, Event, topic=GOVERNANCE):
    """All that is personal of the user is to be unreadable by `due_by`."""

    requested_at: datetime
    due_by: datetime


class ErasureAsked(OfErasure, Event, topic=GOVERNANCE):
    """These domains are asked to do their part, and asked again from `again_at` on while they have not."""

    domains: Domains
    again_at: datetime


class ErasureStepCompleted(OfErasure, Event, topic=GOVERNANCE):
    """The domain holds nothing of the user but ids and what is sealed."""

    domain: Name


class ErasureStepDeferred(OfErasure, Event, topic=GOVERNANCE):
    """The domain has to wait, for this reason."""

    domain: Name
    reason: Reason


class ErasureOverdue(OfErasure, Event, topic=GOVERNANCE):
    """The time that the law gives is over, and these domains still wait."""

    domains: Domains


class ErasureAcknowledged(OfErasure, Event, topic=GOVERNANCE):
    """All domains have done their part: the key may go."""


class UserErased(OfErasure, Event, topic=GOVERNANCE):
    """Nothing that is personal of the user can be read any more, anywhere and by anybody."""

    erased_at: datetime
