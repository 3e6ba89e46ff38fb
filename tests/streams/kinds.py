"""Contracts of every kind of field and of class that an author may declare, each with a payload that it takes."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from streams.contract import Event, Message, Moment, Name, Text, Topic
from streams.personal import Personal

KINDS = Topic("kinds", key="id")


class Kind(NamedTuple):
    """A contract, a payload that it takes, and whether it is read without its class's validator."""

    contract: type[Message]
    payload: dict[str, Any]
    quick: bool


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Lot(BaseModel):
    at: Moment
    amount: int


def _shouted(text: str) -> str:
    if text == "BAD":
        raise ValueError("not this one")
    if text == "KEY":
        raise KeyError(text)
    return text.upper()


def _after_amount(value: str, info: ValidationInfo) -> str:
    return f"{value}{info.data.get('amount')}{info.field_name}"


def _wrapped(value: Any, check: Any) -> Any:
    return "none" if value is None else check(value)


FIELDS: dict[str, tuple[Any, Any, bool]] = {
    "name": (Name, "u1", True),
    "maybe_name": (Name | None, "u1", True),
    "text": (Text, "some words", True),
    "bare": (str, "some words", True),
    "stripped": (Annotated[str, Field(min_length=2)], "ab", True),
    "folded": (Annotated[str, Field(pattern=r"^\w+$", max_length=3)], "abc", True),
    "number": (int, 7, True),
    "strict_number": (Annotated[int, Field(strict=True)], 7, True),
    "bounded": (Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)], 7, True),
    "below": (Annotated[int, Field(le=5)], 3, True),
    "huge": (Annotated[int, Field(ge=-(2**70), le=2**70)], 7, False),
    "above": (Annotated[int, Field(gt=1)], 7, False),
    "even": (Annotated[int, Field(multiple_of=2)], 8, False),
    "maybe_number": (Annotated[int, Field(ge=0)] | None, 7, True),
    "flag": (bool, True, True),
    "strict_flag": (Annotated[bool, Field(strict=True)], True, True),
    "word": (Literal["a", "b"], "a", True),
    "mixed": (Literal["a", 1], "a", False),
    "moment": (Moment, "2026-01-31T12:00:00Z", True),
    "maybe_moment": (Moment | None, "2026-01-31T12:00:00+01:00", True),
    "time": (datetime, "2026-01-31T12:00:00Z", True),
    "day": (date, "2026-01-31", True),
    "hour": (time, "12:00:00", True),
    "span": (timedelta, "PT5M", True),
    "uuid": (UUID, "01890a5d-ac96-774b-bcce-b302099a8057", True),
    "url": (AnyUrl, "https://example.com/a", True),
    "loud": (Annotated[Name, AfterValidator(_shouted)], "u1", True),
    "early": (Annotated[str, BeforeValidator(str)], "u1", True),
    "around": (Annotated[Name | None, WrapValidator(_wrapped)], "u1", False),
    "personal": (Personal[Text], "enc1.dTE=.AAAA", True),
    "maybe_personal": (Personal[Annotated[str, Field(max_length=3)]] | None, "enc1.dTE=.AAAA", True),
    "asking": (Annotated[str, AfterValidator(_after_amount)], "x", False),
    "share": (float, 0.5, False),
    "price": (Decimal, "1.50", False),
    "colour": (Colour, "red", False),
    "either": (int | str, 7, False),
    "anything": (Any, {"a": [1]}, False),
    "lots": (tuple[Lot, ...], [{"at": "2026-01-31T12:00:00Z", "amount": 5, "more": 1}], False),
    "two": (tuple[Lot | None, Lot], [None, {"at": "2026-01-31T12:00:00Z", "amount": 5}], False),
    "names": (list[Name], ["a"], False),
    "table": (dict[str, int], {"a": 1}, False),
}
"""Name, type, a value, and whether a contract with it is read quickly."""


def _of_field(name: str, kind: Any, value: Any, quick: bool) -> Kind:
    annotations = {"id": Name, "amount": int, "value": kind, "last": Name | None}
    body = {"__annotations__": annotations, "__module__": __name__, "last": None}
    contract = type(f"Of{name.title().replace('_', '')}", (Event,), body, topic=KINDS)
    return Kind(contract, {"id": "a", "amount": 3, "value": value, "last": None}, quick)


class Checked(Event, topic=KINDS):
    """Two functions look at it, the second after the first."""

    id: Name
    low: int
    high: int = 9

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        if self.low == 1:
            raise KeyError("low")
        return self.model_copy(update={"high": self.high + 1}) if self.low == 7 else self

    @model_validator(mode="after")
    def _another(self) -> Self:
        assert self.low != 2
        return self.model_copy(update={"high": self.high * 2}) if self.low == 7 else self


class Before(Event, topic=KINDS):
    id: Name

    @model_validator(mode="before")
    @classmethod
    def _known(cls, told: Any) -> Any:
        return {"id": told["name"]} if isinstance(told, dict) and "name" in told else told


class Told(Event, topic=KINDS):
    """Its fields look at each other."""

    id: Name
    amount: int
    note: str = ""

    @field_validator("note")
    @classmethod
    def _of_amount(cls, note: str, info: ValidationInfo) -> str:
        return f"{note} {info.data['amount']}"


class Renamed(Event, topic=KINDS):
    id: Name
    amount: Annotated[int, Field(alias="Amount")] = 1


class Private(Event, topic=KINDS):
    id: Name
    _seen: int = PrivateAttr(default=1)


class Open(Event, topic=KINDS):
    """Its instances change."""

    model_config = ConfigDict(frozen=False)

    id: Name


class Lax(Event, topic=KINDS):
    """Texts are mended."""

    model_config = ConfigDict(str_strip_whitespace=True, str_to_lower=True, coerce_numbers_to_str=True)

    id: Name
    note: str
    moment: Moment | None = None


class Strict(Event, topic=KINDS):
    model_config = ConfigDict(strict=True)

    id: Name
    amount: int
    at: datetime
    ok: bool


class Made(Event, topic=KINDS):
    """Its defaults are made, checked and copied."""

    id: Name
    note: Annotated[Text, Field(validate_default=True)] = "x\0"
    day: str = Field(default_factory=lambda: "today")


class Own(Event, topic=KINDS):
    """Has more to it than fields."""

    id: Name

    def __init__(self, **told: Any) -> None:
        super().__init__(**{"id": "own"} | told)


CLASSES = [
    Kind(Checked, {"id": "a", "low": 3, "high": 9}, True),
    Kind(Before, {"id": "a"}, False),
    Kind(Told, {"id": "a", "amount": 1, "note": "n"}, False),
    Kind(Renamed, {"id": "a", "Amount": 1}, False),
    Kind(Private, {"id": "a"}, False),
    Kind(Open, {"id": "a"}, False),
    Kind(Lax, {"id": "a", "note": " A b ", "moment": "2026-01-31T12:00:00Z"}, True),
    Kind(Strict, {"id": "a", "amount": 1, "at": "2026-01-31T12:00:00Z", "ok": True}, True),
    Kind(Made, {"id": "a", "note": "n", "day": "d"}, True),
    Kind(Own, {"id": "a"}, False),
]
ALL = [_of_field(name, *kind) for name, kind in FIELDS.items()] + CLASSES
