"""What is known of users, codes, visitors and schemes, each kind under a word of its own, since a code might be somebody's id."""

from agents.referrals.rules.documents import (
    BANK,
    CODE,
    EARLY,
    REFERRAL,
    SCHEMES,
    VISITOR,
    Bank,
    Code,
    Early,
    Earnings,
    Grant,
    Member,
    Payout,
    Referral,
    Request,
    Schemes,
    Visitor,
)
from streams.decision import ROOT
from streams.table import Table

REFERRED = Table(
    "referrals",
    {
        ROOT: Member,
        REFERRAL: Referral,
        EARLY: Early,
        "request": Request,
        CODE: Code,
        VISITOR: Visitor,
        SCHEMES: Schemes,
        BANK: Bank,
        "grant": Grant,
        "earnings": Earnings,
        "payout": Payout,
    },
)
