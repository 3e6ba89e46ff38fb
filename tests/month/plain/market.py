"""Promotions: campaigns and their vouchers, bought with points."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from .wallet import OK, Line, Outcome, Points, no, when

PAID = {"valid", "redeemed", "expired"}


class Campaign:
    """Its terms and its vouchers."""

    def __init__(self, data: Line) -> None:
        self.terms, self.partner = data, data["partner_id"]
        self.status = "draft"
        self.vouchers: dict[str, Line] = {}
        self.count: Counter[str] = Counter()
        self.bought: Counter[str] = Counter()

    @property
    def shown(self) -> str:
        """Its status; one that cannot sell one more is exhausted."""
        sold = self.count["issued"]
        full = sold >= self.terms["quantity"] or (sold + 1) * self.terms["value"] > self.terms["budget"]
        return "exhausted" if self.status == "active" and full else self.status

    def time(self, name: str) -> datetime | None:
        return when(self.terms.get(name))


class Promotions:
    """Every campaign."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.campaigns: dict[str, Campaign] = {}

    def tick(self, now: datetime) -> None:
        """Campaigns and vouchers whose time is over; what is exhausted stays so."""
        for campaign in self.campaigns.values():
            if campaign.shown == "active" and any(
                end and end <= now for end in (campaign.time("sale_to"), campaign.time("valid_to"))
            ):
                campaign.status = "ended"
            for voucher in campaign.vouchers.values():
                if voucher["status"] == "valid" and voucher["valid_to"] <= now:
                    voucher["status"] = "expired"
                    campaign.count["expired"] += 1

    def create_campaign(self, data: Line, now: datetime) -> Outcome:
        if data["campaign_id"] in self.campaigns:
            return no("campaign_exists")
        if any((end := when(data.get(name))) and end <= now for name in ("sale_to", "valid_to")):
            return no("already_over")
        self.campaigns[data["campaign_id"]] = Campaign(data)
        return OK

    def activate_campaign(self, data: Line, now: datetime) -> Outcome:
        campaign = self.campaigns.get(data["campaign_id"])
        if campaign is None or campaign.partner != data["partner_id"]:
            return no("campaign_not_found")
        if campaign.status == "active":
            return no("already_active")
        campaign.status = "active"
        return OK

    def purchase_voucher(self, data: Line, now: datetime) -> Outcome:
        campaign = self.campaigns.get(data["campaign_id"])
        if code := self._unavailable(campaign, data, now):
            return no(code)
        assert campaign is not None
        user, name, price = data["user_id"], data["voucher_id"], campaign.terms["price"]
        voucher = campaign.vouchers[name] = {"user": user, "status": "failed", "reason": None, "started_at": now}
        hold = f"voucher:{data['campaign_id']}:{name}"
        if price and not self.points.hold(user, hold, price, now):
            voucher["reason"] = "insufficient"
            campaign.count["failed"] += 1
            return no("insufficient")
        begin = max(now, campaign.time("valid_from") or now)
        end = campaign.time("valid_to") or begin + timedelta(days=campaign.terms["valid_days"])
        if price:
            self.points.end_hold(user, hold, now, spent=True)
        voucher |= {"status": "valid", "valid_from": begin, "valid_to": end}
        campaign.bought[user] += 1
        campaign.count["issued"] += 1
        return OK

    def _unavailable(self, campaign: Campaign | None, data: Line, now: datetime) -> str | None:
        if campaign is None:
            return "campaign_not_found"
        if campaign.status == "ended":
            return "campaign_ended"
        if campaign.status != "active":
            return "campaign_not_active"
        begin, end, last = (campaign.time(name) for name in ("sale_from", "sale_to", "valid_to"))
        if begin and now < begin:
            return "sale_not_begun"
        if (end and now >= end) or (last and now >= last):
            return "campaign_ended"
        terms, sold = campaign.terms, campaign.count["issued"]
        checks = {
            "voucher_exists": data["voucher_id"] in campaign.vouchers,
            "limit_reached": campaign.bought[data["user_id"]] >= terms.get("per_user", 1),
            "sold_out": sold >= terms["quantity"],
            "budget_exhausted": (sold + 1) * terms["value"] > terms["budget"],
        }
        return next((code for code, holds in checks.items() if holds), None)

    def redeem_voucher(self, data: Line, now: datetime) -> Outcome:
        """`code` is the voucher whose right code is shown, or a text that is none."""
        campaign, shown = self.campaigns.get(data["campaign_id"]), data["code"]
        voucher = campaign.vouchers.get(shown["voucher"]) if campaign and isinstance(shown, dict) else None
        if (
            campaign is None
            or voucher is None
            or campaign.partner != data["partner_id"]
            or voucher["status"] == "failed"
        ):
            return no("not_found")
        if voucher["status"] == "redeemed":
            return no("already_redeemed")
        if voucher["status"] == "expired":
            return no("expired")
        if now < voucher["valid_from"]:
            return no("not_found")
        voucher |= {"status": "redeemed", "redeemed_at": now}
        campaign.count["redeemed"] += 1
        return OK

    def tables(self) -> dict[str, list[Any]]:
        names = ("user", "status", "reason", "started_at", "valid_from", "valid_to", "redeemed_at")
        return {
            "promotions.campaign": [
                [name, c.shown, *(c.count[kind] for kind in ("issued", "failed", "redeemed", "expired"))]
                for name, c in self.campaigns.items()
            ],
            "promotions.voucher": [
                [name, voucher, *(told.get(column) for column in names)]
                for name, c in self.campaigns.items()
                for voucher, told in c.vouchers.items()
            ],
        }
