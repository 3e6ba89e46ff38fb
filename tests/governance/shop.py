"""A small domain that has something open at times: an erasure waits there until the last order is delivered."""

from collections.abc import Iterable, Mapping
from typing import Any

from streams.agent import Agent, Decider, Policy
from streams.contract import Command, Event, Name, Text, Topic
from streams.decision import ROOT, Case, Decision, Refuse, State
from streams.erasure import ErasureAnswer
from streams.personal import Personal
from streams.sink import Fact
from streams.table import Table
from topics.governance import GOVERNANCE, ErasureAsked

SHOP = Topic("shop", key="user_id")


class Order(Command, topic=SHOP, roles=("User",), owner="user_id"):
    """Have something sent to an address."""

    user_id: Name
    address: Personal[Text] | None = None


class Deliver(Command, topic=SHOP, roles=("Admin",)):
    """All is delivered."""

    user_id: Name


class ForgetBuyer(Command, topic=SHOP, services=("shop",)):
    """Step of an erasure."""

    user_id: Name
    erasure_id: Name


class Ordered(Event, topic=SHOP):
    """An order is open."""

    user_id: Name
    address: Personal[Text] | None = None


class Delivered(Event, topic=SHOP):
    """No order is open."""

    user_id: Name


class BuyerForgotten(ErasureAnswer, Event, topic=SHOP):
    """The answer to an erasure."""


class Buyer(State, frozen=True):
    """How many orders are open."""

    open: int = 0


def decide(state: Mapping[str, Any], command: Any, _case: Case) -> Decision:
    """Whoever has ordered something is forgotten once it is delivered."""
    buyer: Buyer = state[ROOT]
    match command:
        case Order():
            return [Ordered(user_id=command.user_id, address=command.address)]
        case Deliver():
            return [Delivered(user_id=command.user_id)] if buyer.open else Refuse("nothing_open")
    return [BuyerForgotten(**dict(command), reason="an order is open" if buyer.open else None)]


def evolve(state: Mapping[str, Any], event: Any) -> Mapping[str, State]:
    """The orders after an event."""
    match event:
        case Ordered():
            return {ROOT: Buyer(state[ROOT].open + 1)}
        case Delivered():
            return {ROOT: Buyer()}
    return {}


def forget(fact: Fact[ErasureAsked]) -> Iterable[ForgetBuyer]:
    """Somebody is to be erased."""
    if SHOP.domain in fact.event.domains:
        yield ForgetBuyer(user_id=fact.event.user_id, erasure_id=fact.event.erasure_id)


AGENTS: tuple[Agent, ...] = (
    Decider(SHOP, Table("shop", {ROOT: Buyer}), decide, evolve),
    Policy("erasures", GOVERNANCE, SHOP, on={ErasureAsked: forget}),
)
