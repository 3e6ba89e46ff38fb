"""Who brought a new user: codes, links, windows, first and last touches, and what does not count."""

from datetime import timedelta
from typing import Any

import pytest

from agents.referrals.rules.codes import MAX_CODES, MAX_TOUCHES
from tests.referrals.platform import DAY, Town
from topics.referrals import (
    AttributeReferral,
    CloseReferralScheme,
    ReferralAttributed,
    ReferralCodeCreated,
    ReferralIgnored,
    normal_code,
)

HOUR = timedelta(hours=1)


def with_codes(*codes: str, **terms: Any) -> Town:
    """A scheme, and these codes, each of the user who is called like it."""
    town = Town()
    town.open(**terms)
    for code in codes:
        have(town, code)
    return town


def have(town: Town, code: str, scheme_id: str = "s", **given: Any) -> None:
    """The user who is called like the code registers and gets it."""
    town.register(code)
    town.settle()
    town.invite(code, code, scheme_id, **given)
    town.settle()


def joins(town: Town, user_id: str, code: str | None = None, visitor_id: str | None = None) -> str | None:
    """Who brought a new user."""
    town.register(user_id, code, visitor_id=visitor_id)
    town.settle()
    return town.referral(user_id).referrer_id or None


@pytest.mark.req("SR045")
@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("none-such", "unknown"),
        ("", None),
        ("'; DROP TABLE users; --", "unknown"),
        ("🎁" * 100, "unknown"),
        ("ANNA/code", "unknown"),
    ],
)
def test_a_code_that_is_none_brings_nobody_and_stops_nobody(typed: str, reason: str | None) -> None:
    town = with_codes("anna")

    assert joins(town, "zoe", typed) is None
    assert town.state("referrals", "zoe").registered_at
    assert [event.reason for event in town.told(ReferralIgnored)] == ([reason] if reason else [])
    assert {outcome.status for outcome in town.outcomes.values()} == {"accepted"}


@pytest.mark.parametrize("typed", ["ANNA", "anna", " Anna ", "aNNa"])
def test_a_code_is_the_same_however_it_is_typed(typed: str) -> None:
    assert joins(with_codes("anna"), "zoe", typed) == "anna"
    assert normal_code(typed) == "ANNA"


@pytest.mark.req("SR045")
def test_a_code_counts_before_it_expires() -> None:
    town = with_codes()
    have(town, "anna", expires_at=town.now + DAY)
    town.click("v1", "ANNA")

    end = town.state("referrals", "ANNA", "code").expires_at
    town.advance(end - town.now - 2 * timedelta(seconds=1))
    assert joins(town, "yan", "anna") == "anna"
    assert joins(town, "zoe", "anna", "v1") is None
    assert [event.reason for event in town.told(ReferralIgnored)] == ["expired"]
    assert town.click("v1", "ANNA").code == "code_expired"


@pytest.mark.req("SR045")
def test_a_closed_scheme_brings_nobody() -> None:
    town = with_codes("anna")
    town.click("v1", "ANNA")
    town.send(CloseReferralScheme(scheme_id="s"))

    assert joins(town, "zoe", "anna", "v1") is None
    assert [event.reason for event in town.told(ReferralIgnored)] == ["scheme_not_active"]
    assert town.click("v1", "ANNA").code == "scheme_not_active"
    assert town.invite("anna", "more").code == "scheme_not_active"


@pytest.mark.req("SR045")
def test_ones_own_link_is_counted_and_does_not_count() -> None:
    town = with_codes("anna", "bert")
    town.click("v1", "ANNA")
    town.click("v1", "ANNA", "anna")
    town.click("v1", "BERT", "anna")
    visitor = town.state("referrals", "v1", "visitor")

    assert [(touch.code, touch.clicks, touch.own) for touch in visitor.touches] == [
        ("ANNA", 2, True),
        ("BERT", 1, False),
    ]
    assert joins(town, "anna-again", "anna", "v1") == "bert"
    assert [(event.code, event.reason) for event in town.told(ReferralIgnored)] == [("ANNA", "own")]
    assert joins(town, "other", "anna", "v2") == "anna"


def test_what_somebody_who_is_signed_in_clicked_before_does_not_count_either() -> None:
    town = with_codes("anna")
    town.invite("anna", "second")
    town.settle()
    town.click("v1", "SECOND")
    town.click("v1", "ANNA", "anna")

    assert joins(town, "zoe", None, "v1") is None
    town.click("v1", "SECOND")
    assert town.state("referrals", "v1", "visitor").touch("SECOND").own


@pytest.mark.req("SR045")
@pytest.mark.parametrize(("days", "by"), [(29, "anna"), (31, None)])
def test_a_link_counts_within_the_window(days: int, by: str | None) -> None:
    town = with_codes("anna")
    town.click("v1", "ANNA")
    town.advance(days * DAY)

    assert joins(town, "zoe", None, "v1") == by


@pytest.mark.parametrize(("touch", "by"), [("first", "anna"), ("last", "bert")])
def test_of_several_links_the_first_or_the_last_counts_as_the_scheme_says(touch: str, by: str) -> None:
    town = with_codes("anna", "bert", touch=touch)
    for code in ("ANNA", "BERT"):
        town.click("v1", code)
        town.advance(DAY)

    assert joins(town, "zoe", None, "v1") == by
    (brought,) = town.told(ReferralAttributed)
    assert (brought.touch, brought.code) == ("click", by.upper())


def test_a_touch_begins_anew_after_a_pause_that_is_longer_than_the_window() -> None:
    town = with_codes("anna", "bert", touch="first", window_days=2)
    town.click("v1", "ANNA")
    town.advance(2 * DAY + HOUR)
    town.click("v1", "BERT")
    town.click("v1", "ANNA")

    assert joins(town, "zoe", None, "v1") == "bert"


def test_a_touch_lasts_as_long_as_the_clicks_are_no_further_apart_than_the_window() -> None:
    town = with_codes("anna", "bert", touch="first", window_days=2)
    for code in ("ANNA", "BERT", "ANNA"):
        town.click("v1", code)
        town.advance(DAY)

    assert joins(town, "zoe", None, "v1") == "anna"


@pytest.mark.parametrize(("touch", "by"), [("first", "anna"), ("last", "bert")])
def test_to_type_a_code_is_the_last_touch(touch: str, by: str) -> None:
    town = with_codes("anna", "bert", touch=touch)
    town.click("v1", "ANNA")

    assert joins(town, "zoe", "bert", "v1") == by


def test_the_last_touch_decides_on_the_scheme_and_the_scheme_on_its_touch() -> None:
    town = with_codes("anna", "bert")
    town.open(scheme_id="t", touch="first")
    for code in ("carl", "dora"):
        have(town, code, "t")
    for code in ("ANNA", "CARL", "BERT", "DORA"):
        town.click("v1", code)

    assert joins(town, "zoe", None, "v1") == "carl"
    assert town.referral("zoe").scheme_id == "t"


def test_a_click_after_the_registration_takes_nothing_from_those_before() -> None:
    town = with_codes("anna", "bert")
    town.click("v1", "ANNA")
    town.register("zoe", visitor_id="v1")
    town.click("v1", "BERT")
    town.click("v1", "ANNA")
    town.settle()

    assert town.referral("zoe").referrer_id == "anna"


@pytest.mark.req("SR045")
def test_whoever_registered_is_brought_by_nobody_any_more() -> None:
    town = with_codes("anna", "bert")
    assert joins(town, "zoe", "anna") == "anna"
    again = AttributeReferral(user_id="zoe", registered_at=town.now, referral_code="bert")
    assert town.send(again).events == []
    assert town.send(again.model_copy(update={"user_id": "anna"})).events == []

    assert len(town.told(ReferralAttributed)) == 1


def test_those_above_are_known_to_five_levels() -> None:
    names = [f"user{n}" for n in range(8)]
    town = Town()
    town.open(levels=[{"points": 1}] * 3)
    for above, name in zip([None, *names], names, strict=False):
        town.register(name, above)
        town.settle()
        town.invite(name, name)
        town.settle()

    assert town.state("referrals", "user7").upline == ("user6", "user5", "user4", "user3", "user2")
    assert sorted(row[1:] for row in town.rows["descendant"].values() if row[0] == "user7") == [
        (1, "user6"),
        (2, "user5"),
        (3, "user4"),
    ]


def test_of_two_who_want_a_code_at_once_one_gets_it() -> None:
    town = with_codes("anna", "bert")
    wishes = [town.invite(user, "Party") for user in ("anna", "bert")]
    assert [wish.status for wish in wishes] == ["pending", "pending"]
    town.settle()

    assert sorted((wish.status, wish.code) for wish in wishes) == [("accepted", None), ("rejected", "code_taken")]
    assert len([event for event in town.told(ReferralCodeCreated) if event.code == "PARTY"]) == 1
    loser = "bert" if wishes[0].status == "accepted" else "anna"
    assert town.invite(loser, "party").status == "pending", "it may be tried again"


def test_a_code_is_for_who_has_registered_and_for_a_scheme_that_counts() -> None:
    town = with_codes("anna")

    assert town.invite("nobody", "code").code == "user_not_found"
    assert town.invite("anna", "code", "none").code == "scheme_not_found"
    assert town.invite("anna", "code", expires_at=town.now).code == "already_expired"
    assert town.invite("anna", "anna").code == "code_exists"
    assert town.invite("anna", "code").status == "pending"
    assert town.invite("anna", "code").code == "code_requested"


def test_somebody_has_so_many_codes_and_no_more() -> None:
    town = with_codes("anna")
    for n in range(1, MAX_CODES):
        assert town.invite("anna", f"code{n}").status == "pending"

    assert town.invite("anna", "one-more").code == "too_many_codes"


def test_of_a_visitor_the_last_links_are_remembered() -> None:
    town = with_codes("anna")
    codes = [f"code{n}" for n in range(MAX_TOUCHES)]
    for code in codes:
        town.invite("anna", code)
        town.settle()
    for code in ("ANNA", *codes):
        town.click("v1", code)

    assert [touch.code for touch in town.state("referrals", "v1", "visitor").touches] == [
        code.upper() for code in codes
    ]
    assert town.click("v1", "none-such").code == "code_unknown"
