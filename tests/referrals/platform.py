"""The rules of referrals, run one by one, with what a test does in a town: people register, invite, click, order and are paid."""

from datetime import datetime, timedelta
from typing import Any

from agents.referrals.agent import (
    ACHIEVEMENTS,
    CODES,
    MEETINGS,
    NEWCOMERS,
    ORDERS,
    REFERRALS_DECIDER,
    REWARDS,
    VOUCHERS,
    WORKOUTS,
)
from streams.agent import Decider, Policy
from streams.contract import Command, Event
from streams.decision import Case, Refuse
from streams.sink import Fact
from tests.stepping import SOMEONE, Outcome, Stepping, Waiting
from topics.commerce import OrderPaid, OrderRefunded
from topics.identity import UserRegistered
from topics.referrals import ActivateReferralScheme, CreateReferralCode, CreateReferralScheme, TrackReferralClick

POLICIES = (CODES, REWARDS, NEWCOMERS, ORDERS, VOUCHERS, ACHIEVEMENTS, MEETINGS, WORKOUTS)
DAY = timedelta(days=1)
USUAL: dict[str, Any] = {
    "scheme_id": "s",
    "name": "Bring a friend",
    "event": "order_paid",
    "condition": "event.total >= 100",
    "levels": [{"points": 10}],
    "budget": 1000,
}


def scheme(**terms: Any) -> CreateReferralScheme:
    """A scheme with these terms, the others as usual."""
    return CreateReferralScheme.model_validate(USUAL | terms)


class Town(Stepping):
    """Referrals alone, told of what happens elsewhere."""

    def __init__(self, decider: Decider = REFERRALS_DECIDER, *, policies: tuple[Policy, ...] = POLICIES) -> None:
        """Nobody is there. What one policy gives from one key to another cannot overtake itself."""
        super().__init__(decider, *policies, ordered=True)
        self._told = 0

    def hear(self, event: Event) -> None:
        """Something happened in another domain; what it leads to waits."""
        self.now += timedelta(seconds=1)
        self._told += 1
        fact = Fact(event, f"told-{self._told}", event.key, self._told, self.now, SOMEONE, "")
        for policy in self._policies:
            if handler := policy.on.get(type(event)):
                made = handler(fact)
                for command in [made] if isinstance(made, Command) else made:
                    lane = (policy.name, event.topic.domain, event.key, command.topic.domain, command.key)
                    self.waiting.append(Waiting(lane, command, fact.at))

    def open(self, **terms: Any) -> None:
        """A scheme that counts."""
        command = scheme(**terms)
        assert self.send(command).status == "accepted"
        assert self.send(ActivateReferralScheme(scheme_id=command.scheme_id)).status == "accepted"

    def send_scheme(self, **terms: Any) -> Outcome:
        """Define a scheme, or its next revision."""
        return self.send(scheme(**terms))

    def details(self, outcome: Outcome) -> Any:
        """Why a command was refused, as its caller is told."""
        (decider,) = self._deciders.values()
        states = self._states(outcome.command)
        refuse = decider.decide(states, outcome.command, Case(outcome.at, "", self._consulted(outcome.command)))
        assert isinstance(refuse, Refuse)
        return refuse.details

    def register(self, user_id: str, code: str | None = None, **known: Any) -> None:
        """Somebody became a user."""
        at = self.now + timedelta(seconds=1)
        self.hear(UserRegistered(user_id=user_id, registered_at=at, referral_code=code, **known))

    def invite(self, user_id: str, code: str, scheme_id: str = "s", expires_at: datetime | None = None) -> Outcome:
        """A user wants a code."""
        return self.send(CreateReferralCode(user_id=user_id, code=code, scheme_id=scheme_id, expires_at=expires_at))

    def click(self, visitor_id: str, code: str, user_id: str | None = None) -> Outcome:
        """Somebody follows a link."""
        return self.send(TrackReferralClick(visitor_id=visitor_id, code=code, user_id=user_id))

    def order(self, user_id: str, order_id: str, total: int, payment: str | None = None) -> None:
        """Somebody ordered and paid."""
        paid = OrderPaid(order_id=order_id, user_id=user_id, total=total, currency="EUR", payment=payment)
        self.hear(paid)

    def refund(self, user_id: str, order_id: str, amount: int) -> None:
        """An order was given back."""
        self.hear(OrderRefunded(order_id=order_id, user_id=user_id, amount=amount, currency="EUR"))

    def referral(self, user_id: str) -> Any:
        """How somebody was brought, and what became of it."""
        return self.state("referrals", user_id, "referral")

    def told(self, kind: type[Event]) -> list[Any]:
        """The events of a kind."""
        return [fact.event for fact in self.facts if type(fact.event) is kind]


def brought(**terms: Any) -> Town:
    """Ann, whom nobody brought, has brought Bob, who has brought Cy, all by a scheme with these terms."""
    town = Town()
    town.open(**terms)
    for name, code in (("ann", None), ("bob", "ANN-1"), ("cy", "BOB-1")):
        town.register(name, code)
        town.settle()
        assert town.invite(name, f"{name}-1").status == "pending"
        town.settle()
    return town
