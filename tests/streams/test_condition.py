"""Conditions and formulas: what holds, what is refused when it is written, and that nothing takes long."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from streams.condition import LONGEST, Condition, ConditionError, Formula, holds, number, sample

AT = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
FACTS = {"event": {"amount": 250, "city": "Riga", "tags": ["a", "b"], "note": None}, "user": {"tier": "gold"}, "at": AT}


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("event.amount >= 250", True),
        ("event.amount > 250 || user.tier == 'gold'", True),
        ("event.city in ['Riga', 'Tallinn'] && !has(event.country)", True),
        ("event.tags.exists(tag, tag == 'b')", True),
        ("event.note == null", True),
        ("at.getHours() < 12", False),
        ("at >= timestamp('2026-02-01T00:00:00Z')", False),
        ("event.city.startsWith('Ri')", True),
    ],
)
def test_a_condition_is_true_or_false_of_the_facts(condition: str, answer: bool) -> None:
    assert holds(condition, FACTS) is answer


def test_a_formula_gives_a_whole_number() -> None:
    assert number("event.amount * 15 / 100", FACTS) == 37
    assert number("user.tier == 'gold' ? 2 : 1", FACTS) == 2


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("event.price > 1", "no field 'price'"),
        ("nobody.knows", "nobody"),
        ("event.amount > 'a'", "overload"),
        ("event.amount / 0 == 1", "zero"),
        ("event.amount", "neither true nor false"),
        ("9223372036854775807 + event.amount > 0", "overflow"),
    ],
)
def test_what_cannot_be_told_of_these_facts_says_why(expression: str, words: str) -> None:
    with pytest.raises(ConditionError, match=words):
        holds(expression, FACTS)


@pytest.mark.parametrize("formula", ["true", "1.5", "'a'", "9007199254740992", "[1]", "null"])
def test_a_formula_gives_nothing_else(formula: str) -> None:
    with pytest.raises(ConditionError, match="whole number"):
        number(formula, FACTS)


@pytest.mark.parametrize(
    "text",
    ["", "1 +", "event.", "x" * (LONGEST + 1), "(" * 200 + "1" + ")" * 200, "[1].map(a, [1].map(b, a))", "a\0b", 3],
)
def test_a_bad_expression_is_refused_when_it_is_written(text: Any) -> None:
    for kind in (Condition, Formula):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(text)


@given(st.text("()[]{}.?:+-*/%<>=!&|'\" abex019,", max_size=60))
def test_whatever_is_written_is_refused_in_words_or_evaluated(text: str) -> None:
    with suppress(ConditionError, ValidationError):
        TypeAdapter(Condition).validate_python(text)
        assert holds(text, FACTS) in {True, False}


class Part(BaseModel):
    at: datetime
    kind: Literal["small", "large"]


class Whole(BaseModel):
    name: str
    amount: int
    share: float
    parts: tuple[Part, ...]
    note: str | None = None
    paid: bool = False


def test_a_sample_has_every_field_in_its_type() -> None:
    made = sample(Whole)
    assert Whole.model_validate_json(TypeAdapter(dict[str, Any]).dump_json(made)).note == made["note"]
    assert holds("event.parts.all(part, part.kind == 'small') && event.note == 'text'", {"event": made})
    with pytest.raises(ConditionError):
        holds("event.nonsense == 1", {"event": made})
