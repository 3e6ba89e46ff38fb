"""Promotions and points through the loop in memory: commands in, results, events, documents and rows out, and time that passes."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from agents.promotions.rules.documents import PATIENCE
from streams.contract import Command
from streams.testing import Kit, Told, user
from topics.points import POINTS, AwardPoints
from topics.promotions import PROMOTIONS, ActivateCampaign, CreateCampaign, PurchaseVoucher, RedeemVoucher

PARTNER = user("p1", "Partner")
UNFORESEEN = {
    "redeem_voucher": "not_found",
    "roll_back_redemption": "redemption_not_found",
}  # whose examples need a code
STATUS, CODE = 8, 10  # columns of a voucher's row


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("promotions", "points") as kit:
        yield kit


def open_sale(kit: Kit, **terms: Any) -> None:
    """A campaign on sale."""
    usual = {"campaign_id": "c", "partner_id": "p1", "name": "A coffee", "price": 30, "value": 100, "currency": "EUR"}
    create = CreateCampaign.model_validate({**usual, "quantity": 10, "budget": 1000, "valid_days": 2, **terms})
    assert kit.send(create, actor=PARTNER).status == "accepted"
    assert kit.send(ActivateCampaign(campaign_id="c", partner_id="p1"), actor=PARTNER).status == "accepted"


def buy(kit: Kit, voucher_id: str = "v1", user_id: str = "ann") -> Told:
    """Somebody buys a voucher for himself."""
    return kit.send(PurchaseVoucher(campaign_id="c", voucher_id=voucher_id, user_id=user_id), actor=user(user_id))


def redeem(kit: Kit, code: str) -> Told:
    """The partner takes a voucher."""
    return kit.send(RedeemVoucher(campaign_id="c", partner_id="p1", code=code), actor=PARTNER)


def names(told: Told) -> list[str]:
    """The events that a command left."""
    return [event.wire_name for event in told.events]


def examples(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in examples(PROMOTIONS.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


@pytest.mark.parametrize("name", [name for name, contract in PROMOTIONS.commands.items() if contract.roles])
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    told = [kit.send(command) for command in examples(PROMOTIONS.commands[name])]
    if name in UNFORESEEN:
        assert told.pop().code == UNFORESEEN[name]

    assert {one.status for one in told} == {"accepted"}


@pytest.mark.req("SR054")
def test_a_voucher_is_bought_with_points_and_redeemed_once(kit: Kit) -> None:
    open_sale(kit)
    kit.send(AwardPoints(user_id="ann", amount=100))
    told = buy(kit)

    assert told.status == "accepted"
    assert sorted(names(told)) == [
        "points_held",
        "points_hold_captured",
        "voucher_purchase_started",
        "voucher_purchased",
    ]
    assert kit.rows("balance", "points") == [("ann", 70, 0)]
    ((*_, status, _, code, _, _, _, redeemed, _, _, _, _),) = kit.rows("voucher")
    assert (status, redeemed) == ("valid", None)

    first, second = redeem(kit, code), redeem(kit, code)
    at = kit.rows("voucher")[0][-5]
    assert (first.status, second.code, second.details) == (
        "accepted",
        "already_redeemed",
        {"redeemed_at": at.isoformat()},
    )
    assert kit.parked() == []


@pytest.mark.req("SR054")
def test_who_has_not_enough_points_is_told_and_nothing_is_held(kit: Kit) -> None:
    open_sale(kit)
    kit.send(AwardPoints(user_id="ann", amount=29))
    told = buy(kit)

    assert (told.status, told.code) == ("rejected", "insufficient")
    assert kit.rows("balance", "points") == [("ann", 29, 0)]
    assert kit.rows("voucher")[0][STATUS] == "failed"
    assert kit.rows("campaign")[0][9:14] == (0, 0, 1, 0, 0)


@pytest.mark.req("SR054")
def test_a_purchase_whose_points_never_come_is_over_in_time() -> None:
    with Kit.of("promotions") as kit:  # points do not run
        open_sale(kit)
        assert buy(kit).status == "pending"
        assert kit.advance(PATIENCE - timedelta(seconds=1)) == []
        told = kit.advance(timedelta(seconds=1))

        assert [event.wire_name for event in told] == ["voucher_purchase_failed"]
        (result,) = [r for r in kit.store.schemas["promotions"].results.values() if r.code]
        assert (result.status, result.code) == ("rejected", "timed_out")
        assert kit.rows("campaign")[0][9:14] == (0, 0, 1, 0, 0)


def test_a_voucher_expires_by_itself_and_then_for_good(kit: Kit) -> None:
    open_sale(kit, price=0)
    buy(kit)
    code = kit.rows("voucher")[0][CODE]
    assert kit.advance(timedelta(days=1)) == []
    told = kit.advance(timedelta(days=1))

    assert [event.wire_name for event in told] == ["voucher_expired"]
    assert kit.rows("voucher")[0][STATUS] == "expired"
    assert redeem(kit, code).code == "expired"
    assert kit.advance(timedelta(days=100)) == []


def test_only_users_buy_for_themselves_and_only_partners_redeem_as_themselves(kit: Kit) -> None:
    open_sale(kit)
    purchase = PurchaseVoucher(campaign_id="c", voucher_id="v1", user_id="ann")
    till = RedeemVoucher(campaign_id="c", partner_id="p1", code="v1-A")

    told = [
        kit.send(purchase, actor=user("bob")),
        kit.send(purchase, actor=PARTNER),
        kit.send(till, actor=user("p2", "Partner")),
        kit.send(till, actor=user("p1")),
    ]
    assert {one.code for one in told} == {"forbidden"}


def test_the_events_alone_rebuild_documents_and_rows_of_both_domains(kit: Kit) -> None:
    open_sale(kit, per_user=3)
    kit.send(AwardPoints(user_id="ann", amount=70, expires_at=kit.clock.now() + timedelta(hours=1)))
    for n in range(3):
        buy(kit, f"v{n}")
    redeem(kit, kit.rows("voucher")[0][CODE])
    redeem(kit, "nothing")
    kit.advance(timedelta(days=2))
    again = kit.rebuilt()

    assert [row[STATUS] for row in kit.rows("voucher")] == ["redeemed", "expired", "failed"]
    for domain in (PROMOTIONS.domain, POINTS.domain):
        live, rebuilt = kit.store.schemas[domain], again.schemas[domain]
        assert rebuilt.rows == live.rows
        assert {key: stored.data for key, stored in rebuilt.states.items()} == {
            key: stored.data for key, stored in live.states.items()
        }


def test_what_a_newer_edge_let_in_goes_from_the_command_into_the_event(kit: Kit) -> None:
    """The code of today does not know the field, and a newer projection will want it."""
    (command,) = examples(CreateCampaign)[:1]
    payload = json.loads(command.to_json()) | {"colour": {"of": "the newer edge"}}
    told = kit.send(CreateCampaign.from_topic(json.dumps(payload).encode()))
    assert told.status == "accepted"
    (created,) = [envelope for envelope in kit.envelopes() if envelope.type == "campaign_created"]
    assert json.loads(bytes(created.payload))["colour"] == {"of": "the newer edge"}
