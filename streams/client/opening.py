"""Personal values as a subscriber sees them: masked, in the clear where the key is granted, null where it is destroyed."""

import binascii
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from streams.personal import MASK, is_sealed, subject_of, unseal

Keys = Callable[[Collection[str]], Awaitable[Mapping[str, bytes | None]]]
"""A key service: subjects -> the key of each that may be read, and None for one whose key is destroyed. Who is left out stays masked."""

Found = Mapping[str, bytes | None]


def subject(sealed: Any) -> str | None:
    """Whose key opens a value; None for one that was never sealed."""
    if not is_sealed(sealed):
        return None
    try:
        return subject_of(sealed)
    except (IndexError, binascii.Error, UnicodeDecodeError):
        return None


def subjects(value: Any) -> set[str]:
    """Those of all sealed values in it."""
    if isinstance(value, Mapping):
        return set().union(*(subjects(part) for part in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(subjects(part) for part in value))
    whose = subject(value)
    return set() if whose is None else {whose}


def shown(value: Any, keys: Found) -> Any:
    """A personal value for a subscriber with these keys: whatever is not null is masked, unless its key is known."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {name: shown(part, keys) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [shown(part, keys) for part in value]
    whose = subject(value)
    return unseal(value, keys[whose]) if whose is not None and whose in keys else MASK
