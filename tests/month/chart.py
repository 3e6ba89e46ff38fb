"""A month as a picture: points that came and went day by day, and what people did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

KINDS = {
    "awarded": ("awarded", "#0b7285"),
    "spent": ("spent", "#f2b880"),
    "captured": ("spent on vouchers", "#d9480f"),
    "expired": ("expired", "#b4bcc4"),
    "reversed": ("taken back", "#343a40"),
}
"""Kinds of movements of the ledger, with their words and colours."""
DONE = {
    "identity.profile": ("registered", 2),
    "promotions.voucher": ("vouchers wanted", 5),
    "quests.ending": ("quests ended", 3),
    "referrals.referral": ("friends brought", 6),
}
"""Tables of which each row is something that happened once, and the column that says when."""
LOOK: dict[Any, Any] = {
    "svg.hashsalt": "caravan",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(found: Mapping[str, Sequence[Sequence[Any]]], path: Path) -> None:
    """Draw the rows that the platform showed; equal rows give an equal file."""
    ledger = found["points.ledger"]
    days = sorted({row[1].date() for row in ledger})
    numbers = range(1, len(days) + 1)
    with mpl.rc_context(LOOK):
        _, (above, below) = plt.subplots(2, 1, figsize=(7.6, 5.6), sharex=True)
        for kind, (words, colour) in KINDS.items():
            sums = Counter[Any]()
            for row in ledger:
                if row[2] == kind:
                    sums[row[1].date()] += row[5]
            above.plot(numbers, [sums[day] for day in days], label=words, color=colour)
        above.set_ylabel("points a day")
        above.legend(frameon=False, fontsize=8, ncols=3)
        for table, (words, column) in DONE.items():
            counts = Counter(row[column].date() for row in found[table])
            below.plot(numbers, [counts[day] for day in days], label=words)
        below.set_ylabel("a day")
        below.set_xlabel("day of the month")
        below.legend(frameon=False, fontsize=8, ncols=2)
        plt.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
        plt.close("all")
