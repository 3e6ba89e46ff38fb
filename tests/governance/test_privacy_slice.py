"""Privacy through the loop in memory: commands in, results, events, documents, rows and calls to the outside out."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.privacy import ERASURES, EXPORTS, asking
from streams import discover
from streams.agent import Decider, agents_of
from streams.contract import Command
from streams.effect import Passing, Refused
from streams.memory import MemoryStore
from streams.outside import Outside
from streams.personal import Sealed, blind_fields, blinded, personal_fields, seal
from streams.testing import ADMIN, Kit, user
from tests.governance import shop
from tests.governance.planting import plantings, readable, sealed_in
from tests.governance.shop import SHOP, Deliver, Order
from topics.governance import (
    GOVERNANCE,
    CompleteErasure,
    DataExportExpired,
    DataExportFailed,
    ErasureStepDeferred,
    RecordConsent,
    RequestDataExport,
    RequestErasure,
    UserErased,
    WithdrawConsent,
)

DAY = timedelta(days=1)
ANN = user("ann")
PRIVATE = [c for c in GOVERNANCE.commands.values() if c.__module__ == RequestErasure.__module__]


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit(GOVERNANCE_DECIDER, EXPORTS, ERASURES, *asking([GOVERNANCE, SHOP]), *shop.AGENTS) as kit:
        yield kit


def examples(contract: type[Command]) -> list[Command]:
    """The examples of a command behind those that have to come before."""
    earlier = [example for name in contract.after for example in examples(GOVERNANCE.commands[name])]
    return [*earlier, *(contract.model_validate(example) for example in contract.examples)]


@pytest.mark.parametrize("contract", [c for c in PRIVATE if c.roles])
def test_examples_are_accepted_after_those_they_name(kit: Kit, contract: type[Command]) -> None:
    told = [kit.send(command).status for command in examples(contract)]

    assert told
    assert set(told) == {"accepted"}


def test_what_is_a_users_right_is_taken_from_the_banned_too() -> None:
    assert {c for c in PRIVATE if c.despite_sanctions} == {RequestDataExport, RequestErasure, WithdrawConsent}


@pytest.mark.parametrize(
    ("command", "who"),
    [
        (RequestErasure(user_id="ann"), user("bob")),
        (RequestDataExport(user_id="ann"), user("bob", "PRO")),
        (RecordConsent(user_id="ann", purpose="p", text_version="1", channel="c"), user("guest", "Guest")),
        (CompleteErasure(user_id="ann", erasure_id="e"), ADMIN),
    ],
)
def test_what_somebody_may_not_issue_is_refused_by_the_agent_too(kit: Kit, command: Command, who: Any) -> None:
    assert kit.send(command, actor=who).code == "forbidden"


@pytest.mark.req("SR140")
def test_a_consent_is_kept_as_it_was_given_and_withdrawn(kit: Kit) -> None:
    given = {"user_id": "ann", "purpose": "news", "channel": "web"}
    first: Any = kit.send(RecordConsent(**given, text_version="1"), actor=ANN).events[0]
    kit.clock.advance(DAY)
    kit.send(RecordConsent(**given, text_version="1"), actor=ANN)
    kit.send(RecordConsent(**given, text_version="2"), actor=ANN)
    ((_, _, version, _, since, at, agrees),) = kit.rows("consent")

    assert (version, agrees) == ("2", True)
    assert since == first.at < at
    last: Any = kit.send(WithdrawConsent(**given), actor=ANN).events[0]
    assert last.since == since
    assert kit.send(WithdrawConsent(**given), actor=ANN).code == "not_given"
    assert kit.rows("consent")[0][-1] is False


@pytest.mark.req("SR140")
def test_an_export_is_made_once_and_its_file_goes_after_seven_days(kit: Kit) -> None:
    outside = kit.outside["exports"]
    outside.answers.append({"size": 77})
    asked: Any = kit.send(RequestDataExport(user_id="ann"), actor=ANN).events[0]
    export_id = asked.export_id

    assert [row[1:3] + row[5:] for row in kit.rows("data_export")] == [(export_id, "ready", 77)]
    assert kit.send(RequestDataExport(user_id="ann"), actor=ANN).code == "export_ready"
    assert [type(event) for event in kit.advance(7 * DAY)] == [DataExportExpired]
    assert [(one.intent.act, one.intent.data["export_id"]) for one in outside.asked] == [
        ("make", export_id),
        ("drop", export_id),
    ]
    assert kit.send(RequestDataExport(user_id="ann"), actor=ANN).status == "accepted"


def test_an_export_that_fails_is_told_and_may_be_asked_for_again(kit: Kit) -> None:
    kit.outside["exports"].answers.append(Refused("gone"))
    told = kit.send(RequestDataExport(user_id="ann"), actor=ANN)

    assert isinstance(told.events[-1], DataExportFailed)
    assert kit.send(RequestDataExport(user_id="ann"), actor=ANN).status == "accepted"


@pytest.mark.req("SR140")
def test_an_open_order_defers_the_erasure_with_its_reason_until_it_is_delivered(kit: Kit) -> None:
    kit.send(Order(user_id="ann"))
    told = kit.send(RequestErasure(user_id="ann"), actor=ANN)

    assert told.status == "accepted"
    assert [e.reason for e in told.events if isinstance(e, ErasureStepDeferred)] == ["an order is open"]
    assert [row[3:5] for row in kit.rows("erasure_step") if row[2] == "shop"] == [("deferred", "an order is open")]
    assert kit.send(RequestErasure(user_id="ann"), actor=ANN).code == "erasure_in_progress"
    assert not kit.outside["erasures"].asked
    kit.send(Deliver(user_id="ann"))
    assert isinstance(kit.advance(DAY)[-1], UserErased)
    assert [one.intent.data for one in kit.outside["erasures"].asked] == [{"subject": "ann"}]


@pytest.mark.req("SR140")
def test_a_file_goes_with_its_user_and_nothing_is_agreed_to_any_more(kit: Kit) -> None:
    consent = RecordConsent(user_id="ann", purpose="news", text_version="1", channel="web")
    kit.send(consent, actor=ANN)
    kit.send(RequestDataExport(user_id="ann"), actor=ANN)
    kit.send(RequestErasure(user_id="ann"), actor=ANN)

    assert [one.intent.act for one in kit.outside["exports"].asked] == ["make", "drop"]
    assert [row[-1] for row in kit.rows("consent")] == [False]
    assert [kit.send(command, actor=ANN).code for command in (consent, RequestDataExport(user_id="ann"))] == [
        "user_erased",
        "user_erased",
    ]


def test_a_key_is_destroyed_however_long_that_takes(kit: Kit) -> None:
    kit.outside["erasures"].answers.extend([Passing("away")] * 20)
    told = kit.send(RequestErasure(user_id="ann"), actor=ANN)

    assert not any(isinstance(event, UserErased) for event in told.events)
    for _ in range(20):
        assert not kit.parked()
        kit.advance(timedelta(minutes=5))
    assert isinstance(kit.events()[-1], UserErased)


@pytest.mark.req("SR140")
def test_an_erasure_may_be_asked_for_again_and_is_done_again(kit: Kit) -> None:
    kit.send(RequestErasure(user_id="ann"), actor=ANN)

    assert isinstance(kit.send(RequestErasure(user_id="ann")).events[-1], UserErased)
    assert len(kit.outside["erasures"].asked) == 2


class Keys:
    """The keys of all subjects, as the edge would have them."""

    def __init__(self) -> None:
        """Nobody has one."""
        self.kept: dict[str, bytes] = {}

    def through_the_edge(self, command: Command) -> Command:
        """The command as it stands on its topic."""
        texts = {name: text for name in personal_fields(type(command)) if (text := getattr(command, name)) is not None}
        subject = str(getattr(command, command.owner)) if command.owner else command.key
        key = self.kept.setdefault(subject, os.urandom(32))
        sealed = {name: Sealed(seal(text, subject, key)) for name, text in texts.items()}
        hashes = {
            name: blinded(str(texts[fill.source]), fill.kind, b"secret")
            for name, fill in blind_fields(type(command)).items()
            if fill.source in texts
        }
        return command.model_copy(update=sealed | hashes)

    async def destroy(self) -> dict[str, Any]:
        """What the outside does."""
        del self.kept["erased"]
        return {}


def written(kit: Kit, store: MemoryStore) -> str:
    """All that is kept anywhere."""
    topics = [discover.topic(domain) for domain in discover.domains()]
    names = [name for topic in topics for name in (topic.commands_topic, topic.events_topic, topic.changelog_topic)]
    records = [(record.key, record.value) for name in names for record in kit.broker.records(name)]
    return repr(records) + repr([vars(schema) for schema in store.schemas.values()])


@pytest.mark.req("SR140")
def test_after_an_erasure_no_marker_from_any_personal_field_can_be_read_anywhere_not_even_after_a_replay() -> None:
    """Every personal field of every domain there is, by discovery; what others said stays, and so do the books."""
    keys = Keys()
    acting = [d for d in discover.domains() if any(isinstance(agent, Decider) for agent in agents_of(d))]
    with Kit.of(*acting, outside={"erasures": Outside([keys.destroy])}) as kit:
        markers: set[str] = set()
        for planted in plantings("erased", acting):
            told = [kit.send(keys.through_the_edge(command)) for command in planted.commands]
            assert told[-1].status in {"accepted", "rejected"}, planted.commands[-1]
            markers |= {*planted.markers.values()}
        before, books = written(kit, kit.store), kit.rows("ledger", "points")
        assert readable(before, "erased", keys.kept.values()) >= markers
        assert len(markers) >= 10
        assert books

        assert isinstance(kit.send(RequestErasure(user_id="erased")).events[-1], UserErased)

        for store in (kit.store, kit.rebuilt()):
            after = written(kit, store)
            assert not [marker for marker in markers if marker in after]
            assert sealed_in(after, "erased")
            assert readable(after, "erased", keys.kept.values()) == set()
        assert kit.rows("ledger", "points") == books
        assert kit.parked() == []
