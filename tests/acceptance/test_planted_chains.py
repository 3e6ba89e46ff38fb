"""The checker of chains across domains is worth something: it is silent about the platform as it is and speaks of each bug planted in it."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.identity import sink as identity_rows
from agents.points import sink as points_rows
from agents.promotions import sink as promotions_rows
from examples.generate import Line
from examples.journeys import SHOWN, Journeys
from streams.agent import Agent, Decider, Policy, agents_of
from streams.contract import Command
from streams.envelope import Actor
from streams.ids import uuid7
from streams.producer import command_record, signed
from streams.testing import SIGNER, Kit
from tests.acceptance.answers import answer
from tests.acceptance.chains import wrongs
from tests.acceptance.left import Left, look
from tests.acceptance.planting import planted
from topics.identity import IDENTITY
from topics.points import POINTS, ReleaseHold
from topics.promotions import PROMOTIONS, VoucherPurchased, hold_of

TOPICS = {topic.domain: topic for topic in (IDENTITY, POINTS, PROMOTIONS)}
ROWS: dict[str, Any] = {
    "points.ledger": points_rows.LedgerRow,
    "points.balance": points_rows.BalanceRow,
    "points.expiring": points_rows.ExpiringRow,
    "identity.profile": identity_rows.ProfileRow,
    "identity.login": identity_rows.LoginRow,
    "promotions.campaign": promotions_rows.CampaignRow,
    "promotions.voucher": promotions_rows.VoucherRow,
}
GUEST = Actor("guest", "", "Guest")
Change = Callable[[list[Agent]], list[Agent]]


def rule(domain: str, right: str, wrong: str) -> Change:
    """The agents with this change in the text of a domain's rules."""

    def change(agents: list[Agent]) -> list[Agent]:
        return [
            planted(agent, right, wrong) if isinstance(agent, Decider) and agent.topic.domain == domain else agent
            for agent in agents
        ]

    return change


def policy(name: str, event: type, *more: Callable[[Any], Any]) -> Change:
    """The agents with a policy that gives more commands because of an event than it should."""

    def change(agents: list[Agent]) -> list[Agent]:
        return [_eager(agent, event, more) if agent.name == name else agent for agent in agents]

    return change


def _eager(agent: Agent, event: type, more: tuple[Callable[[Any], Any], ...]) -> Agent:
    assert isinstance(agent, Policy)
    right = agent.on[event]

    def commands(fact: Any) -> Iterator[Command]:
        for make in (right, *more):
            made = make(fact)
            yield from [made] if isinstance(made, Command) else made

    return dataclasses.replace(agent, on={**agent.on, event: commands})


def release_too(fact: Any) -> Any:
    bought = fact.event
    return ReleaseHold(user_id=bought.user_id, hold_id=hold_of(bought.campaign_id, bought.voucher_id))


def capture_again(fact: Any) -> Any:
    purchases = next(agent for agent in agents_of("points") if agent.name == "purchases")
    assert isinstance(purchases, Policy)
    return purchases.on[VoucherPurchased](fact)


BUGS: dict[str, Change] = {
    "two users have one login": rule("identity", 'login.user_id not in ("", command.user_id)', "False"),
    "a login stays claimed when the other was taken": rule(
        "identity", "return [LoginReleased(**_fields(command))]", "return []"
    ),
    "a purchase captures and releases": policy("purchases", VoucherPurchased, release_too),
    "a policy that runs again gives other ids": policy("purchases", VoucherPurchased, capture_again),
    "a timer fires twice": rule(
        "promotions",
        'return replace(voucher, status="expired")',
        "return replace(voucher, valid_to=voucher.valid_to + timedelta(hours=2))",
    ),
    "a timer is lost": rule(
        "promotions",
        'case Voucher(status="valid", valid_to=datetime() as at) if',
        'case Voucher(status="lost", valid_to=datetime() as at) if',
    ),
    "one too many is sold": rule("promotions", "campaign.issued + campaign.reserved >=", "campaign.issued >"),
    "the budget does not count what is being paid for": rule(
        "promotions",
        "return self.worth * (self.issued + self.reserved)",
        "return self.worth * self.issued - self.worth",
    ),
    "a user may have one more": rule(
        "promotions", "shopper.count >= campaign.per_user", "shopper.count > campaign.per_user"
    ),
    "a voucher is redeemed twice": rule("promotions", 'if voucher.status == "redeemed":', "if False:"),
    "somebody may try as many codes as they like": rule("promotions", "len(self.wrong) < WRONG_CODES", "True"),
    "points expire and stay": rule(
        "points",
        "case PointsExpired():\n            return account.move(-event.amount",
        "case PointsExpired():\n            return account.move(0",
    ),
}

QUICK = {
    "a purchase captures and releases",
    "a timer fires twice",
}


def played(change: Change = lambda agents: agents, seed: int = 5, count: int = 600) -> Left:
    """What a run in memory leaves, in which several commands at a time stand on the topics before any of them is worked."""
    agents = change([agent for domain in TOPICS for agent in agents_of(domain)])
    decider = next(agent for agent in agents if isinstance(agent, Decider))
    agents.remove(decider)
    with Kit(decider, *agents) as kit:
        soon = datetime.now(UTC) + timedelta(days=1)
        acts = Journeys(seed, users=25, sets=1, soon=soon).acts(count)
        _send(kit, acts.opening, 1)
        _send(kit, acts.bustle, 7)
        _send(kit, acts.tills[::2], 5)
        moved = kit.clock.now()
        kit.advance(timedelta(days=1, hours=1))
        kit.advance(timedelta(days=1))
        _send(kit, acts.tills[1::2], 5)
        kit.advance(timedelta(days=1))
        return left_of(kit, moved)


def _send(kit: Kit, lines: list[Line], handful: int) -> None:
    commands = [found for line in lines if (found := accepted(kit, line))]
    for n in range(0, len(commands), handful):
        kit._runner.run(_publish(kit, commands[n : n + handful]))
        kit.settle()


async def _publish(kit: Kit, commands: list[tuple[Command, Actor]]) -> None:
    for command, actor in commands:
        now, topic = kit.clock.now(), command.topic.commands_topic
        command_id = uuid7(int(now.timestamp() * 1000))
        key, value = command_record(command, command_id=command_id, issued_at=now, actor=actor)
        await kit.broker.publish(topic, key, value, signed(topic, key, value, SIGNER))


def accepted(kit: Kit, line: Line) -> tuple[Command, Actor] | None:
    """The command of a line that the edge lets pass, with what the edge and a client who can look put in."""
    domain, name = line["command"].split(".")
    who, data = line["as"], dict(line["data"])
    for kind in ("email", "phone"):
        if isinstance(data.get(kind), str) and data[kind]:
            data[f"{kind}_login"] = f"login-{data[kind].lower().replace(' ', '').replace('+', '')}"
    if str(data.get("code", "")).endswith(SHOWN):
        voucher = kit.state(data["campaign_id"], f"voucher/{data['code'].rpartition('-')[0]}", "promotions")
        data["code"] = getattr(voucher, "code", None) or data["code"]
    actor = Actor("user", who["user"], who["role"]) if who else GUEST
    try:
        command = TOPICS[domain].commands[name].model_validate(data)
    except ValueError:
        return None
    return (command, actor) if command.may_be_issued_by(actor) else None


def left_of(kit: Kit, moved: datetime) -> Left:
    """Everything that is on the topics and in the tables."""
    envelopes = defaultdict(list)
    for topic in TOPICS.values():
        for name in (topic.commands_topic, topic.events_topic):
            for record in kit.broker.records(name):
                envelopes[name, record.partition].append(json.loads(record.value or b""))
    results = {
        domain: {str(r.command_id): (r.status, r.code) for r in kit.store.schemas[domain].results.values()}
        for domain in TOPICS
    }
    rows = {
        name: [dict(zip(kind._fields, row, strict=True)) for row in kit.rows(*reversed(name.split(".")))]
        for name, kind in ROWS.items()
    }
    for domain in TOPICS:
        parked = kit.store.schemas[domain].parked.values()
        rows[f"{domain}.parked"] = [{"cause": one.cause, "error": one.error} for one in parked]
    return look(TOPICS, envelopes, results, rows, moved=moved, at=kit.clock.now())


def test_the_contracts_and_the_plain_rules_agree_on_what_is_turned_away() -> None:
    with Kit.of(*TOPICS) as kit:
        acts = Journeys(3).acts(3000)
        for line in (*acts.opening, *acts.bustle, *acts.tills):
            assert (answer(line) == 202) == (accepted(kit, line) is not None), line


def test_the_platform_as_it_is_passes() -> None:
    left = played()

    assert wrongs(left) == []
    codes = {code for results in left.results.values() for _, code in results.values()}
    assert codes >= {
        None,
        "already_active",
        "already_redeemed",
        "budget_exhausted",
        "campaign_exists",
        "campaign_not_active",
        "campaign_not_found",
        "expired",
        "insufficient",
        "limit_reached",
        "login_taken",
        "not_found",
        "sale_not_begun",
        "sold_out",
        "user_exists",
        "user_not_found",
    }
    kinds = {event["type"] for event in left.events}
    assert kinds >= {"voucher_expired", "points_expired", "points_hold_captured", "login_released", "profile_updated"}


@pytest.mark.parametrize(
    "bug", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in BUGS]
)
def test_every_planted_bug_is_seen(bug: str) -> None:
    assert wrongs(played(BUGS[bug]))
