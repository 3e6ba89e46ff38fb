"""What is taken for an address, a number, a time zone, a language, and in which form it goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streams.personal import blinded
from topics.identity import LOGIN, RegisterUser, UpdateProfile, normal_login

PHONE = "+4930901820"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("ann@example.com", "ann@example.com"),
        (" Ann@EXAMPLE.com ", "Ann@example.com"),
        ("ann+news@example.com", "ann+news@example.com"),
        ("ann@bücher.example", "ann@bücher.example"),
        ("ann@xn--bcher-kva.example", "ann@bücher.example"),
    ],
)
def test_an_address_gets_its_normal_form(given: str, normal: str) -> None:
    assert RegisterUser(user_id="u1", email=given).email == normal


@pytest.mark.parametrize("given", [PHONE, "+49 30 901820", "+49 (30) 90-18.20", " +49 30 90 18 20 "])
def test_a_number_becomes_e164_however_it_is_written(given: str) -> None:
    assert RegisterUser(user_id="u1", phone=given).phone == PHONE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@Example.com", "ann@EXAMPLE.COM"),
        ("ann@xn--bcher-kva.example", "ANN@BÜCHER.example"),
        ("+49 30 901820", "+49(30)901820"),
    ],
)
def test_two_ways_to_write_a_login_are_one_login(one: str, other: str) -> None:
    first, second = (blinded(normal_login(text), LOGIN, bytes(32)) for text in (one, other))

    assert first == second


@pytest.mark.parametrize("text", ["u1", "", "@", "a@b", "+", "030 901820", "a@example.com b"])
def test_what_is_no_login_is_asked_for_as_it_is(text: str) -> None:
    assert normal_login(text) == text


@given(st.text(max_size=30) | st.text("ab@.+ 0123456789()-", max_size=20))
def test_a_normal_form_is_its_own(text: str) -> None:
    assert normal_login(normal_login(text)) == normal_login(text)


@pytest.mark.req("SR115")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("email", value)
            for value in ("", "ann", "ann@", "@example.com", "ann@localhost", "a b@example.com", "ann@example..com", "ann@[::1]")
        ),
        *(("email", value) for value in ("a\0@example.com", "a" * 65 + "@example.com", "a@" + "b" * 254 + ".com", 5)),
        *(("phone", value) for value in ("", "030 901820", "901820", "+", "+1", "+999 123456", "+49 30", "+1 800 FLOWERS")),
        *(("phone", value) for value in ("+49 30 901820 ext 5", "tel:+4930901820", "+4930901820\0", 4930901820)),
        *(("display_name", value) for value in ("", "  ", "a\nb", "a\0", "\0", "x" * 101)),
        *(("referral_code", value) for value in ("\0", "x" * 1001, 5)),
        *(("ip_address", value) for value in ("", "192.0.2", "192.0.2.256", "::g", "localhost", "192.0.2.1/24", 5)),
        *(("device_id", value) for value in ("", "\0", "x" * 1001, 5)),
        *(("visitor_id", value) for value in ("", "a b", "x" * 129, 5)),
        *(("user_id", value) for value in ("", "a/b", "a b", "ä", "x" * 129)),
    ],
)  # fmt: skip
def test_a_bad_field_is_told_by_its_name(field: str, value: object) -> None:
    good = {"user_id": "u1", "email": "ann@example.com", "phone": PHONE}

    with pytest.raises(ValidationError) as caught:
        RegisterUser.model_validate(good | {field: value})

    assert {error["loc"][0] for error in caught.value.errors()} == {field}


def test_who_registers_can_be_reached() -> None:
    with pytest.raises(ValidationError, match="give an email, a phone or both"):
        RegisterUser(user_id="u1", display_name="Ann")


@pytest.mark.req("SR045")
@pytest.mark.parametrize("code", ["", "no such code", "'; DROP TABLE users; --", "🎁" * 1000])
def test_any_text_is_taken_as_a_referral_code(code: str) -> None:
    assert RegisterUser(user_id="u1", phone=PHONE, referral_code=code).referral_code == code


@pytest.mark.parametrize(
    ("given", "normal"),
    [("192.0.2.1", "192.0.2.1"), (" 2001:DB8:0::1 ", "2001:db8::1"), ("2001:db8:0:0:0:0:0:1", "2001:db8::1")],
)
def test_an_internet_address_gets_its_normal_form(given: str, normal: str) -> None:
    assert RegisterUser(user_id="u1", phone=PHONE, ip_address=given).ip_address == normal


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("time_zone", value) for value in ("", "Berlin", "europe/berlin", "localtime", "../UTC", "CEST", "+01:00")),
        *(("language", value) for value in ("", "xx", "DE", "deu", "german")),
        ("bio", "x" * 1001),
    ],
)
def test_an_unknown_time_zone_or_language_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        UpdateProfile.model_validate({"user_id": "u1", field: value})

    assert {error["loc"] for error in caught.value.errors()} == {(field,)}


@pytest.mark.parametrize(
    ("zone", "language"), [("UTC", "en"), ("America/Argentina/Ushuaia", "es"), ("Asia/Tokyo", "ja")]
)
def test_a_known_time_zone_and_language_are_taken(zone: str, language: str) -> None:
    update = UpdateProfile(user_id="u1", time_zone=zone, language=language)

    assert (update.time_zone, update.language) == (zone, language)


def test_an_update_changes_something() -> None:
    with pytest.raises(ValidationError, match="give at least one of"):
        UpdateProfile(user_id="u1")
