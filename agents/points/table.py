"""What is known of each user's points and of the program; the documents beside the account are found by id."""

from agents.points.rules import (
    Account,
    Award,
    Catalogue,
    Day,
    Hold,
    Listening,
    Progress,
    Rule,
    Source,
    Spend,
    Tiers,
    Transfer,
)
from streams.decision import ROOT
from streams.table import Table

ACCOUNTS = Table(
    "points",
    {
        ROOT: Account,
        "award": Award,
        "source": Source,
        "day": Day,
        "given": Day,
        "hold": Hold,
        "spend": Spend,
        "transfer": Transfer,
        "tier": Progress,
        "rule": Rule,
        "on": Listening,
        "rules": Catalogue,
        "tiers": Tiers,
    },
)
