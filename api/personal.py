"""Personal fields: sealed before a command is published, opened in the answers of views for those who may read them.

Blind fields are filled before, with the platform's secret. It stands among the keys of subjects, under a name that none has.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from api.errors import Problem, invalid
from sinks.postgres.edge import EdgeStore
from streams.contract import Command
from streams.personal import Erased, Sealed, blind_fields, blinded, is_sealed, personal_fields, seal, subject_of, unseal

C = TypeVar("C", bound=Command)
_PLAIN = frozenset({str, int, float, bool, bytes, type(None), Ellipsis, datetime, date, timedelta, Decimal, UUID})
ROW = "/blind"  # keys of records have no slash


class Blinder:
    """Hashes what must be found by a personal value; every replica with the same secret."""

    def __init__(self, store: EdgeStore) -> None:
        """Read the secret when it is first wanted."""
        self._store = store
        self._secret: bytes | None = None

    async def filled(self, command: C) -> C:
        """The command, whose personal fields are still clear, with its blind fields; null beside null."""
        fields = blind_fields(type(command))
        if not fields:
            return command
        texts = {name: getattr(command, fill.source) for name, fill in fields.items()}
        hashes = await self.hashed(texts, {name: fill.kind for name, fill in fields.items()})
        key = command.key_field
        if key in fields and hashes[key] is None:
            raise invalid([(fields[key].source, "missing", "Field required")])
        return command.model_copy(update=hashes)

    async def hashed(self, values: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
        """The values, with those that have a kind replaced by their hashes; null stays null."""
        if not kinds:
            return dict(values)
        if self._secret is None:
            self._secret = await self._store.subject_key(ROW)
        secret = self._secret
        return {
            name: blinded(str(value), kinds[name], secret) if name in kinds and value is not None else value
            for name, value in values.items()
        }


async def sealed(store: EdgeStore, command: C) -> C:
    """The command with its personal fields sealed for their subject: its owner, or else the aggregate. Raises `subject_erased`."""
    texts = {name: getattr(command, name) for name in personal_fields(type(command))}
    texts = {name: text for name, text in texts.items() if text is not None}
    if not texts:
        return command
    subject = str(getattr(command, command.owner)) if command.owner else command.key
    if subject == ROW:
        raise invalid([(command.owner or command.key_field, "key", "is no subject's name")])
    try:
        key = await store.subject_key(subject)
    except Erased:
        raise Problem("subject_erased") from None
    return command.model_copy(update={name: Sealed(seal(text, subject, key)) for name, text in texts.items()})


def may_hold(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a value of this type may have personal fields; True also where the type does not tell."""
    if annotation in seen or annotation in _PLAIN or get_origin(annotation) is Literal:
        return False
    if get_origin(annotation) is Annotated:
        return may_hold(get_args(annotation)[0], seen)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.values()
        inside = any(may_hold(field.annotation, seen | {annotation}) for field in fields)
        return inside or bool(personal_fields(annotation))
    return not (parts := get_args(annotation)) or any(may_hold(part, seen) for part in parts)


async def opened(store: EdgeStore, value: Any) -> Any:
    """A view's answer with its personal fields in the clear; null where the subject's key is destroyed."""
    found: list[tuple[BaseModel, str]] = []
    _marked(value, found)
    if not found:
        return value
    keys = await store.subject_keys({subject_of(getattr(model, name)) for model, name in found})
    for model, name in found:
        text = getattr(model, name)
        # Not set on the model: it may be frozen, and validated as sealed.
        model.__dict__[name] = unseal(text, keys.get(subject_of(text)))
    return value


def _marked(value: Any, found: list[tuple[BaseModel, str]]) -> None:
    """Find what is sealed in fields that are marked; a text that merely looks sealed stays as it is."""
    if isinstance(value, BaseModel):
        marked = personal_fields(type(value))
        found += [(value, name) for name in marked if is_sealed(getattr(value, name))]
        for name, part in value.__dict__.items():
            if name not in marked:
                _marked(part, found)
    elif isinstance(value, dict):
        for part in value.values():
            _marked(part, found)
    elif isinstance(value, list | tuple):
        for part in value:
            _marked(part, found)
