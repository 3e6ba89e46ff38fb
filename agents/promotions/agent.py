"""Promotions: commands lead to events by the rules; points that were held, or are not there, carry a purchase on."""

from agents.promotions import rules, sink
from agents.promotions.table import CAMPAIGNS
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.points import POINTS, PointsHeld, PointsSpendRejected
from topics.promotions import PROMOTIONS, ConfirmPurchase, FailPurchase, purchase_of


def confirm(fact: Fact[PointsHeld]) -> list[ConfirmPurchase]:
    """The points for a voucher are set aside: it is bought. Other holds are other domains' business."""
    held = fact.event
    if (purchase := purchase_of(held.hold_id)) is None:
        return []
    campaign_id, voucher_id = purchase
    return [
        ConfirmPurchase(campaign_id=campaign_id, voucher_id=voucher_id, user_id=held.user_id, amount=held.amount),
    ]


def fail(fact: Fact[PointsSpendRejected]) -> list[FailPurchase]:
    """There are not enough points for a voucher: it is not bought."""
    rejected = fact.event
    if (purchase := purchase_of(rejected.hold_id)) is None:
        return []
    campaign_id, voucher_id = purchase
    return [
        FailPurchase(campaign_id=campaign_id, voucher_id=voucher_id, user_id=rejected.user_id, reason=rejected.code),
    ]


PROMOTIONS_DECIDER = Decider(PROMOTIONS, CAMPAIGNS, rules.decide, rules.evolve, rules.reads, sink.project, rules.timer)

PAYMENTS = Policy("payments", POINTS, PROMOTIONS, on={PointsHeld: confirm, PointsSpendRejected: fail})
