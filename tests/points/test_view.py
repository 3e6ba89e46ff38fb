"""The views and checks of points on a real Postgres: rows of a town in which everything happened once, and damage to them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from agents.points.view import (
    Balance,
    Expiring,
    Standing,
    Tier,
    Tiers,
    Totals,
    Unlocking,
    balance,
    issued_vs_spent,
    rules,
    statement,
    tier,
    tiers,
)
from sinks.postgres import migrate
from streams import discover
from streams.decision import ROOT
from streams.settings import Settings
from streams.view import Paging
from tests.caravan.running import Running
from tests.points.platform import Platform
from tests.points.test_earning import TRAINED, defined, observed, with_tiers
from tests.points.test_reversals import reversed_, spend
from topics.points import (
    AdjustPoints,
    AwardPoints,
    CaptureHold,
    DeactivatePointsRule,
    DefinePointsRule,
    HoldPoints,
    TransferPoints,
)

DAY = timedelta(days=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def town() -> Platform:
    """Ann has something of everything; bob has seven entries and lots."""
    platform = with_tiers(period=30)
    for n in range(2):
        observed(platform, str(n))
    defined(platform, "locked", TRAINED, amount=9, pending=5)
    observed(platform, "training", event=TRAINED, facts={"minutes": 30})
    platform.send(DeactivatePointsRule(rule_id="locked"))
    platform.send(DefinePointsRule(rule_id="locked", event=TRAINED, amount="event.minutes / 7"))
    platform.send(HoldPoints(user_id="ann", hold_id="h", amount=5))
    platform.send(HoldPoints(user_id="ann", hold_id="captured", amount=6))
    platform.send(CaptureHold(user_id="ann", hold_id="captured"))
    spend(platform, 30, spend_id="s")
    reversed_(platform, "spend/s", 10)
    platform.send(TransferPoints(user_id="ann", transfer_id="t", to="bob", amount=7))
    platform.settle()
    platform.send(AdjustPoints(user_id="ann", amount=-4, reason="Counted twice."))
    spend(platform, 70)
    reversed_(platform, "award/r/0")
    for days, amount in ((3, 7), (1, 2), (2, 4)):
        platform.send(AwardPoints(user_id="bob", amount=amount, expires_at=NOON + days * DAY))
    platform.advance(DAY + timedelta(hours=12))
    platform.settle()
    return platform


@pytest.fixture(scope="module")
def place(infra: Running) -> Settings:
    """The town's rows and documents, in a namespace of its own."""
    namespace = f"t{secrets.token_hex(3)}_"
    settings = Settings(
        kafka=infra.kafka, postgres=infra.postgres, postgres_read=infra.postgres, namespace=namespace, signing_keys=()
    )
    asyncio.run(_fill(settings, town()))
    return settings


async def _fill(settings: Settings, platform: Platform) -> None:
    await migrate(settings.postgres, settings.namespace, ["points"])
    connection = await _connected(settings)
    for kind in discover.rows("points"):
        rows = platform.rows[kind.name].values()
        await connection.copy_records_to_table(kind.name, records=rows, columns=kind.columns)
    documents = [
        (f"{key}/{name}" if name != ROOT else key, 1, 0, 1, 0, msgspec.json.encode(document).decode())
        for (_, key), kept in platform.documents.items()
        for name, document in kept.items()
    ]
    await connection.copy_records_to_table("state", records=documents)
    await connection.close()


async def _connected(settings: Settings) -> Any:
    return await asyncpg.connect(settings.postgres, server_settings={"search_path": f'"{settings.namespace}points"'})


@pytest.fixture
async def db(place: Settings) -> AsyncIterator[Any]:
    """What is changed is undone."""
    connection = await _connected(place)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def test_a_balance_tells_what_is_free_held_pending_and_owed(db: Any) -> None:
    unlocks = datetime(2026, 1, 7, tzinfo=UTC)

    assert await balance(db, "ann") == Balance(
        user_id="ann",
        active=5,
        held=5,
        available=0,
        pending=9,
        unlocking=[Unlocking(unlocks_at=unlocks, amount=9)],
        owed=52,
    )


async def test_a_balance_tells_what_of_it_expires_and_when(db: Any) -> None:
    expiring = [Expiring(expires_at=NOON + n * DAY, amount=amount) for n, amount in ((2, 4), (3, 7))]

    assert await balance(db, "bob") == Balance(user_id="bob", active=18, held=0, available=18, expiring=expiring)


async def test_who_never_moved_points_has_no_balance_and_no_tier(db: Any) -> None:
    assert await balance(db, "cy") is None
    assert await tier(db, "bob") is None


async def test_a_statement_goes_back_page_by_page_to_the_first_entry(db: Any) -> None:
    seen, paging = [], Paging(limit=2)
    while True:
        page = await statement(db, "bob", paging)
        seen.append([entry.kind for entry in page.items])
        if page.next is None:
            break
        paging = Paging.read(page.next, 2)

    assert seen == [["expired", "awarded"], ["awarded", "awarded"], ["received"]]


async def test_a_statement_shows_from_where_to_where(db: Any) -> None:
    entries = (await statement(db, "ann", Paging(limit=200))).items
    adjusted = next(entry for entry in entries if entry.kind == "adjusted")

    assert adjusted.model_dump(exclude={"seq", "at"}) == {
        "kind": "adjusted",
        "debit": "user:ann:available",
        "credit": "system:adjusted",
        "amount": 4,
        "reference": "Counted twice.",
        "note": None,
    }
    assert {entry.kind for entry in entries} >= {
        "awarded",
        "locked",
        "held",
        "captured",
        "spent",
        "refunded",
        "sent",
        "reversed",
    }


async def test_a_tier_tells_how_far_it_is_to_the_next_one(db: Any) -> None:
    shown = await tier(db, "ann")

    assert shown is not None
    assert shown.model_dump(exclude={"until"}) == {
        "user_id": "ann",
        "tier": None,
        "points": 69,
        "ever": 69,
        "next_tier": "silver",
        "to_next": 31,
    }
    assert shown == Standing.model_validate(shown.model_dump() | {"until": shown.until})


async def test_the_tiers_are_those_that_were_defined_last(db: Any) -> None:
    steps = [Tier(tier_id="silver", name="Silver", points=100), Tier(tier_id="gold", name="Gold", points=200)]
    assert await tiers(db) == Tiers(revision=1, tiers=steps, period=30)
    await db.execute("DELETE FROM tiers")
    assert await tiers(db) == Tiers(revision=0, tiers=[], period=None)


async def test_rules_are_listed_with_all_their_revisions_and_which_counts(db: Any) -> None:
    first = await rules(db, Paging(limit=3))
    rest = await rules(db, Paging.read(first.next, 3))

    assert [(rule.rule_id, rule.revision, rule.active) for rule in (*first.items, *rest.items)] == [
        ("locked", 2, False),
        ("locked", 1, False),
        ("r", 1, True),
        ("sign_up", 1, True),
    ]
    assert (first.items[0].amount, first.items[1].pending, rest.next) == ("event.minutes / 7", 5, None)


async def test_a_built_in_rule_that_was_taken_out_is_shown_so(db: Any) -> None:
    await db.execute("INSERT INTO active_rule VALUES ('main', 'sign_up', 0)")

    assert [rule.active for rule in (await rules(db, Paging())).items if rule.rule_id == "sign_up"] == [False]


async def test_what_was_issued_is_somewhere(db: Any) -> None:
    found = await issued_vs_spent(db)

    assert found is not None
    assert found == Totals(
        issued=142,
        adjusted=-4,
        spent=96,
        expired=2,
        reversed=8,
        in_transit=0,
        outstanding=32,
        held=5,
        pending=9,
        owed=52,
    )
    assert found.issued == await db.fetchval("SELECT sum(amount) FROM ledger WHERE debit = 'system:issued'")


CHECKS = discover.checks("points")


@pytest.mark.parametrize("name", CHECKS)
async def test_everything_adds_up(db: Any, name: str) -> None:
    assert await CHECKS[name](db) == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("movement_has_two_sides", "UPDATE ledger SET credit = 'system:elsewhere' WHERE kind = 'spent'"),
        ("balance_is_its_ledger", "UPDATE balance SET available = available + 1"),
        ("balance_is_its_ledger", "UPDATE pending SET amount = amount + 1"),
        ("accounts_sum_to_zero", "UPDATE ledger SET amount = amount + 1 WHERE kind = 'awarded'"),
        ("nothing_is_below_zero", "UPDATE balance SET held = -1"),
        ("held_is_open_holds", "UPDATE balance SET held = held + 1"),
        ("expiring_is_available", "UPDATE expiring SET amount = amount + 100"),
        ("tally_is_its_ledger", "UPDATE tally SET spent = spent + 1"),
        ("tally_is_its_ledger", "DELETE FROM tally"),
        ("no_more_is_taken_back_than_there_was", """UPDATE state SET data = '{"amount": 1, "reversed": 2}' WHERE key = 'ann/spend/s'"""),
        ("no_more_is_taken_back_than_there_was", """UPDATE state SET data = '{"awards": {"r": {"amount": 1, "reversed": 2}}}' WHERE key = 'ann/source/0'"""),
        ("pending_is_not_below_zero", "UPDATE tally SET owed = -1"),
    ],
)  # fmt: skip
async def test_a_check_finds_what_does_not_add_up(db: Any, name: str, damage: str) -> None:
    await db.execute(damage)

    assert await CHECKS[name](db)
