"""The laws of sanctions, over random lives in which admins, those to be, and users sanction, appeal and decide, with steps carried on at random moments."""

import json
from collections import Counter
from datetime import datetime

import pytest
from hypothesis import given, settings

from tests.governance.sanctioned import (
    AGENTS,
    ENDED,
    Entry,
    Told,
    admins_of,
    against,
    histories,
    kept_from,
    play,
    run,
    sanctions_of,
)
from tests.stepping import rebuilt
from topics.governance import BanExpired, SanctionAppealDecided, UserBanned, UserRestricted, UserWarned

QUICK = settings(max_examples=40)
USERS = ("ann", "bob")


@pytest.mark.req("SR098")
@QUICK
@given(histories)
def test_what_is_refused_is_refused_for_what_stands_against_it_and_all_else_is_done(history: list[Entry]) -> None:
    """One ban at a time, no past end, no sanction twice; nobody judges themselves or their own decision; no ban of an admin, and the last admin stays."""
    for _, told in play(history):
        if told is not None:
            reasons = against(told)
            if told.outcome.status == "rejected":
                assert told.outcome.code in reasons
            else:
                assert not reasons, told


@pytest.mark.req("SR098")
@QUICK
@given(histories)
def test_at_no_moment_an_admin_is_banned_or_the_list_is_empty_again(history: list[Entry]) -> None:
    """Whatever crosses on the way between the user and the list."""
    had = False
    for platform, _ in play(history):
        events = [fact.event for fact in platform.facts]
        listed = admins_of(events)
        had = had or bool(listed)
        assert bool(listed) == had
        for user in listed:
            assert not [
                one for one in sanctions_of(user, events).values() if one.kind == "ban" and one.is_on(platform.now)
            ]


@pytest.mark.req("SR098")
@QUICK
@given(histories)
def test_every_sanction_is_imposed_once_and_ends_once_and_those_that_have_a_time_in_time(history: list[Entry]) -> None:
    platform = run(history)
    events = [fact.event for fact in platform.facts]
    imposed = Counter(
        (e.user_id, e.sanction_id) for e in events if isinstance(e, UserWarned | UserBanned | UserRestricted)
    )
    ended = Counter((e.user_id, e.sanction_id) for e in events if isinstance(e, ENDED))
    decided = Counter((e.user_id, e.sanction_id) for e in events if isinstance(e, SanctionAppealDecided))

    for count in (imposed, ended, decided):
        assert set(count.values()) <= {1}
    until: dict[tuple[str, str], datetime | None] = {
        (e.user_id, e.sanction_id): e.until for e in events if isinstance(e, UserBanned | UserRestricted)
    }
    for one in events:
        if isinstance(one, BanExpired) or getattr(one, "cause", None) == "expired":
            due = until[one.user_id, one.sanction_id]
            assert due is not None
            assert due <= one.at
    for key, due in until.items():
        assert key in ended or due is None or due > platform.now


@pytest.mark.req("SR098")
@QUICK
@given(histories)
def test_what_the_edge_is_told_is_what_the_events_say_at_every_moment(history: list[Entry]) -> None:
    for platform, _ in play(history):
        for user in USERS:
            banned, until, not_before = kept_from(user, platform)
            row = platform.rows["standing"].get((user,), (user, False, None, "{}", None))
            ends = {scope: end and datetime.fromisoformat(end) for scope, end in json.loads(row[3]).items()}
            assert (row[1], ends, row[4]) == (banned, until, not_before)


@QUICK
@given(histories)
def test_the_events_alone_say_the_same(history: list[Entry]) -> None:
    live = run(history)
    again = rebuilt(live, *AGENTS)

    assert again.documents == live.documents
    assert again.rows == live.rows
    assert again.timers == live.timers


def test_the_lives_are_full() -> None:
    """Each kind of act is done and refused for each reason in some life: the laws above look at something."""
    seen = Counter[str]()

    @settings(max_examples=150, database=None, derandomize=True)
    @given(histories)
    def look(history: list[Entry]) -> None:
        told: Told | None
        for _, told in play(history):
            if told is not None:
                seen[f"{told.act.kind.__name__} {told.outcome.code or 'done'}"] += 1

    look()
    wanted = "BanUser done,BanUser own_sanction,BanUser is_admin,BanUser already_banned,BanUser until_is_past,BanUser sanction_exists,"
    wanted += "UnbanUser done,UnbanUser sanction_over,LiftRestriction done,RestrictUser is_admin,AppealSanction done,AppealSanction already_appealed,"
    wanted += "DecideSanctionAppeal done,DecideSanctionAppeal own_decision,DecideSanctionAppeal already_decided,AddAdmin banned,AddAdmin done,"
    wanted += "AddAdmin already_admin,RemoveAdmin done,RemoveAdmin last_admin,RemoveAdmin not_an_admin"
    assert set(wanted.split(",")) <= seen.keys()
