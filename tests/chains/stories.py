"""The chains of the town, told as what people do; what has to be true when all is done stands at the end of each."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from streams.clock import VirtualClock
from streams.contract import Command, Event
from streams.envelope import Actor
from streams.testing import ADMIN, user
from topics.commerce import OrderPaid, OrderRefunded
from topics.identity import RegisterUser
from topics.meetups import ParticipantCheckedIn
from topics.points import ActivatePointsRule, AwardPoints, DefinePointsRule, SpendPoints
from topics.promotions import ActivateCampaign, CancelVoucher, CreateCampaign, PurchaseVoucher, RedeemVoucher
from topics.quests import CreateBadge, CreateQuest, PublishQuest, StartQuest
from topics.referrals import ActivateReferralScheme, CreateReferralCode, CreateReferralScheme


class Stage(Protocol):
    """Where a story is played."""

    clock: VirtualClock

    def say(self, command: Command, actor: Actor = ADMIN) -> str:
        """Send a command and have all happen that follows; its status."""

    def happen(self, event: Event) -> None:
        """Something happens in a domain that is not built yet, and is told twice."""

    def pass_time(self, by: timedelta) -> None:
        """Time passes, and what is due happens."""

    def code_of(self, campaign_id: str, voucher_id: str) -> str:
        """What the owner of a voucher shows."""

    def points(self, name: str) -> int:
        """What a user has to spend."""

    def moves(self, name: str) -> Counter[str]:
        """The movements of a user's points, by kind."""

    def times(self, kind: str) -> int:
        """How many events of a kind there are; one that a relay repeats is one."""


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


def join(stage: Stage, name: str, code: str | None = None) -> None:
    """Somebody registers."""
    about: dict[str, Any] = {"email_login": f"login-{name}", "referral_code": code}
    stage.say(RegisterUser.model_validate({"user_id": name, "email": f"{name}@example.com", **about}))


def allowed(stage: Stage, *commands: Command) -> None:
    """Admins and partners prepare something."""
    for command in commands:
        assert stage.say(command) == "accepted", command


# -- sign-up


def invited(stage: Stage) -> None:
    allowed(stage, CreateReferralScheme.model_validate(SCHEME), ActivateReferralScheme(scheme_id="friends"))
    join(stage, "ann")
    stage.say(CreateReferralCode(user_id="ann", code="ANN-1", scheme_id="friends"), ANN)


def sign_up(stage: Stage) -> None:
    join(stage, "bob", "ann-1")


def signed_up(stage: Stage) -> None:
    assert stage.points("bob") == 100
    assert stage.times("user_registered") == 2
    assert stage.times("referral_attributed") == 1


# -- vouchers


def offered(stage: Stage) -> None:
    allowed(stage, CreateCampaign.model_validate(MUSEUM), ActivateCampaign(campaign_id="museum", partner_id="p1"))
    join(stage, "bob")


def buy(stage: Stage) -> None:
    stage.say(PurchaseVoucher(campaign_id="museum", voucher_id="v1", user_id="bob"), BOB)


def bought(stage: Stage) -> None:
    assert stage.points("bob") == 40
    assert stage.moves("bob") == {"awarded": 1, "held": 1, "captured": 1}
    assert stage.times("voucher_purchased") == 1


def poor(stage: Stage) -> None:
    offered(stage)
    stage.say(SpendPoints(user_id="bob", amount=50), BOB)


def not_bought(stage: Stage) -> None:
    assert stage.points("bob") == 50
    assert stage.moves("bob") == {"awarded": 1, "spent": 1}
    assert (stage.times("voucher_purchased"), stage.times("voucher_purchase_failed")) == (0, 1)


# -- at the till


def rewarding(stage: Stage) -> None:
    offered(stage)
    rule = DefinePointsRule.model_validate(
        {"rule_id": "redeemed", "event": "promotions.voucher_redeemed", "amount": "event.value / 100"}
    )
    allowed(stage, rule, ActivatePointsRule(rule_id="redeemed"))
    buy(stage)


def redeem(stage: Stage) -> None:
    code = stage.code_of("museum", "v1")
    stage.say(RedeemVoucher(campaign_id="museum", partner_id="p1", code=code), PARTNER)


def redeemed(stage: Stage) -> None:
    assert stage.points("bob") == 40 + 9
    assert stage.moves("bob") == {"awarded": 2, "held": 1, "captured": 1}
    assert stage.times("voucher_redeemed") == 1


# -- taken back


def sold(stage: Stage) -> None:
    offered(stage)
    buy(stage)


def cancel(stage: Stage) -> None:
    """The partner takes the voucher back, twice."""
    for _ in range(2):
        back = {"campaign_id": "museum", "partner_id": "p1", "voucher_id": "v1", "reason": "Closed for repairs"}
        stage.say(CancelVoucher.model_validate(back), PARTNER)


def given_back(stage: Stage) -> None:
    assert stage.points("bob") == 100
    assert stage.moves("bob") == {"awarded": 1, "held": 1, "captured": 1, "refunded": 1}
    assert (stage.times("voucher_cancelled"), stage.times("voucher_refunded")) == (1, 1)


# -- quests


def questing(stage: Stage) -> None:
    offered(stage)
    allowed(
        stage,
        CreateBadge(badge_id="explorer", name="Explorer"),
        CreateQuest.model_validate(QUEST),
        PublishQuest(quest_id="town", author_id="p1"),
        StartQuest(user_id="bob", quest_id="town"),
    )
    stage.pass_time(timedelta(minutes=1))


def quest(stage: Stage) -> None:
    here = {"meetup_id": "m1", "user_id": "bob", "author_id": "ann", "city": "riga", "at": stage.clock.now()}
    stage.happen(ParticipantCheckedIn.model_validate(here))
    stage.pass_time(timedelta(minutes=1))
    buy(stage)


def quest_done(stage: Stage) -> None:
    assert stage.points("bob") == 40 + 40
    assert [stage.times(kind) for kind in ("quest_completed", "badge_awarded", "xp_awarded")] == [1, 1, 1]


# -- referrals, with claw-back


def brought(stage: Stage) -> None:
    invited(stage)
    sign_up(stage)


def refer(stage: Stage) -> None:
    """Bob pays, and both are rewarded when the time has come; Bob sends it back, and both lose it."""
    stage.happen(OrderPaid(order_id="o1", user_id="bob", total=2000, currency="EUR"))
    stage.pass_time(timedelta(days=3))
    stage.say(AwardPoints(user_id="bob", amount=7, rule="survey", source="s1"), ADMIN)
    stage.happen(OrderRefunded(order_id="o1", user_id="bob", amount=2000, currency="EUR"))


def clawed_back(stage: Stage) -> None:
    assert (stage.points("ann"), stage.points("bob")) == (100, 107)
    kinds = ("referral_qualified", "referral_approved", "referral_voided")
    assert [stage.times(kind) for kind in kinds] == [1, 1, 1]
    assert (stage.times("referral_reward_granted"), stage.times("referral_reward_clawed_back")) == (2, 2)
    assert stage.times("points_reversed") == 2


class Story(NamedTuple):
    """What is there before, what happens, and what has to come of it."""

    before: Callable[[Stage], None]
    happens: Callable[[Stage], None]
    after: Callable[[Stage], None]


STORIES = {
    "sign-up": Story(invited, sign_up, signed_up),
    "buy a voucher": Story(offered, buy, bought),
    "buy a voucher without enough points": Story(poor, buy, not_bought),
    "redeem": Story(rewarding, redeem, redeemed),
    "cancel a voucher": Story(sold, cancel, given_back),
    "quest": Story(questing, quest, quest_done),
    "referral, and claw-back": Story(brought, refer, clawed_back),
}
