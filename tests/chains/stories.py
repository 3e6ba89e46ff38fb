"""The chains of the town, told as what people do; what has to be true when all is done stands at the end of each."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from streams.contract import Command, Event
from streams.testing import ADMIN, user
from tests.chains.mortal import MortalKit
from tests.standins import tell
from topics.commerce import OrderPaid, OrderRefunded
from topics.identity import RegisterUser
from topics.meetups import ParticipantCheckedIn
from topics.points import ActivatePointsRule, AwardPoints, DefinePointsRule, SpendPoints
from topics.promotions import ActivateCampaign, CreateCampaign, PurchaseVoucher, RedeemVoucher
from topics.quests import CreateBadge, CreateQuest, PublishQuest, StartQuest
from topics.referrals import ActivateReferralScheme, CreateReferralCode, CreateReferralScheme

ANN, BOB, PARTNER = user("ann"), user("bob"), user("p1", "Partner")
SCHEME: dict[str, Any] = {
    "scheme_id": "friends",
    "name": "Bring a friend",
    "event": "order_paid",
    "condition": "event.total >= 1000",
    "friend_points": 50,
    "levels": [{"points": 80}],
    "budget": 1000,
    "hold_days": 2,
}
MUSEUM: dict[str, Any] = {
    "campaign_id": "museum",
    "partner_id": "p1",
    "name": "Half price",
    "price": 60,
    "value": 900,
    "currency": "EUR",
    "quantity": 2,
    "budget": 1800,
    "valid_days": 5,
}
QUEST: dict[str, Any] = {
    "quest_id": "town",
    "author_id": "p1",
    "name": "Round the town",
    "tasks": [
        {"task_id": "meet", "name": "Meet somebody", "event": "participant_checked_in"},
        {"task_id": "buy", "name": "Buy something", "event": "voucher_purchased"},
    ],
    "points": 40,
    "xp": 120,
    "badge_id": "explorer",
}


def join(kit: MortalKit, name: str, code: str | None = None) -> None:
    """Somebody registers."""
    about: dict[str, Any] = {"email_login": f"login-{name}", "referral_code": code}
    kit.say(RegisterUser.model_validate({"user_id": name, "email": f"{name}@example.com", **about}))


def happen(kit: MortalKit, event: Event) -> None:
    """Something happens in a domain that is not built yet, and is told twice."""
    record = kit.standins.record(event, kit.clock.now())
    tell(kit, record, record)


def allowed(kit: MortalKit, *commands: Command) -> None:
    """Admins and partners prepare something."""
    for command in commands:
        assert kit.say(command).status == "accepted", command


# -- sign-up


def invited(kit: MortalKit) -> None:
    allowed(kit, CreateReferralScheme.model_validate(SCHEME), ActivateReferralScheme(scheme_id="friends"))
    join(kit, "ann")
    kit.say(CreateReferralCode(user_id="ann", code="ANN-1", scheme_id="friends"), ANN)


def sign_up(kit: MortalKit) -> None:
    join(kit, "bob", "ann-1")


def signed_up(kit: MortalKit) -> None:
    assert points(kit, "bob") == 100
    assert times(kit, "user_registered") == 2
    assert times(kit, "referral_attributed") == 1


# -- vouchers


def offered(kit: MortalKit) -> None:
    allowed(kit, CreateCampaign.model_validate(MUSEUM), ActivateCampaign(campaign_id="museum", partner_id="p1"))
    join(kit, "bob")


def buy(kit: MortalKit) -> None:
    kit.say(PurchaseVoucher(campaign_id="museum", voucher_id="v1", user_id="bob"), BOB)


def bought(kit: MortalKit) -> None:
    assert points(kit, "bob") == 40
    assert moves(kit, "bob") == {"awarded": 1, "held": 1, "captured": 1}
    assert times(kit, "voucher_purchased") == 1


def poor(kit: MortalKit) -> None:
    offered(kit)
    kit.say(SpendPoints(user_id="bob", amount=50), BOB)


def not_bought(kit: MortalKit) -> None:
    assert points(kit, "bob") == 50
    assert moves(kit, "bob") == {"awarded": 1, "spent": 1}
    assert (times(kit, "voucher_purchased"), times(kit, "voucher_purchase_failed")) == (0, 1)


# -- at the till


def rewarding(kit: MortalKit) -> None:
    offered(kit)
    rule = DefinePointsRule.model_validate(
        {"rule_id": "redeemed", "event": "promotions.voucher_redeemed", "amount": "event.value / 100"}
    )
    allowed(kit, rule, ActivatePointsRule(rule_id="redeemed"))
    buy(kit)


def redeem(kit: MortalKit) -> None:
    code = getattr(kit.state("museum", "voucher/v1", "promotions"), "code", "")
    kit.say(RedeemVoucher(campaign_id="museum", partner_id="p1", code=code), PARTNER)


def redeemed(kit: MortalKit) -> None:
    assert points(kit, "bob") == 40 + 9
    assert moves(kit, "bob") == {"awarded": 2, "held": 1, "captured": 1}
    assert times(kit, "voucher_redeemed") == 1


# -- quests


def questing(kit: MortalKit) -> None:
    offered(kit)
    allowed(
        kit,
        CreateBadge(badge_id="explorer", name="Explorer"),
        CreateQuest.model_validate(QUEST),
        PublishQuest(quest_id="town", author_id="p1"),
        StartQuest(user_id="bob", quest_id="town"),
    )
    kit.advance(timedelta(minutes=1))


def quest(kit: MortalKit) -> None:
    here = {"meetup_id": "m1", "user_id": "bob", "author_id": "ann", "city": "riga", "at": kit.clock.now()}
    happen(kit, ParticipantCheckedIn.model_validate(here))
    kit.advance(timedelta(minutes=1))
    buy(kit)


def quest_done(kit: MortalKit) -> None:
    assert points(kit, "bob") == 40 + 40
    assert [times(kit, kind) for kind in ("quest_completed", "badge_awarded", "xp_awarded")] == [1, 1, 1]


# -- referrals, with claw-back


def brought(kit: MortalKit) -> None:
    invited(kit)
    sign_up(kit)


def refer(kit: MortalKit) -> None:
    """Bob pays, and both are rewarded when the time has come; Bob sends it back, and both lose it."""
    happen(kit, OrderPaid(order_id="o1", user_id="bob", total=2000, currency="EUR"))
    kit.advance(timedelta(days=3))
    kit.say(AwardPoints(user_id="bob", amount=7, rule="survey", source="s1"), ADMIN)
    happen(kit, OrderRefunded(order_id="o1", user_id="bob", amount=2000, currency="EUR"))


def clawed_back(kit: MortalKit) -> None:
    assert (points(kit, "ann"), points(kit, "bob")) == (100, 107)
    kinds = ("referral_qualified", "referral_approved", "referral_voided")
    assert [times(kit, kind) for kind in kinds] == [1, 1, 1]
    assert (times(kit, "referral_reward_granted"), times(kit, "referral_reward_clawed_back")) == (2, 2)
    assert times(kit, "points_reversed") == 2


# -- looking


def points(kit: MortalKit, name: str) -> int:
    return next(int(row[1]) for row in kit.rows("balance", "points") if row[0] == name)


def moves(kit: MortalKit, name: str) -> Counter[str]:
    return Counter(row[3] for row in kit.rows("ledger", "points") if row[0] == name)


def times(kit: MortalKit, kind: str) -> int:
    """How many events of a kind there are; one that a relay repeats is one."""
    return len({envelope.event_id for envelope in kit.envelopes() if envelope.type == kind})


class Story(NamedTuple):
    """What is there before, what happens, and what has to come of it."""

    before: Callable[[MortalKit], None]
    happens: Callable[[MortalKit], None]
    after: Callable[[MortalKit], None]


STORIES = {
    "sign-up": Story(invited, sign_up, signed_up),
    "buy a voucher": Story(offered, buy, bought),
    "buy a voucher without enough points": Story(poor, buy, not_bought),
    "redeem": Story(rewarding, redeem, redeemed),
    "quest": Story(questing, quest, quest_done),
    "referral, and claw-back": Story(brought, refer, clawed_back),
}
