"""Promotions once more, in the plainest way there is. Of a voucher's code only its owner knows more than where it begins."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.acceptance.model import Step

PATIENCE = timedelta(minutes=15)
WRONG_CODES, WRONG_WINDOW = 10, timedelta(minutes=1)
OVER = ("ended", "exhausted")
Result = tuple[str, str | None]


@dataclass
class Voucher:
    """What became of a voucher."""

    user: str
    purchase: str
    started_at: datetime
    status: str = "started"
    reason: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    redeemed_at: datetime | None = None


@dataclass
class Campaign:
    """A campaign with its vouchers."""

    terms: dict[str, Any]
    status: str = "draft"
    vouchers: dict[str, Voucher] = field(default_factory=dict)

    def count(self, *statuses: str) -> int:
        """Vouchers in these states."""
        return sum(voucher.status in statuses for voucher in self.vouchers.values())

    @property
    def sold(self) -> int:
        """Vouchers that are paid or being paid for."""
        return self.count("started", "valid", "redeemed", "expired")

    def time(self, name: str) -> datetime | None:
        """One of the times of its terms."""
        text = self.terms.get(name)
        return datetime.fromisoformat(text) if text else None


class Market:
    """Play all steps, those of one campaign in their order, and look."""

    def __init__(self, codes: dict[tuple[str, str], str]) -> None:
        """`codes` are those that were given to owners, by campaign and voucher."""
        self.campaigns: dict[str, Campaign] = {}
        self.results: dict[str, Result] = {}
        self._codes = codes
        self._tries: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)

    def play(self, step: Step) -> None:
        """Do it."""
        code = getattr(self, f"_{step.type}")(self.campaigns.get(step.data["campaign_id"]), step)
        if code != "pending":
            self.results[step.id] = ("rejected", code) if code else ("accepted", None)

    def _create_campaign(self, campaign: Campaign | None, step: Step) -> str | None:
        if campaign:
            return "campaign_exists"
        made = Campaign(step.data)
        if any(end and end <= step.at for end in (made.time("sale_to"), made.time("valid_to"))):
            return "already_over"
        self.campaigns[step.data["campaign_id"]] = made
        return None

    def _activate_campaign(self, campaign: Campaign | None, step: Step) -> str | None:
        if not campaign or campaign.terms["partner_id"] != step.data["partner_id"]:
            return "campaign_not_found"
        if campaign.status in ("active", *OVER):
            return f"already_{campaign.status}"
        campaign.status = "active"
        return None

    def _end_campaign(self, campaign: Campaign | None, step: Step) -> str | None:
        if not campaign or campaign.status in OVER:
            return f"already_{campaign.status}" if campaign else "campaign_not_found"
        campaign.status = "ended"
        return None

    def _purchase_voucher(self, campaign: Campaign | None, step: Step) -> str | None:
        if not campaign:
            return "campaign_not_found"
        if code := self._unavailable(campaign, step) or self._exhausted(campaign, step):
            return code
        voucher = campaign.vouchers[step.data["voucher_id"]] = Voucher(step.data["user_id"], step.id, step.at)
        if campaign.terms["price"] == 0:
            self._sell(campaign, voucher, step.at)
            return None
        self.results[step.id] = ("pending", None)
        return "pending"

    def _unavailable(self, campaign: Campaign, step: Step) -> str | None:
        begin, ends = campaign.time("sale_from"), (campaign.time("sale_to"), campaign.time("valid_to"))
        if campaign.status == "draft":
            return "campaign_not_active"
        if begin and step.at < begin:
            return "sale_not_begun"
        over = campaign.status == "ended" or any(end and end <= step.at for end in ends)
        return "campaign_ended" if over else None

    def _exhausted(self, campaign: Campaign, step: Step) -> str | None:
        terms = campaign.terms
        mine = [v for v in campaign.vouchers.values() if v.user == step.data["user_id"] and v.status != "failed"]
        if step.data["voucher_id"] in campaign.vouchers:
            return "voucher_exists"
        if len(mine) >= terms.get("per_user", 1):
            return "limit_reached"
        if campaign.sold >= terms["quantity"]:
            return "sold_out"
        return "budget_exhausted" if (campaign.sold + 1) * terms["value"] > terms["budget"] else None

    def _sell(self, campaign: Campaign, voucher: Voucher, now: datetime) -> None:
        voucher.status, voucher.valid_from = "valid", max(now, campaign.time("valid_from") or now)
        days = timedelta(days=campaign.terms.get("valid_days") or 0)
        voucher.valid_to = campaign.time("valid_to") or voucher.valid_from + days
        sold, terms = campaign.count("valid", "redeemed", "expired"), campaign.terms
        if campaign.status == "active" and (sold == terms["quantity"] or (sold + 1) * terms["value"] > terms["budget"]):
            campaign.status = "exhausted"

    def _confirm_purchase(self, campaign: Campaign | None, step: Step) -> str | None:
        voucher = campaign and campaign.vouchers.get(step.data["voucher_id"])
        if not campaign or not voucher or step.data["amount"] != campaign.terms["price"]:
            return "purchase_not_found"
        if voucher.status != "started":
            return "purchase_ended"
        end = campaign.time("valid_to")
        if end and end <= step.at:
            self._fail(voucher, "campaign_ended")
            return None
        self._sell(campaign, voucher, step.at)
        self.results[voucher.purchase] = ("accepted", None)
        return None

    def _fail_purchase(self, campaign: Campaign | None, step: Step) -> str | None:
        voucher = campaign and campaign.vouchers.get(step.data["voucher_id"])
        if not voucher or voucher.user != step.data["user_id"]:
            return "purchase_not_found"
        if voucher.status != "started":
            return "purchase_ended"
        if step.data["reason"] == "timed_out" and step.at < voucher.started_at + PATIENCE:
            return "not_due"
        self._fail(voucher, step.data["reason"])
        return None

    def _fail(self, voucher: Voucher, reason: str) -> None:
        voucher.status, voucher.reason = "failed", reason
        self.results[voucher.purchase] = ("rejected", reason)

    def _redeem_voucher(self, campaign: Campaign | None, step: Step) -> str | None:
        tries = self._tries[step.data["campaign_id"], step.data["partner_id"]]
        if len([at for at in tries[-WRONG_CODES:] if step.at < at + WRONG_WINDOW]) == WRONG_CODES:
            return "too_many_attempts"
        name = step.data["code"].rpartition("-")[0]
        voucher = campaign and campaign.vouchers.get(name)
        known = campaign and campaign.terms["partner_id"] == step.data["partner_id"]
        if not voucher or not known or self._codes.get((step.data["campaign_id"], name)) != step.data["code"]:
            tries.append(step.at)
            return "not_found"
        if voucher.status == "redeemed":
            return "already_redeemed"
        if voucher.status == "expired" or (voucher.valid_to and voucher.valid_to <= step.at):
            return "expired"
        voucher.status, voucher.redeemed_at = "redeemed", step.at
        return None

    def _expire_voucher(self, campaign: Campaign | None, step: Step) -> str | None:
        voucher = campaign and campaign.vouchers.get(step.data["voucher_id"])
        if not voucher or voucher.status != "valid" or not voucher.valid_to or step.at < voucher.valid_to:
            return "not_due"
        voucher.status = "expired"
        return None
