"""Promotions once more, in the plainest way: what the events say, and what must be true of each of them when it comes."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

LIVE = ("valid", "reserved", "redeemed")


@dataclass
class Thing:
    """A voucher or a promo code; of a code nobody is the owner."""

    owner: str | None = None
    buyer: str | None = None
    code: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    end: str | None = None
    """Why it is over, if it is: failed, expired or cancelled."""
    uses: dict[str, int] = field(default_factory=dict)
    """Redemptions that were not rolled back, with their values."""
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    """Order and user -> how much is reserved."""


@dataclass
class Offer:
    """A campaign, with what the law looks at."""

    terms: Any
    status: str = "draft"
    things: dict[str, Thing] = field(default_factory=dict)
    share: Counter[str] = field(default_factory=Counter)
    """User -> vouchers, or orders with a code."""
    undone: dict[str, int] = field(default_factory=dict)
    refunds: set[str] = field(default_factory=set)

    def units(self, value: int) -> int:
        """How much of a thing such a redemption takes."""
        return value if self.terms.kind == "gift" else 1

    @property
    def capacity(self) -> int:
        """How much a thing has."""
        return int(self.terms.value if self.terms.kind == "gift" else self.terms.max_uses)

    def taken(self, thing: Thing) -> tuple[int, int]:
        """How much of a thing is redeemed and how much is held."""
        used = sum(self.units(value) for value in thing.uses.values())
        return used, sum(self.units(value) for value in thing.held.values())

    def status_of(self, thing: Thing) -> str:
        """As a row has it."""
        if thing.end or thing.code is None:
            return thing.end or "started"
        used, held = self.taken(thing)
        return "valid" if used + held < self.capacity else "reserved" if held else "redeemed"

    @property
    def has_room(self) -> bool:
        """Whether one more can be sold, if nothing that is under way comes to anything."""
        terms, things = self.terms, self.things.values()
        if terms.kind == "promo":
            paid = sum(sum(thing.uses.values()) for thing in things)
            return bool(terms.budget - paid >= (1 if terms.percent else terms.value))
        sold = sum(thing.code is not None for thing in things)
        worth = terms.value * (1 if terms.kind == "gift" else terms.max_uses)
        return bool(sold < terms.quantity and (sold + 1) * worth <= terms.budget)

    def spend(self) -> int:
        """What is promised in all."""
        if self.terms.kind == "promo":
            return sum(sum(thing.uses.values()) + sum(thing.held.values()) for thing in self.things.values())
        worth = self.terms.value * (1 if self.terms.kind == "gift" else self.terms.max_uses)
        return int(worth * sum(thing.end != "failed" for thing in self.things.values()))


class Book:
    """Take the facts in their order; an AssertionError tells which law one breaks."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.offers: dict[str, Offer] = {}
        self.paid: dict[str, str] = {}
        self.homes: dict[str, str] = {}
        self.staff: dict[tuple[str, str], str] = {}

    def take(self, fact: Any, command: Any) -> None:
        """An event, and the command that led to it."""
        event = fact.event
        getattr(self, f"_{event.wire_name}", lambda *_: None)(event, fact.at, command)
        offer = self.offers.get(fact.key)
        if offer is not None:
            self._limits(offer)

    def end(self) -> None:
        """What must be true between two commands."""
        for offer in self.offers.values():
            assert offer.status not in ("active", "paused") or offer.has_room, "it is told that all is sold"

    def _limits(self, offer: Offer) -> None:
        terms = offer.terms
        assert offer.spend() <= terms.budget, "spend is within the budget"
        count = sum(thing.end != "failed" for thing in offer.things.values())
        assert count <= terms.quantity, "no more are issued than there are"
        assert max(offer.share.values(), default=0) <= terms.per_user, "nobody has more than their share"
        for thing in offer.things.values():
            used, held = offer.taken(thing)
            assert used + held <= offer.capacity, "no more is redeemed than a voucher has"
            assert used >= 0, "no more is rolled back than was redeemed"

    # -- campaigns

    def _campaign_created(self, event: Any, at: datetime, command: Any) -> None:
        assert event.campaign_id not in self.offers
        self.offers[event.campaign_id] = Offer(event)

    def _campaign_activated(self, event: Any, at: datetime, command: Any) -> None:
        self._moves(event, "active", "draft", "paused")

    def _campaign_paused(self, event: Any, at: datetime, command: Any) -> None:
        self._moves(event, "paused", "active")

    def _campaign_ended(self, event: Any, at: datetime, command: Any) -> None:
        self._moves(event, "ended", "draft", "active", "paused")

    def _campaign_budget_exhausted(self, event: Any, at: datetime, command: Any) -> None:
        self._moves(event, "exhausted", "active", "paused")
        assert not self.offers[event.campaign_id].has_room, "there is room for one more"

    def _moves(self, event: Any, to: str, *before: str) -> None:
        offer = self.offers[event.campaign_id]
        assert offer.status in before, f"{offer.status} does not become {to}"
        offer.status = to

    def _on_sale(self, event: Any, at: datetime) -> Offer:
        offer = self.offers[event.campaign_id]
        terms = offer.terms
        assert offer.status == "active", "only an active campaign sells"
        assert not terms.sale_from or terms.sale_from <= at
        assert not terms.sale_to or at < terms.sale_to
        return offer

    # -- how things come into the world

    def _voucher_purchase_started(self, event: Any, at: datetime, command: Any) -> None:
        offer = self._on_sale(event, at)
        assert event.voucher_id not in offer.things
        offer.things[event.voucher_id] = Thing(event.user_id, event.user_id)
        offer.share[event.user_id] += 1

    def _voucher_purchased(self, event: Any, at: datetime, command: Any) -> None:
        thing = self.offers[event.campaign_id].things[event.voucher_id]
        assert (thing.owner, thing.code, thing.end) == (event.user_id, None, None)
        thing.code, thing.since, thing.until = event.code, event.valid_from, event.valid_to

    def _voucher_purchase_failed(self, event: Any, at: datetime, command: Any) -> None:
        offer = self.offers[event.campaign_id]
        thing = offer.things[event.voucher_id]
        assert (thing.code, thing.end) == (None, None)
        thing.end = "failed"
        offer.share[event.user_id] -= 1

    def _voucher_issued(self, event: Any, at: datetime, command: Any) -> None:
        offer = self._on_sale(event, at)
        assert event.voucher_id not in offer.things
        thing = Thing(event.user_id, None, event.code, event.valid_from, event.valid_to)
        offer.things[event.voucher_id] = thing
        offer.share[event.user_id] += 1

    def _promo_codes_generated(self, event: Any, at: datetime, command: Any) -> None:
        offer = self.offers[event.campaign_id]
        for code in event.codes:
            assert code not in offer.things, "a code is made once"
            offer.things[code] = Thing(None, None, code, event.valid_from, event.valid_to)

    # -- how they are used

    def _usable(self, event: Any, name: str, at: datetime) -> tuple[Offer, Thing]:
        offer = self.offers[event.campaign_id]
        thing = offer.things[name]
        assert thing.code is not None
        assert thing.end is None, f"it is {thing.end}"
        assert thing.since is not None
        assert thing.until is not None
        assert thing.since <= at < thing.until, "it is used in its time"
        return offer, thing

    def _voucher_reserved(self, event: Any, at: datetime, command: Any) -> None:
        offer, thing = self._usable(event, event.voucher_id, at)
        assert thing.owner == event.user_id, "owners reserve"
        assert not offer.terms.venues or event.venue_id in offer.terms.venues
        assert (event.order_id, event.user_id) not in thing.held
        thing.held[event.order_id, event.user_id] = event.value

    def _promo_code_applied(self, event: Any, at: datetime, command: Any) -> None:
        offer, thing = self._usable(event, event.code, at)
        terms = self._on_sale(event, at).terms
        share = terms.value if terms.percent is None else event.total * terms.percent // 100
        assert event.discount == min(event.total, share, terms.value)
        assert event.total >= terms.min_spend
        assert event.currency == terms.currency
        assert command.quantity >= terms.min_quantity
        assert terms.condition is None or command.quantity >= 2  # what the condition of these campaigns says
        assert (event.order_id, event.user_id) not in thing.held
        thing.held[event.order_id, event.user_id] = event.discount
        offer.share[event.user_id] += 1

    def _voucher_reservation_released(self, event: Any, at: datetime, command: Any) -> None:
        offer = self.offers[event.campaign_id]
        assert offer.things[event.voucher_id].held.pop((event.order_id, event.user_id), None) == event.value
        if offer.terms.kind == "promo":
            offer.share[event.user_id] -= 1

    def _voucher_redeemed(self, event: Any, at: datetime, command: Any) -> None:
        offer, thing = self._usable(event, event.voucher_id, at)
        name = event.redemption_id
        assert name not in {one for each in offer.things.values() for one in each.uses} | offer.undone.keys()
        assert event.partner_id == offer.terms.partner_id
        if event.order_id:
            assert thing.held.pop((event.order_id, event.user_id), None) == event.value
            assert self.paid.get(event.order_id) == event.user_id, "the order of the same user is paid"
        else:
            self._at_till(offer, thing, command)
        thing.uses[name] = event.value

    def _at_till(self, offer: Offer, thing: Thing, command: Any) -> None:
        assert command.code == thing.code, "whose voucher it is shows its code"
        assert command.partner_id == offer.terms.partner_id
        assert not offer.terms.venues or command.venue_id in offer.terms.venues, "at a venue of the campaign"
        if command.venue_id:
            assert self.homes.get(command.venue_id) == command.partner_id
        if command.staff_id:
            assert self.staff.get((command.venue_id, command.staff_id)) == command.partner_id, (
                "staff act for their partner"
            )

    def _voucher_redemption_rolled_back(self, event: Any, at: datetime, command: Any) -> None:
        offer = self.offers[event.campaign_id]
        assert offer.things[event.voucher_id].uses.pop(event.redemption_id, None) == event.value, (
            "what was redeemed, once"
        )
        offer.undone[event.redemption_id] = event.value

    def _voucher_transferred(self, event: Any, at: datetime, command: Any) -> None:
        thing = self.offers[event.campaign_id].things[event.voucher_id]
        assert thing.owner == event.user_id
        assert not thing.held
        assert thing.end is None
        assert event.code != thing.code
        thing.owner, thing.code = event.to, event.code

    def _voucher_expired(self, event: Any, at: datetime, command: Any) -> None:
        thing = self.offers[event.campaign_id].things[event.voucher_id]
        assert thing.end is None
        assert thing.until is not None
        assert at >= thing.until
        thing.end = "expired"

    def _voucher_cancelled(self, event: Any, at: datetime, command: Any) -> None:
        thing = self.offers[event.campaign_id].things[event.voucher_id]
        assert (thing.end, thing.uses, thing.held) == (None, {}, {})
        thing.end = "cancelled"

    def _voucher_refunded(self, event: Any, at: datetime, command: Any) -> None:
        offer = self.offers[event.campaign_id]
        thing = offer.things[event.voucher_id]
        assert thing.end == "cancelled"
        assert (thing.buyer, offer.terms.price) == (event.user_id, event.price), "who paid gets what was paid"
        assert event.voucher_id not in offer.refunds
        offer.refunds.add(event.voucher_id)

    # -- what others tell

    def _order_noted(self, event: Any, at: datetime, command: Any) -> None:
        if event.status == "paid":
            self.paid[event.order_id] = event.user_id

    def _venue_noted(self, event: Any, at: datetime, command: Any) -> None:
        self.homes[event.venue_id] = event.partner_id

    def _staff_noted(self, event: Any, at: datetime, command: Any) -> None:
        self.staff[event.venue_id, event.user_id] = event.partner_id if event.acts else ""

    # -- what views must show

    def vouchers(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """Owner, status, code, used and held of each voucher."""
        return {
            (name, one): (thing.owner, offer.status_of(thing), thing.code, *offer.taken(thing))
            for name, offer in self.offers.items()
            for one, thing in offer.things.items()
            if offer.terms.kind != "promo"
        }

    def codes(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Used and held of each promo code."""
        return {
            (name, one): offer.taken(thing)
            for name, offer in self.offers.items()
            for one, thing in offer.things.items()
            if offer.terms.kind == "promo"
        }

    def campaigns(self) -> dict[tuple[str], dict[str, Any]]:
        """The figures of each campaign."""
        return {(name,): self._figures(offer) for name, offer in self.offers.items()}

    def _figures(self, offer: Offer) -> dict[str, Any]:
        things = offer.things.values()
        codes = offer.terms.kind == "promo"
        states = Counter[str]() if codes else Counter(offer.status_of(thing) for thing in things)
        bought = [thing for thing in things if thing.buyer is not None]
        return {
            "status": offer.status,
            "reserved": states["started"],
            "failed": states["failed"],
            "redeemed": states["redeemed"],
            "expired": states["expired"],
            "cancelled": states["cancelled"],
            "issued": len(things) - states["started"] - states["failed"],
            "given": 0 if codes else len(things) - len(bought),
            "refunded": len(offer.refunds),
            "spend": offer.spend(),
            "taken": sum(sum(thing.uses.values()) for thing in things),
        }

    def redemptions(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Status and value of each redemption."""
        done = {
            (name, one): ("redeemed", value)
            for name, offer in self.offers.items()
            for thing in offer.things.values()
            for one, value in thing.uses.items()
        }
        undone = {
            (name, one): ("rolled_back", value)
            for name, offer in self.offers.items()
            for one, value in offer.undone.items()
        }
        return done | undone


def minutes(count: float) -> timedelta:
    """So many minutes."""
    return timedelta(minutes=count)
