"""Markers in every personal field that there is: the examples of all commands with such fields, said by or about one user."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

from pydantic import ValidationError

from streams import discover
from streams.contract import Command
from streams.personal import personal_fields, subject_of, unseal

SEALED = re.compile(r"enc1\.[\w=-]+\.[\w=-]+")
_NUMBERS = count(1000)


class Planted(NamedTuple):
    """A command with markers, behind those that have to come before it, and the markers as they are in the clear."""

    commands: list[Command]
    markers: dict[str, str]


def plantings(user: str, domains: Iterable[str]) -> Iterator[Planted]:
    """One for each command that people may issue and that has personal fields."""
    for domain in domains:
        for contract in discover.topic(domain).commands.values():
            if contract.roles and personal_fields(contract):
                yield _planted(contract, user)


def _planted(contract: type[Command], user: str) -> Planted:
    """The first example of the contract, behind those before it, about this user and with as many markers as there are personal fields."""
    body = _about(contract.examples[0], user) | {contract.owner or contract.key_field: user}
    markers: dict[str, str] = {}
    for field in personal_fields(contract):
        body, markers[field] = _marked(contract, body, field)
    return Planted([*_earlier(contract, user), contract.model_validate(body)], markers)


def _earlier(contract: type[Command], user: str) -> list[Command]:
    """The examples that have to come before those of the contract."""
    names = (contract.topic.commands[name] for name in contract.after)
    return [
        one
        for earlier in names
        for one in (
            *_earlier(earlier, user),
            *(earlier.model_validate(_about(example, user)) for example in earlier.examples),
        )
    ]


def _about(example: Any, user: str) -> dict[str, Any]:
    """The example with the user in the place of whom examples are about."""
    told: dict[str, Any] = json.loads(json.dumps(example, default=str).replace('"u1"', json.dumps(user)))
    return told


def _marked(contract: type[Command], body: dict[str, Any], field: str) -> tuple[dict[str, Any], str]:
    """The body with a marker in this field, of the first shape that the contract takes; the marker as the contract keeps it."""
    n = next(_NUMBERS)
    for text in (f"marker{n}@example.com", f"+49 30 901{n:04}", f"198.51.{n // 100}.{n % 100}", f"marker{n}"):
        told = body | {field: text}
        try:
            return told, str(getattr(contract.model_validate(told), field))
        except ValidationError:
            continue
    raise AssertionError(f"no marker fits {contract.wire_name}.{field}")


def sealed_in(text: str, user: str) -> set[str]:
    """All that is sealed for the user in a text."""
    return {found for found in SEALED.findall(text) if subject_of(found) == user}


def readable(text: str, user: str, keys: Iterable[bytes]) -> set[str]:
    """What any of the keys opens of it."""
    return {clear for found in sealed_in(text, user) for key in keys if (clear := unseal(found, key)) is not None}
