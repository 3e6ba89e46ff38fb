"""Conditions and formulas that are data: what a campaign, a quest or an award rule asks for is written by its users, in CEL.

CEL (the Common Expression Language, https://cel.dev) has no loops, no clock, no names but those that it is given, and ends. What could still
take long is refused when it is written: an expression is short and walks through a list at most once. So rules may evaluate it,
and the same expression on the same facts gives the same for ever::

    holds("event.amount >= 1000 && event.currency == 'EUR'", {"event": payload})
    number("event.amount / 100", {"event": payload})
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from streams.contract import MAX_EXACT

LONGEST = 500  # characters
KEPT = 4096  # compiled expressions, each a few KB
_WALKS = re.compile(r"\b(?:map|filter|all|exists|exists_one)\b")
_TEXTS = {"date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "uuid": "00000000-0000-0000-0000-000000000000"}


class ConditionError(ValueError):
    """An expression is none, or cannot be evaluated on these facts, or gives something else than is asked for."""


def _written(text: str) -> str:
    try:
        _program(text)
    except ConditionError as error:
        raise PydanticCustomError("condition", "{reason}", {"reason": str(error)}) from None
    return text


Condition = Annotated[str, Field(strict=True, min_length=1, max_length=LONGEST), AfterValidator(_written)]
"""A CEL expression that is true or false: at most 500 characters, with at most one walk through a list (`exists`, `all`, `filter`, `map`)."""

Formula = Annotated[str, Field(strict=True, min_length=1, max_length=LONGEST), AfterValidator(_written)]
"""A CEL expression that gives a whole number, within the same bounds; whole numbers are divided without remainder."""


def holds(condition: str, facts: Mapping[str, Any]) -> bool:
    """Whether a condition is true of these facts: JSON and datetimes by name. Raises ConditionError."""
    found = _evaluated(condition, facts)
    if type(found) is not bool:
        raise ConditionError(f"it gives {found!r}, neither true nor false")
    return found


def number(formula: str, facts: Mapping[str, Any]) -> int:
    """What a formula gives for these facts, of at most 2^53 - 1 either way. Raises ConditionError."""
    found = _evaluated(formula, facts)
    if type(found) is not int or abs(found) > MAX_EXACT:
        raise ConditionError(f"it gives {found!r}, which is no whole number up to {MAX_EXACT}")
    return found


def sample(message: type[BaseModel]) -> dict[str, Any]:
    """A payload of a message as JSON, every field given, to try an expression on before it counts; not all constraints are kept."""
    schema = message.model_json_schema()
    found: dict[str, Any] = _example(schema, schema.get("$defs", {}))
    return found


def _evaluated(expression: str, facts: Mapping[str, Any]) -> Any:
    try:
        return _program(expression).execute(dict(facts))
    except ConditionError:
        raise
    except KeyError as error:
        raise ConditionError(f"there is no field {error}") from None
    except Exception as error:  # noqa: BLE001 - the library raises many kinds, of which none is ours
        raise ConditionError(str(error)) from None


@lru_cache(maxsize=KEPT)
def _program(expression: str) -> Any:
    if len(expression) > LONGEST:
        raise ConditionError(f"it is longer than {LONGEST} characters")
    if len(_WALKS.findall(expression)) > 1:
        raise ConditionError("it has more than one of the words map, filter, all, exists and exists_one")
    import cel  # when it is needed: it brings a command line along

    try:
        return cel.compile(expression)
    except ValueError as error:
        reason = str(error).partition("ERROR: <input>:")[2].partition("\n")[0].partition(" expecting {")[0]
        raise ConditionError(f"it is no expression: {reason or error}") from None


def _example(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _example(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        return _example(next(choice for choice in schema["anyOf"] if choice.get("type") != "null"), defs)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _example(part, defs) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [_example(schema["items"], defs)] if "items" in schema else []
        case "integer" | "number" as kind:
            return schema.get("minimum", 1) if kind == "integer" else float(schema.get("minimum", 1))
        case "boolean":
            return False
    return _TEXTS.get(schema.get("format", ""), "text")
