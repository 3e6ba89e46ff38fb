"""Quests through the loop in memory: commands in, results, events, documents and rows out."""

from collections.abc import Iterator

import pytest

from streams.contract import Command
from streams.testing import Kit
from topics.quests import QUESTS


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("quests") as kit:
        yield kit


def with_predecessors(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in with_predecessors(QUESTS.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


@pytest.mark.parametrize("name", [name for name, contract in QUESTS.commands.items() if contract.roles])
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    contract = QUESTS.commands[name]
    assert contract.examples

    assert {(told := kit.send(command)).status + (told.code or "") for command in with_predecessors(contract)} == {
        "accepted"
    }
