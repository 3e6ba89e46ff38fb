"""Identity: commands lead to events by the rules; a registration goes from the user to each login and back until it ends."""

from collections.abc import Iterable

from agents.identity import rules, sink
from agents.identity.table import USERS
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.identity import (
    IDENTITY,
    AdvanceRegistration,
    ClaimLogin,
    FailRegistration,
    LoginClaimed,
    LoginRefused,
    ReleaseLogin,
    UserRegistrationAdvanced,
    UserRegistrationFailed,
    UserRegistrationStarted,
)


def claim_first(fact: Fact[UserRegistrationStarted]) -> ClaimLogin:
    """Somebody wants to become a user: claim the address, or else the number."""
    started = fact.event
    login, kind = rules.User(email_login=started.email_login, phone_login=started.phone_login).wanted()[0]
    return ClaimLogin(login=login, kind=kind, user_id=started.user_id, registration=started.registration)


def claim_next(fact: Fact[UserRegistrationAdvanced]) -> ClaimLogin:
    """One login is theirs: claim the other."""
    event = fact.event
    return ClaimLogin(login=event.login, kind=event.kind, user_id=event.user_id, registration=event.registration)


def advance(fact: Fact[LoginClaimed]) -> AdvanceRegistration:
    """The login is theirs: tell the user's registration."""
    event = fact.event
    return AdvanceRegistration(user_id=event.user_id, registration=event.registration, login=event.login)


def fail(fact: Fact[LoginRefused]) -> FailRegistration:
    """The login is not theirs: end the registration."""
    event = fact.event
    return FailRegistration(user_id=event.user_id, registration=event.registration, login=event.login, code=event.code)


def release(fact: Fact[UserRegistrationFailed]) -> Iterable[ReleaseLogin]:
    """Nobody became a user: what was claimed is free again."""
    event = fact.event
    for login in event.claimed:
        yield ReleaseLogin(login=login, user_id=event.user_id, registration=event.registration)


IDENTITY_DECIDER = Decider(IDENTITY, USERS, rules.decide, rules.evolve, rules.reads, sink.project)

REGISTRATIONS = Policy(
    "registrations",
    IDENTITY,
    IDENTITY,
    on={
        UserRegistrationStarted: claim_first,
        UserRegistrationAdvanced: claim_next,
        LoginClaimed: advance,
        LoginRefused: fail,
        UserRegistrationFailed: release,
    },
)
