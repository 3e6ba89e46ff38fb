"""Quests through the loop in memory: commands in, results, events, documents and rows out, and what other domains tell."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from agents.quests.agent import count, honour, observe
from agents.quests.rules.definitions import SOURCES
from agents.quests.rules.documents import Player, Record, Runs
from streams.agent import Policy, agents_of
from streams.contract import Command
from streams.envelope import Actor
from streams.personal import seal
from streams.sink import Fact
from streams.testing import ADMIN, Kit, Told, user
from tests.quests.platform import TOWER
from topics.fitness import WorkoutRecorded
from topics.identity import RegisterUser, UserRegistered
from topics.meetups import ParticipantCheckedIn
from topics.promotions import ActivateCampaign, CreateCampaign, PurchaseVoucher, RedeemVoucher
from topics.quests import (
    INVITATION,
    QUESTS,
    AcceptPartyInvitation,
    AwardBadge,
    BadgeAwarded,
    CloseLeaderboardPeriod,
    CountScore,
    CreateBadge,
    CreateChallenge,
    CreateLeaderboard,
    CreateQuest,
    CreateQuestParty,
    DefineStreak,
    InviteToParty,
    JoinChallenge,
    ObserveEvent,
    PublishQuest,
    QuestCompleted,
    QuestTaskRejected,
    QuestTaskSubmitted,
    StartQuest,
    SubmitTaskProof,
    VerifyTask,
    XpAwarded,
)

PARTNER, SERVICE = user("p1", "Partner"), Actor("service", "quests")
DAY = timedelta(days=1)


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit.of("quests") as kit:
        yield kit


def with_predecessors(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in with_predecessors(QUESTS.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


@pytest.mark.parametrize("name", [name for name, contract in QUESTS.commands.items() if contract.roles])
def test_examples_are_accepted_after_those_they_name(kit: Kit, name: str) -> None:
    contract = QUESTS.commands[name]
    assert contract.examples

    assert {(told := kit.send(command)).status + (told.code or "") for command in with_predecessors(contract)} == {
        "accepted"
    }


def draw_up(kit: Kit, *tasks: dict[str, Any], **terms: Any) -> None:
    """A quest, q, that can be started."""
    body = {"quest_id": "q", "author_id": "p1", "name": "Q", "tasks": tasks, **terms}
    assert kit.send(CreateQuest.model_validate(body), actor=PARTNER).status == "accepted"
    assert kit.send(PublishQuest(quest_id="q", author_id="p1"), actor=PARTNER).status == "accepted"


def start(kit: Kit, who: str = "ann") -> Told:
    return kit.send(StartQuest(user_id=who, quest_id="q"), actor=user(who))


def tell(kit: Kit, event: str, who: str = "ann", **facts: Any) -> Told:
    """Something happens to a user."""
    now = kit.clock.now()
    body = {"user_id": who, "event": event, "event_id": "e", "occurred_at": now, "facts": facts}
    return kit.send(ObserveEvent.model_validate(body), actor=SERVICE)


def names(told: Told) -> list[str]:
    """The events that a command and what followed from it left."""
    return [event.wire_name for event in told.events]


PAY = {"task_id": "pay", "name": "Pay", "event": "order_paid", "xp": 4}
PHOTO = {"task_id": "photo", "name": "Show it", "proof": "verified"}


@pytest.mark.req("SR044")
def test_a_quest_is_done_task_by_task_and_rewarded_once(kit: Kit) -> None:
    kit.send(CreateBadge(badge_id="explorer", name="Explorer"))
    kit.send(CreateLeaderboard(leaderboard_id="daily", name="Of the day", every="day"))
    draw_up(kit, PAY, PHOTO, xp=100, points=50, badge_id="explorer")
    assert names(start(kit)) == ["quest_started"]
    kit.clock.advance(DAY)

    assert names(tell(kit, "order_paid")) == [
        "quest_task_progressed",
        "quest_task_completed",
        "xp_awarded",
        "leaderboard_updated",
    ]
    submitted = kit.send(SubmitTaskProof(user_id="ann", quest_id="q", task_id="photo"), actor=user("ann"))
    assert isinstance(submitted.events[0], QuestTaskSubmitted)
    verified = kit.send(VerifyTask(user_id="ann", quest_id="q", task_id="photo", verifier_id="p1"), actor=PARTNER)
    assert sorted(names(verified)) == [
        "badge_awarded",
        "leaderboard_updated",
        "level_reached",
        "quest_completed",
        "quest_task_completed",
        "xp_awarded",
    ]
    (completed,) = (event for event in verified.events if isinstance(event, QuestCompleted))
    assert (completed.run, completed.points, completed.badge_id) == (1, 50, "explorer")
    assert kit.rows("player") == [("ann", 104, 2)]
    assert [row[3:6] for row in kit.rows("earning")] == [(4, "task", "q:1:pay"), (100, "quest", "q:1")]
    assert [(row[2], row[3]) for row in kit.rows("score")] == [("ann", 104)]
    assert kit.state("ann") == Player(104)
    assert kit.state("ann", "runs") == Runs()
    assert kit.state("ann", "record") == Record({"q": 1}, {"q": 1}, ("explorer",))
    assert start(kit).code == "limit_reached"


@pytest.mark.req("SR044")
def test_a_party_gathers_sets_out_and_is_rewarded_with_points() -> None:
    with Kit.of("quests", "points") as kit:
        draw_up(kit, PAY, group={"min": 2, "max": 3}, points=50, xp=10)
        ann = {"owner_id": "ann", "party_id": "we"}
        kit.send(CreateQuestParty(**ann, quest_id="q"), actor=user("ann"))
        kit.send(InviteToParty(**ann, user_ids=("bob", "cy")), actor=user("ann"))
        told = kit.send(AcceptPartyInvitation(**ann, user_id="bob"), actor=user("bob"))
        assert (told.status, names(told)) == (
            "accepted",
            ["party_invitation_accepted", "party_member_joined", "party_joined"],
        )
        assert kit.send(AcceptPartyInvitation(**ann, user_id="dan"), actor=user("dan")).code == "not_invited"
        assert "quest_party_started" in names(Told("", None, {}, kit.advance(INVITATION)))
        tell(kit, "order_paid")
        tell(kit, "order_paid", "bob")

        assert kit.rows("party") == [("ann", "we", "q", "Q", "completed", 2, 3, 2)]
        assert [row[2:4] for row in kit.rows("party_member")] == [
            ("ann", "completed"),
            ("bob", "completed"),
            ("cy", "expired"),
        ]
        assert kit.rows("player") == [("ann", 14, 1), ("bob", 14, 1)]
        assert kit.rows("balance", "points") == [("ann", 50, 0), ("bob", 50, 0)]
        assert kit.parked() == []


def test_a_proof_that_is_not_taken_is_refused_and_told(kit: Kit) -> None:
    told = kit.send(SubmitTaskProof(user_id="ann", quest_id="q", task_id="t"), actor=user("ann"))

    assert (told.status, told.code) == ("rejected", "quest_not_started")
    reason = QuestTaskRejected(user_id="ann", quest_id="q", task_id="t", reason="quest_not_started")
    assert told.events == [reason]


def test_a_sealed_text_passes_unread_to_the_verifier_and_is_kept_as_long_as_it_waits(kit: Kit) -> None:
    draw_up(kit, PHOTO)
    start(kit)
    text = seal("From the north side", "ann", bytes(32))
    body = f'{{"user_id": "ann", "quest_id": "q", "task_id": "photo", "text": "{text}"}}'
    kit.send(SubmitTaskProof.from_topic(body.encode()), actor=user("ann"))
    assert [(row[5], row[7]) for row in kit.rows("submission")] == [("waiting", text)]

    kit.send(VerifyTask(user_id="ann", quest_id="q", task_id="photo", verifier_id="p1"), actor=PARTNER)
    assert [(row[5], row[7], row[9]) for row in kit.rows("submission")] == [("verified", None, "p1")]


@pytest.mark.req("SR044")
def test_where_somebody_is_stands_in_no_event(kit: Kit) -> None:
    draw_up(kit, {"task_id": "t", "name": "T", "proof": "automatic", "place": {**TOWER, "radius_m": 9}})
    start(kit)
    body = {"user_id": "ann", "quest_id": "q", "task_id": "t", "position": TOWER}
    told = kit.send(SubmitTaskProof.model_validate(body), actor=user("ann"))

    assert names(told) == ["quest_task_completed", "quest_completed"]
    assert all(b"56.94" not in event.to_json() for event in told.events)


def test_a_proof_comes_in_time_a_quest_expires_a_streak_breaks_and_a_period_closes_by_themselves(kit: Kit) -> None:
    kit.send(CreateBadge(badge_id="best", name="Best"))
    board = CreateLeaderboard(leaderboard_id="daily", name="D", every="day", winners=1, badge_id="best")
    kit.send(board)
    kit.send(DefineStreak(streak_id="paying", event="order_paid"))
    draw_up(kit, PAY, PHOTO, days=1)
    start(kit)
    tell(kit, "order_paid")
    kit.clock.advance(timedelta(seconds=1))
    start(kit, "bob")
    tell(kit, "order_paid", "bob")

    happened = [event.wire_name for _ in range(4) for event in kit.advance(DAY)]
    assert sorted(happened) == [
        "badge_awarded",
        "leaderboard_period_closed",
        *2 * ["quest_expired"],
        *2 * ["streak_broken"],
    ]
    assert [row[:3] for row in kit.rows("badge_held")] == [("ann", "best", "held")], "who was there first"
    assert [row[3] for row in kit.rows("ending")] == ["expired", "expired"]
    assert [row[4:] for row in kit.rows("streak")] == [(0, 1), (0, 1)]
    assert [row[2:4] for row in kit.rows("period")] == [("closed", 2)]


@pytest.mark.req("SR056")
def test_what_other_domains_tell_counts_without_what_is_personal() -> None:
    with Kit.of("quests", "identity", "promotions", "points") as kit:
        challenge = {
            "challenge_id": "new",
            "name": "N",
            "event": "voucher_redeemed",
            "starts_at": "2020-01-01T00:00:00Z",
        }
        kit.send(
            CreateChallenge.model_validate({**challenge, "score": "event.value", "ends_at": "2999-01-01T00:00:00Z"})
        )
        kit.send(JoinChallenge(user_id="ann", challenge_id="new"), actor=user("ann"))
        kit.send(DefineStreak(streak_id="signed-up", event="user_registered"))
        email = seal("ann@example.com", "ann", bytes(32))
        body = f'{{"user_id": "ann", "email": "{email}", "email_login": "e0"}}'
        kit.send(RegisterUser.from_topic(body.encode()))
        terms = {
            "name": "C",
            "price": 0,
            "value": 300,
            "currency": "EUR",
            "quantity": 9,
            "budget": 9000,
            "valid_days": 2,
        }
        kit.send(CreateCampaign.model_validate({"campaign_id": "c", "partner_id": "p1", **terms}), actor=PARTNER)
        kit.send(ActivateCampaign(campaign_id="c", partner_id="p1"), actor=PARTNER)
        kit.send(PurchaseVoucher(campaign_id="c", voucher_id="v1", user_id="ann"), actor=user("ann"))
        (code,) = (row[10] for row in kit.rows("voucher", "promotions"))
        assert kit.send(RedeemVoucher(campaign_id="c", partner_id="p1", code=code), actor=PARTNER).status == "accepted"

        assert [(row[:2], row[4]) for row in kit.rows("streak")] == [(("ann", "signed-up"), 1)]
        assert [row[:4] for row in kit.rows("entry")] == [("new", "ann", "joined", 300)]
        commands = [record.value or b"" for record in kit.broker.records(QUESTS.commands_topic)]
        assert any(b"user_registered" in command for command in commands)
        assert not any(email.encode() in command for command in commands)


def test_every_event_that_definitions_may_ask_for_is_listened_to() -> None:
    listened = {
        kind
        for agent in agents_of("quests")
        if isinstance(agent, Policy)
        for kind, to in agent.on.items()
        if to is observe
    }

    assert {kind.wire_name for kind in listened} == set(SOURCES)
    assert all("user_id" in kind.model_fields for kind in listened)


def fact(event: Any) -> Fact[Any]:
    """An event that was told at noon."""
    return Fact(event, "e1", event.key, 1, datetime(2026, 1, 2, 12, tzinfo=UTC), ADMIN, str(UUID(int=1)))


def test_what_happened_is_of_the_time_that_the_event_tells() -> None:
    came = datetime(2026, 1, 1, 20, tzinfo=UTC)
    check_in = ParticipantCheckedIn(meetup_id="m", user_id="ann", author_id="p1", city="Riga", at=came)
    workout = WorkoutRecorded(user_id="ann", workout_id="w", kind="run", minutes=30, at=came)
    registered = UserRegistered(user_id="ann", registered_at=came)

    assert [observe(fact(event)).occurred_at for event in (check_in, workout)] == [came, came]
    assert observe(fact(registered)).occurred_at == fact(registered).at
    assert observe(fact(workout)).facts["minutes"] == 30


@pytest.mark.req("SR065")
def test_the_events_alone_rebuild_documents_and_rows(kit: Kit) -> None:
    for name in QUESTS.commands:
        for command in with_predecessors(QUESTS.commands[name]) if QUESTS.commands[name].roles else ():
            kit.send(command)
    tell(kit, "workout_recorded", kind="run", minutes=60, distance_m=9000)
    tell(kit, "voucher_redeemed", value=300)
    kit.advance(40 * DAY)
    live, rebuilt = kit.store.schemas[QUESTS.domain], kit.rebuilt().schemas[QUESTS.domain]

    assert rebuilt.rows == live.rows
    assert {key: stored.data for key, stored in rebuilt.states.items()} == {
        key: stored.data for key, stored in live.states.items()
    }


@pytest.mark.parametrize(
    "command",
    [
        AwardBadge(user_id="ann", badge_id="b"),
        StartQuest(user_id="bob", quest_id="q"),
        PublishQuest(quest_id="q", author_id="ann"),
        VerifyTask(user_id="ann", quest_id="q", task_id="t", verifier_id="ann"),
        CloseLeaderboardPeriod(leaderboard_id="l", period="season"),
        ObserveEvent(user_id="ann", event="order_paid", event_id="e", occurred_at=datetime.now(UTC), facts={}),
    ],
)
def test_what_a_user_may_not_issue_is_refused_by_the_agent_too(kit: Kit, command: Command) -> None:
    assert kit.send(command, actor=user("ann")).code == "forbidden"


def test_experience_counts_for_each_leaderboard_and_winners_get_the_badge_of_a_period(kit: Kit) -> None:
    for name in ("one", "two"):
        kit.send(CreateLeaderboard(leaderboard_id=name, name=name, every="season"))
    draw_up(kit, PAY)
    start(kit)
    told = tell(kit, "order_paid")
    (xp,) = (event for event in told.events if isinstance(event, XpAwarded))

    assert [period.leaderboard_id for period in xp.periods] == ["one", "two"]
    assert [type(command) for command in count(fact(xp))] == [CountScore, CountScore]
    closed = kit.send(CloseLeaderboardPeriod(leaderboard_id="one", period="season"))
    assert honour(fact(closed.events[0])) == []
    assert BadgeAwarded not in [type(event) for event in closed.events]
