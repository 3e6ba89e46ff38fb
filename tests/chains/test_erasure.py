"""The chain of an erasure with a worker that dies at each of its writes in turn: requested, put off, asked again, acknowledged, the key destroyed, erased."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.privacy import ERASURES, EXPORTS, asking
from streams.agent import agents_of
from streams.testing import user
from tests.chains.mortal import Cut, MortalKit
from tests.governance import shop
from tests.governance.shop import SHOP, Deliver, Order
from topics.governance import GOVERNANCE, RecordConsent, RequestDataExport, RequestErasure
from topics.identity import IDENTITY, RegisterUser

TOPICS = (GOVERNANCE, IDENTITY, SHOP)
AGENTS = (*agents_of("identity"), *shop.AGENTS, GOVERNANCE_DECIDER, EXPORTS, ERASURES, *asking(TOPICS))
ANN = user("ann")
QUICK = 4  # writes of the chain that a quick run takes
pytestmark = [pytest.mark.req("SR140"), pytest.mark.req("SR055")]


@pytest.fixture(autouse=True, scope="module")
def one_partition() -> Iterator[None]:
    """A topic has one partition here: what belongs to different keys is in different tasks still, as domains are."""
    before = {topic: topic.partitions for topic in TOPICS}
    for topic in TOPICS:
        topic.partitions = 1
    yield
    for topic, count in before.items():
        topic.partitions = count


def played(cut: Cut | None = None) -> MortalKit:
    """The chain, from the request on mortal; at first an order is open."""
    kit = MortalKit(AGENTS, cut)
    about: dict[str, Any] = {"email": "ann@example.com", "email_login": "login-ann"}
    assert kit.say(RegisterUser(user_id="ann", **about)) == "accepted"
    assert kit.say(Order(user_id="ann"), ANN) == "accepted"
    assert kit.say(RecordConsent(user_id="ann", purpose="news", text_version="1", channel="web"), ANN) == "accepted"
    assert kit.say(RequestDataExport(user_id="ann"), ANN) == "accepted"
    kit.arm()
    kit.say(RequestErasure(user_id="ann"), ANN)
    kit.say(Deliver(user_id="ann"))
    kit.pass_time(timedelta(days=1))
    return kit


def left(kit: MortalKit) -> dict[str, Any]:
    """All that is there: rows, results, events, each once, and nothing aside."""
    schemas = {topic.domain: kit.store.schemas[topic.domain] for topic in TOPICS}
    rows = {(name, table): kit.rows(table, name) for name, schema in schemas.items() for table in schema.rows}
    results = {(name, str(r.command_id)): (r.status, r.code) for name, s in schemas.items() for r in s.results.values()}
    events = Counter(dict.fromkeys(((envelope.event_id, envelope.type) for envelope in kit.envelopes()), 1))
    return {"rows": rows, "results": results, "events": events, "parked": kit.parked()}


def whole(kit: MortalKit) -> None:
    """What has to be true when all is done."""
    kinds = (
        "erasure_requested",
        "erasure_step_deferred",
        "erasure_step_completed",
        "erasure_acknowledged",
        "user_erased",
    )
    assert [kit.times(kind) for kind in (*kinds, "login_released", "consent_withdrawn")] == [1, 1, 3, 1, 1, 1, 1]
    assert {one.intent.data["subject"] for one in kit.outside["erasures"].asked} == {"ann"}
    assert kit.outside["exports"].asked[-1].intent.act == "drop"
    assert [row[1:3] for row in kit.rows("login", "identity")] == [(None, None)]


@cache
def unharmed() -> tuple[dict[str, Any], int]:
    """What comes of it when nobody dies, and the writes it takes."""
    with played() as kit:
        whole(kit)
        return left(kit), kit.life.writes


def check(cut: Cut) -> None:
    expected, _ = unharmed()
    with played(cut) as kit:
        assert kit.deaths == 1
        whole(kit)
        assert left(kit) == expected


def test_whoever_dies_between_two_steps_the_user_is_erased_once() -> None:
    _, writes = unharmed()

    for write in range(0, writes, writes // QUICK):
        check(Cut(write, "before"))
        check(Cut(min(write + writes // QUICK // 2, writes - 1), "after"))


@pytest.mark.full
def test_whoever_dies_at_any_write_the_user_is_erased_once() -> None:
    _, writes = unharmed()

    for write in range(writes):
        check(Cut(write, "before"))
        check(Cut(write, "after"))
