"""The checker is worth something: it is silent about the rules as they are and speaks of each bug planted in them."""

import json
import random
from typing import cast

import pytest

from agents.points.agent import POINTS_DECIDER
from examples.generate import Line, generate
from streams.agent import Decider
from streams.contract import Command
from streams.envelope import Actor
from tests.acceptance.answers import answer
from tests.acceptance.checker import LedgerRow, Observed, faults
from tests.acceptance.model import Step
from tests.acceptance.planting import planted
from tests.points.platform import Platform
from topics.points import POINTS

BUGS = {
    "a capture leaves the hold held": ("account.move(0, -event.amount, 0, event.lots)", "account.move(0, 0, 0, ())"),
    "a capture leaves the hold open": ('replace(hold, status="captured")', 'replace(hold, status="open")'),
    "an award counts twice": (
        "return account.move(+event.amount, 0, 0, ",
        "return account.move(2 * event.amount, 0, 0, ",
    ),
    "a return does not give back": (
        "account.move(+event.amount, 0, -event.amount, ",
        "account.move(0, 0, -event.amount, ",
    ),
    "a reward is given again": ("award.given or command.rule in source.awards", "award.given"),
    "one more than there is may be spent": (
        "command.amount > account.usable(case.now)",
        "command.amount > account.usable(case.now) + 1",
    ),
}


def accepted(line: Line) -> Command | None:
    """The command of a line when its contract lets it pass."""
    contract = POINTS.commands[line["command"].removeprefix("points.")]
    if line["as"] is None:
        return None
    try:
        command = contract.model_validate(line["data"])
    except ValueError:
        return None
    return command if command.may_be_issued_by(Actor("user", line["as"]["user"], line["as"]["role"])) else None


def played(decider: Decider, seed: int = 7, count: int = 1200) -> Observed:
    """What shows after a generated run with transfers that go on at random moments."""
    platform, dice = Platform(decider), random.Random(seed)
    for line in generate(seed, count, users=20):
        if command := accepted(line):
            platform.send(command)
        for _ in range(dice.randrange(3)):
            platform.step()
    platform.settle()
    ledger: dict[str, list[LedgerRow]] = {}
    for user, *row in platform.rows["ledger"].values():
        ledger.setdefault(user, []).append(cast("LedgerRow", tuple(row)))
    return Observed(
        [
            Step(name, one.command.wire_name, one.at, json.loads(one.command.to_json()))
            for name, one in platform.outcomes.items()
        ],
        {name: (outcome.status, outcome.code) for name, outcome in platform.outcomes.items()},
        {user: (available, held) for user, (available, held) in platform.balances().items()},
        ledger,
    )


def test_the_contracts_and_the_model_agree_on_what_is_turned_away() -> None:
    for line in generate(3, 3000):
        assert (answer(line) == 202) == (accepted(line) is not None), line


def test_the_rules_as_they_are_pass() -> None:
    seen = played(POINTS_DECIDER)

    assert faults(seen) == []
    codes = {code for _, code in seen.results.values()}
    assert codes == {
        None,
        "already_awarded",
        "balance_limit",
        "hold_ended",
        "hold_exists",
        "hold_not_found",
        "insufficient",
        "transfer_exists",
    }


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_is_seen(bug: str) -> None:
    assert faults(played(planted(POINTS_DECIDER, *BUGS[bug])))
