"""Schemas compared: what is told of two of them is what records notice."""

from typing import Annotated, Any, Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, create_model

from caravan.contracts.differences import Difference, compare

Schema = dict[str, Any]
NULL = {"type": "null"}


def found(old: Schema, new: Schema) -> list[Difference]:
    return compare(old, new, old.get("$defs", {}), new.get("$defs", {}))


def fits(schema: Schema, value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


BOUNDS = {"integer": ("minimum", "maximum"), "string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}


def bounded(kind: str) -> st.SearchStrategy[Schema]:
    low, high = BOUNDS[kind]
    bounds = {low: st.integers(0, 2), high: st.integers(2, 4)}
    either = st.fixed_dictionaries(bounds) | st.fixed_dictionaries({}, optional=bounds)
    return either.map(lambda one: {"type": kind, **one})


SIMPLE = st.one_of(
    bounded("integer"),
    bounded("string"),
    st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, unique=True).map(lambda one: {"enum": one}),
    st.just({"type": "boolean"}),
)


def nested(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    arrays = st.tuples(bounded("array"), inner).map(lambda one: {**one[0], "items": one[1]})
    return arrays | inner.map(lambda one: {"anyOf": [one, NULL], "default": None}) | objects(inner)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(st.sampled_from("xyz"), inner, max_size=3))
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required}


SCHEMAS = objects(
    st.one_of(SIMPLE, SIMPLE.map(lambda one: {"anyOf": [one, NULL]}), st.recursive(SIMPLE, nested, max_leaves=4))
)


def like(schema: Schema) -> st.SearchStrategy[Schema]:
    """One that differs a little: other bounds, null allowed or not, something else within, or another type."""
    if "anyOf" in schema:
        return st.just(schema["anyOf"][0]) | like(schema["anyOf"][0]).map(lambda one: {"anyOf": [one, NULL]})
    kind = schema.get("type", "")
    near = bounded(kind).map(lambda one: {**schema, **one}) if kind in BOUNDS else SIMPLE
    within = like(schema["items"]).map(lambda one: {**schema, "items": one}) if "items" in schema else near
    return st.one_of(near, within, st.just({"anyOf": [schema, NULL]}), SIMPLE)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """A schema and one like it: one of its fields is another, or has another need."""
    old = draw(SCHEMAS.filter(lambda one: one["properties"]))
    changed = draw(st.sampled_from(sorted(old["properties"])))
    properties = {name: draw(like(part)) if name == changed else part for name, part in old["properties"].items()}
    required = [
        name for name in properties if (name in old["required"]) ^ (name == changed and draw(st.integers(0, 4)) == 0)
    ]
    return old, {"type": "object", "properties": properties, "required": required}


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values near the schema: of its types, at its bounds and beyond."""
    if "anyOf" in schema:
        return st.one_of(*(values(part) for part in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], "e"])
    match schema["type"]:
        case "integer":
            return st.integers(-1, 5)
        case "string":
            return st.text("abd", max_size=5)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(values(schema["items"]), max_size=5)
        case "object":
            parts = {name: values(part) for name, part in schema["properties"].items()}
            needed = {name: part for name, part in parts.items() if name in schema["required"]}
            return st.fixed_dictionaries(needed, optional={n: p for n, p in parts.items() if n not in needed})
    return st.none()


@settings(max_examples=150)
@given(st.data())
def test_what_is_not_said_to_break_reads_every_old_record(data: st.DataObject) -> None:
    """And a reader that has the old schema takes every new record, where nothing wider is told."""
    old, new = data.draw(pairs())
    kinds = {one.kind for one in found(old, new)}
    if not kinds & {"narrower", "retyped", "added_required"}:
        value = data.draw(values(old))
        assume(fits(old, value))
        assert fits(new, value)
    if not kinds & {"wider", "retyped", "removed"}:
        value = data.draw(values(new))
        assume(fits(new, value))
        assert fits(old, value)


@settings(max_examples=50)
@given(SCHEMAS)
def test_a_schema_does_not_differ_from_itself(schema: Schema) -> None:
    """Words about it are no difference."""
    described = {**schema, "title": "A", "description": "Words.", "examples": [{}], "x-more": 1}
    assert found(schema, described) == []


def model(**fields: Any) -> Schema:
    definitions: dict[str, Any] = {name: one if isinstance(one, tuple) else (one, ...) for name, one in fields.items()}
    made: type[BaseModel] = create_model("Thing", **definitions)
    return made.model_json_schema()


class Within(BaseModel):
    count: int


class Without(BaseModel):
    count: str


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (int, float, [("a", "wider")]),
        (float, int, [("a", "narrower")]),
        (int, str, [("a", "retyped")]),
        (int | str, int | float, [("a", "retyped")]),
        (int, int | None, [("a", "wider")]),
        (Any, int, [("a", "narrower")]),
        (Literal["x", "y"], Literal["y", "z"], [("a", "narrower"), ("a", "wider")]),
        (Literal["x"], str, [("a", "wider")]),
        (str, Literal["x"], [("a", "narrower")]),
        (str, Annotated[str, Field(pattern="^x")], [("a", "narrower")]),
        (Annotated[str, Field(pattern="^x")], str, [("a", "wider")]),
        (Annotated[int, Field(gt=1)], Annotated[int, Field(gt=2, multiple_of=2)], [("a", "narrower"), ("a", "narrower")]),
        (list[Within], list[Without], [("a[].count", "retyped")]),
        (Within | None, Without | None, [("a.count", "retyped")]),
        (dict[str, int], dict[str, str], [("a.*", "retyped")]),
        (tuple[int, int], tuple[int, str], [("a[1]", "retyped")]),
        (tuple[int, int], tuple[int, int, int], [("a", "narrower"), ("a", "wider"), ("a", "retyped")]),
        (tuple[int, ...], Annotated[tuple[int, ...], Field(min_length=1)], [("a", "narrower")]),
        ((int, 1), (int, 2), [("a", "default")]),
        ((int, 1), int, [("a", "narrower")]),
        (int, (int, 1), [("a", "wider")]),
    ],
)  # fmt: skip
def test_what_pydantic_says(old: Any, new: Any, told: list[tuple[str, str]]) -> None:
    assert [(one.path, one.kind) for one in found(model(a=old), model(a=new))] == told


def test_a_model_within_itself_ends() -> None:
    class Tree(BaseModel):
        leaves: list["Tree"] = []

    schema = {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/Tree"}},
        "$defs": Tree.model_json_schema()["$defs"],
    }
    assert found(schema, schema) == []
