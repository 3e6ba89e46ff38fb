"""The rules of identity: how somebody becomes a user, whose a login is, and what a profile says."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from streams.decision import ROOT, Case, Decision, Pending, Refuse, Settle, State
from topics.identity import (
    AdvanceRegistration,
    ClaimLogin,
    ErasureAnswered,
    FailRegistration,
    ForgetUser,
    LoginClaimed,
    LoginKind,
    LoginRefused,
    LoginReleased,
    ProfileUpdated,
    RegisterUser,
    ReleaseLogin,
    UpdateProfile,
    UserForgotten,
    UserRegistered,
    UserRegistrationAdvanced,
    UserRegistrationFailed,
    UserRegistrationStarted,
)

LOGIN = "login"  # the sub-key of a login's document
WORD = {
    "unknown": "user_not_found",
    "failed": "user_not_found",
    "pending": "registration_in_progress",
    "erased": "user_erased",
}


class User(State, frozen=True):
    """A user, or somebody on the way to become one; personal texts are sealed.

    `registration` is the command that began it; `claimed` are the logins that it has so far.
    """

    status: Literal["unknown", "pending", "registered", "failed", "erased"] = "unknown"
    registration: str = ""
    email: str | None = None
    phone: str | None = None
    email_login: str | None = None
    phone_login: str | None = None
    claimed: tuple[str, ...] = ()
    referral_code: str | None = None
    visitor_id: str | None = None
    device: str | None = None
    network: str | None = None
    registered_at: datetime | None = None
    display_name: str | None = None
    bio: str | None = None
    time_zone: str | None = None
    language: str | None = None

    def wanted(self) -> tuple[tuple[str, LoginKind], ...]:
        """The logins that are still to be claimed, in order."""
        logins: tuple[tuple[str | None, LoginKind], ...] = ((self.email_login, "email"), (self.phone_login, "phone"))
        return tuple((login, kind) for login, kind in logins if login and login not in self.claimed)


class Login(State, frozen=True):
    """Whose a login is, by which registration; nobody's without a user."""

    user_id: str = ""
    registration: str = ""


Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""


def reads(message: Any) -> tuple[str, ...]:
    """What is about a login reads that login; all else is about the user."""
    match message:
        case ClaimLogin() | ReleaseLogin() | LoginClaimed() | LoginRefused() | LoginReleased():
            return (LOGIN,)
    return ()


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command leads to."""
    user: User = state[ROOT]
    match command:
        case RegisterUser():
            return _register(user, command, case)
        case UpdateProfile():
            return _update(user, command)
        case ClaimLogin():
            return _claim(state[LOGIN], command)
        case ReleaseLogin():
            return _release(state[LOGIN], command)
        case AdvanceRegistration():
            return _advance(user, command, case)
        case FailRegistration():
            return _fail(user, command)
        case ForgetUser():
            return _forget(user, command)
    raise NotImplementedError(command.wire_name)


def _register(user: User, command: RegisterUser, case: Case) -> Decision:
    if user.status == "registered":
        return Refuse("user_exists")
    if user.status in ("pending", "erased"):
        return Refuse(WORD[user.status])
    if (command.email is None, command.phone is None) != (command.email_login is None, command.phone_login is None):
        return Refuse("login_missing", status=422)  # it did not come through the edge, which makes both of one
    told = {name: value for name, value in _fields(command).items() if name in UserRegistrationStarted.model_fields}
    return Pending([UserRegistrationStarted(registration=case.command_id, **told)])


def _update(user: User, command: UpdateProfile) -> Decision:
    if user.status != "registered":
        code = WORD[user.status]
        return Refuse(code, status=404 if code == "user_not_found" else 409)
    return [ProfileUpdated(**_fields(command))]


def _claim(login: Login, command: ClaimLogin) -> Decision:
    """A claim of another registration of the same user is the later one: the earlier failed, and its release is on the way."""
    fields = _fields(command)
    if login.user_id not in ("", command.user_id):
        code = "login_taken"
        return Refuse(code, events=[LoginRefused(**fields, code=code)])
    if login.registration == command.registration:
        return []
    return [LoginClaimed(**fields)]


def _release(login: Login, command: ReleaseLogin) -> Decision:
    if (login.user_id, login.registration) != (command.user_id, command.registration):
        return Refuse("not_claimed")
    return [LoginReleased(**_fields(command))]


def _advance(user: User, command: AdvanceRegistration, case: Case) -> Decision:
    if not _awaits(user, command):
        return Refuse("registration_ended")
    if left := user.wanted()[1:]:
        login, kind = left[0]
        return [
            UserRegistrationAdvanced(
                user_id=command.user_id,
                registration=command.registration,
                claimed=command.login,
                login=login,
                kind=kind,
            )
        ]
    return Settle(user.registration, [_registered(command.user_id, replace(user, registered_at=case.now))])


def _registered(user_id: str, user: User) -> UserRegistered:
    """The event, read from the document as from a topic, since its personal texts are sealed."""
    kept = {name: getattr(user, name) for name in UserRegistered.model_fields if name != "user_id"}
    return UserRegistered.from_topic(msgspec.json.encode({"user_id": user_id, **kept}))


def _fail(user: User, command: FailRegistration) -> Decision:
    if not _awaits(user, command):
        return Refuse("registration_ended")
    kind = user.wanted()[0][1]
    failed = UserRegistrationFailed(
        user_id=command.user_id,
        registration=command.registration,
        kind=kind,
        code=command.code,
        claimed=user.claimed,
    )
    return Settle(user.registration, [failed], Refuse(command.code, details={"field": kind}))


def _forget(user: User, command: ForgetUser) -> Decision:
    """Whoever was never here is forgotten as well: nobody registers under this id any more. Asked again, the answer is given again."""
    if user.status == "pending":
        return [ErasureAnswered(**_fields(command), reason="a registration is in progress")]
    answered = ErasureAnswered(**_fields(command))
    if user.status == "erased":
        return [answered]
    return [
        UserForgotten(
            user_id=command.user_id, registration=user.registration or command.erasure_id, claimed=user.claimed
        ),
        answered,
    ]


def _awaits(user: User, command: AdvanceRegistration | FailRegistration) -> bool:
    """Whether this login is what this registration is waiting for."""
    at_it = user.status == "pending" and user.registration == command.registration
    return at_it and command.login in {login for login, _ in user.wanted()[:1]}


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The document that an event changes, as it is after it."""
    user: User = state[ROOT]
    match event:
        case UserRegistrationStarted():
            return {ROOT: User(status="pending", **_texts(event))}
        case UserRegistrationAdvanced():
            return {ROOT: replace(user, claimed=(*user.claimed, event.claimed))}
        case UserRegistered():
            claimed = (*user.claimed, *(login for login, _ in user.wanted()))
            return {ROOT: replace(user, status="registered", claimed=claimed, registered_at=event.registered_at)}
        case UserRegistrationFailed():
            return {ROOT: User(status="failed", registration=user.registration)}
        case UserForgotten():
            return {ROOT: User(status="erased", registration=user.registration, registered_at=user.registered_at)}
        case ProfileUpdated():
            return {ROOT: replace(user, **_texts(event))}
        case LoginClaimed():
            return {LOGIN: Login(event.user_id, event.registration)}
        case LoginReleased():
            return {LOGIN: Login()}
    return {}


def _fields(command: Any) -> dict[str, Any]:
    """What an event takes over from a command as it is, sealed texts included."""
    return {name: getattr(command, name) for name in type(command).model_fields}


def _texts(event: Any) -> dict[str, Any]:
    """What a document takes over from an event: all that is given but the user's id, as plain text."""
    given = ((name, value) for name, value in _fields(event).items() if name != "user_id")
    return {name: str(value) for name, value in given if value is not None}
