"""The auditor's look at Postgres ends as it begins: whole, or not at all."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from asyncpg.transaction import Transaction

from sinks.postgres.audit import Snapshot
from streams.settings import Settings


async def test_who_is_cancelled_while_it_begins_leaves_no_connection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def never(_transaction: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Transaction, "start", never)
    snapshot = Snapshot(settings.postgres)
    entering = asyncio.create_task(snapshot.__aenter__())
    await begun.wait()
    entering.cancel()
    with suppress(asyncio.CancelledError):
        await entering

    assert snapshot._connection.is_closed()
