"""The laws of identity, over registrations that run at the same time, their steps taken in any order."""

from collections import Counter
from datetime import UTC, datetime
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.identity.rules import Login, User
from streams.agent import agents_of
from streams.contract import Command
from streams.sink import Fact
from tests.stepping import Outcome, Stepping, rebuilt
from topics.identity import (
    IDENTITY,
    AdvanceRegistration,
    ClaimLogin,
    FailRegistration,
    RegisterUser,
    ReleaseLogin,
    UpdateProfile,
    UserRegistered,
)

AGENTS = agents_of("identity")
USERS = ("ann", "bob", "cy")
EMAILS = {f"e{n}": f"e{n}@example.com" for n in range(3)}
PHONES = {f"p{n}": f"+4930901820{n}" for n in range(2)}


def register(user: str, email: str | None = None, phone: str | None = None) -> RegisterUser:
    """A registration by the hashes of logins, as the edge hands it on."""
    return RegisterUser(
        user_id=user,
        email=email and EMAILS[email],
        phone=phone and PHONES[phone],
        email_login=email,
        phone_login=phone,
    )


users = st.sampled_from(USERS)
logins = st.tuples(st.none() | st.sampled_from(list(EMAILS)), st.none() | st.sampled_from(list(PHONES)))
commands = st.one_of(
    st.builds(lambda user, pair: register(user, *pair), users, logins.filter(any)),
    st.builds(UpdateProfile, user_id=users, bio=st.sampled_from(("a", "b"))),
)
histories = st.lists(commands | st.integers(0, 5), max_size=50)
"""Commands in the order in which they come; a number takes one of the waiting steps of sagas."""


def registered(platform: Stepping) -> dict[str, User]:
    """The users there are."""
    states = {user: platform.state("identity", user) for user in USERS}
    return {user: state for user, state in states.items() if state.status == "registered"}


def holders(platform: Stepping) -> dict[str, str]:
    """Whose each claimed login is."""
    found = {login: platform.state("identity", login, "login") for login in (*EMAILS, *PHONES)}
    return {login: state.user_id for login, state in found.items() if state != Login()}


def check(platform: Stepping) -> None:
    """What holds at every moment."""
    held = Counter(chain.from_iterable(state.claimed for state in registered(platform).values()))
    assert set(held.values()) <= {1}, "a login has two users"
    for user, state in registered(platform).items():
        assert state.claimed == tuple(login for login in (state.email_login, state.phone_login) if login)
        for login in state.claimed:
            assert platform.state("identity", login, "login") == Login(user, state.registration)
    facts = Counter(fact.key for fact in platform.facts if isinstance(fact.event, UserRegistered))
    assert facts == Counter(list(registered(platform)))


def run(history: list[Command | int]) -> Stepping:
    """Play a history to its end, looking at every moment."""
    platform = Stepping(*AGENTS)
    for entry in history:
        if isinstance(entry, int):
            platform.step(entry)
        else:
            platform.send(entry)
        check(platform)
    while platform.step(-1):
        check(platform)
    return platform


def registrations(platform: Stepping) -> list[Outcome]:
    """What became of each."""
    return [outcome for outcome in platform.outcomes.values() if isinstance(outcome.command, RegisterUser)]


@pytest.mark.req("SR056")
@given(histories)
def test_at_every_moment_a_login_has_one_user_and_a_user_was_registered_once(history: list[Command | int]) -> None:
    run(history)


@given(histories)
def test_in_the_end_no_registration_is_pending_and_no_login_is_held_for_nobody(history: list[Command | int]) -> None:
    platform = run(history)
    users = registered(platform)

    assert {outcome.status for outcome in platform.outcomes.values()} <= {"accepted", "rejected"}
    assert holders(platform) == {login: user for user, state in users.items() for login in state.claimed}
    assert all(outcome.command.user_id in users for outcome in registrations(platform) if outcome.status == "accepted")


@given(histories)
def test_an_accepted_registration_is_the_user_and_a_refused_one_changes_nothing(history: list[Command | int]) -> None:
    platform = run(history)
    accepted = [outcome.command for outcome in registrations(platform) if outcome.status == "accepted"]

    assert sorted(command.user_id for command in accepted) == sorted(registered(platform))
    for command in accepted:
        state = platform.state("identity", command.user_id)
        assert (state.email_login, state.phone_login) == (command.email_login, command.phone_login)


@given(histories)
def test_rows_show_the_registered_users_and_whose_each_login_is(history: list[Command | int]) -> None:
    platform = run(history)
    shown = {row[0]: (row[1], row[2], row[4]) for row in platform.rows["profile"].values()}

    assert shown == {user: (state.email, state.phone, state.bio) for user, state in registered(platform).items()}
    assert {row[0]: row[2] for row in platform.rows["login"].values() if row[2]} == holders(platform)


@given(histories)
def test_the_events_alone_give_the_same_documents_and_rows(history: list[Command | int]) -> None:
    live = run(history)
    again = rebuilt(live, *AGENTS)

    assert again.documents == live.documents
    assert again.rows == live.rows


@pytest.mark.req("SR115")
@given(st.permutations(USERS), st.lists(st.integers(0, 5), max_size=12))
def test_of_registrations_with_one_address_exactly_one_is_accepted(order: list[str], steps: list[int]) -> None:
    platform = Stepping(*AGENTS)
    outcomes = [platform.send(register(user, "e0")) for user in order]
    for step in steps:
        platform.step(step)
    platform.settle()

    assert sorted((outcome.status, outcome.code or "") for outcome in outcomes) == [
        ("accepted", ""),
        ("rejected", "login_taken"),
        ("rejected", "login_taken"),
    ]


def test_the_address_is_claimed_first_and_then_the_number() -> None:
    platform = Stepping(*AGENTS)
    outcome = platform.send(register("ann", "e0", "p0"))

    seen = []
    while platform.step():
        seen.append((outcome.status, sorted(holders(platform))))

    assert seen == [
        ("pending", ["e0"]),
        ("pending", ["e0"]),
        ("pending", ["e0", "p0"]),
        ("accepted", ["e0", "p0"]),
    ]


def test_who_is_refused_one_login_keeps_none_and_may_try_again() -> None:
    platform = Stepping(*AGENTS)
    platform.send(register("ann", phone="p0"))
    platform.settle()
    refused = platform.send(register("bob", "e0", "p0"))
    platform.settle()

    assert (refused.status, refused.code) == ("rejected", "login_taken")
    assert holders(platform) == {"p0": "ann"}
    assert platform.send(register("cy", "e0")).status == "pending"
    again = platform.send(register("bob", "e1", "p1"))
    platform.settle()
    assert again.status == "accepted"
    assert holders(platform) == {"p0": "ann", "e0": "cy", "e1": "bob", "p1": "bob"}


def test_a_user_who_tries_again_before_the_release_keeps_the_login() -> None:
    platform = Stepping(*AGENTS)
    platform.send(register("ann", phone="p0"))
    platform.settle()
    refused = platform.send(register("bob", "e0", "p0"))
    while refused.status == "pending":
        platform.step()
    again = platform.send(register("bob", "e0"))
    platform.step(-1)  # the new claim overtakes the release of the old one
    platform.settle()

    assert again.status == "accepted"
    assert holders(platform)["e0"] == "bob"


def test_a_step_that_is_told_again_or_after_the_end_is_refused() -> None:
    platform = Stepping(*AGENTS)
    outcome = platform.send(register("ann", "e0", "p0"))
    registration = next(iter(platform.outcomes))
    told = {"user_id": "ann", "registration": registration, "login": "e0"}
    for _ in range(2):  # the claim of the address, and what follows from it
        platform.step()

    assert platform.send(AdvanceRegistration(**told)).code == "registration_ended"
    assert platform.send(FailRegistration(**told, code="login_taken")).code == "registration_ended"
    platform.settle()
    assert outcome.status == "accepted"
    late = told | {"login": "p0"}
    assert platform.send(AdvanceRegistration(**late)).code == "registration_ended"
    assert platform.send(FailRegistration(**late, code="login_taken")).code == "registration_ended"
    assert platform.send(ReleaseLogin(**late | {"registration": "r0"})).code == "not_claimed"
    assert platform.send(ClaimLogin(**late, kind="phone")).events == []
    assert sorted(holders(platform)) == ["e0", "p0"]


def test_a_user_id_is_taken_while_its_registration_runs_and_when_it_is_done() -> None:
    platform = Stepping(*AGENTS)
    platform.send(register("ann", "e0"))

    assert platform.send(register("ann", "e1")).code == "registration_in_progress"
    assert platform.send(UpdateProfile(user_id="ann", bio="b")).code == "registration_in_progress"
    platform.settle()
    assert platform.send(register("ann", "e1")).code == "user_exists"


def test_only_a_user_has_a_profile() -> None:
    platform = Stepping(*AGENTS)
    platform.send(register("ann", "e0"))
    platform.settle()
    platform.send(register("bob", "e0"))
    platform.settle()

    assert [platform.send(UpdateProfile(user_id=user, bio="b")).code for user in USERS] == [
        None,
        "user_not_found",
        "user_not_found",
    ]


@pytest.mark.parametrize("hashes", [{}, {"email_login": "e0"}, {"email_login": "e0", "phone_login": "p0"}])
def test_each_login_comes_with_its_hash_and_no_other(hashes: dict[str, str]) -> None:
    platform = Stepping(*AGENTS)
    command = register("ann", phone="p0").model_copy(update={"phone_login": None, **hashes})

    assert platform.send(command).code == "login_missing"


def test_a_hash_that_is_also_somebodys_id_stays_apart_from_the_user() -> None:
    platform = Stepping(*AGENTS)
    first, second = (platform.send(register(user, "e0")) for user in ("e0", "bob"))
    platform.settle()

    assert (first.status, second.code) == ("accepted", "login_taken")
    assert platform.state("identity", "e0").status == "registered"
    assert platform.state("identity", "e0", "login").user_id == "e0"


def test_what_is_not_given_stays_in_a_profile() -> None:
    platform = Stepping(*AGENTS)
    platform.send(register("ann", "e0"))
    platform.settle()
    for change in ({"bio": "b"}, {"language": "de"}, {"time_zone": "Europe/Berlin", "bio": ""}):
        platform.send(UpdateProfile.model_validate({"user_id": "ann", **change}))

    (row,) = platform.rows["profile"].values()
    assert row[1:7] == ("e0@example.com", None, None, "", "Europe/Berlin", "de")
    assert row[7] < row[8]


def test_what_a_registration_leaves_says_who_and_by_which_logins() -> None:
    platform = Stepping(*AGENTS)
    platform.send(register("ann", "e0", "p1").model_copy(update={"referral_code": "any thing", "display_name": "Ann"}))
    platform.settle()

    fact: Fact[UserRegistered] = platform.facts[-1]
    assert fact.event == UserRegistered(
        user_id="ann",
        registered_at=fact.at,
        email="e0@example.com",
        phone="+49309018201",
        display_name="Ann",
        referral_code="any thing",
        email_login="e0",
        phone_login="p1",
    )
    assert datetime(2026, 1, 1, tzinfo=UTC) < fact.at
    assert fact.event.topic is IDENTITY
