"""Personal fields: sealed before a command is published, opened in the answers of views for those who may read them."""

from typing import Any, TypeVar

from pydantic import BaseModel

from sinks.postgres.edge import EdgeStore
from streams.contract import Command
from streams.personal import Sealed, is_sealed, personal_fields, seal, subject_of, unseal

C = TypeVar("C", bound=Command)


async def sealed(store: EdgeStore, command: C) -> C:
    """The command with its personal fields sealed for their subject: its owner, or else the aggregate."""
    texts = {name: getattr(command, name) for name in personal_fields(type(command))}
    texts = {name: text for name, text in texts.items() if text is not None}
    if not texts:
        return command
    subject = str(getattr(command, command.owner)) if command.owner else command.key
    key = await store.subject_key(subject)
    return command.model_copy(update={name: Sealed(seal(text, subject, key)) for name, text in texts.items()})


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
