"""The views of points on a real Postgres."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from agents.points.sink import BalanceRow, ExpiringRow, LedgerRow
from agents.points.view import Balance, Expiring, balance, statement
from sinks.postgres import migrate
from streams.settings import Settings
from streams.view import Paging

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Any]:
    await migrate(settings.postgres, settings.namespace)
    path = {"search_path": f'"{settings.namespace}points"'}
    connection = await asyncpg.connect(settings.postgres, server_settings=path)
    rows = [
        LedgerRow(
            user, n, NOON + timedelta(seconds=n), "awarded", "system:issued", f"user:{user}:available", n, None, None
        )
        for user in ("ann", "bob")
        for n in range(1, 8)
    ]
    await connection.copy_records_to_table("ledger", records=rows)
    await connection.copy_records_to_table("balance", records=[BalanceRow("ann", 28, 5), BalanceRow("bob", 28, 0)])
    lots = [ExpiringRow("bob", NOON + timedelta(days=n), amount) for n, amount in ((3, 7), (1, 0), (2, 4))]
    await connection.copy_records_to_table("expiring", records=lots)
    yield connection
    await connection.close()


async def test_active_is_what_is_held_and_what_is_available(db: Any) -> None:
    assert await balance(db, "ann") == Balance(user_id="ann", active=33, held=5, available=28)


async def test_a_balance_tells_what_of_it_expires_and_when(db: Any) -> None:
    expiring = [Expiring(expires_at=NOON + timedelta(days=n), amount=amount) for n, amount in ((2, 4), (3, 7))]

    assert await balance(db, "bob") == Balance(user_id="bob", active=28, held=0, available=28, expiring=expiring)


async def test_who_never_moved_points_has_no_balance(db: Any) -> None:
    assert await balance(db, "cy") is None


async def test_a_statement_goes_back_page_by_page_to_the_first_entry(db: Any) -> None:
    seen, paging = [], Paging(limit=3)
    while True:
        page = await statement(db, "ann", paging)
        seen.append([entry.seq for entry in page.items])
        if page.next is None:
            break
        paging = Paging.read(page.next, 3)

    assert seen == [[7, 6, 5], [4, 3, 2], [1]]


async def test_a_statement_shows_from_where_to_where(db: Any) -> None:
    newest = (await statement(db, "ann", Paging(limit=1))).items[0]

    assert newest.model_dump() == {
        "seq": 7,
        "at": NOON + timedelta(seconds=7),
        "kind": "awarded",
        "debit": "system:issued",
        "credit": "user:ann:available",
        "amount": 7,
        "reference": None,
        "note": None,
    }
