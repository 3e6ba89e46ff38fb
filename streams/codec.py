"""From the JSON of a payload to its message: what the class's own validator makes of it, with less work and half the memory.

Most of Pydantic's work is with what stands around the fields of a model. Here msgspec takes the JSON apart, into a struct that demands every field
and knows no other; Pydantic's validators of the single fields judge all but whole numbers and booleans; and the instance is made directly.
Whatever is refused on the way (an unknown field, a missing one, another type) goes to the validator of the class, so every error is its own, and
every unusual value. So does each payload of a class with a field that is no text, whole number or boolean, or with more to it than its fields and what
looks at an instance afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from pydantic import BaseModel
from pydantic_core import SchemaValidator

from streams.personal import Mark

Payload = bytes | msgspec.Raw
Parse = Callable[[Payload], Any]
Judge = Callable[[Any], Any]
Context = Mapping[str, Any] | None

_SLOTS = vars(BaseModel)
_AROUND = frozenset({"function-before", "function-after", "function-wrap"})
_TEXTS = frozenset({"str", "date", "datetime", "time", "timedelta", "uuid", "url"})
_MODEL = frozenset({"type", "cls", "schema", "custom_init", "root_model", "config", "ref", "metadata"})
_FIELDS = frozenset({"type", "fields", "model_name", "computed_fields"})
_FIELD = frozenset({"type", "schema", "metadata", "frozen", "serialization_alias", "serialization_exclude"})
_DEFAULT = frozenset(
    {
        "type",
        "schema",
        "metadata",
        "default",
        "default_factory",
        "default_factory_takes_data",
        "validate_default",
        "copy_default",
    }
)


class _Part(NamedTuple):
    """How msgspec reads a field, and what judges the value unless that is None."""

    kind: Any
    judge: Judge | None = None


class _Plan(NamedTuple):
    """How a class is read: its fields in their order, and what looks at an instance afterwards."""

    parts: Mapping[str, _Part]
    after: Sequence[Judge]


def parser(cls: type[BaseModel], context: Context = None) -> Parse:
    """A function from payload to message, which keeps unknown fields and raises `pydantic.ValidationError`."""
    validate = cls.__pydantic_validator__.validate_json

    def whole(payload: Payload) -> Any:
        return validate(bytes(payload), extra="allow", context=context)

    plan = planned(cls, context)
    return whole if plan is None else _quick(cls, plan, whole)


def _quick(cls: type[BaseModel], plan: _Plan, whole: Parse) -> Parse:
    fields = [(name, part.kind) for name, part in plan.parts.items()]
    struct = msgspec.defstruct(cls.__name__, fields, frozen=True, gc=False, forbid_unknown_fields=True)
    decode, asdict = msgspec.json.Decoder(struct).decode, msgspec.structs.asdict
    judged = [(name, part.judge) for name, part in plan.parts.items() if part.judge is not None]
    names, after, new = set(plan.parts), plan.after, object.__new__
    set_values, set_names = _SLOTS["__dict__"].__set__, _SLOTS["__pydantic_fields_set__"].__set__
    set_extra, set_private = _SLOTS["__pydantic_extra__"].__set__, _SLOTS["__pydantic_private__"].__set__

    def parse(payload: Payload) -> Any:
        try:
            values = asdict(decode(payload))
            for name, judge in judged:
                value = values[name]
                if value is not None:
                    values[name] = judge(value)
            message = new(cls)
            set_values(message, values)
            set_names(
                message, names
            )  # one set for all, which a frozen model never changes: a set each is a third of a message's memory
            set_extra(message, {})
            set_private(message, None)
            for look in after:
                message = look(message)
        except Exception:  # noqa: BLE001 - an author's validators may raise anything
            return whole(payload)
        return message

    return parse


def planned(cls: type[BaseModel], context: Context = None) -> _Plan | None:
    """How a class is read here; None for one of which only its own validator knows what it takes."""
    schema: Any = cls.__pydantic_core_schema__
    after: list[Judge] = []
    while schema["type"] == "function-after" and schema["function"]["type"] == "no-info":
        after.insert(0, schema["function"]["function"])
        schema = schema["schema"]
    if schema["type"] != "model" or schema.keys() - _MODEL or schema["custom_init"] or schema["root_model"]:
        return None
    inner = schema["schema"]
    if inner["type"] != "model-fields" or inner.keys() - _FIELDS:
        return None
    if not cls.model_config.get("frozen") or cls.__new__ is not object.__new__:
        return None
    parts = {}
    for name, field in inner["fields"].items():
        if field.keys() - _FIELD or (part := _part(field["schema"], schema.get("config"), context)) is None:
            return None
        parts[name] = part
    return _Plan(parts, after)


def _part(schema: Any, config: Any, context: Context) -> _Part | None:
    if schema["type"] == "default":  # for a field that is missing, of which the class's validator knows
        if schema.keys() - _DEFAULT:
            return None
        schema = schema["schema"]
    optional = schema["type"] == "nullable"
    inner = schema["schema"] if optional else schema
    if (plain := _plain(inner)) is not None:
        return _Part(plain | None if optional else plain)
    if not _text(inner):
        return None
    kind, validator = str | None if optional else str, SchemaValidator(schema, config)
    if inner["type"] in {"str", "literal"}:  # of which a text is a text, wherever it comes from
        return _Part(kind, validator.validate_python)
    validate, encode = validator.validate_json, msgspec.json.encode
    return _Part(kind, lambda text: validate(encode(text), extra="allow", context=context))


def _plain(schema: Any) -> Any:
    """The type of what msgspec judges as Pydantic does, else None."""
    bounds = {name: bound for name, bound in schema.items() if name not in {"type", "strict", "metadata"}}
    if schema["type"] == "bool" and not bounds:
        return bool
    if schema["type"] != "int" or bounds.keys() - {"ge", "le"}:
        return None
    if any(type(bound) is not int or abs(bound) >= 1 << 63 for bound in bounds.values()):
        return None
    return Annotated[int, msgspec.Meta(**bounds)] if bounds else int


def _text(schema: Any) -> bool:
    """Whether JSON has this as a text, and it is judged by the text alone."""
    while schema["type"] in _AROUND:
        function = schema["function"]
        if function["type"] != "no-info" and getattr(function["function"], "__module__", None) != Mark.__module__:
            return False  # it may ask for the fields before
        schema = schema["schema"]
    if schema["type"] == "literal":
        return all(type(word) is str for word in schema["expected"])
    return schema["type"] in _TEXTS
