"""Identity: commands lead to events by the rules; a registration goes from the user to each login and back until it ends."""

from collections.abc import Iterable

from agents.identity import rules, sink
from agents.identity.table import USERS
from streams.agent import Decider, Policy
from streams.sink import Fact
from topics.governance import GOVERNANCE, ErasureAsked
from topics.identity import (
    IDENTITY,
    AdvanceRegistration,
    ClaimLogin,
    FailRegistration,
    ForgetUser,
    LoginClaimed,
    LoginRefused,
    ReleaseLogin,
    UserForgotten,
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


def release(fact: Fact[UserRegistrationFailed] | Fact[UserForgotten]) -> Iterable[ReleaseLogin]:
    """Nobody became a user, or is one any more: what was claimed is free again."""
    event = fact.event
    for login in event.claimed:
        yield ReleaseLogin(login=login, user_id=event.user_id, registration=event.registration)


def forget(fact: Fact[ErasureAsked]) -> Iterable[ForgetUser]:
    """A user is to be erased, and this domain is among those that are asked."""
    if IDENTITY.domain in fact.event.domains:
        yield ForgetUser(user_id=fact.event.user_id, erasure_id=fact.event.erasure_id)


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
        UserForgotten: release,
    },
)

ERASURES = Policy("erasures", GOVERNANCE, IDENTITY, on={ErasureAsked: forget})
