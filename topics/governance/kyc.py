"""KYC and AML: whether it is known who a user is, and whether something stands against them.

Domains gate what needs it by the events: `kyc_approved` opens until `kyc_expired`, and `aml_alert_raised` closes until `aml_alert_cleared` says that
no alert is `open`. Users are told what became of their KYC, and nothing about alerts.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streams.contract import Command, Days, Event, Id, Moment, Name, Reason, Text
from topics.governance.terms import GOVERNANCE

MOST_ATTEMPTS = 1_000_000
MOST_DOCUMENTS = 10  # of one attempt

KycStatus = Literal["init", "pending", "on_hold", "approved", "rejected", "expired"]
KycDocumentKind = Literal["passport", "id_card", "driving_licence", "residence_permit", "selfie", "proof_of_address"]
IDENTITY_DOCUMENTS: tuple[KycDocumentKind, ...] = ("passport", "id_card", "driving_licence", "residence_permit")
KycOutcome = Literal["approved", "rejected", "on_hold"]

Attempt = Annotated[int, Field(strict=True, ge=1, le=MOST_ATTEMPTS)]
"""Which time a user tries, from 1 on."""

Hits = Annotated[tuple[Name, ...], Field(max_length=20)]
"""The lists on which somebody was found, by the names that the source gives them."""


class StartKyc(Command, topic=GOVERNANCE, roles=("User",), owner="user_id", examples=({"user_id": "u1"},)):
    """Begin to show who one is, or again after it has expired.

    Refused: `kyc_started`, `already_approved`, `rejected_for_good`; after a rejection that may be retried, documents are submitted without this.
    """

    user_id: Name


class SubmitKycDocument(
    Command,
    topic=GOVERNANCE,
    roles=("User",),
    owner="user_id",
    examples=(
        {"user_id": "u1", "kind": "passport", "media_id": "m1"},
        {"user_id": "u1", "kind": "selfie", "media_id": "m2"},
    ),
    after=("start_kyc",),
):
    """Hand in a document: the id of a private medium, whose content never comes here.

    With an identity document and a selfie the attempt is complete and waits to be decided; more may follow until then, and are what a decision put
    on hold waits for. After a rejection with `retry` this begins the next attempt. Refused: `kyc_not_started`, `already_approved`,
    `rejected_for_good`, `already_submitted` for a medium of the same attempt, `too_many_documents`.
    """

    user_id: Name
    kind: KycDocumentKind
    media_id: Name


class DecideKyc(
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=({"user_id": "u1", "attempt": 1, "outcome": "approved"},),
    after=("submit_kyc_document",),
):
    """Say what the documents of this attempt show; approved for `valid_days`.

    Whatever is not approved has a reason, and a rejection says whether the user may `retry`. Refused: `own_kyc`, `already_decided`, `not_pending`,
    `already_on_hold`, and `aml_alert_open` for an approval.
    """

    user_id: Name
    attempt: Attempt
    outcome: KycOutcome
    reason: Reason | None = None
    retry: bool | None = None
    valid_days: Days = 365

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if (self.reason is None) != (self.outcome == "approved"):
            raise ValueError("a reason is given for what is rejected or put on hold, and for nothing else")
        if (self.retry is None) != (self.outcome != "rejected"):
            raise ValueError("retry is said of a rejection, and of nothing else")
        return self


class ExpireKyc(Command, topic=GOVERNANCE, services=("governance",)):
    """The time for which a user was approved is over."""

    user_id: Name
    attempt: Attempt


class ScreenAml(
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    services=("governance",),
    examples=(
        {"user_id": "u1", "screening_id": "s1", "about": "withdrawal:w1", "source": "sanctions-lists"},
        {"user_id": "u2", "screening_id": "s2", "about": "user", "source": "sanctions-lists", "hits": ["eu-fsf"]},
    ),
):
    """Write down what a source said of a user, an address or a withdrawal; any hit raises an alert of the same id. A repeated id is `already_screened`."""

    user_id: Name
    screening_id: Id
    about: Name
    source: Name
    hits: Hits = ()


class ClearAmlAlert(
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=({"user_id": "u2", "alert_id": "s2", "reason": "Another person of that name"},),
    after=("screen_aml",),
):
    """An alert was looked into and does not stand. Refused: `own_alert`, `alert_not_found`, `already_cleared`."""

    user_id: Name
    alert_id: Id
    reason: Reason


class KycStarted(Event, topic=GOVERNANCE):
    """A user begins to show who they are."""

    user_id: Name
    attempt: Attempt
    started_at: Moment


class KycSubmitted(Event, topic=GOVERNANCE):
    """A document was handed in; `complete` when all that is required is there."""

    user_id: Name
    attempt: Attempt
    kind: KycDocumentKind
    media_id: Name
    complete: bool
    submitted_at: Moment


class KycPutOnHold(Event, topic=GOVERNANCE):
    """Something is missing, which the reason says."""

    user_id: Name
    attempt: Attempt
    reason: Reason
    decided_by: Text
    decided_at: Moment


class KycApproved(Event, topic=GOVERNANCE):
    """It is known who the user is, until then."""

    user_id: Name
    attempt: Attempt
    decided_by: Text
    decided_at: Moment
    expires_at: Moment


class KycRejected(Event, topic=GOVERNANCE):
    """The documents do not show who the user is; with `retry` others may be handed in, without it is final."""

    user_id: Name
    attempt: Attempt
    retry: bool
    reason: Reason
    decided_by: Text
    decided_at: Moment


class KycExpired(Event, topic=GOVERNANCE):
    """What was approved is so no longer."""

    user_id: Name
    attempt: Attempt
    expired_at: Moment


class AmlScreened(Event, topic=GOVERNANCE):
    """A source was asked, and this is what it said."""

    user_id: Name
    screening_id: Id
    about: Name
    source: Name
    hits: Hits
    screened_at: Moment


class AmlAlertRaised(Event, topic=GOVERNANCE):
    """Something stands against the user until it is cleared; so many alerts are `open` with this one."""

    user_id: Name
    alert_id: Id
    hits: Hits
    open: Annotated[int, Field(strict=True, ge=1)]
    raised_at: Moment


class AmlAlertCleared(Event, topic=GOVERNANCE):
    """An alert does not stand; so many others are still `open`."""

    user_id: Name
    alert_id: Id
    reason: Reason
    cleared_by: Text
    open: Annotated[int, Field(strict=True, ge=0)]
    cleared_at: Moment
