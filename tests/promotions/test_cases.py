"""The rules of promotions case by case: what is refused, by which name, and what only looks alike."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from agents.promotions.rules.documents import MAX_LINKS, RESERVATION, Campaign, Voucher
from agents.promotions.table import CAMPAIGNS
from streams.agent import agents_of
from streams.contract import Command
from streams.decision import ROOT
from streams.testing import user
from tests.stepping import START, Outcome, Stepping
from topics.promotions import (
    ActivateCampaign,
    ApplyPromoCode,
    CancelVoucher,
    CreateCampaign,
    EndCampaign,
    GeneratePromoCodes,
    IssueVoucher,
    LinkOrder,
    NoteOrder,
    NoteStaff,
    NoteVenue,
    PauseCampaign,
    PromoCodesGenerated,
    PurchaseVoucher,
    RedeemVoucher,
    ReserveVoucher,
    RollBackRedemption,
    SettleReservation,
    TransferVoucher,
    VoucherRedemptionRejected,
)

DAY = timedelta(days=1)
USUAL = {"campaign_id": "c", "partner_id": "p1", "name": "A coffee", "price": 0, "value": 100, "currency": "EUR"}
LIMITS = {"quantity": 10, "budget": 1000, "valid_days": 2, "per_user": 3}
PROMO = {"kind": "promo", "max_uses": 2, "quantity": 5}


def offer(**terms: Any) -> CreateCampaign:
    """A campaign of partner p1."""
    return CreateCampaign.model_validate({**USUAL, **LIMITS, **terms})


def opened(**terms: Any) -> Stepping:
    """A campaign on sale; one of promo codes has CODE."""
    platform = Stepping(*agents_of("promotions"), ordered=True)
    assert platform.send(offer(**terms)).status == "accepted"
    assert platform.send(ActivateCampaign(campaign_id="c", partner_id="p1")).status == "accepted"
    if terms.get("kind") == "promo":
        assert generate(platform, codes=("CODE",)).status == "accepted"
    return platform


def generate(platform: Stepping, **made: Any) -> Outcome:
    """The partner makes promo codes."""
    return platform.send(GeneratePromoCodes(campaign_id="c", partner_id="p1", **made))


def give(platform: Stepping, voucher_id: str = "v1", user_id: str = "ann") -> Outcome:
    """The partner gives somebody a voucher."""
    return platform.send(IssueVoucher(campaign_id="c", partner_id="p1", voucher_id=voucher_id, user_id=user_id))


def code(platform: Stepping, voucher_id: str = "v1") -> str:
    """What its owner shows."""
    return str(platform.state("promotions", "c", f"voucher/{voucher_id}").code)


def reserve(platform: Stepping, **more: Any) -> Outcome:
    """Ann reserves her voucher for an order."""
    about = {"campaign_id": "c", "voucher_id": "v1", "user_id": "ann", "order_id": "o1"}
    return platform.send(ReserveVoucher.model_validate({**about, **more}))


def redeem(platform: Stepping, **more: Any) -> Outcome:
    """The partner is shown Ann's voucher."""
    about = {"campaign_id": "c", "partner_id": "p1", "code": code(platform)}
    return platform.send(RedeemVoucher.model_validate({**about, **more}))


def apply(platform: Stepping, **more: Any) -> Outcome:
    """Ann uses a code for an order."""
    about = {"campaign_id": "c", "code": "CODE", "user_id": "ann", "order_id": "o1", "total": 1000, "currency": "EUR"}
    return platform.send(ApplyPromoCode.model_validate({**about, **more}))


def states(platform: Stepping) -> str:
    """How the campaign stands."""
    return str(platform.state("promotions", "c").status)


PAUSE, END = PauseCampaign(campaign_id="c", partner_id="p1"), EndCampaign(campaign_id="c", partner_id="p1")
ACTIVATE = ActivateCampaign(campaign_id="c", partner_id="p1")


def test_a_campaign_goes_from_draft_to_active_to_paused_and_back_and_ends_for_good() -> None:
    platform = Stepping(*agents_of("promotions"))
    for command in (ACTIVATE, PAUSE, END):
        assert platform.send(command).code == "campaign_not_found"
    platform.send(offer())
    told = [platform.send(command).code for command in (PAUSE, ACTIVATE, ACTIVATE, PAUSE, PAUSE)]
    assert told == ["campaign_not_active", None, "already_active", None, "campaign_not_active"]
    assert give(platform).code == "campaign_paused"
    assert platform.send(PurchaseVoucher(campaign_id="c", voucher_id="v", user_id="u")).code == "campaign_paused"
    assert platform.send(ACTIVATE).status == "accepted"
    assert give(platform).status == "accepted"
    assert platform.send(END.model_copy(update={"partner_id": "p2"})).code == "campaign_not_found"
    assert platform.send(END).status == "accepted"
    assert {platform.send(command).code for command in (PAUSE, ACTIVATE, END)} == {"already_ended"}
    assert give(platform, "v2").code == "campaign_ended"
    assert redeem(platform).status == "accepted"


@pytest.mark.parametrize("terms", [{"sale_to": START + DAY}, {"valid_to": START + DAY, "valid_days": None}])
def test_the_sale_ends_by_itself_when_its_time_is_over(terms: dict[str, Any]) -> None:
    platform = opened(**terms)
    platform.advance(DAY)
    assert give(platform).code == "campaign_ended"
    assert platform.fire()
    assert states(platform) == "ended"
    assert not platform.fire()


@pytest.mark.req("SR066")
@pytest.mark.parametrize("terms", [{"quantity": 2}, {"budget": 299}])
def test_a_campaign_of_which_all_is_sold_is_exhausted_once(terms: dict[str, Any]) -> None:
    platform = opened(**terms)
    assert [len(give(platform, name).events) for name in ("v1", "v2")] == [1, 2]
    assert platform.facts[-1].event.wire_name == "campaign_budget_exhausted"
    assert give(platform, "v3").code in ("sold_out", "budget_exhausted")
    assert {platform.send(command).code for command in (PAUSE, ACTIVATE, END)} == {"already_exhausted"}
    assert redeem(platform).status == "accepted"


def test_what_others_pay_for_counts_until_they_fail() -> None:
    platform = opened(price=10, quantity=1)
    purchase = PurchaseVoucher(campaign_id="c", voucher_id="w", user_id="bob")
    assert platform.send(purchase).status == "pending"
    assert give(platform).code == "sold_out"
    assert states(platform) == "active"


def test_a_condition_is_tried_when_it_is_written() -> None:
    platform = Stepping(*agents_of("promotions"))
    for condition in ("order.colour == 'red'", "order.total + 1", "nothing", "order.total > 'a'"):
        told = platform.send(offer(**PROMO, condition=condition))
        assert (told.status, told.code) == ("rejected", "bad_condition")
    assert platform.send(offer(**PROMO, condition="at > timestamp('2026-01-01T00:00:00Z')")).status == "accepted"


@pytest.mark.parametrize(
    ("terms", "order", "reason"),
    [
        ({}, {"code": "OTHER"}, "not_found"),
        ({}, {"campaign_id": "d"}, "not_found"),
        ({"valid_from": START + DAY}, {}, "not_found"),
        ({"sale_from": START + DAY}, {}, "not_found"),
        ({}, {"currency": "USD"}, "currency_mismatch"),
        ({"min_spend": 1001}, {}, "minimum_spend"),
        ({"min_quantity": 2}, {}, "minimum_quantity"),
        ({"condition": "order.quantity == 3"}, {}, "not_applicable"),
        ({"condition": "order.total / (order.quantity - 2) > 0"}, {"quantity": 2}, "not_applicable"),
        ({"percent": 10}, {"total": 9}, "not_applicable"),
        ({"budget": 100}, {"order_id": "o2"}, "budget_exhausted"),
        ({"per_user": 1}, {"order_id": "o2"}, "usage_limit"),
        ({"max_uses": 1}, {"order_id": "o2", "user_id": "bob"}, "usage_limit"),
        ({}, {"order_id": "o0"}, "already_applied"),
    ],
)
def test_a_promo_code_is_refused_by_name(terms: dict[str, Any], order: dict[str, Any], reason: str) -> None:
    platform = opened(**{**PROMO, **terms})
    first = order.get("order_id")
    if first:
        assert apply(platform, order_id="o0").status == "accepted"
    told = apply(platform, **order)

    assert (told.status, told.code) == ("rejected", reason)
    (event,) = told.events
    assert (event.wire_name, getattr(event, "reason", None)) == ("promo_code_rejected", reason)


def test_a_promo_code_of_a_campaign_that_is_not_running_is_refused() -> None:
    platform = opened(**PROMO)
    platform.send(PAUSE)
    assert apply(platform).code == "campaign_paused"
    platform.send(END)
    assert apply(platform).code == "expired"
    late = opened(**PROMO)
    late.advance(2 * DAY)
    assert apply(late).code == "expired"
    draft = Stepping(*agents_of("promotions"))
    draft.send(offer(**PROMO))
    generate(draft, codes=("CODE",))
    assert apply(draft).code == "not_found"


@pytest.mark.parametrize(
    ("terms", "total", "discount"),
    [
        ({}, 1000, 100),
        ({}, 60, 60),
        ({"percent": 10}, 999, 99),
        ({"percent": 10}, 2000, 100),
        ({"percent": 100}, 70, 70),
    ],
)
def test_a_discount_is_at_most_the_value_and_the_order(terms: dict[str, Any], total: int, discount: int) -> None:
    (event,) = apply(opened(**{**PROMO, **terms}), total=total).events
    assert event.discount == discount  # type: ignore[attr-defined]


def test_codes_of_a_batch_are_good_and_what_only_looks_like_one_is_not() -> None:
    platform = opened(**PROMO)
    (event,) = generate(platform, batch_id="b", count=3).events
    assert isinstance(event, PromoCodesGenerated)
    assert len(set(event.codes)) == 3
    assert all(one.startswith(f"b-{n}-") and len(one) == 20 for n, one in enumerate(event.codes))
    secret = event.codes[0].rpartition("-")[2]
    for wrong in (f"b-1-{secret}", f"b-3-{secret}", f"b--{secret}", "b-1-", f"b-²-{secret}", f"c-0-{secret}", "b"):
        try:
            told = apply(platform, code=wrong, order_id="o9")
        except ValidationError:
            continue  # no code at all
        assert told.code == "not_found"
    assert apply(platform, code=event.codes[2]).status == "accepted"
    assert platform.state("promotions", "c", f"voucher/{event.codes[2]}").held == 1


def test_codes_are_made_once_and_no_more_of_them_than_there_are() -> None:
    platform = opened(**PROMO)
    assert generate(platform, codes=("NEW", "CODE")).code == "code_exists"
    assert generate(platform, batch_id="b", count=2).status == "accepted"
    assert generate(platform, batch_id="b", count=1).code == "code_exists"
    assert generate(platform, batch_id="a", count=3).code == "sold_out"
    assert generate(opened(), codes=("NEW",)).code == "not_applicable"
    stranger = GeneratePromoCodes(campaign_id="c", partner_id="p2", codes=("NEW",))
    assert platform.send(stranger).code == "campaign_not_found"
    assert give(platform).code == "not_applicable"
    platform.send(END)
    assert generate(platform, codes=("NEW",)).code == "campaign_ended"


def test_a_paid_discount_that_takes_the_rest_of_the_budget_exhausts_the_campaign() -> None:
    platform = opened(**PROMO, budget=150)
    apply(platform)
    platform.send(NoteOrder(order_id="o1", user_id="ann", status="paid", amount=900))
    assert states(platform) == "active"
    platform.settle()
    assert states(platform) == "exhausted"


@pytest.mark.parametrize(
    ("terms", "more", "refused"),
    [
        ({}, {"voucher_id": "v9"}, "voucher_not_found"),
        ({}, {"user_id": "bob"}, "voucher_not_found"),
        ({"valid_from": START + DAY}, {}, "not_yet_valid"),
        ({}, {"amount": 50}, "not_applicable"),
        ({"kind": "gift"}, {"amount": 101}, "insufficient_balance"),
    ],
)
def test_a_voucher_is_not_reserved(terms: dict[str, Any], more: dict[str, Any], refused: str) -> None:
    platform = opened(**terms)
    give(platform)
    assert reserve(platform, **more).code == refused


def test_what_is_reserved_is_neither_reserved_again_nor_handed_on_nor_taken_back() -> None:
    platform = opened()
    give(platform)
    assert reserve(platform).status == "accepted"
    assert reserve(platform).code == "already_reserved"
    assert reserve(platform, order_id="o2").code == "reserved"
    handed = TransferVoucher(campaign_id="c", voucher_id="v1", user_id="ann", to="bob")
    cancel = CancelVoucher(campaign_id="c", partner_id="p1", voucher_id="v1", reason="x")
    assert (platform.send(handed).code, platform.send(cancel).code) == ("reserved", "not_cancellable")
    late: dict[str, Any] = {"campaign_id": "c", "voucher_id": "v1", "user_id": "ann", "order_id": "o1"}
    assert platform.send(SettleReservation(**late, outcome="timed_out")).code == "not_due"
    platform.advance(RESERVATION)
    assert platform.fire()
    assert platform.send(cancel).status == "accepted"
    assert reserve(platform).code == "cancelled"


def test_an_order_that_is_paid_when_the_voucher_has_expired_redeems_nothing() -> None:
    platform = opened()
    give(platform)
    platform.advance(2 * DAY - timedelta(minutes=1))
    assert reserve(platform).status == "accepted"
    platform.send(NoteOrder(order_id="o1", user_id="ann", status="paid"))
    platform.advance(timedelta(minutes=1))
    platform.send(PAUSE)  # an event of the campaign, behind which its time cannot go back
    platform.settle()
    kinds = [fact.event.wire_name for fact in platform.facts]
    assert ("voucher_redeemed" in kinds, kinds[-1]) == (False, "voucher_expired")
    assert reserve(platform, order_id="o2").code == "expired"


def test_a_redemption_is_rolled_back_by_its_partner_once() -> None:
    platform = opened()
    give(platform)
    assert redeem(platform).status == "accepted"
    undo = RollBackRedemption(campaign_id="c", partner_id="p1", voucher_id="v1", redemption_id="v1", reason="x")
    for other in ({"partner_id": "p2"}, {"redemption_id": "r9"}, {"voucher_id": "v2"}):
        assert platform.send(undo.model_copy(update=other)).code == "redemption_not_found"
    assert platform.send(undo).status == "accepted"
    assert platform.send(undo).code == "already_rolled_back"
    assert redeem(platform).code == "redemption_exists"
    assert redeem(platform, redemption_id="r2").status == "accepted"
    assert redeem(platform, redemption_id="r3").code == "already_redeemed"


def test_what_expired_stays_expired_when_a_redemption_is_rolled_back() -> None:
    platform = opened(kind="gift")
    give(platform)
    redeem(platform, amount=40)
    platform.advance(2 * DAY)
    platform.fire()
    undo = RollBackRedemption(campaign_id="c", partner_id="p1", voucher_id="v1", redemption_id="v1", reason="x")
    assert platform.send(undo).status == "accepted"
    voucher = platform.state("promotions", "c", "voucher/v1")
    assert (voucher.status, voucher.used) == ("expired", 0)
    assert redeem(platform, redemption_id="r2").code == "expired"


def test_wrong_codes_of_another_reason_do_not_make_a_till_wait() -> None:
    platform = opened()
    give(platform)
    redeem(platform)
    assert {redeem(platform, redemption_id=f"r{n}").code for n in range(12)} == {"already_redeemed"}
    for n in range(9):
        redeem(platform, code=f"v1-{n}")
        platform.advance(timedelta(seconds=6))
    assert redeem(platform, code="v1-9").code == "not_found"
    assert redeem(platform, code="v1-9").code == "not_found"  # the first of ten is over a minute ago


def test_an_old_rejection_without_a_time_counts_for_nobody() -> None:
    platform = opened()
    old = VoucherRedemptionRejected(campaign_id="c", partner_id="p1", code="x", reason="not_found")
    before = dict(platform.documents["promotions", "c"])
    platform.replay(platform.facts[0]._replace(event=old, key="c"))
    assert platform.documents["promotions", "c"] == before


def test_an_order_keeps_so_many_reservations_and_ends_once() -> None:
    platform = Stepping(*agents_of("promotions"))
    link = LinkOrder(order_id="o1", campaign_id="c", voucher_id="v0", user_id="ann")
    for n in range(MAX_LINKS):
        assert platform.send(link.model_copy(update={"voucher_id": f"v{n}"})).status == "accepted"
    assert platform.send(link.model_copy(update={"voucher_id": "v99"})).code == "too_many_reservations"
    assert platform.send(link).status == "accepted"
    refund = NoteOrder(order_id="o1", user_id="ann", status="refunded", amount=5)
    assert platform.send(refund).events == []
    paid = NoteOrder(order_id="o1", user_id="ann", status="paid", amount=5)
    assert [len(platform.send(paid).events) for _ in range(2)] == [1, 0]
    expired = NoteOrder(order_id="o1", user_id="ann", status="expired")
    assert platform.send(expired).events == []
    (event,) = platform.send(refund).events
    assert len(event.settlements) == MAX_LINKS  # type: ignore[attr-defined]


def test_a_venue_and_its_staff_are_noted_once() -> None:
    platform = Stepping(*agents_of("promotions"))
    venue = NoteVenue(venue_id="v1", partner_id="p1")
    assert [len(platform.send(venue).events) for _ in range(2)] == [1, 0]
    staff = NoteStaff(venue_id="v1", partner_id="p1", user_id="sue", acts=True)
    assert [len(platform.send(staff).events) for _ in range(2)] == [1, 0]
    gone = staff.model_copy(update={"acts": False})
    assert platform.send(gone.model_copy(update={"partner_id": "p2"})).events == []
    assert [len(platform.send(gone).events) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("contract", "data"),
    [
        (GeneratePromoCodes, {"count": 3}),
        (GeneratePromoCodes, {"batch_id": "b"}),
        (GeneratePromoCodes, {"batch_id": "b-1", "count": 3}),
        (GeneratePromoCodes, {"batch_id": "b", "count": 1001}),
        (GeneratePromoCodes, {"batch_id": "b", "count": 1, "codes": ["A"]}),
        (GeneratePromoCodes, {"codes": ["A", "A"]}),
        (GeneratePromoCodes, {"codes": ["a/b"]}),
        (RedeemVoucher, {"code": "v1-X", "staff_id": "sue"}),
        (RedeemVoucher, {"code": "v1-X", "amount": 0}),
        (RedeemVoucher, {"code": "v1-X", "redemption_id": "a:b"}),
        (RollBackRedemption, {"voucher_id": "v1", "redemption_id": "v1"}),
        (RollBackRedemption, {"voucher_id": "v1", "redemption_id": "v1", "reason": ""}),
        (CancelVoucher, {"voucher_id": "v1"}),
    ],
)
def test_commands_of_partners_that_make_no_sense_are_turned_away(contract: type[Command], data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        contract.model_validate({"campaign_id": "c", "partner_id": "p1", **data})


@pytest.mark.parametrize(
    "more", [{"total": 0}, {"total": 1.5}, {"currency": "eur"}, {"quantity": 0}, {"order_id": "a:b"}]
)
def test_orders_that_make_no_sense_are_turned_away(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        apply(opened(**PROMO), **more)
    with pytest.raises(ValidationError):
        TransferVoucher(campaign_id="c", voucher_id="v1", user_id="ann", to="ann")


def test_tills_act_in_their_own_name() -> None:
    till = RedeemVoucher(campaign_id="c", partner_id="p1", code="x")
    staff = RedeemVoucher(campaign_id="c", partner_id="p1", code="x", venue_id="v1", staff_id="sue")

    assert till.may_be_issued_by(user("p1", "Partner"))
    assert staff.may_be_issued_by(user("sue", "Partner"))
    assert till.may_be_issued_by(user("root", "Admin"))
    assert not till.may_be_issued_by(user("sue", "Partner"))
    assert not staff.may_be_issued_by(user("p1", "Partner"))
    assert not till.may_be_issued_by(user("p1"))


def test_documents_of_the_rules_before_are_read() -> None:
    """Then a voucher was redeemed whole, and nothing counted how often."""
    old = b'{"status": "redeemed", "user_id": "ann", "code": "v1-X"}'
    campaign = b'{"status": "active", "value": 100, "issued": 3, "redeemed": 2, "quantity": 9, "budget": 900}'

    voucher, root = CAMPAIGNS.decode("voucher/v1", old, 1), CAMPAIGNS.decode(ROOT, campaign, 1)
    assert isinstance(voucher, Voucher)
    assert isinstance(root, Campaign)
    assert (voucher.used, root.taken, root.max_uses, root.kind) == (1, 200, 1, "voucher")
