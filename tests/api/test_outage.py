"""Kafka or Postgres away: never a false 202, 503 in time, `/ready` red and green again by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from api.app import create_app
from sinks.postgres.edge import EdgeStore
from streams.settings import Settings
from streams.store import Unavailable
from tests.api.caller import Caller, running
from tests.api.conftest import SERVES
from tests.api.proxy import Wire, wire

AWARD, BODY, ROOT = "/v1/points/award_points", {"user_id": "u1", "amount": 5}, "root/Admin"
KEY = {"Idempotency-Key": "k"}
HANG_S = 10  # a guard; each answer is promised within 5 s


def _through(url: str, line: Wire) -> str:
    parts = urlsplit(url)
    login = f"{parts.username}:{parts.password}@" if parts.username else ""
    return parts._replace(netloc=f"{login}127.0.0.1:{line.port}").geturl()


@asynccontextmanager
async def _behind(settings: Settings, kafka: Wire | None = None, postgres: Wire | None = None) -> AsyncIterator[Caller]:
    """An edge that reaches Kafka or Postgres through a wire; the caller looks behind it directly."""
    changed = settings
    if kafka is not None:
        changed = replace(changed, kafka=_through(settings.kafka, kafka))
    if postgres is not None:
        dsn = _through(settings.postgres, postgres)
        changed = replace(changed, postgres=dsn, postgres_read=dsn)
    async with running(create_app(changed, SERVES), settings) as caller:
        yield caller


async def _asked(
    caller: Caller, path: str = AWARD, who: str = ROOT, key: dict[str, str] | None = None
) -> httpx.Response:
    async with asyncio.timeout(HANG_S):
        return await (caller.post(path, BODY, who, key) if path == AWARD else caller.get(path, who))


async def _taken(caller: Caller, key: dict[str, str] | None = None) -> httpx.Response:
    """The first answer that is no 503; a client that just lost its broker may need another try."""
    async with asyncio.timeout(60):
        while True:
            answer = await _asked(caller, key=key)
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.1)


async def _ids(caller: Caller) -> list[str]:
    return [orjson.loads(record.value)["command_id"] for record in await caller.records("points.commands", 4)]


async def test_an_edge_starts_without_kafka_and_finds_it_later(prepared: Settings) -> None:
    """`/health` is green all the time; commands are 503, views work."""
    async with wire(prepared.kafka, kafka=True, closed=True) as line, _behind(prepared, kafka=line) as caller:
        await caller.until("/ready", 503, kafka=False, postgres=True)
        answer = await _asked(caller)
        assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await caller.get("/health")).status_code == 200
        assert (await _asked(caller, "/v1/points/statement/u1")).status_code == 200

        await line.open()
        await caller.until("/ready", 200)
        assert (await _asked(caller)).status_code == 202
        assert len(await _ids(caller)) == 1


async def test_a_frozen_kafka_gives_unknown_and_a_repeat_settles_it(prepared: Settings) -> None:
    """The same Idempotency-Key is the same command, whether or not the first record arrives in the end."""
    async with wire(prepared.kafka, kafka=True) as line, _behind(prepared, kafka=line) as caller:
        await caller.until("/ready", 200)
        assert (await _asked(caller)).status_code == 202
        line.freeze()
        answer = await _asked(caller, key=KEY)
        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        await caller.until("/ready", 503, kafka=False)

        line.thaw()
        await caller.until("/ready", 200)
        again = await _taken(caller, KEY)
        assert (again.status_code, again.json()["command_id"]) == (202, answer.json()["command_id"])
        assert len(set(await _ids(caller))) == 2


@pytest.mark.req("SR135")
async def test_kafka_cut_and_back(prepared: Settings) -> None:
    """No 202 while it is away; what was answered with 202 is there, whatever came between."""
    async with wire(prepared.kafka, kafka=True) as line, _behind(prepared, kafka=line) as caller:
        await caller.until("/ready", 200)
        accepted = {(await _asked(caller)).json()["command_id"]}
        await line.cut()
        answers = await asyncio.gather(*(_asked(caller) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} <= {"kafka_unavailable", "outcome_unknown"}
        await caller.until("/ready", 503)

        await line.open()
        await caller.until("/ready", 200)
        back = await _taken(caller)
        accepted.add(back.json()["command_id"])
        assert accepted <= set(await _ids(caller))


@pytest.mark.req("SR135")
@pytest.mark.parametrize("fault", ["closed", "cut", "frozen"])
async def test_postgres_away_and_back(prepared: Settings, fault: str) -> None:
    """Views and commands are 503 and nothing is published; both work again by themselves."""
    async with wire(prepared.postgres, closed=fault == "closed") as line, _behind(prepared, postgres=line) as caller:
        if fault != "closed":
            await caller.until("/ready", 200)
            assert (await _asked(caller, "/v1/points/statement/u1")).status_code == 200
            await line.cut() if fault == "cut" else line.freeze()
        view = await _asked(caller, "/v1/points/statement/u1")
        assert (view.status_code, view.json()["code"], view.headers["retry-after"]) == (
            503,
            "postgres_unavailable",
            "1",
        )
        await caller.until("/ready", 503, postgres=False)
        for key in (None, KEY):
            answer = await _asked(caller, key=key)
            assert (answer.status_code, answer.json()["code"]) == (503, "postgres_unavailable")
        assert await _ids(caller) == []

        line.thaw() if fault == "frozen" else await line.open()
        await caller.until("/ready", 200)
        assert (await _asked(caller, "/v1/points/statement/u1")).status_code == 200
        assert (await _asked(caller, key=KEY)).status_code == 202


async def test_notifications_are_heard_again_after_a_cut(prepared: Settings) -> None:
    """The shared connection is made anew."""
    async with wire(prepared.postgres) as line, _behind(prepared, postgres=line) as caller:
        await caller.until("/ready", 200)
        await line.cut()
        await caller.until("/ready", 503)
        await line.open()
        await caller.until("/ready", 200)
        answer = await caller.post(AWARD, BODY, ROOT, KEY)
        waiting = asyncio.create_task(caller.post(AWARD, BODY, ROOT, {**KEY, "Prefer": "wait=30"}))
        await caller.decided(answer)

        assert (await waiting).status_code == 200


async def test_losing_postgres_while_waiting_is_no_error(edge: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka has the command, so the answer is 202."""

    class Away:
        async def __aenter__(self) -> None:
            raise Unavailable("gone")

        async def __aexit__(self, *_: object) -> None:
            """Nothing was opened."""

    monkeypatch.setattr(EdgeStore, "db", lambda _store, _domain: Away())

    assert (await edge.post(AWARD, BODY, ROOT, {"Prefer": "wait=1"})).status_code == 202
