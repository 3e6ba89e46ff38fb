"""Rows of promotions: each campaign with its counts, and each voucher."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from streams.decision import ROOT
from streams.sink import Fact, rows
from topics.promotions import VoucherRedemptionRejected


@rows("campaign", key=("campaign_id",))
class CampaignRow(NamedTuple):
    campaign_id: str
    partner_id: str
    name: str
    status: str
    price: int
    value: int
    currency: str
    quantity: int
    budget: int
    reserved: int
    issued: int
    failed: int
    redeemed: int
    expired: int


@rows("voucher", key=("campaign_id", "voucher_id"))
class VoucherRow(NamedTuple):
    campaign_id: str
    voucher_id: str
    user_id: str
    partner_id: str
    name: str
    price: int
    value: int
    currency: str
    status: str
    reason: str | None
    code: str | None
    started_at: datetime
    valid_from: datetime | None
    valid_to: datetime | None
    redeemed_at: datetime | None


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The campaign after an event, and the voucher that it is about; a code that was not taken changes nothing."""
    event, campaign = fact.event, state[ROOT]
    if isinstance(event, VoucherRedemptionRejected):
        return
    yield _row(CampaignRow, campaign, campaign_id=fact.key)
    if voucher_id := getattr(event, "voucher_id", None):
        voucher = state[f"voucher/{voucher_id}"]
        yield _row(VoucherRow, voucher, campaign, campaign_id=fact.key, voucher_id=voucher_id)


def _row(kind: Any, *documents: Any, **known: Any) -> Any:
    """A row whose other columns are found by name in the first document that has them."""
    for column in kind._fields:
        if column not in known:
            known[column] = next(getattr(one, column) for one in documents if hasattr(one, column))
    return kind(**known)
