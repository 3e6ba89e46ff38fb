"""What is known of each campaign; its vouchers and codes, their redemptions, and its users are found by id. Orders and venues are kept beside them."""

from typing import Any

from agents.promotions.rules.documents import Batch, Campaign, Order, Shopper, Staff, Tries, Use, Venue, Voucher
from streams.decision import ROOT
from streams.table import Table


def with_uses(word: str, document: Any) -> Any:
    """Rules 1 knew vouchers that are redeemed whole; redemptions of that time cannot be rolled back before the domain was built anew."""
    if word == ROOT and "redeemed" in document:
        return document | {"taken": document["redeemed"] * document["value"]}
    return document | {"used": 1} if word == "voucher" and document.get("status") == "redeemed" else document


CAMPAIGNS = Table(
    "promotions",
    {
        ROOT: Campaign,
        "voucher": Voucher,
        "user": Shopper,
        "use": Use,
        "tries": Tries,
        "batch": Batch,
        "order": Order,
        "venue": Venue,
        "staff": Staff,
    },
    version=2,
    upcasts={1: with_uses},
)
