"""What clients want in a seed: journeys through all domains, and records that no edge would let pass."""

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from examples.generate import Line
from examples.journeys import SHOWN, Journeys
from streams.agent import Agent, Decider, agents_of
from streams.contract import Command
from streams.envelope import Actor
from topics.identity import IDENTITY
from topics.points import POINTS, AwardPoints
from topics.promotions import PROMOTIONS

TOPICS = {topic.domain: topic for topic in (IDENTITY, POINTS, PROMOTIONS)}
COMMANDS = 200  # in the middle act, about
USERS = 12
GUEST, ROOT = Actor("guest", "", "Guest"), Actor("user", "root", "Admin")
POISON = "event-poison"
"""The source of an award at which the rule raises."""
LONERS = ("lone-1", "lone-2", "lone-3")
"""Users with whom nobody else has to do: their keys may wait behind a poison for ever."""


class Order(NamedTuple):
    """A command and who gives it; None where the edge turns it away."""

    line: Line
    command: Command | None
    actor: Actor = GUEST


def journeys(seed: int, begin: datetime) -> Iterator[Line]:
    """Campaigns; then registrations, points and purchases; then the tills."""
    acts = Journeys(seed, users=USERS, sets=1, soon=begin + timedelta(minutes=30)).acts(COMMANDS)
    yield from acts.opening
    yield from acts.bustle
    yield from acts.tills[:20]


def order(line: Line, code_of: Any) -> Order:
    """What the edge, and a client who looks up the code of a voucher with `code_of`, make of a line."""
    domain, name = line["command"].split(".")
    who, data = line["as"], dict(line["data"])
    for kind in ("email", "phone"):
        if isinstance(data.get(kind), str) and data[kind]:
            data[f"{kind}_login"] = f"login-{data[kind].lower().replace(' ', '').replace('+', '')}"
    if str(data.get("code", "")).endswith(SHOWN):
        data["code"] = code_of(data["campaign_id"], data["code"].rpartition("-")[0]) or data["code"]
    actor = Actor("user", who["user"], who["role"]) if who else GUEST
    try:
        command = TOPICS[domain].commands[name].model_validate(data)
    except ValueError:
        return Order(line, None)
    return Order(line, command if command.may_be_issued_by(actor) else None, actor)


def award(user: str, source: str, rule: str = "daily") -> AwardPoints:
    """Points for somebody."""
    return AwardPoints(user_id=user, amount=1, rule=rule, source=source)


def lonely(dice: Random, source: str) -> AwardPoints:
    """Something for a user whose key may wait, or be made to wait: the rule raises, or the store refuses."""
    return award(dice.choice(LONERS), source)


def agents(is_mended: Callable[[], bool]) -> dict[str, list[Agent]]:
    """The shipped agents, as far as they hear of each other; the rule of points raises at what is poison until it is mended."""
    return {
        domain: [_poisoned(agent, is_mended) for agent in agents_of(domain) if agent.source.domain in TOPICS]
        for domain in TOPICS
    }


def _poisoned(agent: Agent, is_mended: Callable[[], bool]) -> Agent:
    if not isinstance(agent, Decider) or agent.topic is not POINTS:
        return agent
    decide = agent.decide

    def raising(state: Any, command: Any, case: Any) -> Any:
        if isinstance(command, AwardPoints) and command.source == POISON and not is_mended():
            raise ZeroDivisionError("poison")
        return decide(state, command, case)

    return dataclasses.replace(agent, decide=raising)
