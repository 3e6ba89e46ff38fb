"""Governance: moderation of anything, sanctions of users, the audit log, consent, export and erasure, KYC and AML.

Several kinds of aggregate share its topics: subjects, keyed as `<domain>:<id>`; users, keyed by their id; and the program, which concerns everybody.
"""

from topics.governance.cases import (
    ModerationRequested,
    SubmitForModeration,
)
from topics.governance.kyc import (
    IDENTITY_DOCUMENTS,
    AmlAlertCleared,
    AmlAlertRaised,
    AmlScreened,
    ClearAmlAlert,
    DecideKyc,
    ExpireKyc,
    KycApproved,
    KycDocumentKind,
    KycExpired,
    KycOutcome,
    KycPutOnHold,
    KycRejected,
    KycStarted,
    KycStatus,
    KycSubmitted,
    ScreenAml,
    StartKyc,
    SubmitKycDocument,
)
from topics.governance.terms import (
    GOVERNANCE,
    PROGRAM,
    Program,
    Revision,
    Subject,
)

__all__ = [
    "GOVERNANCE",
    "IDENTITY_DOCUMENTS",
    "PROGRAM",
    "AmlAlertCleared",
    "AmlAlertRaised",
    "AmlScreened",
    "ClearAmlAlert",
    "DecideKyc",
    "ExpireKyc",
    "KycApproved",
    "KycDocumentKind",
    "KycExpired",
    "KycOutcome",
    "KycPutOnHold",
    "KycRejected",
    "KycStarted",
    "KycStatus",
    "KycSubmitted",
    "ModerationRequested",
    "Program",
    "Revision",
    "ScreenAml",
    "StartKyc",
    "Subject",
    "SubmitForModeration",
    "SubmitKycDocument",
]
