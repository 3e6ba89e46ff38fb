"""Personal data: sealed for its subject, opened only with that subject's key, and handed on unread."""

from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from streams.contract import Command, Event, Name, Topic
from streams.errors import ContractError
from streams.personal import (
    Blind,
    Personal,
    Sealed,
    blind_fields,
    blinded,
    is_sealed,
    personal_fields,
    seal,
    subject_of,
    unseal,
)

KEY, OTHER = b"1" * 32, b"2" * 32
PEOPLE = Topic("people", key="id")


class Named(Event, topic=PEOPLE):
    id: Name
    name: Personal[Annotated[str, Field(max_length=5)]]
    motto: Personal[str] | None = None
    age: int = 0


def test_only_the_subjects_key_opens_it() -> None:
    sealed = seal("Ünal", "u1", KEY)
    assert is_sealed(sealed)
    assert "Ünal" not in sealed
    assert subject_of(sealed) == "u1"
    assert unseal(sealed, KEY) == "Ünal"
    assert unseal(sealed, OTHER) is None
    assert unseal(sealed, None) is None, "its key was destroyed"


def test_equal_values_are_sealed_differently() -> None:
    assert seal("a", "u1", KEY) != seal("a", "u1", KEY)


def test_it_cannot_be_given_to_another_subject() -> None:
    prefix, _, data = seal("a", "u1", KEY).split(".")
    _, other, _ = seal("a", "u2", KEY).split(".")
    assert unseal(f"{prefix}.{other}.{data}", KEY) is None


@pytest.mark.parametrize("text", ["enc1.", "enc1.x", "enc1.dTE=.!", "enc1.dTE=.AA==", "enc1.a.b.c", "enc1.dTE=."])
def test_what_only_looks_sealed_opens_to_nothing(text: str) -> None:
    assert unseal(text, KEY) is None


def test_a_message_tells_its_personal_fields() -> None:
    assert personal_fields(Named) == ("name", "motto")


def test_clear_text_is_checked_as_declared() -> None:
    assert Named(id="a", name="Ünal").name == "Ünal"
    with pytest.raises(ValidationError):
        Named(id="a", name="too long")


def test_sealed_text_passes_from_a_topic_and_on_into_events_only() -> None:
    sealed = seal("Ünal", "u1", KEY)
    with pytest.raises(ValidationError):
        Named(id="a", name=sealed)  # a client cannot hand it in
    read = Named.from_topic(b'{"id": "a", "name": "%b", "motto": "%b"}' % (sealed.encode(), sealed.encode()))
    assert isinstance(read.name, Sealed)
    event = Named(id="b", name=read.name, motto=read.motto)
    assert event.name == sealed
    body: Any = event.to_json()
    assert sealed.encode() in body


class SignUp(Command, topic=PEOPLE, roles=("Guest",)):
    id: Name
    email: Personal[str] | None = None
    email_login: Annotated[Name | None, Blind("email")] = None
    phone: Personal[str] | None = None
    phone_login: Annotated[Name, Blind("phone", kind="login")] | None = None


def test_a_command_tells_its_blind_fields() -> None:
    assert blind_fields(SignUp) == {"email_login": ("email", "email"), "phone_login": ("phone", "login")}
    assert blind_fields(Named) == {}
    assert personal_fields(SignUp) == ("email", "phone")


def test_a_blind_field_is_read_from_a_topic_as_any_other() -> None:
    told = blinded("ann@example.org", "email", KEY)
    read = SignUp.from_topic(b'{"id": "a", "email": "%b", "email_login": "%b"}' % (b"enc1.x.y", told.encode()))
    assert (read.email, read.email_login, read.phone_login) == ("enc1.x.y", told, None)


def test_equal_texts_of_a_kind_are_equal_in_the_dark() -> None:
    told = blinded("Straße@Example.org", "email", KEY)
    assert len(told) == 32
    assert told == blinded("STRASSE@example.ORG", "email", KEY)
    assert blinded("é", "email", KEY) == blinded("e\u0301", "email", KEY) == blinded("É", "email", KEY)
    assert len({told, blinded("x", "email", KEY), blinded("Straße@Example.org", "login", KEY)}) == 3
    assert told != blinded("Straße@Example.org", "email", OTHER)
    assert blinded("b", "a", KEY) != blinded("", "ab", KEY)


def test_a_blind_field_that_could_not_be_filled_is_refused_when_it_is_declared() -> None:
    with pytest.raises(ContractError, match="Personal"):

        class Wrong(Command, topic=PEOPLE, roles=("Guest",)):
            id: Name
            login: Annotated[Name | None, Blind("id")] = None

    with pytest.raises(ContractError, match="Personal"):

        class Nothing(Command, topic=PEOPLE, roles=("Guest",)):
            id: Name
            login: Annotated[Name | None, Blind()] = None

    with pytest.raises(ContractError, match="default"):

        class Required(Command, topic=PEOPLE, roles=("Guest",)):
            id: Name
            email: Personal[str]
            login: Annotated[Name, Blind("email")]
