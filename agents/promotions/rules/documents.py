"""What is known of campaigns, of vouchers and their redemptions, of orders and venues."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec.structs import replace

from streams.decision import State
from topics.promotions import Kind

PATIENCE = timedelta(minutes=15)  # how long the points for a voucher may take
RESERVATION = timedelta(minutes=30)  # how long something is set aside for an order
WRONG_CODES, WRONG_WINDOW = 10, timedelta(minutes=1)  # after so many in this time somebody has to wait
MAX_LINKS = 20  # things reserved for one order

CampaignStatus = Literal["unknown", "draft", "active", "paused", "ended", "exhausted"]
VoucherStatus = Literal["unknown", "started", "failed", "valid", "reserved", "redeemed", "expired", "cancelled"]

COUNTED: Mapping[str, tuple[str, ...]] = {
    "started": ("reserved",),
    "failed": ("failed",),
    "valid": ("issued",),
    "reserved": ("issued",),
    "redeemed": ("issued", "redeemed"),
    "expired": ("issued", "expired"),
    "cancelled": ("issued", "cancelled"),
}
"""As what its campaign counts a voucher."""


class Campaign(State, frozen=True, omit_defaults=True):
    """The terms of a campaign and how many of its vouchers are in which state; `reserved` are being paid for, `issued` is all that were sold or given.

    Of those `given` were not paid and `refunded` were paid back. `granted` is what promo codes took off orders, paid or not yet; `taken` is what all redemptions
    are worth.
    """

    status: CampaignStatus = "unknown"
    partner_id: str = ""
    name: str = ""
    price: int = 0
    value: int = 0
    currency: str = ""
    quantity: int = 0
    budget: int = 0
    per_user: int = 0
    sale_from: datetime | None = None
    sale_to: datetime | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    valid_days: int | None = None
    reserved: int = 0
    issued: int = 0
    failed: int = 0
    redeemed: int = 0
    expired: int = 0
    kind: Kind = "voucher"
    max_uses: int = 1
    percent: int | None = None
    min_spend: int = 0
    min_quantity: int = 1
    condition: str | None = None
    venues: tuple[str, ...] = ()
    cancelled: int = 0
    given: int = 0
    refunded: int = 0
    granted: int = 0
    taken: int = 0

    @property
    def capacity(self) -> int:
        """What one voucher or code has: uses, or the money of a gift."""
        return self.value if self.kind == "gift" else self.max_uses

    @property
    def worth(self) -> int:
        """What one voucher is worth in all."""
        return self.value if self.kind == "gift" else self.value * self.max_uses

    @property
    def spend(self) -> int:
        """What the vouchers that are sold or reserved are worth, or the discounts that were granted."""
        if self.kind == "promo":
            return self.granted
        return self.worth * (self.issued + self.reserved)

    @property
    def unsold(self) -> int:
        """How many vouchers may still be sold or given, or codes made."""
        room = self.quantity if self.kind == "promo" else min(self.quantity, self.budget // max(self.worth, 1))
        return room - self.issued - self.reserved

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing can be sold any more, whatever becomes of what is under way."""
        if self.kind == "promo":
            return self.budget - self.taken < (1 if self.percent else self.value)
        return self.unsold + self.reserved <= 0

    @property
    def over_at(self) -> datetime | None:
        """When the sale is over by its terms."""
        ends = [end for end in (self.sale_to, self.valid_to) if end]
        return min(ends) if ends else None

    def is_over(self, now: datetime) -> bool:
        """Whether a voucher bought now would have expired."""
        return self.valid_to is not None and now >= self.valid_to

    def validity(self, now: datetime) -> tuple[datetime, datetime]:
        """From when to when a voucher that is bought now is valid."""
        start = max(now, self.valid_from or now)
        return start, self.valid_to or start + timedelta(days=self.valid_days or 0)

    def units(self, value: int) -> int:
        """How much of a voucher's capacity a redemption of this value takes."""
        return value if self.kind == "gift" else 1

    def discount(self, total: int) -> int:
        """What a promo code takes off an order."""
        return min(total, self.value) if self.percent is None else min(total * self.percent // 100, self.value)

    def count(self, **changes: int) -> "Campaign":
        """The campaign after so many more or less."""
        return replace(self, **{name: getattr(self, name) + by for name, by in changes.items() if by})


class Shopper(State, frozen=True):
    """How many vouchers of the campaign a user has bought, reserved or been given, or how many orders had a code of it."""

    count: int = 0


class Voucher(State, frozen=True, omit_defaults=True):
    """A voucher from the moment in which somebody wanted it, or a promo code, which is nobody's.

    `command_id` waits for the end of the purchase, if there was one. `used` and `held` are what was redeemed and what is reserved, in uses or in the money of a
    gift; `reserved` are vouchers of which nothing is left but for what is reserved. `buyer` is who paid, if not the user.
    """

    status: VoucherStatus = "unknown"
    user_id: str = ""
    command_id: str = ""
    started_at: datetime | None = None
    pay_by: datetime | None = None
    reason: str | None = None
    code: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    redeemed_at: datetime | None = None
    used: int = 0
    held: int = 0
    buyer: str = ""

    def left(self, capacity: int) -> int:
        """What is neither redeemed nor reserved."""
        return capacity - self.used - self.held

    def moved(self, capacity: int, used: int = 0, held: int = 0) -> "Voucher":
        """The voucher after so much more or less was redeemed or reserved."""
        after = replace(self, used=self.used + used, held=self.held + held)
        if self.status not in ("valid", "reserved", "redeemed"):
            return after  # what is over stays over
        status = "valid" if after.left(capacity) else "reserved" if after.held else "redeemed"
        return replace(after, status=status)

    def is_early(self, now: datetime) -> bool:
        """Whether its time has not come."""
        return self.valid_from is not None and now < self.valid_from

    def is_late(self, now: datetime) -> bool:
        """Whether its time is over, told or not yet."""
        return self.status == "expired" or (self.valid_to is not None and now >= self.valid_to)


class Batch(State, frozen=True):
    """Promo codes that were made together and follow from `seed`; each becomes a document of its own when it is used first."""

    seed: str = ""
    count: int = 0
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class Use(State, frozen=True, omit_defaults=True):
    """A redemption, or what is reserved for an order until it becomes one; `value` is in the minor unit of the campaign's currency."""

    status: Literal["unknown", "reserved", "released", "redeemed", "rolled_back"] = "unknown"
    voucher_id: str = ""
    user_id: str = ""
    order_id: str | None = None
    value: int = 0
    until: datetime | None = None
    venue_id: str | None = None
    staff_id: str | None = None
    redeemed_at: datetime | None = None
    rolled_back_at: datetime | None = None
    reason: str | None = None


class Tries(State, frozen=True):
    """When somebody gave wrong codes of the campaign last."""

    wrong: tuple[datetime, ...] = ()

    def wait(self, now: datetime) -> int:
        """How many seconds somebody has to wait for the next try; 0 without."""
        if len(self.wrong) < WRONG_CODES:
            return 0
        left = self.wrong[-WRONG_CODES] + WRONG_WINDOW - now
        return max(0, -(-left // timedelta(seconds=1)))


class Order(State, frozen=True, omit_defaults=True):
    """An order as far as something is reserved for it: how it ended, what was paid and given back, and (campaign, voucher, user) of each reservation."""

    status: Literal["open", "paid", "expired", "refunded"] = "open"
    user_id: str = ""
    paid: int = 0
    refunded: int = 0
    links: tuple[tuple[str, str, str], ...] = ()


class Venue(State, frozen=True):
    """Whose a venue is; nobody's before its partner is known."""

    partner_id: str = ""


class Staff(State, frozen=True):
    """For which partner somebody acts at a venue; nobody's without one."""

    partner_id: str = ""


Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""
