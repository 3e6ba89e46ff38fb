"""Contracts: what a declaration derives, and the words for one that is wrong."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from streams.contract import Command, Event, Name, Text, Topic, permits
from streams.envelope import Actor
from streams.errors import CaravanError, ContractError
from tests.streams.tally import TALLY, Add, Added


def declare(topic: Any = None, **declaration: Any) -> type[Command]:
    """Declare a command `GoNow` with these class arguments."""
    if topic is not None:
        declaration["topic"] = topic
    body = {"__annotations__": {"place": Name}, "__module__": __name__}
    return type("GoNow", (Command,), body, **declaration)


@pytest.fixture
def topic() -> Topic:
    return Topic("trips", key="place")


def test_a_declaration_derives_names_and_registers_itself(topic: Topic) -> None:
    command = declare(topic, roles=("User",), version=3, upcasts={1: dict, 2: dict})
    assert (command.wire_name, command.version, command.key_field) == ("go_now", 3, "place")
    assert topic.commands == {"go_now": command}
    assert (topic.commands_topic, topic.events_topic) == ("trips.commands", "trips.events")
    assert command(place="rome").key == "rome"  # type: ignore[call-arg]
    assert TALLY.events["added"] is Added


@pytest.mark.parametrize(
    ("declaration", "words"),
    [
        ({}, "say its topic"),
        ({"topic": True}, "nobody may issue it"),
        ({"topic": True, "roles": ("King",)}, "unknown role 'King'"),
        ({"topic": True, "roles": ("User",), "key": "planet"}, "its key 'planet' is not one of its fields"),
        ({"topic": True, "roles": ("User",), "owner": "planet"}, "its owner 'planet' is not one of its fields"),
    ],
)
def test_a_wrong_declaration_is_refused_in_words(topic: Topic, declaration: dict[str, Any], words: str) -> None:
    wanted = declaration | ({"topic": topic} if "topic" in declaration else {})
    with pytest.raises(ContractError, match=re.escape(words)):
        declare(**wanted)
    assert not topic.commands


def test_an_event_needs_a_topic_and_its_key() -> None:
    with pytest.raises(ContractError, match="say its topic"):
        type("Gone", (Event,), {"__annotations__": {"place": str}, "__module__": __name__})
    with pytest.warns(UserWarning, match="shadows"), pytest.raises(ContractError, match="cannot be called `key`"):
        type("Gone", (Event,), {"__annotations__": {"key": str}, "__module__": __name__}, topic=TALLY, key="key")
    with pytest.raises(ContractError, match="cannot be called `version`"):
        type(
            "Gone", (Event,), {"__annotations__": {"account": str, "version": int}, "__module__": __name__}, topic=TALLY
        )
    with pytest.raises(ContractError, match="its key 'account'"):
        type("Gone", (Event,), {"__annotations__": {"place": str}, "__module__": __name__}, topic=TALLY)
    assert issubclass(ContractError, CaravanError)


def test_unknown_fields_are_forbidden_at_the_edge_and_kept_from_a_topic() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Add.model_validate({"account": "a", "amount": 1, "colour": "red"})
    kept = Add.from_topic(b'{"account": "a", "amount": 1, "colour": "red"}')
    assert kept.model_extra == {"colour": "red"}


def test_a_message_cannot_be_changed() -> None:
    command = Add(account="a", amount=1)
    with pytest.raises(ValidationError, match="frozen"):
        command.amount = 2  # type: ignore[misc]


@pytest.mark.parametrize("text", ["a\0b", "x" * 1001, 7, None])
def test_text_is_what_postgres_can_store(text: object) -> None:
    model: Any = type(
        "Say",
        (Event,),
        {"__annotations__": {"id": Name, "text": Text}, "__module__": __name__},
        topic=Topic("s", key="id"),
    )
    assert model.model_validate({"id": "i", "text": "näh\n"})
    with pytest.raises(ValidationError):
        model.model_validate({"id": "i", "text": text})


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-a", "a" * 129, "é", 7, "a\n"])
def test_a_name_has_no_surprises(name: object) -> None:
    with pytest.raises(ValidationError):
        Add.model_validate({"account": name, "amount": 1})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_no_number_is_infinite(number: str) -> None:
    model: Any = type(
        "Weigh",
        (Event,),
        {"__annotations__": {"id": Name, "kg": float}, "__module__": __name__},
        topic=Topic("w", key="id"),
    )
    with pytest.raises(ValidationError):
        model.model_validate_json(f'{{"id": "i", "kg": {number}}}')


def test_roles_stand_one_above_the_other() -> None:
    order = ["Guest", "User", "VIP", "PRO"]
    for lowest in order:
        assert [permits([lowest], role) for role in order] == [order.index(r) >= order.index(lowest) for r in order]
        assert permits([lowest], "Partner") is (lowest == "Guest")
    assert permits(["Partner"], "Partner")
    assert permits([], "Admin")
    assert not permits(["User"], "Nobody")


def test_who_may_issue_a_command(topic: Topic) -> None:
    own = declare(topic, roles=("User",), owner="place", services=("quests",))(place="u1")  # type: ignore[call-arg]
    internal = declare(topic, services=("quests",))(place="u1")  # type: ignore[call-arg]
    actors = {
        "self": Actor("user", "u1", "User"),
        "other": Actor("user", "u2", "PRO"),
        "admin": Actor("user", "root", "Admin"),
        "guest": Actor("guest", "u1", "Guest"),
        "service": Actor("service", "quests"),
        "stranger": Actor("service", "orders", "Admin"),
    }
    assert [name for name, actor in actors.items() if own.may_be_issued_by(actor)] == ["self", "admin", "service"]
    assert [name for name, actor in actors.items() if internal.may_be_issued_by(actor)] == ["service"]
