"""A domain that counts what people do, where they agreed to be counted: it reads the events of another one, and what users agree to."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import asyncpg
import pytest

from agents.governance.agent import GOVERNANCE_DECIDER
from agents.governance.agent.privacy import ERASURES, asking
from streams.agent import Projection
from streams.consent import Agreement, agreed, consents
from streams.contract import Topic
from streams.errors import ContractError
from streams.settings import Settings
from streams.sink import Fact, rows
from streams.testing import Kit
from tests.governance import shop
from tests.governance.shop import SHOP, Order, Ordered
from topics.governance import (
    GOVERNANCE,
    ConsentRecorded,
    ConsentWithdrawn,
    RecordConsent,
    RequestErasure,
    WithdrawConsent,
)

INSIGHT = Topic("insight", key="user_id")
USERS = ("ann", "bob", "cy")
SCHEMA = """
CREATE TEMP TABLE agreed (user_id text, purpose text, since timestamptz, until timestamptz, PRIMARY KEY (user_id, purpose, since));
CREATE TEMP TABLE bought (event_id text, user_id text, at timestamptz);
"""


@rows("bought")
class BoughtRow(NamedTuple):
    """Somebody has bought something."""

    event_id: str
    user_id: str
    at: datetime


def project(fact: Fact[Any], _state: Mapping[str, Any]) -> Iterable[BoughtRow]:
    """Each order is counted once."""
    return [BoughtRow(fact.event_id, fact.key, fact.at)] if isinstance(fact.event, Ordered) else ()


CONSENTS = consents(GOVERNANCE, given=ConsentRecorded, withdrawn=ConsentWithdrawn, target=INSIGHT)
BOUGHT = Projection("bought", SHOP, INSIGHT, project)


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit(GOVERNANCE_DECIDER, *shop.AGENTS, BOUGHT, CONSENTS) as kit:
        yield kit


def live(kit: Kit, seed: int) -> list[bool]:
    """Many things happen; of each order in turn whether its user agreed to be counted, by the plainest of all books."""
    random = Random(seed)
    agrees: set[str] = set()
    counted = []
    for n in range(60):
        kit.clock.advance(timedelta(seconds=random.choice([1, 3600])))
        name, purpose = random.choice(USERS), random.choice(["insight", "news"])
        consent = {"user_id": name, "purpose": purpose, "channel": "web"}
        match random.randrange(4):
            case 0:
                kit.send(RecordConsent(**consent, text_version=f"v{n % 3}"))
                agrees |= {name} if purpose == "insight" else set()
            case 1:
                kit.send(WithdrawConsent(**consent))
                agrees -= {name} if purpose == "insight" else set()
            case _:
                kit.send(Order(user_id=name))
                counted.append(name in agrees)
    return counted


def bought(kit: Kit) -> list[BoughtRow]:
    """The orders in the order of time."""
    return sorted((BoughtRow(*row) for row in kit.rows("bought", "insight")), key=lambda row: row.at)


def agreement(kit: Kit) -> Agreement:
    """What whoever reads the events knows."""
    known = Agreement()
    for event in kit.events():
        if isinstance(event, ConsentRecorded | ConsentWithdrawn):
            known.take(event, withdrawn=isinstance(event, ConsentWithdrawn))
    return known


async def told(settings: Settings, kit: Kit) -> set[str]:
    """The orders that a view counts."""
    connection = await asyncpg.connect(settings.postgres)
    try:
        await connection.execute(SCHEMA)
        for table in ("agreed", "bought"):
            await connection.copy_records_to_table(table, records=kit.rows(table, "insight"))
        query = f"SELECT event_id FROM bought WHERE {agreed('bought.user_id', 'bought.at', 'insight')}"
        return {row[0] for row in await connection.fetch(query)}
    finally:
        await connection.close()


@pytest.mark.req("SR140")
@pytest.mark.parametrize("seed", range(2))
def test_what_is_counted_is_what_was_agreed_to_at_that_time(kit: Kit, settings: Settings, seed: int) -> None:
    """By a view in its query, and by a reader of events in memory."""
    expected, rows, known = live(kit, seed), bought(kit), agreement(kit)
    counted = asyncio.run(told(settings, kit))

    assert {True, False} == {*expected}
    assert [known.covers(row.user_id, "insight", row.at) for row in rows] == expected
    assert [row.event_id in counted for row in rows] == expected


@pytest.mark.req("SR140")
def test_a_rebuild_counts_the_same_whatever_is_read_first(kit: Kit) -> None:
    live(kit, 3)

    again = kit.rebuilt().schemas["insight"].rows
    assert again["agreed"] == kit.store.schemas["insight"].rows["agreed"]
    assert sorted(again["bought"]) == kit.rows("bought", "insight")


@pytest.mark.req("SR140")
def test_who_is_erased_agrees_to_nothing_any_more() -> None:
    with Kit(GOVERNANCE_DECIDER, CONSENTS, ERASURES, *asking([GOVERNANCE])) as kit:
        kit.send(RecordConsent(user_id="ann", purpose="insight", text_version="1", channel="web"))
        kit.clock.advance(timedelta(hours=1))
        kit.send(RequestErasure(user_id="ann"))

        ((_, _, since, until),) = kit.rows("agreed", "insight")
        assert until is not None
        assert until > since


def test_a_purpose_is_an_id() -> None:
    with pytest.raises(ContractError, match="is no purpose"):
        agreed("user_id", "at", "x' OR true --")
