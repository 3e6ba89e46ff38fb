"""Identity's part in an erasure: what is known of a user goes, their logins are free again, and the answer is always given."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.identity.rules import User
from streams.contract import Command
from streams.personal import personal_fields
from streams.testing import Kit
from tests.identity.test_rules import AGENTS, USERS, commands, holders, register, registered
from tests.stepping import Stepping, rebuilt
from topics.governance import RequestErasure, UserErased
from topics.identity import ErasureAnswered, ForgetUser, RegisterUser, UpdateProfile

forgets = st.builds(ForgetUser, user_id=st.sampled_from(USERS), erasure_id=st.just("e1"))
histories = st.lists(commands | forgets | st.integers(0, 5), max_size=50)


def run(history: list[Command | int]) -> Stepping:
    """Play a history; each erasure is answered at once, and has to wait for nothing but a registration."""
    platform = Stepping(*AGENTS)
    for entry in history:
        if isinstance(entry, int):
            platform.step(entry)
            continue
        before = platform.state("identity", entry.key).status
        outcome = platform.send(entry)
        if isinstance(entry, ForgetUser):
            (answer,) = (event for event in outcome.events if isinstance(event, ErasureAnswered))
            assert (answer.reason is not None) == (before == "pending")
    platform.settle()
    return platform


@pytest.mark.req("SR140")
@given(histories)
def test_who_is_forgotten_has_no_login_no_text_and_never_comes_back(history: list[Command | int]) -> None:
    platform = run(history)
    forgotten = {
        fact.event.user_id
        for fact in platform.facts
        if isinstance(fact.event, ErasureAnswered) and not fact.event.reason
    }

    assert holders(platform) == {login: user for user, state in registered(platform).items() for login in state.claimed}
    for user in forgotten:
        state = platform.state("identity", user)
        assert state == User("erased", state.registration, registered_at=state.registered_at)
        assert platform.send(register(user, "e0")).code == "user_erased"
        assert platform.send(UpdateProfile(user_id=user, bio="b")).code == "user_erased"
    assert rebuilt(platform, *AGENTS).rows == platform.rows
    shown = [row[1:7] for row in platform.rows["profile"].values() if row[0] in forgotten]
    assert {value for texts in shown for value in texts} <= {None}


@pytest.mark.req("SR140")
def test_a_login_of_who_was_erased_is_free_for_somebody_else() -> None:
    with Kit.of("governance", "identity") as kit:
        about: dict[str, Any] = {"email": "e0@example.com", "email_login": "e0"}
        kit.send(RegisterUser(user_id="ann", **about))
        told = kit.send(RequestErasure(user_id="ann"))

        assert isinstance(told.events[-1], UserErased)
        assert kit.send(RegisterUser(user_id="bob", **about)).status == "accepted"
        assert [row[:3] for row in kit.rows("login", "identity")] == [("e0", "email", "bob")]
        assert kit.send(RegisterUser(user_id="ann", **about | {"email_login": "e1"})).code == "user_erased"
        assert kit.parked() == []


def test_an_answer_says_nothing_personal() -> None:
    assert personal_fields(ErasureAnswered) == ()
