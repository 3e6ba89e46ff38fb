"""What differs between two JSON schemas of one thing, field by field, as whoever wrote or read by the old one would notice.

A difference is *narrower* when the new schema takes less than the old one, *wider* when it takes more. Titles, descriptions and examples are no difference.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from caravan.contracts.schemas import inlined

Kind = Literal["added", "added_required", "removed", "retyped", "narrower", "wider", "default"]
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_WORDS = frozenset({"title", "description", "examples", "default", "deprecated"})
_SEEN = frozenset(
    {
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "items",
        "prefixItems",
        "additionalProperties",
        *_LOWER,
        *_UPPER,
    }
)
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One of them; `path` names the field, empty for the whole, and `words` say what it was and is."""

    path: str
    kind: Kind
    words: str


def compare(old: Schema, new: Schema, old_parts: Schema, new_parts: Schema) -> list[Difference]:
    """The differences in the order of the fields; the last two hold what the schemas refer to, by name."""
    return list(_differ(inlined(old, old_parts), inlined(new, new_parts), ""))


def _differ(old: Schema, new: Schema, path: str) -> Iterator[Difference]:
    if "default" in old and "default" in new and old["default"] != new["default"]:
        yield Difference(path, "default", f"its default is {_shown(new['default'])} and was {_shown(old['default'])}")
    olds, news = _alternatives(old), _alternatives(new)
    if len(olds) == len(news) == 1:
        yield from _one(olds[0], news[0], path)
        return
    gone, come = [one for one in olds if one not in news], [one for one in news if one not in olds]
    for was in [*gone]:
        if (now := next((one for one in come if _type(one) == _type(was)), None)) is not None:
            gone.remove(was)
            come.remove(now)
            yield from _one(was, now, path)
    if gone and come:
        yield Difference(path, "retyped", f"{_types(come)} instead of {_types(gone)}")
    elif gone:
        yield Difference(path, "narrower", f"no longer {_types(gone)}")
    elif come:
        yield Difference(path, "wider", f"also {_types(come)}")


def _alternatives(schema: Schema) -> list[dict[str, Any]]:
    """What a value may be, without words about it; the alternatives of an alternative are its own."""
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return [one for part in schema[union] for one in _alternatives(part)]
    bare = {name: part for name, part in schema.items() if name not in _WORDS and not name.startswith("x-")}
    if "const" in bare:
        bare["enum"] = [bare.pop("const")]
    if isinstance(bare.get("type"), list):
        return [{**bare, "type": one} for one in bare["type"]]
    return [bare]


def _one(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[Difference]:
    was, is_ = _type(old), _type(new)
    if was != is_:
        yield Difference(path, _between(was, is_), f"{is_} instead of {was}")
        return
    yield from _enum(old, new, path)
    yield from _bounds(old, new, path)
    yield from _others(old, new, path)
    if was == "object":
        yield from _object(old, new, path)
    if was == "array":
        yield from _array(old, new, path)


def _between(was: str, is_: str) -> Kind:
    match was, is_:
        case ("integer", "number") | (_, "anything"):
            return "wider"
        case ("number", "integer") | ("anything", _):
            return "narrower"
    return "retyped"


def _enum(old: Schema, new: Schema, path: str) -> Iterator[Difference]:
    was, is_ = old.get("enum"), new.get("enum")
    if was is None and is_ is not None:
        yield Difference(path, "narrower", f"only {_list(is_)}")
    elif was is not None and is_ is None:
        yield Difference(path, "wider", f"no longer only {_list(was)}")
    elif was is not None and is_ is not None:
        if gone := [one for one in was if one not in is_]:
            yield Difference(path, "narrower", f"no longer {_list(gone)}")
        if come := [one for one in is_ if one not in was]:
            yield Difference(path, "wider", f"also {_list(come)}")


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[Difference]:
    for names, sign in ((_LOWER, 1), (_UPPER, -1)):
        for name in names:
            was, is_ = old.get(name), new.get(name)
            if was == is_:
                continue
            words = f"{name} {_shown(is_)} instead of {_shown(was)}"
            tighter = was is None or (is_ is not None and (is_ - was) * sign > 0)
            yield Difference(path, "narrower" if tighter else "wider", words)


def _others(old: Schema, new: Schema, path: str) -> Iterator[Difference]:
    """Pattern, format and whatever else: another one may take less and more."""
    for name in sorted((old.keys() | new.keys()) - _SEEN):
        was, is_ = old.get(name), new.get(name)
        if was != is_:
            yield Difference(
                path, "wider" if is_ is None else "narrower", f"{name} {_shown(is_)} instead of {_shown(was)}"
            )


def _object(old: Schema, new: Schema, path: str) -> Iterator[Difference]:
    was, is_ = old.get("properties", {}), new.get("properties", {})
    asked, asks = set(old.get("required", ())), set(new.get("required", ()))
    for name in was:
        inside = f"{path}.{name}".lstrip(".")
        if name not in is_:
            yield Difference(inside, "removed", "it is gone")
            continue
        if name in asks - asked:
            yield Difference(inside, "narrower", "it must be given now")
        if name in asked - asks:
            yield Difference(inside, "wider", "it may be left out now")
        yield from _differ(was[name], is_[name], inside)
    for name in is_:
        if name not in was:
            inside = f"{path}.{name}".lstrip(".")
            needed = name in asks
            yield Difference(
                inside, "added_required" if needed else "added", "new, and must be given" if needed else "new, optional"
            )
    more, mores = old.get("additionalProperties", True), new.get("additionalProperties", True)
    if isinstance(more, Mapping) and isinstance(mores, Mapping):
        yield from _differ(more, mores, f"{path}.*".lstrip("."))
    elif more != mores:
        yield Difference(path, "wider" if more is False or mores is True else "narrower", "other fields than before")


def _array(old: Schema, new: Schema, path: str) -> Iterator[Difference]:
    was, is_ = old.get("prefixItems", []), new.get("prefixItems", [])
    if len(was) != len(is_):
        yield Difference(path, "retyped", f"{len(is_)} items instead of {len(was)}")
        return
    for n, (one, other) in enumerate(zip(was, is_, strict=True)):
        yield from _differ(one, other, f"{path}[{n}]")
    items = old.get("items", {}), new.get("items", {})
    if all(isinstance(part, Mapping) for part in items):
        yield from _differ(*items, f"{path}[]")


def _type(schema: Schema) -> str:
    if isinstance(kind := schema.get("type"), str):
        return kind
    if values := schema.get("enum"):
        return _type_of(values[0])
    return "object" if "properties" in schema else "anything"


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), "object")


def _types(schemas: list[dict[str, Any]]) -> str:
    return " or ".join(_type(one) for one in schemas)


def _list(values: list[Any]) -> str:
    return ", ".join(_shown(one) for one in values)


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)
