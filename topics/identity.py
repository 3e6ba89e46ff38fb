"""Identity: who the users are and by which logins they are known.

Two kinds of aggregate share its topics: users, keyed by their id, and logins, keyed by the blind hash of a normalised e-mail address or
telephone number, so that each login has one place where it is decided whose it is.
"""

import re
from datetime import datetime
from functools import cache
from ipaddress import ip_address
from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberFormat, format_number, is_valid_number, parse
from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from streams.contract import Command, Event, Name, Text, Topic
from streams.erasure import ErasureAnswer
from streams.personal import Blind, Personal

LOGIN = "login"  # the kind of hash that all logins have: an address has an @, a number begins with +
PHONE = re.compile(r"\+[0-9 ().-]{5,40}")
LANGUAGES = frozenset(
    re.findall(
        r"\w\w",
        "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et eu fa ff "
        "fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks "
        "ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps "
        "pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz "
        "ve vi vo wa wo xh yi yo za zh zu",
    )
)
"""ISO 639-1."""


def normal_email(text: str) -> str:
    """An address in its normal form, by syntax alone; raises a validation error."""
    try:
        return validate_email(text.strip(), check_deliverability=False, strict=True).normalized
    except EmailNotValidError as error:
        raise PydanticCustomError("email", "{reason}", {"reason": str(error)}) from None


def normal_phone(text: str) -> str:
    """A number in E.164; raises a validation error."""
    try:
        number = parse(text) if PHONE.fullmatch(text.strip()) else None
    except NumberParseException:
        number = None
    if number is None or not is_valid_number(number):
        raise PydanticCustomError("phone", "must be a telephone number in international form, such as +49 30 901820")
    return format_number(number, PhoneNumberFormat.E164)


def normal_login(text: str) -> str:
    """An address or a number as it was claimed; what is neither stays as it is, and is nobody's."""
    try:
        return normal_email(text) if "@" in text else normal_phone(text)
    except PydanticCustomError:
        return text


def normal_ip(text: str) -> str:
    """An address of version 4 or 6 as it is usually written; raises a validation error."""
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        raise PydanticCustomError("ip_address", "must be an IPv4 or IPv6 address, such as 192.0.2.1") from None


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"Factory", "localtime"})


def _time_zone(text: str) -> str:
    if text not in _time_zones():
        raise PydanticCustomError("time_zone", "must be a time zone of the tz database, such as Europe/Berlin")
    return text


def _language(text: str) -> str:
    if text not in LANGUAGES:
        raise PydanticCustomError("language", "must be a language of ISO 639-1, such as de")
    return text


Email = Annotated[
    str, Field(strict=True, max_length=254, json_schema_extra={"format": "email"}), AfterValidator(normal_email)
]
"""An e-mail address; the domain is folded, the part before it kept as written. No name is looked up."""

Phone = Annotated[str, Field(strict=True, max_length=48), AfterValidator(normal_phone)]
"""A telephone number in international form, kept as E.164."""

DeviceId = Annotated[Text, Field(min_length=1)]
"""Whatever a client tells its device by."""

IpAddress = Annotated[str, Field(strict=True, max_length=48), AfterValidator(normal_ip)]
"""An address of the internet, of version 4 or 6, in its normal form."""

Login = Annotated[str, AfterValidator(normal_login)]
"""An e-mail address or a telephone number that is asked for."""

LoginKind = Literal["email", "phone"]

DisplayName = Annotated[
    str, Field(strict=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]*[^\x00-\x20][^\x00-\x1f]*$")
]
"""What others call somebody, on one line."""

TimeZone = Annotated[str, Field(strict=True, max_length=64), AfterValidator(_time_zone)]
Language = Annotated[str, Field(strict=True, max_length=2), AfterValidator(_language)]

IDENTITY = Topic("identity", key="user_id")


class RegisterUser(
    Command,
    topic=IDENTITY,
    roles=("Guest",),
    examples=(
        {"user_id": "u1", "email": "ann@example.com", "display_name": "Ann"},
        {"user_id": "u2", "email": "bob@example.com", "phone": "+49 30 901820", "referral_code": "ANN-INVITES"},
        {"user_id": "u3", "phone": "+1 202 555 0143"},
    ),
):
    """Become a user under an id of the caller's choice, known by an e-mail address, a telephone number or both.

    Each of them belongs to one user; it is pending until all are claimed, and rejected with `login_taken` when one is
    somebody else's. `referral_code` is handed on to whom it concerns and never judged here, and so are `visitor_id`, under which
    the client followed links before, and hashes of the device and of the address from where the caller registers.
    """

    user_id: Name
    email: Personal[Email] | None = None
    phone: Personal[Phone] | None = None
    display_name: Personal[DisplayName] | None = None
    referral_code: Text | None = None
    visitor_id: Name | None = None
    device_id: Personal[DeviceId] | None = None
    ip_address: Personal[IpAddress] | None = None
    email_login: Annotated[Name | None, Blind("email", kind=LOGIN)] = None
    phone_login: Annotated[Name | None, Blind("phone", kind=LOGIN)] = None
    device: Annotated[Name | None, Blind("device_id")] = None
    network: Annotated[Name | None, Blind("ip_address")] = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.email is None and self.phone is None:
            raise ValueError("give an email, a phone or both")
        return self


class UpdateProfile(
    Command,
    topic=IDENTITY,
    roles=("User",),
    owner="user_id",
    examples=(
        {"user_id": "u1", "display_name": "Ann of Berlin", "bio": "Runs, reads, travels."},
        {"user_id": "u1", "time_zone": "Europe/Berlin", "language": "de"},
    ),
    after=("register_user",),
):
    """Change what is given; the rest stays."""

    user_id: Name
    display_name: Personal[DisplayName] | None = None
    bio: Personal[Text] | None = None
    time_zone: TimeZone | None = None
    language: Language | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.display_name, self.bio, self.time_zone, self.language) == (None, None, None, None):
            raise ValueError("give at least one of display_name, bio, time_zone, language")
        return self


class ClaimLogin(Command, topic=IDENTITY, key="login", services=("identity",)):
    """Step of a registration, at a login: make it the user's if it is free."""

    login: Name
    kind: LoginKind
    user_id: Name
    registration: Name


class ReleaseLogin(Command, topic=IDENTITY, key="login", services=("identity",)):
    """Step of a registration that failed, at a login: make it free again."""

    login: Name
    user_id: Name
    registration: Name


class AdvanceRegistration(Command, topic=IDENTITY, services=("identity",)):
    """Step of a registration, at the user: `login` is claimed; the next one follows, or the end."""

    user_id: Name
    registration: Name
    login: Name


class FailRegistration(Command, topic=IDENTITY, services=("identity",)):
    """Last step of a registration whose `login` could not be claimed, at the user; `code` says why."""

    user_id: Name
    registration: Name
    login: Name
    code: Name


class ForgetUser(Command, topic=IDENTITY, services=("identity",)):
    """Step of an erasure, at the user: what is known of them goes, and their logins are free again."""

    user_id: Name
    erasure_id: Name


class Applicant(BaseModel):
    """What somebody told to become a user; the logins are those that are not null."""

    email: Personal[Text] | None = None
    phone: Personal[Text] | None = None
    display_name: Personal[Text] | None = None
    referral_code: Text | None = None
    visitor_id: Name | None = None
    email_login: Name | None = None
    phone_login: Name | None = None
    device: Name | None = None
    network: Name | None = None


class UserRegistrationStarted(Applicant, Event, topic=IDENTITY):
    """Somebody wants to become a user; `registration` is the command that waits for the end."""

    user_id: Name
    registration: Name


class UserRegistrationAdvanced(Event, topic=IDENTITY):
    """The login `claimed` is the user's; `login`, of this kind, is wanted next."""

    user_id: Name
    registration: Name
    claimed: Name
    login: Name
    kind: LoginKind


class UserRegistered(Applicant, Event, topic=IDENTITY):
    """There is a new user, once per user id."""

    user_id: Name
    registered_at: datetime


class UserRegistrationFailed(Event, topic=IDENTITY):
    """A login of this kind could not be claimed; those that were, `claimed`, are to be free again."""

    user_id: Name
    registration: Name
    kind: LoginKind
    code: Name
    claimed: tuple[Name, ...] = ()


class LoginClaimed(Event, topic=IDENTITY, key="login"):
    """The login is the user's, for the time of this registration and for good when that succeeds."""

    login: Name
    kind: LoginKind
    user_id: Name
    registration: Name


class LoginRefused(Event, topic=IDENTITY, key="login"):
    """The login is not for this user; `code` says why."""

    login: Name
    kind: LoginKind
    user_id: Name
    registration: Name
    code: Name


class LoginReleased(Event, topic=IDENTITY, key="login"):
    """The login is free again."""

    login: Name
    user_id: Name
    registration: Name


class ProfileUpdated(Event, topic=IDENTITY):
    """What is not null has changed."""

    user_id: Name
    display_name: Personal[Text] | None = None
    bio: Personal[Text] | None = None
    time_zone: Text | None = None
    language: Name | None = None


class UserForgotten(Event, topic=IDENTITY):
    """The user's profile is empty for ever; the logins `claimed` by this registration are to be free again."""

    user_id: Name
    registration: Name
    claimed: tuple[Name, ...] = ()


class ErasureAnswered(ErasureAnswer, Event, topic=IDENTITY):
    """What became of the erasure of a user here; a registration is finished first."""
