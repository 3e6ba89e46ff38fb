"""Parties: who is in them, when they set out, and who is rewarded; over random lives beside a plain model, and case by case."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.points.agent import FINISHED_QUESTS
from agents.quests.agent import EARNINGS, PARTIES, QUESTS_DECIDER
from streams.contract import Command
from streams.envelope import Actor
from tests.quests import model
from tests.quests.platform import DAY, Happening, happen, observe, quest, rows, told
from tests.stepping import Outcome, Stepping, rebuilt
from topics.points import AwardPoints
from topics.quests import (
    AbandonQuest,
    AcceptPartyInvitation,
    AdmitPartyMember,
    ArchiveQuest,
    BadgeAwarded,
    CreateBadge,
    CreateQuestParty,
    DeclinePartyInvitation,
    ExpirePartyInvitations,
    InviteToParty,
    LeaveParty,
    NotePartyMember,
    OfParty,
    OfSeat,
    PartyInvitationAccepted,
    PartyInvitationExpired,
    PartyJoinFailed,
    PartyLeft,
    PartyMemberRefused,
    PartyRewardDue,
    PartyRewardGranted,
    PublishQuest,
    QuestAbandoned,
    QuestCompleted,
    QuestExpired,
    QuestFailed,
    QuestPartyCompleted,
    QuestPartyCreated,
    QuestPartyStarted,
    QuestStarted,
    StartParty,
    StartQuest,
    XpAwarded,
)

USERS = ("ann", "bob", "cy", "dan")
PAY = {"task_id": "pay", "name": "Pay", "event": "order_paid", "xp": 3}
QUESTS: dict[str, dict[str, Any]] = {
    "relay": {"tasks": [PAY], "group": {"min": 2, "max": 3}, "limit": 2, "xp": 50, "points": 7, "badge_id": "team"},
    "race": {"tasks": [PAY], "group": {"min": 2, "max": 4, "needed": 1}, "limit": 9, "days": 2, "xp": 20},
}
PARTY = {"a": "relay", "b": "relay", "c": "race"}


def world() -> Stepping:
    """Two quests for groups; what one policy gives from one key to another comes in its order."""
    platform = Stepping(QUESTS_DECIDER, EARNINGS, PARTIES, ordered=True)
    platform.send(CreateBadge(badge_id="team", name="Team"))
    for name, terms in QUESTS.items():
        assert platform.send(quest(name, **terms)).status == "accepted"
        assert platform.send(PublishQuest(quest_id=name, author_id="p1")).status == "accepted"
    return platform


users, owners, parties = st.sampled_from(USERS), st.sampled_from(USERS[:2]), st.sampled_from([*PARTY])
of = {"owner_id": owners, "party_id": parties}
groups = st.lists(users, min_size=1, max_size=2, unique=True).map(tuple)
entries = st.one_of(
    st.builds(
        lambda owner, name: CreateQuestParty(owner_id=owner, party_id=name, quest_id=PARTY[name]), owners, parties
    ),
    st.builds(InviteToParty, **of, user_ids=groups),
    st.builds(InviteToParty, **of, user_ids=groups),
    st.builds(AcceptPartyInvitation, **of, user_id=users),
    st.builds(AcceptPartyInvitation, **of, user_id=users),
    st.builds(DeclinePartyInvitation, **of, user_id=users),
    st.builds(StartParty, **of),
    st.builds(LeaveParty, **of, user_id=users),
    st.builds(AbandonQuest, user_id=users, quest_id=st.sampled_from([*QUESTS])),
    st.builds(Happening, users, st.just("order_paid"), st.just(timedelta()), st.just(20)),
    st.builds(Happening, users, st.just("order_paid"), st.just(timedelta()), st.just(20)),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from((timedelta(hours=1), DAY, 4 * DAY)),
    st.none(),
)
histories = st.lists(entries, min_size=30, max_size=70)
Entry = Command | Happening | int | timedelta | None


def begun() -> Stepping:
    """One party has set out, to another somebody has come already, and to a third somebody is invited."""
    platform = world()
    for owner, name, asked in (("ann", "a", ("cy", "dan")), ("bob", "a", ("cy",)), ("bob", "c", ("ann", "dan"))):
        platform.send(CreateQuestParty(owner_id=owner, party_id=name, quest_id=PARTY[name]))
        platform.send(InviteToParty(owner_id=owner, party_id=name, user_ids=asked))
    for who, owner, name in (("ann", "bob", "c"), ("dan", "bob", "c"), ("cy", "ann", "a")):
        assert accept(platform, who, owner, name).status == "accepted"
    return platform


def lived(history: list[Entry]) -> Iterator[Stepping]:
    """The platform at every moment of a life."""
    platform = begun()
    for entry in history:
        match entry:
            case None:
                platform.fire()
            case int():
                platform.step(entry)
            case timedelta():
                platform.advance(entry)
            case Happening():
                happen(platform, entry)
            case _:
                platform.send(entry)
        yield platform
    for wait in (timedelta(), 10 * DAY):
        platform.advance(wait)
        while platform.step() or platform.fire():
            yield platform


def run(history: list[Entry]) -> Stepping:
    """The platform at the end of a life."""
    *_, platform = [begun(), *lived(history)]
    return platform


def expected(model_of: dict[Any, model.Gathering], outcome: Outcome) -> str | None:
    """What the plain model says to a command about a party."""
    command, now = outcome.command, outcome.at
    party = model_of.get((command.owner_id, command.party_id))
    if party is None:
        return "party_not_found"
    match command:
        case InviteToParty():
            return party.invite(command.user_ids, now)
        case AdmitPartyMember() | DeclinePartyInvitation():
            return party.answer(command.user_id, now, joins=isinstance(command, AdmitPartyMember))
        case StartParty():
            return party.start()
        case NotePartyMember():
            return party.end(command.user_id, completed=command.completed_at is not None)
        case ExpirePartyInvitations():
            return party.expire(now)
    raise NotImplementedError(command)


@pytest.mark.req("SR044")
@settings(max_examples=20)
@given(histories)
def test_parties_are_those_of_a_plain_model(history: list[Entry]) -> None:
    platform = run(history)
    model_of: dict[Any, model.Gathering] = {}
    for outcome in platform.outcomes.values():
        command = outcome.command
        if isinstance(command, CreateQuestParty):
            if outcome.status == "accepted":
                group = QUESTS[command.quest_id]["group"]
                name = command.owner_id, command.party_id
                model_of[name] = model.Gathering(command.owner_id, group["min"], group["max"], group.get("needed"))
        elif isinstance(command, OfParty) and not isinstance(command, OfSeat):
            refused = [event.code for event in outcome.events if isinstance(event, PartyMemberRefused)]
            assert (outcome.code or next(iter(refused), None)) == expected(model_of, outcome), command

    assert {row[:2]: row[4] for row in rows(platform, "party")} == {name: one.status for name, one in model_of.items()}
    members = {(*row[:2], row[2]) for row in rows(platform, "party_member") if row[3] in ("joined", "completed")}
    there = {(*name, user) for name, one in model_of.items() for user in one.there}
    assert {one for one in members if model_of[one[:2]].status != "disbanded"} == there


@pytest.mark.req("SR044")
@settings(max_examples=20)
@given(histories)
def test_who_completed_with_a_party_that_did_is_rewarded_once_and_nobody_else(history: list[Entry]) -> None:
    platform = run(history)
    completed = {(e.owner_id, e.party_id) for e in told(platform, QuestPartyCompleted)}
    finished = {(e.party.owner_id, e.party.party_id, e.user_id): e for e in told(platform, QuestCompleted)}
    granted = Counter((e.owner_id, e.party_id, e.user_id) for e in told(platform, PartyRewardGranted))
    forfeited = {(e.owner_id, e.party_id, e.user_id) for e in told(platform, PartyLeft)}

    assert set(granted.values()) <= {1}
    assert {*granted} <= {one for one in finished if one[:2] in completed}
    assert {one for one in finished if one[:2] in completed} - {*granted} <= forfeited
    earned = Counter((e.user_id, e.source_id) for e in told(platform, XpAwarded) if e.source == "quest")
    assert earned == Counter((one[2], f"{finished[one].quest_id}:{finished[one].run}") for one in granted)
    assert all((e.points, e.xp, e.badge_id) == (0, 0, None) for e in finished.values())


@pytest.mark.req("SR044")
@settings(max_examples=20)
@given(histories)
def test_nobody_is_in_two_parties_for_one_quest_and_all_set_out_who_were_in_it(history: list[Entry]) -> None:
    platform = run(history)
    seats: dict[tuple[str, str], Any] = {}
    for event in (fact.event for fact in platform.facts):
        match event:
            case QuestPartyCreated():
                assert seats.setdefault((event.owner_id, event.quest_id), event) is event
            case PartyInvitationAccepted():
                assert seats.setdefault((event.user_id, event.quest_id), event) is event
            case PartyJoinFailed() | PartyLeft() | PartyRewardGranted():
                seats.pop((event.user_id, PARTY[event.party_id]))
            case QuestAbandoned() | QuestExpired() | QuestFailed():
                seats.pop((event.user_id, event.quest_id))
            case QuestStarted():
                seat = seats[event.user_id, event.quest_id]
                assert event.party
                assert (event.party.owner_id, event.party.party_id) == (seat.owner_id, seat.party_id)
    started = {(e.owner_id, e.party_id): e for e in told(platform, QuestPartyStarted)}
    for one in told(platform, QuestStarted):
        assert one.user_id in started[one.party.owner_id, one.party.party_id].members
    assert all(len(e.members) >= QUESTS[e.quest_id]["group"]["min"] for e in started.values())
    assert "pending" not in {outcome.status for outcome in platform.outcomes.values()}
    assert all(not seat.command_id for key in USERS for seat in platform.state("quests", key, "parties").seats.values())


@settings(max_examples=15)
@given(histories)
def test_the_events_alone_give_the_same_parties(history: list[Entry]) -> None:
    live = run(history)
    again = rebuilt(live, *live.agents)

    assert (again.documents, again.rows, again.timers) == (live.documents, live.rows, live.timers)


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("test_") and hasattr(law, "hypothesis")]


@pytest.mark.full
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
def test_the_law_holds_over_many_lives(law: Any) -> None:
    settings(max_examples=300)(given(histories)(law.hypothesis.inner_test))()


# -- case by case


def create(platform: Stepping, owner: str = "ann", name: str = "a", quest_id: str = "relay") -> Outcome:
    return platform.send(CreateQuestParty(owner_id=owner, party_id=name, quest_id=quest_id))


def invite(platform: Stepping, *who: str, owner: str = "ann", name: str = "a") -> Outcome:
    return platform.send(InviteToParty(owner_id=owner, party_id=name, user_ids=who))


def accept(platform: Stepping, who: str, owner: str = "ann", name: str = "a") -> Outcome:
    """Somebody accepts, and gets an answer."""
    outcome = platform.send(AcceptPartyInvitation(owner_id=owner, party_id=name, user_id=who))
    platform.settle()
    return outcome


def decline(platform: Stepping, who: str) -> Outcome:
    return platform.send(DeclinePartyInvitation(owner_id="ann", party_id="a", user_id=who))


def start(platform: Stepping, owner: str = "ann") -> Outcome:
    outcome = platform.send(StartParty(owner_id=owner, party_id="a"))
    platform.settle()
    return outcome


def leave(platform: Stepping, who: str) -> Outcome:
    outcome = platform.send(LeaveParty(owner_id="ann", party_id="a", user_id=who))
    platform.settle()
    return outcome


def pay(platform: Stepping, who: str) -> None:
    """A member does what the quest asks for."""
    platform.advance(timedelta(minutes=1))
    observe(platform, who, "order_paid", platform.now)
    platform.settle()


def gathered(*who: str, **terms: Any) -> Stepping:
    """Ann has gathered a party a, for the relay, and invited these."""
    platform = world()
    if terms:
        platform.send(quest("relay", **{**QUESTS["relay"], **terms}))
        assert platform.send(PublishQuest(quest_id="relay", author_id="p1")).status == "accepted"
    assert create(platform).status == "accepted"
    if who:
        assert invite(platform, *who).status == "accepted"
    return platform


def status(platform: Stepping) -> str:
    """How Ann's party stands."""
    found: str = rows(platform, "party")[0][4]
    return found


@pytest.mark.req("SR044")
def test_a_party_sets_out_when_nobody_has_still_to_answer_and_is_rewarded_when_all_have_completed() -> None:
    platform = gathered("bob", "cy")
    assert accept(platform, "bob").status == "accepted"
    assert (status(platform), told(platform, QuestStarted)) == ("gathering", [])
    accept(platform, "cy")

    assert status(platform) == "started"
    assert [event.user_id for event in told(platform, QuestStarted)] == ["ann", "bob", "cy"]
    for who in ("bob", "cy"):
        pay(platform, who)
    assert told(platform, PartyRewardGranted) == []
    pay(platform, "ann")
    assert status(platform) == "completed"
    assert [(row[0], row[1]) for row in rows(platform, "player")] == [("ann", 53), ("bob", 53), ("cy", 53)]
    assert Counter(event.user_id for event in told(platform, BadgeAwarded)) == {"ann": 1, "bob": 1, "cy": 1}
    (due, *_) = told(platform, PartyRewardDue)
    assert due.completed_at == max(event.completed_at for event in told(platform, QuestCompleted))
    assert create(platform, name="b").status == "accepted", "the next one"


def test_the_owner_may_set_out_with_as_many_as_the_quest_asks_for_and_nobody_else_may() -> None:
    platform = gathered("bob", "cy")
    assert start(platform).code == "too_few_members"
    assert start(platform, "bob").code == "party_not_found"
    command = StartParty(owner_id="ann", party_id="a")
    assert [command.may_be_issued_by(Actor("user", name, "User")) for name in ("ann", "bob")] == [True, False]
    accept(platform, "bob")
    assert start(platform).status == "accepted"

    assert [event.user_id for event in told(platform, QuestStarted)] == ["ann", "bob"]
    late = (accept(platform, "cy"), decline(platform, "cy"), invite(platform, "dan"), start(platform))
    assert [outcome.code for outcome in late] == ["party_started"] * 4
    assert platform.state("quests", "cy", "parties").seats == {}, "the seat is free again"


def test_it_sets_out_too_when_the_last_answer_is_no_or_does_not_come() -> None:
    for wait in (False, True):
        platform = gathered("bob", "cy")
        accept(platform, "bob")
        platform.advance(7 * DAY - timedelta(minutes=1))
        assert not platform.fire()
        if wait:
            platform.advance(timedelta(minutes=1))
            assert accept(platform, "cy").code == "invitation_expired"
            platform.settle()
        else:
            assert decline(platform, "cy").status == "accepted"
        assert status(platform) == "started"
        assert len(told(platform, PartyInvitationExpired)) == wait


def test_whom_an_owner_invites() -> None:
    platform = gathered("bob")

    assert invite(platform, "ann").code == "own_invitation"
    assert invite(platform, "cy", "bob").code == "already_invited"
    assert invite(platform, "cy", "dan").code == "party_full"
    assert invite(platform, "dan", name="x").code == "party_not_found"
    assert (accept(platform, "cy").code, decline(platform, "cy").code) == ("not_invited", "not_invited")
    assert accept(platform, "cy", name="x").code == "party_not_found"
    invite(platform, "cy")
    accept(platform, "bob")
    assert invite(platform, "bob").code == "already_member"
    assert decline(platform, "cy").status == "accepted"
    for bad in ((), ("bob", "bob"), ("u",) * 21, ("a b",)):
        with pytest.raises(ValidationError):
            InviteToParty(owner_id="ann", party_id="a", user_ids=bad)


def test_who_is_not_ready_cannot_gather_or_join() -> None:
    platform = gathered("bob")
    assert create(platform).code == "party_exists"
    assert create(platform, name="b").code == "in_party"
    assert create(platform, "bob", quest_id="nothing").code == "quest_not_found"
    platform.send(quest("alone", tasks=[PAY]))
    platform.send(PublishQuest(quest_id="alone", author_id="p1"))
    assert create(platform, "bob", quest_id="alone").code == "no_group_quest"
    assert platform.send(StartQuest(user_id="bob", quest_id="relay")).code == "group_quest"
    assert create(platform, "bob").status == "accepted"
    assert accept(platform, "bob").code == "in_party"
    platform.send(ArchiveQuest(quest_id="relay", author_id="p1"))
    assert create(platform, "cy").code == "quest_archived"


@pytest.mark.parametrize(
    ("terms", "code"), [({"min_level": 2}, "level_too_low"), ({"requires": ["race"]}, "prerequisites_missing")]
)
def test_who_joins_has_to_be_as_far_as_the_quest_asks(terms: dict[str, Any], code: str) -> None:
    platform = world()
    platform.send(quest("far", **{**QUESTS["race"], **terms}))
    platform.send(PublishQuest(quest_id="far", author_id="p1"))

    assert create(platform, quest_id="far").code == code


def test_whoever_accepts_twice_at_once_is_in_one_party() -> None:
    platform = gathered("cy")
    create(platform, "bob")
    invite(platform, "cy", owner="bob")
    first = platform.send(AcceptPartyInvitation(owner_id="ann", party_id="a", user_id="cy"))
    second = platform.send(AcceptPartyInvitation(owner_id="bob", party_id="a", user_id="cy"))
    off = platform.send(LeaveParty(owner_id="ann", party_id="a", user_id="cy"))
    platform.settle()

    assert (first.status, second.code, off.code) == ("accepted", "in_party", "not_joined_yet")


def test_what_was_sent_for_a_seat_that_was_left_does_not_end_the_next_one() -> None:
    platform = world()
    create(platform, quest_id="race")
    invite(platform, "bob", "cy")
    accept(platform, "bob"), accept(platform, "cy")
    observe(platform, "bob", "order_paid", platform.now)
    while not told(platform, PartyRewardDue):
        assert platform.step()
    assert platform.send(LeaveParty(owner_id="ann", party_id="a", user_id="bob")).status == "accepted"
    again = platform.send(AcceptPartyInvitation(owner_id="ann", party_id="a", user_id="bob"))
    assert again.status == "pending"
    platform.settle()

    assert (again.status, again.code) == ("rejected", "party_started")
    assert "bob" not in {event.user_id for event in told(platform, PartyRewardGranted)}


def test_who_leaves_before_it_sets_out_may_come_again_and_the_owner_disbands_it() -> None:
    platform = gathered("bob", "cy")
    assert leave(platform, "bob").code == "not_in_party"
    accept(platform, "bob")
    assert leave(platform, "bob").status == "accepted"
    invite(platform, "bob")
    assert accept(platform, "bob").status == "accepted"
    leave(platform, "ann")

    assert status(platform) == "disbanded"
    assert [(event.user_id, event.reason) for event in told(platform, PartyLeft)][-2:] == [
        ("ann", "left"),
        ("bob", "disbanded"),
    ]
    assert accept(platform, "cy").code == "party_disbanded"
    assert (create(platform).code, create(platform, name="b").status) == ("party_exists", "accepted")


@pytest.mark.parametrize("how", ["leave", "abandon", "expire"])
def test_a_party_fails_when_too_few_are_left_and_nobody_is_rewarded(how: str) -> None:
    platform = gathered("bob", "cy", days=1)
    for who in ("bob", "cy"):
        accept(platform, who)
    pay(platform, "bob")
    if how == "leave":
        leave(platform, "ann")
    elif how == "abandon":
        platform.send(AbandonQuest(user_id="ann", quest_id="relay"))
    else:
        platform.advance(2 * DAY)
    platform.settle()

    assert status(platform) == "failed"
    assert told(platform, PartyRewardGranted) == []
    assert [event.user_id for event in told(platform, QuestFailed)] == ["cy"], "who was still on it"
    assert all(not platform.state("quests", who, "parties").seats for who in USERS)
    assert all(not platform.state("quests", who, "runs").active for who in USERS)


def test_as_many_as_are_needed_complete_it_and_the_others_still_may() -> None:
    platform = world()
    create(platform, quest_id="race")
    invite(platform, "bob", "cy")
    accept(platform, "bob"), accept(platform, "cy")
    pay(platform, "bob")
    assert status(platform) == "completed"
    pay(platform, "ann")
    leave(platform, "cy")

    assert [event.user_id for event in told(platform, PartyRewardGranted)] == ["bob", "ann"]
    assert status(platform) == "completed"


def test_a_quest_that_is_over_is_not_set_out_on() -> None:
    platform = gathered("bob", ends_at=world().now + DAY)
    platform.advance(DAY)

    assert accept(platform, "bob").status == "accepted"
    assert (status(platform), start(platform).code) == ("gathering", "quest_over")


@pytest.mark.parametrize("group", [{"min": 1, "max": 2}, {"min": 3, "max": 2}, {"min": 2, "max": 21}, {"min": 2, "max": 3, "needed": 3}])  # fmt: skip
def test_a_group_is_possible(group: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        quest("q", tasks=[PAY], group=group)


def test_points_of_a_party_are_awarded_to_who_is_rewarded() -> None:
    platform = gathered("bob")
    accept(platform, "bob")
    for who in ("ann", "bob"):
        pay(platform, who)
    awards = [
        made
        for fact in platform.facts
        if (handler := FINISHED_QUESTS.on.get(type(fact.event)))
        for made in handler(fact)
        if isinstance(made, AwardPoints)
    ]

    assert [(one.user_id, one.amount, one.rule) for one in awards] == [
        ("ann", 7, "quest:relay"),
        ("bob", 7, "quest:relay"),
    ]
