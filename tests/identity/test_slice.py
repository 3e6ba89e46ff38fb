"""Identity through the loop in memory: commands in, results, events, documents and rows out."""

from collections.abc import Iterator
from typing import Any

import pytest

from agents.identity.rules import Login, User
from streams.contract import Command
from streams.personal import is_sealed, seal
from streams.testing import ADMIN, Kit, user
from topics.identity import (
    IDENTITY,
    ClaimLogin,
    ProfileUpdated,
    RegisterUser,
    UpdateProfile,
    UserRegistered,
    UserRegistrationFailed,
)

GUEST = user("guest", "Guest")


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("identity") as kit:
        yield kit


def through_the_edge(command: Command) -> Command:
    """With the hashes that the edge would give; here they only have to be equal for equal texts."""
    hashes = {
        f"{name}_login": text.casefold().translate({ord(sign): "." for sign in "+@"}).strip(".")
        for name in ("email", "phone")
        if (text := getattr(command, name, None))
    }
    return command.model_copy(update=hashes)


def sealed(contract: type[Command], **fields: Any) -> Command:
    """A command with its texts sealed, as it stands on the topic."""
    clear = through_the_edge(contract.model_validate(fields)).model_dump(mode="json")
    texts = {name: seal(clear[name], fields["user_id"], bytes(32)) for name in ("email", "phone", "display_name", "bio", "device_id", "ip_address") if clear.get(name)}  # fmt: skip
    return contract.model_validate(clear | texts, context={"from_topic": True})


def with_predecessors(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in with_predecessors(IDENTITY.commands[name])]
    return [*earlier, *(through_the_edge(contract.model_validate(example)) for example in contract.examples)]


@pytest.mark.parametrize("name", [name for name, contract in IDENTITY.commands.items() if contract.roles])
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    contract = IDENTITY.commands[name]
    assert contract.examples

    assert {kit.send(command).status for command in with_predecessors(contract)} == {"accepted"}


@pytest.mark.req("SR115")
def test_a_guest_becomes_a_user(kit: Kit) -> None:
    told = kit.send(sealed(RegisterUser, user_id="ann", email="a@example.com", phone="+4930901820"), actor=GUEST)

    assert told.status == "accepted"
    assert [event.wire_name for event in told.events] == [
        "user_registration_started",
        "login_claimed",
        "user_registration_advanced",
        "login_claimed",
        "user_registered",
    ]
    state = kit.state("ann")
    assert isinstance(state, User)
    assert (state.status, state.claimed) == ("registered", ("a.example.com", "4930901820"))
    assert [row[:3] for row in kit.rows("login")] == [("4930901820", "phone", "ann"), ("a.example.com", "email", "ann")]


@pytest.mark.req("SR115")
def test_a_taken_login_is_refused_by_name_and_what_was_claimed_is_free_again(kit: Kit) -> None:
    kit.send(sealed(RegisterUser, user_id="ann", phone="+4930901820"))
    told = kit.send(sealed(RegisterUser, user_id="bob", email="b@example.com", phone="+49 30 901820"), actor=GUEST)

    assert (told.status, told.code, told.details) == ("rejected", "login_taken", {"field": "phone"})
    assert [event.wire_name for event in told.events][-3:] == [
        "login_refused",
        "user_registration_failed",
        "login_released",
    ]
    assert kit.state("b.example.com", "login") == Login()
    assert [row[0] for row in kit.rows("profile")] == ["ann"]
    assert [row[:3] for row in kit.rows("login")] == [("4930901820", "phone", "ann"), ("b.example.com", None, None)]
    assert kit.send(sealed(RegisterUser, user_id="cy", email="B@example.com")).status == "accepted"


@pytest.mark.req("SR056")
@pytest.mark.req("SR045")
def test_a_user_is_registered_once_with_whatever_code_they_had(kit: Kit) -> None:
    first = sealed(RegisterUser, user_id="ann", email="a@example.com", referral_code="no such code")
    told = [kit.send(command) for command in (first, first, sealed(RegisterUser, user_id="ann", phone="+4930901820"))]

    assert [(one.status, one.code) for one in told] == [("accepted", None), *[("rejected", "user_exists")] * 2]
    (event,) = (event for event in kit.events() if isinstance(event, UserRegistered))
    assert (event.user_id, event.referral_code, event.email_login) == ("ann", "no such code", "a.example.com")
    assert is_sealed(event.email)


@pytest.mark.req("SR045")
def test_from_where_somebody_registers_is_handed_on_as_hashes_alone(kit: Kit) -> None:
    register = sealed(
        RegisterUser, user_id="ann", phone="+4930901820", device_id="phone-77", ip_address="192.0.2.1", visitor_id="v1"
    )
    told = kit.send(register.model_copy(update={"device": "d0", "network": "n0"}))

    assert told.status == "accepted"
    (event,) = (event for event in told.events if isinstance(event, UserRegistered))
    assert (event.visitor_id, event.device, event.network) == ("v1", "d0", "n0")
    written = "".join(bytes(envelope.payload).decode() for envelope in kit.envelopes()) + str(kit.state("ann"))
    assert not any(text in written for text in ("phone-77", "192.0.2.1", "device_id", "ip_address"))


def test_a_profile_changes_in_what_is_given(kit: Kit) -> None:
    kit.send(sealed(RegisterUser, user_id="ann", email="a@example.com", display_name="Ann"))
    told = kit.send(sealed(UpdateProfile, user_id="ann", bio="x" * 1000), actor=user("ann"))
    kit.send(UpdateProfile(user_id="ann", time_zone="Europe/Berlin", language="de"), actor=user("ann"))

    assert [type(event) for event in told.events] == [ProfileUpdated]
    (row,) = kit.rows("profile")
    assert [is_sealed(text) for text in row[1:5]] == [True, False, True, True]
    assert row[5:7] == ("Europe/Berlin", "de")


def test_no_text_is_in_the_clear_behind_the_edge(kit: Kit) -> None:
    kit.send(sealed(RegisterUser, user_id="u1", email="secret@example.com", phone="+4930901820", display_name="Secret"))
    kit.send(sealed(UpdateProfile, user_id="u1", bio="Secret"))
    written = [bytes(envelope.payload).decode() for envelope in kit.envelopes()]
    written += [str(kit.state("u1")), str(kit.rows("profile"))]

    assert len(written) > 5
    assert not any(text in line for line in written for text in ("secret@", "+4930901820", "Secret"))


@pytest.mark.parametrize(
    ("command", "who"),
    [
        (UpdateProfile(user_id="ann", bio="b"), GUEST),
        (UpdateProfile(user_id="ann", bio="b"), user("bob")),
        (ClaimLogin(login="a", kind="email", user_id="ann", registration="r"), user("ann")),
        (ClaimLogin(login="a", kind="email", user_id="ann", registration="r"), ADMIN),
    ],
)
def test_what_somebody_may_not_issue_is_refused_by_the_agent_too(kit: Kit, command: Command, who: Any) -> None:
    told = kit.send(command, actor=who)

    assert (told.status, told.code) == ("rejected", "forbidden")
    assert kit.rows("login") == []


def test_the_events_alone_rebuild_documents_and_rows(kit: Kit) -> None:
    for command in (
        sealed(RegisterUser, user_id="ann", email="a@example.com", display_name="Ann"),
        sealed(RegisterUser, user_id="bob", phone="+4930901820"),
        sealed(RegisterUser, user_id="cy", email="c@example.com", phone="+4930901820"),
        sealed(UpdateProfile, user_id="ann", bio="Runs.", language="de"),
        sealed(RegisterUser, user_id="cy", email="c@example.com"),
    ):
        kit.send(command)
    live, rebuilt = kit.store.schemas[IDENTITY.domain], kit.rebuilt().schemas[IDENTITY.domain]

    assert [type(event) for event in kit.events()].count(UserRegistered) == 3
    assert [type(event) for event in kit.events()].count(UserRegistrationFailed) == 1
    assert rebuilt.rows == live.rows
    assert {key: stored.data for key, stored in rebuilt.states.items()} == {
        key: stored.data for key, stored in live.states.items()
    }
    assert kit.parked() == []
