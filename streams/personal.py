"""Personal data: encrypted before it enters a topic, and never again in the clear outside an answer of the edge.

`note: Personal[Text]` marks a field. The edge seals it with the key of its subject (AES-256-GCM, one key per subject in a table that
no topic feeds); rules, events, rows and logs carry the sealed text unread; destroying the key erases it everywhere.

What must be found by its value, such as a login, has a *blind* field beside it that the edge fills, and no client gives::

    email: Personal[Email] | None = None
    email_login: Annotated[Name | None, Blind("email")] = None
"""

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args
from unicodedata import normalize

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from streams.errors import CaravanError, ContractError

T = TypeVar("T")
FROM_TOPIC = {"from_topic": True}  # validation context of messages that were sealed already
MASK = "•••"  # what people see in the place of a personal value
_PREFIX = "enc1."
_NONCE = 12  # bytes
_BLIND = 32  # hex digits: 128 bits


class Erased(CaravanError):
    """The subject was erased: nothing is sealed for it any more."""


class Sealed(str):
    """A sealed text as read from a topic; a rule hands it on into events as it is, whatever length was declared."""

    __slots__ = ()


@dataclass(frozen=True)
class Mark:
    """Tells a field as personal, and lets its sealed form pass when it comes from a topic."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the clear text as declared; take sealed text only from a topic, or on from what came from one."""

        def accept(value: Any, check: core_schema.ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
            if info.context == FROM_TOPIC and is_sealed(value):
                return Sealed(value)
            return value if isinstance(value, Sealed) else check(value)

        return core_schema.with_info_wrap_validator_function(accept, handler(source))


Personal = Annotated[T, Mark()]


@dataclass(frozen=True)
class Blind:
    """Marks a field that holds a keyed hash (`blinded`) of the clear text of the personal field `source`.

    Equal texts of one `kind` (default: the name of the source) have equal hashes, so it may be a key, be compared and be
    unique, and tells nobody the text. On a parameter of a view there is no `source`: the value that was asked for is hashed, and
    `kind` is the parameter's name unless it is given.
    """

    source: str | None = None
    kind: str | None = None


class Filled(NamedTuple):
    """How a blind field is filled: from the field `source`, among texts of this `kind`."""

    source: str
    kind: str


@cache
def blind_fields(model: type[BaseModel]) -> MappingProxyType[str, Filled]:
    """The blind fields of a command by name; raises ContractError for one that could not be filled."""
    found = {}
    for name, field in model.model_fields.items():
        mark = next((part for part in field.metadata if isinstance(part, Blind)), None) or blind_of(field.annotation)
        if mark is None:
            continue
        if mark.source is None or mark.source not in personal_fields(model):
            raise ContractError(f"{model.__name__}: Blind on {name} must name one of its Personal fields.")
        if field.is_required():
            raise ContractError(f"{model.__name__}: {name} is filled by the edge; give it the default None.")
        found[name] = Filled(mark.source, mark.kind or mark.source)
    return MappingProxyType(found)


def blind_of(annotation: Any) -> Blind | None:
    """The mark in an annotation, wherever it stands there."""
    if isinstance(annotation, Blind):
        return annotation
    return next((mark for part in get_args(annotation) if (mark := blind_of(part))), None)


def blinded(text: str, kind: str, secret: bytes) -> str:
    """The hash of a text: HMAC-SHA256 by the platform's secret, over the kind and the text without regard to case or form."""
    plain = normalize("NFKC", normalize("NFKC", text).casefold())
    return hmac.digest(secret, f"{kind}\0{plain}".encode(), "sha256").hex()[:_BLIND]


def is_sealed(value: object) -> bool:
    """Whether this is the sealed form of a personal value."""
    return isinstance(value, str) and value.startswith(_PREFIX)


@cache
def personal_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """Names of the fields of a message or view model that are marked."""
    return tuple(
        name for name, field in model.model_fields.items() if Mark() in field.metadata or _marked(field.annotation)
    )


def _marked(annotation: Any) -> bool:
    return isinstance(annotation, Mark) or any(_marked(part) for part in get_args(annotation))


def opened(value: Any, subject: str, key: bytes) -> Any:
    """JSON with what is sealed for this subject in the clear, and null in the place of what is sealed for others."""
    if isinstance(value, Mapping):
        return {name: opened(part, subject, key) for name, part in value.items()}
    if isinstance(value, list):
        return [opened(part, subject, key) for part in value]
    if is_sealed(value):
        return unseal(value, key) if value.startswith(sealed_for(subject)) else None
    return value


def masked(value: Any, personal: Collection[str] = ()) -> Any:
    """The value without what is personal: fields that the contract marks, and whatever is sealed."""
    if isinstance(value, Mapping):
        return {
            name: MASK if name in personal and part is not None else masked(part, ()) for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(part) for part in value]
    return MASK if is_sealed(value) else value


def seal(text: str, subject: str, key: bytes) -> str:
    """Encrypt a value for its subject with the subject's key (32 bytes)."""
    nonce = os.urandom(_NONCE)
    sealed = AESGCM(key).encrypt(nonce, text.encode(), subject.encode())
    return f"{sealed_for(subject)}{urlsafe_b64encode(nonce + sealed).decode()}"


def sealed_for(subject: str) -> str:
    """What every value begins with that is sealed for this subject."""
    return f"{_PREFIX}{urlsafe_b64encode(subject.encode()).decode()}."


def subject_of(sealed: str) -> str:
    """Whose key opens it."""
    return urlsafe_b64decode(sealed.split(".")[1]).decode()


def unseal(sealed: str, key: bytes | None) -> str | None:
    """Decrypt with the subject's key; None when the key is destroyed or another, or this was never sealed."""
    if key is None:
        return None
    try:
        _, subject, data = sealed.split(".")
        raw = urlsafe_b64decode(data)
        return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], urlsafe_b64decode(subject)).decode()
    except (InvalidTag, ValueError):
        return None
