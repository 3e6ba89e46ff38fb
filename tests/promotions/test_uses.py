"""How vouchers and promo codes are used, through the loop in memory: at tills, for orders that others tell of, with points beside them."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from agents.promotions.rules.documents import RESERVATION
from streams.agent import Agent
from streams.contract import Event
from streams.testing import Kit, Told, user
from tests.standins import StandIns, tell
from topics.commerce import OrderExpired, OrderPaid, OrderRefunded
from topics.partners import StaffAdded, StaffRemoved, VenueVerified
from topics.points import AwardPoints
from topics.promotions import (
    PROMOTIONS,
    ActivateCampaign,
    ApplyPromoCode,
    CancelVoucher,
    CreateCampaign,
    GeneratePromoCodes,
    IssueVoucher,
    PurchaseVoucher,
    RedeemVoucher,
    ReleaseVoucher,
    ReserveVoucher,
    RollBackRedemption,
    TransferVoucher,
)

PARTNER, SUE = user("p1", "Partner"), user("sue", "Partner")
VOUCHER = {"price": 0, "value": 300, "quantity": 5, "budget": 5000, "valid_days": 2, "per_user": 2}
GIFT = {**VOUCHER, "kind": "gift", "value": 1000}
TENTH = {**VOUCHER, "kind": "promo", "percent": 10, "value": 500, "max_uses": 2, "condition": "order.total >= 1000"}


class Town(Kit):
    """Promotions and points, and what others that are not built yet tell."""

    def __init__(self, *agents: Agent, **given: Any) -> None:
        """Nothing is told."""
        super().__init__(*agents, **given)
        self._stand_ins = StandIns()

    def hear(self, event: Event) -> list[str]:
        """Something happened elsewhere; the events of promotions that it led to, by name."""
        ends = self.ends()
        tell(self, self._stand_ins.record(event, self.clock.now()))
        return [one.wire_name for one in self.events(ends) if one.topic is PROMOTIONS]

    def status_of(self, command_id: UUID) -> Any:
        """The HTTP status of a refusal."""
        result = self.result(command_id)
        assert result is not None
        return json.loads(result.details or "{}")["status"]


@pytest.fixture
def kit() -> Iterator[Town]:
    with Town.of("promotions", "points") as kit:
        yield kit


def on_sale(kit: Kit, **terms: Any) -> None:
    """A campaign on sale."""
    usual = {"campaign_id": "c", "partner_id": "p1", "name": "A coffee", "currency": "EUR", **VOUCHER}
    assert kit.send(CreateCampaign.model_validate({**usual, **terms}), actor=PARTNER).status == "accepted"
    assert kit.send(ActivateCampaign(campaign_id="c", partner_id="p1"), actor=PARTNER).status == "accepted"


def give(kit: Kit, voucher_id: str = "v1", user_id: str = "ann") -> str:
    """The code of a voucher that somebody was given."""
    given = kit.send(IssueVoucher(campaign_id="c", partner_id="p1", voucher_id=voucher_id, user_id=user_id))
    assert given.status == "accepted"
    return code_of(kit, voucher_id)


def code_of(kit: Kit, voucher_id: str) -> str:
    """The code of a voucher as it is now."""
    code: str = next(row[10] for row in kit.rows("voucher") if row[1] == voucher_id)
    return code


def shown(kit: Kit, code: str, *, who: Any = PARTNER, **more: Any) -> Told:
    """A code at a till."""
    return kit.send(RedeemVoucher(campaign_id="c", partner_id="p1", code=code, **more), actor=who)


def apply(kit: Kit, order_id: str = "o1", user_id: str = "ann", code: str = "CODE", **more: Any) -> Told:
    """Somebody uses a promo code for an order."""
    order = {"order_id": order_id, "total": 3000, "currency": "EUR", **more}
    command = ApplyPromoCode.model_validate({"campaign_id": "c", "code": code, "user_id": user_id, **order})
    return kit.send(command, actor=user(user_id))


def paid(order_id: str = "o1", user_id: str = "ann", total: int = 2700) -> OrderPaid:
    """An order was paid."""
    return OrderPaid(order_id=order_id, user_id=user_id, total=total, currency="EUR")


def refunded(amount: int) -> OrderRefunded:
    """Money of the first order went back."""
    return OrderRefunded(order_id="o1", user_id="ann", amount=amount, currency="EUR")


def left(kit: Kit, voucher_id: str = "v1") -> tuple[str, int, int]:
    """Status of a voucher, how much of it is used and how much is reserved."""
    row = next(row for row in kit.rows("voucher") if row[1] == voucher_id)
    return row[8], row[17], row[18]


def codes(kit: Kit) -> list[tuple[str, int, int]]:
    """Promo codes, with how often they were used and reserved."""
    return [(row[1], row[4], row[5]) for row in kit.rows("promo_code")]


def with_code(kit: Kit, **terms: Any) -> None:
    """A campaign with a promo code."""
    on_sale(kit, **{**TENTH, **terms})
    kit.send(GeneratePromoCodes(campaign_id="c", partner_id="p1", codes=("CODE",)))


def test_a_discount_stands_when_the_order_is_paid_and_is_taken_back_when_all_of_it_is_refunded(kit: Town) -> None:
    with_code(kit)
    assert [event.wire_name for event in apply(kit).events] == ["promo_code_applied", "order_linked"]
    assert codes(kit) == [("CODE", 0, 1)]
    assert kit.hear(paid()) == ["order_noted", "voucher_redeemed"]
    assert codes(kit) == [("CODE", 1, 0)]
    ((_, redemption_id, _, what, who, order, *_, value, currency, status, _, _, _),) = kit.rows("redemption")
    assert (redemption_id, what, who, order) == ("o1:CODE:ann", "CODE", "ann", "o1")
    assert (value, currency, status) == (300, "EUR", "redeemed")

    assert kit.hear(refunded(1000)) == ["order_noted"]
    assert kit.hear(refunded(1700)) == ["order_noted", "voucher_redemption_rolled_back"]
    assert codes(kit) == [("CODE", 0, 0)]
    assert kit.parked() == []


def test_what_is_reserved_is_free_again_when_the_order_fails_or_takes_too_long(kit: Town) -> None:
    on_sale(kit)
    give(kit)
    reserve = ReserveVoucher(campaign_id="c", voucher_id="v1", user_id="ann", order_id="o1")
    assert kit.send(reserve, actor=user("ann")).status == "accepted"
    assert left(kit) == ("reserved", 0, 1)
    assert shown(kit, code_of(kit, "v1")).code == "reserved"
    assert kit.hear(OrderExpired(order_id="o1", user_id="ann")) == ["order_noted", "voucher_reservation_released"]
    assert left(kit) == ("valid", 0, 0)

    again = reserve.model_copy(update={"order_id": "o2"})
    assert kit.send(again, actor=user("ann")).status == "accepted"
    assert kit.advance(RESERVATION - timedelta(seconds=1)) == []
    assert [event.wire_name for event in kit.advance(timedelta(seconds=1))] == ["voucher_reservation_released"]
    assert kit.hear(paid("o2")) == ["order_noted"]
    assert left(kit) == ("valid", 0, 0)

    third = reserve.model_copy(update={"order_id": "o3"})
    assert kit.send(third, actor=user("ann")).status == "accepted"
    release = ReleaseVoucher(campaign_id="c", voucher_id="v1", user_id="ann", order_id="o3")
    assert kit.send(release, actor=user("ann")).status == "accepted"
    assert kit.send(release, actor=user("ann")).code == "reservation_ended"


def test_an_order_that_was_paid_before_is_settled_at_once_and_anothers_payment_pays_nothing(kit: Town) -> None:
    on_sale(kit)
    give(kit)
    kit.hear(paid("o1", "ann"))
    kit.hear(paid("o2", "bob"))
    other = ReserveVoucher(campaign_id="c", voucher_id="v1", user_id="ann", order_id="o2")
    assert [event.wire_name for event in kit.send(other, actor=user("ann")).events] == [
        "voucher_reserved",
        "order_linked",
        "voucher_reservation_released",
    ]
    mine = other.model_copy(update={"order_id": "o1"})
    assert kit.send(mine, actor=user("ann")).events[-1].wire_name == "voucher_redeemed"
    assert left(kit) == ("redeemed", 1, 0)


def test_a_gift_is_redeemed_bit_by_bit_and_never_beyond_what_it_has(kit: Town) -> None:
    on_sale(kit, **GIFT)
    code = give(kit)
    assert shown(kit, code, amount=400, redemption_id="r1").status == "accepted"
    reserve = ReserveVoucher(campaign_id="c", voucher_id="v1", user_id="ann", order_id="o1", amount=500)
    assert kit.send(reserve, actor=user("ann")).status == "accepted"
    assert left(kit) == ("valid", 400, 500)
    assert shown(kit, code, amount=101, redemption_id="r2").code == "insufficient_balance"
    assert kit.hear(paid())[-1] == "voucher_redeemed"
    assert shown(kit, code, amount=100, currency="USD", redemption_id="r2").code == "currency_mismatch"
    assert shown(kit, code, redemption_id="r1").code == "redemption_exists"
    assert shown(kit, code, redemption_id="r2").status == "accepted"
    assert left(kit) == ("redeemed", 1000, 0)

    undo = RollBackRedemption(campaign_id="c", partner_id="p1", voucher_id="v1", redemption_id="r1", reason="Twice")
    assert kit.send(undo, actor=PARTNER).status == "accepted"
    again = kit.send(undo, actor=PARTNER)
    assert (again.code, "rolled_back_at" in again.details) == ("already_rolled_back", True)
    assert left(kit) == ("valid", 600, 0)
    assert kit.rows("campaign")[0][30] == 600  # what is redeemed in all


def test_a_redemption_undone_after_the_time_leaves_the_voucher_expired(kit: Town) -> None:
    on_sale(kit)
    code = give(kit)
    assert shown(kit, code).status == "accepted"
    kit.advance(timedelta(days=2))
    undo = RollBackRedemption(campaign_id="c", partner_id="p1", voucher_id="v1", redemption_id="v1", reason="Late")
    assert [event.wire_name for event in kit.send(undo, actor=PARTNER).events] == [
        "voucher_redemption_rolled_back",
        "voucher_expired",
    ]
    assert shown(kit, code, redemption_id="r2").code == "expired"


def test_staff_redeem_at_their_partners_venues_and_at_those_of_the_campaign(kit: Town) -> None:
    for venue, partner in (("bar", "p1"), ("inn", "p1"), ("pub", "p2")):
        kit.hear(VenueVerified(venue_id=venue, partner_id=partner, city="Town"))
        kit.hear(StaffAdded(venue_id=venue, partner_id=partner, user_id="sue"))
    on_sale(kit, venues=("bar",), max_uses=3)
    code = give(kit)
    sue = {"who": SUE, "staff_id": "sue"}

    assert shown(kit, code).code == "not_applicable"
    assert shown(kit, code, **sue, venue_id="inn").code == "not_applicable"
    assert shown(kit, code, **sue, venue_id="pub").code == "not_found"
    assert shown(kit, code, who=user("tim", "Partner"), staff_id="tim", venue_id="bar").code == "not_found"
    assert shown(kit, code, who=user("tim", "Partner"), staff_id="sue", venue_id="bar").code == "forbidden"
    assert shown(kit, code, **sue, venue_id="bar", redemption_id="r1").status == "accepted"
    assert shown(kit, code, venue_id="bar", redemption_id="r2").status == "accepted"
    assert [row[6:8] for row in kit.rows("redemption")] == [("bar", "sue"), ("bar", None)]
    kit.hear(StaffRemoved(venue_id="bar", partner_id="p1", user_id="sue"))
    assert shown(kit, code, **sue, venue_id="bar", redemption_id="r3").code == "not_found"


def test_a_campaign_is_of_venues_that_are_the_partners(kit: Town) -> None:
    kit.hear(VenueVerified(venue_id="pub", partner_id="p2", city="Town"))
    usual = {"campaign_id": "c", "partner_id": "p1", "name": "A coffee", "currency": "EUR", **VOUCHER}
    for venue in ("pub", "nowhere"):
        told = kit.send(CreateCampaign.model_validate({**usual, "venues": (venue,)}), actor=PARTNER)
        assert (told.code, told.details) == ("venue_not_found", {"venue_id": venue})


def test_who_bought_a_voucher_that_is_taken_back_has_the_points_again(kit: Town) -> None:
    on_sale(kit, price=30)
    kit.send(AwardPoints(user_id="ann", amount=100))
    kit.send(PurchaseVoucher(campaign_id="c", voucher_id="v1", user_id="ann"), actor=user("ann"))
    old = code_of(kit, "v1")
    handed = TransferVoucher(campaign_id="c", voucher_id="v1", user_id="ann", to="bob")
    assert kit.send(handed, actor=user("ann")).status == "accepted"
    assert shown(kit, old).code == "not_found"
    assert kit.send(handed, actor=user("ann")).code == "voucher_not_found"
    cancel = CancelVoucher(campaign_id="c", partner_id="p1", voucher_id="v1", reason="Closed")
    told = kit.send(cancel, actor=PARTNER)
    assert [event.wire_name for event in told.events][:2] == ["voucher_cancelled", "voucher_refunded"]
    assert kit.rows("balance", "points")[0][:3] == ("ann", 100, 0)
    assert shown(kit, code_of(kit, "v1")).code == "cancelled"
    assert kit.send(cancel, actor=PARTNER).code == "not_cancellable"
    assert kit.parked() == []


def test_after_ten_wrong_codes_in_a_minute_a_till_waits_and_others_do_not(kit: Town) -> None:
    kit.hear(VenueVerified(venue_id="bar", partner_id="p1", city="Town"))
    kit.hear(StaffAdded(venue_id="bar", partner_id="p1", user_id="sue"))
    on_sale(kit)
    code = give(kit)
    assert {shown(kit, f"v1-{n}").code for n in range(10)} == {"not_found"}
    last = UUID(int=7)
    right = RedeemVoucher(campaign_id="c", partner_id="p1", code=code)
    told = kit.send(right, actor=PARTNER, command_id=last)
    assert (told.code, kit.status_of(last)) == ("too_many_attempts", 429)
    assert 0 < told.details["retry_after"] <= 60

    assert shown(kit, "v1-11", who=SUE, staff_id="sue", venue_id="bar").code == "not_found"
    kit.advance(timedelta(minutes=1))
    assert shown(kit, code).status == "accepted"


def test_after_ten_wrong_promo_codes_in_a_minute_a_user_waits(kit: Town) -> None:
    with_code(kit)
    assert {apply(kit, code=f"CODE-{n}").code for n in range(10)} == {"not_found"}
    assert apply(kit).code == "too_many_attempts"
    assert apply(kit, order_id="o2", user_id="bob").status == "accepted"
    kit.advance(timedelta(minutes=1))
    assert apply(kit).status == "accepted"


def test_the_events_alone_rebuild_all_that_was_used(kit: Town) -> None:
    kit.hear(VenueVerified(venue_id="bar", partner_id="p1", city="Town"))
    with_code(kit, quantity=40)
    kit.send(GeneratePromoCodes(campaign_id="c", partner_id="p1", batch_id="b", count=30))
    made = [row[1] for row in kit.rows("promo_code")]
    assert apply(kit, code=made[-1]).status == "accepted"
    assert apply(kit, order_id="o2", code="b-1-WRONG").code == "not_found"
    kit.hear(paid())
    kit.hear(refunded(2700))
    apply(kit, order_id="o3", code="CODE")
    kit.advance(RESERVATION)
    again, live = kit.rebuilt().schemas["promotions"], kit.store.schemas["promotions"]

    assert again.rows == live.rows
    assert {key: one.data for key, one in again.states.items()} == {key: one.data for key, one in live.states.items()}
    assert len(made) == 31
