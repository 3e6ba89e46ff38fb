"""Random histories of promotions: commands of users, partners and tills, ends of orders, and time, in any order."""

from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from agents.promotions.rules.documents import PATIENCE, RESERVATION
from streams.agent import Agent, agents_of
from streams.contract import Command
from tests.promotions.model import Book
from tests.stepping import START, Outcome, Stepping
from topics.promotions import (
    ActivateCampaign,
    ApplyPromoCode,
    CancelVoucher,
    ConfirmPurchase,
    CreateCampaign,
    EndCampaign,
    FailPurchase,
    GeneratePromoCodes,
    IssueVoucher,
    NoteOrder,
    NoteStaff,
    NoteVenue,
    PauseCampaign,
    PurchaseVoucher,
    RedeemVoucher,
    ReleaseVoucher,
    ReserveVoucher,
    RollBackRedemption,
    TransferVoucher,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
USERS = ("ann", "bob", "eve")
ORDERS = {"o1": "ann", "o2": "ann", "o3": "bob", "o4": "eve"}
USUAL = {"partner_id": "p1", "price": 0, "value": 100, "currency": "EUR", "quantity": 4, "budget": 1000, "per_user": 2}
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "twice": {"price": 10, "max_uses": 2, "budget": 700, "valid_days": 1, "per_user": 3},
    "gift": {"kind": "gift", "price": 10, "value": 500, "quantity": 2, "budget": 5000, "valid_to": START + 3 * DAY},
    "bar": {"venues": ("v1",), "quantity": 2, "valid_from": START + HOUR, "valid_days": 2, "per_user": 1},
    "tenth": {"kind": "promo", "percent": 10, "value": 50, "budget": 120, "max_uses": 3, "valid_to": START + 2 * DAY},
    "fixed": {"kind": "promo", "value": 40, "budget": 200, "max_uses": 2, "sale_to": START + DAY, "valid_days": 3},
}
CAMPAIGNS["tenth"] |= {"min_spend": 100, "condition": "order.quantity >= 2"}
CAMPAIGNS["fixed"] |= {"min_quantity": 2}
SOLD, PROMOS = ("twice", "gift", "bar"), ("tenth", "fixed")


class Act(NamedTuple):
    """Somebody does something with the nth of what there is; `other` picks who else, or where."""

    kind: str
    nth: int
    other: int
    amount: int


class Town:
    """A platform with campaigns of all kinds, played step by step; the book looks at every event."""

    def __init__(self, agents: list[Agent] | None = None, campaigns: dict[str, dict[str, Any]] | None = None) -> None:
        """Everything is on sale."""
        self.platform = Stepping(*(agents or agents_of("promotions")), ordered=True)
        self.book = Book()
        self._seen = 0
        for venue, partner in (("v1", "p1"), ("v2", "p2")):
            self.send(NoteVenue(venue_id=venue, partner_id=partner))
            self.send(NoteStaff(venue_id=venue, partner_id=partner, user_id="sue", acts=True))
        for name, terms in (campaigns or CAMPAIGNS).items():
            made = CreateCampaign.model_validate({"campaign_id": name, "name": name, **USUAL, **terms})
            assert self.send(made).status == "accepted"
            assert self.send(ActivateCampaign(campaign_id=name, partner_id="p1")).status == "accepted"
            if terms.get("kind") == "promo":
                self.send(GeneratePromoCodes(campaign_id=name, partner_id="p1", codes=(f"{name}-1",)))
                self.send(GeneratePromoCodes(campaign_id=name, partner_id="p1", batch_id="b", count=2))

    def send(self, command: Command) -> Outcome:
        """Decide it, and look at what comes of it."""
        outcome = self.platform.send(command)
        self.look()
        return outcome

    def look(self) -> None:
        """Have the book take what has come."""
        for fact in self.platform.facts[self._seen :]:
            self.book.take(fact, self.platform.outcomes[fact.command_id].command)
        self._seen = len(self.platform.facts)
        self.book.end()

    def play(self, entry: Any) -> None:
        """One entry of a history."""
        match entry:
            case Act():
                if command := self._command(entry):
                    self.send(command)
            case timedelta():
                self.platform.advance(entry)
            case int():
                self.platform.step(entry)
            case None:
                self.platform.fire()
            case _:
                self.send(entry)
        self.look()

    def settle(self) -> None:
        """Carry on what is under way, and let everything have its time."""
        self.platform.settle()
        self.look()

    def _command(self, act: Act) -> Command | None:
        vouchers = [(name, one, thing) for name, one, thing in self._things() if name in SOLD]
        if act.kind == "apply":
            return self._applied(act)
        if act.kind == "undo":
            return self._undone(act)
        if not vouchers:
            return None
        name, voucher_id, thing = vouchers[act.nth % len(vouchers)]
        about: dict[str, Any] = {"campaign_id": name, "voucher_id": voucher_id}
        owner, other, order = str(thing.owner), USERS[act.other % 3], [*ORDERS][act.other % 4]
        amount = act.amount if name == "gift" and act.amount else None
        match act.kind:
            case "show":
                return self._shown(act, name, str(thing.code), amount)
            case "reserve":
                user = owner if act.amount % 5 else other
                venue = "v1" if act.amount % 3 else None
                return ReserveVoucher(**about, user_id=user, order_id=order, amount=amount, venue_id=venue)
            case "release":
                return ReleaseVoucher(**about, user_id=owner, order_id=next(iter(thing.held), (order,))[0])
            case "transfer":
                return TransferVoucher(**about, user_id=owner, to=other) if owner != other else None
            case "cancel":
                return CancelVoucher(**about, partner_id="p1", reason="no more")
            case "confirm":
                return ConfirmPurchase(**about, user_id=owner, amount=10)
        return FailPurchase(**about, user_id=owner, reason="insufficient")

    def _things(self) -> list[tuple[str, str, Any]]:
        return [(name, one, thing) for name, offer in self.book.offers.items() for one, thing in offer.things.items()]

    def _shown(self, act: Act, name: str, code: str, amount: int | None) -> RedeemVoucher:
        """A code at a till: of the partner, or of staff, now and then another's, or under an id that was there before."""
        codes = [fact.event.code for fact in self.platform.facts if hasattr(fact.event, "code")]
        shown = codes[act.nth % len(codes)] if codes and act.other == 7 else code
        till = [{}, {"venue_id": "v1"}, {"venue_id": "v1", "staff_id": "sue"}, {"venue_id": "v2", "staff_id": "sue"}]
        till += [{"venue_id": "v1", "staff_id": "eve"}, {"venue_id": "v1"}]
        where: dict[str, Any] = till[act.other % 6]
        partner = "p2" if act.other == 6 else "p1"
        redemption_id = None if act.amount % 2 else f"r{act.nth}-{act.amount}"
        about: dict[str, Any] = {"campaign_id": name, "partner_id": partner, "code": shown, "amount": amount}
        return RedeemVoucher(**about, redemption_id=redemption_id, **where)

    def _undone(self, act: Act) -> RollBackRedemption | None:
        used = [
            (name, one, redemption)
            for name, one, thing in self._things()
            for redemption in (*thing.uses, *self.book.offers[name].undone)
        ]
        if not used:
            return None
        name, voucher_id, redemption = used[act.nth % len(used)]
        about: dict[str, Any] = {"campaign_id": name, "voucher_id": voucher_id, "redemption_id": redemption}
        return RollBackRedemption(**about, partner_id="p1", reason="a mistake")

    def _applied(self, act: Act) -> ApplyPromoCode:
        codes = [(name, one) for name, one, _ in self._things() if name in PROMOS]
        name, code = codes[act.nth % len(codes)]
        order = [*ORDERS][act.other % 4]
        user = ORDERS[order] if act.nth % 7 else "eve"
        return ApplyPromoCode(
            campaign_id=PROMOS[act.nth % 2] if act.nth % 9 == 0 else name,
            code=code,
            user_id=user,
            order_id=order,
            total=act.amount * 3 + 40,
            currency="USD" if act.nth == 8 else "EUR",
            quantity=1 + act.other % 3,
        )


def histories(most: int = 60, least: int = 30) -> st.SearchStrategy[list[Any]]:
    """Entries as `Town.play` takes them."""
    users, sold = st.sampled_from(USERS), st.sampled_from(SOLD)
    names = st.sampled_from([f"w{n}" for n in range(6)])
    campaigns, orders = st.sampled_from([*CAMPAIGNS]), st.sampled_from([*ORDERS])
    acts = st.builds(
        Act,
        st.sampled_from(
            (
                "show",
                "show",
                "show",
                "reserve",
                "reserve",
                "apply",
                "apply",
                "apply",
                "release",
                "reserve",
                "transfer",
                "cancel",
                "undo",
                "confirm",
                "fail",
            )
        ),
        st.integers(0, 9),
        st.integers(0, 7),
        st.sampled_from((0, 1, 60, 140, 199, 400, 500)),
    )
    partner = st.just("p1")
    wanted = st.one_of(
        st.builds(PurchaseVoucher, campaign_id=sold, voucher_id=names, user_id=users),
        st.builds(IssueVoucher, campaign_id=sold, voucher_id=names, user_id=users, partner_id=partner),
    )
    ends = st.builds(
        lambda order, status, amount: NoteOrder(order_id=order, user_id=ORDERS[order], status=status, amount=amount),
        orders,
        st.sampled_from(("paid", "paid", "expired", "refunded")),
        st.sampled_from((50, 100)),
    )
    rare = st.one_of(
        st.builds(PauseCampaign, campaign_id=campaigns, partner_id=partner),
        st.builds(ActivateCampaign, campaign_id=campaigns, partner_id=partner),
        st.builds(ActivateCampaign, campaign_id=campaigns, partner_id=partner),
        st.builds(NoteStaff, venue_id=st.just("v1"), partner_id=partner, user_id=st.just("sue"), acts=st.booleans()),
        st.builds(EndCampaign, campaign_id=campaigns, partner_id=partner),
        st.sampled_from((HOUR, HOUR, DAY, DAY)),
    )
    steps, times = st.integers(0, 5), st.sampled_from((MINUTE, MINUTE, MINUTE, PATIENCE, RESERVATION, HOUR))
    often = [acts] * 30 + [wanted] * 9 + [steps] * 9 + [ends] * 3 + [st.none()] * 3 + [times] * 4 + [rare]
    return st.lists(st.sampled_from(often).flatmap(lambda one: one), min_size=least, max_size=most)
