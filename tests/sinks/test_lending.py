"""Connections lent to one request at a time: never more than there may be, never one that is torn, nobody kept for longer than promised."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sinks.postgres.lending import Lender
from streams.settings import Settings
from streams.store import BadData, Unavailable

PID = "SELECT pg_backend_pid()"
HANG_S = 60


@asynccontextmanager
async def _lender(settings: Settings, size: int = 2, answer_s: float = 30) -> AsyncIterator[Lender]:
    lender = Lender(settings.postgres, size, answer_s, {"application_name": f"{settings.namespace}lent"})
    try:
        async with asyncio.timeout(HANG_S):
            yield lender
    finally:
        await lender.close()


async def _pid(lender: Lender, schema: str | None = None) -> int:
    async with lender.lend(schema) as connection:
        found: int = await connection.fetchval(PID)
        return found


async def test_the_one_used_last_is_used_again(settings: Settings) -> None:
    async with _lender(settings) as lender:
        first = await _pid(lender, "a")
        assert await _pid(lender, "a") == first


async def test_what_is_opened_while_all_are_closed_is_closed_with_its_loan(settings: Settings) -> None:
    async with _lender(settings) as lender:

        async def ask() -> Any:
            async with lender.lend("a") as connection:
                return connection

        asked = asyncio.create_task(ask())
        await asyncio.sleep(0)  # it connects
        await lender.close()
        assert (await asked).is_closed()


async def test_there_are_never_more_than_there_may_be(settings: Settings) -> None:
    """Whoever comes later waits, and is given what is given back, in order."""
    order: list[int] = []
    used: set[int] = set()

    async def ask(n: int) -> None:
        async with lender.lend("a") as connection:
            order.append(n)
            used.add(await connection.fetchval(f"{PID} FROM pg_sleep(0.01)"))

    async with _lender(settings) as lender:
        await asyncio.gather(*(ask(n) for n in range(10)))
    assert len(used) == 2
    assert sorted(order) == list(range(10))
    assert order[2:] == sorted(order[2:])


async def test_a_schema_is_kept_and_changed_when_it_must(settings: Settings) -> None:
    """One that is idle elsewhere is taken when there may be no more."""
    async with _lender(settings) as lender:
        pids = {await _pid(lender, name) for name in ("a", "b", "a", "b")}
        assert len(pids) == 2
        async with lender.lend("c") as connection:
            assert await connection.fetchval("SHOW search_path") == "c"
            assert await connection.fetchval(PID) in pids


async def test_a_loan_that_lasts_too_long_is_ended(settings: Settings) -> None:
    """Whoever has it is told so, whoever waits for it as well, and the next one has a new connection."""
    async with _lender(settings, size=1, answer_s=0.2) as lender:
        first = await _pid(lender)

        async def slow() -> None:
            async with lender.lend() as connection:
                await connection.fetchval("SELECT 1 FROM pg_sleep(60)")

        told = await asyncio.gather(slow(), slow(), slow(), return_exceptions=True)
        assert [type(error) for error in told] == [Unavailable] * 3
        lender._answer_s = 30
        assert await _pid(lender) != first


async def test_one_that_is_given_up_in_an_answer_is_not_used_again(settings: Settings) -> None:
    async with _lender(settings, size=1) as lender:
        first = await _pid(lender)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), lender.lend() as connection:
                await connection.fetchval("SELECT 1 FROM pg_sleep(60)")
        assert await _pid(lender) != first


async def test_who_leaves_while_waiting_takes_nothing_along(settings: Settings) -> None:
    """Also when the connection was given at that very moment."""
    async with _lender(settings, size=1) as lender:
        async with lender.lend() as connection:
            first = await connection.fetchval(PID)
            waiting = asyncio.create_task(_pid(lender))
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await _pid(lender) == first


async def test_expired_ones_are_trusted_no_more(settings: Settings) -> None:
    """Those that are lent end when they are given back."""
    async with _lender(settings) as lender:
        async with lender.lend() as one:
            other = await _pid(lender)
            old = {other, await one.fetchval(PID)}
            lender.expire()
        assert not {await _pid(lender), await _pid(lender)} & old


async def test_errors_are_told_as_what_they_are(settings: Settings) -> None:
    """And the connection goes on."""
    async with _lender(settings, size=1) as lender:
        first = await _pid(lender)
        with pytest.raises(BadData):
            async with lender.lend() as connection:
                await connection.fetchval("SELECT $1::bigint", 2**70)
        with pytest.raises(ZeroDivisionError):
            async with lender.lend():
                raise ZeroDivisionError
        assert await _pid(lender) == first
        with pytest.raises(Unavailable):
            async with lender.lend() as connection:
                await connection.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
        assert await _pid(lender) != first


async def test_a_server_that_is_away_is_told(settings: Settings, free_port: int) -> None:
    lender = Lender(f"postgresql://u:p@127.0.0.1:{free_port}/x", 1, 30, {})
    for _ in range(2):
        with pytest.raises(Unavailable):
            await _pid(lender)
    await lender.close()
