"""Sanctions through real processes: an edge, a worker, Kafka and Postgres between them."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.settings import Settings
from tests.acceptance.workers import soon, until
from tests.api.caller import token
from tests.processes import Processes, running

ROOT = "root/Admin"
SPEND, BODY = "/v1/points/spend_points", {"user_id": "u1", "amount": 5}
LIMIT_S = 5.0  # after which a ban must be felt (SR098)
SHORT = timedelta(seconds=8)  # a ban that ends while the test looks on


class Platform(Processes):
    """An edge, and a worker for governance and points."""

    domains = "governance,points"

    def session(self, user: str) -> dict[str, str]:
        """What somebody is given who signs in now."""
        return {"Authorization": f"Bearer {token(self.settings, user, iat=time.time())}"}

    async def govern(self, command: str, who: str = ROOT, **body: Any) -> httpx.Response:
        """A command of governance, and its result."""
        return await self.send(f"governance/{command}", body, who)

    async def spends(self, session: dict[str, str]) -> tuple[int, str]:
        """What becomes of a command of u1's."""
        answer = await self._clients[0].post(SPEND, json=BODY, headers=session | {"Prefer": "wait=30"})
        return answer.status_code, answer.json()["code"]

    async def watches(self, session: dict[str, str], began: asyncio.Event) -> None:
        """Watch the balance until the edge ends it."""
        async with self._clients[1].stream("GET", "/v1/points/balance/u1/live", headers=session) as answer:
            assert answer.status_code == 200
            async for _ in answer.aiter_bytes():
                began.set()


@pytest.fixture
async def platform(settings: Settings, free_port: int, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform, ready."""
    async with running(Platform, settings, free_port, tmp_path) as platform:
        yield platform


@pytest.mark.full  # two processes
@pytest.mark.req("SR098")
async def test_a_ban_is_felt_within_five_seconds_ends_all_sessions_and_then_itself(platform: Platform) -> None:
    """Commands, views and live views of the sessions before it; what a contract allows goes on; a new session is good once it is over."""
    session, began = platform.session("u1"), asyncio.Event()
    assert await platform.spends(session) == (409, "insufficient")
    watching = asyncio.create_task(platform.watches(session, began))
    await began.wait()

    ends = datetime.now(UTC) + SHORT
    banned = await platform.govern("ban_user", user_id="u1", sanction_id="b1", reason="so", until=ends.isoformat())
    assert banned.status_code == 200, banned.text

    async def felt() -> bool:
        return watching.done() and await platform.spends(session) == (401, "unauthorized")

    assert await soon(felt, LIMIT_S), "the ban was not felt in time"
    await watching
    later = platform.session("u1")
    assert await platform.spends(later) == (403, "banned")
    appeal = {"user_id": "u1", "sanction_id": "b1", "text": "It was not me."}
    answer = await platform._clients[2].post("/v1/governance/appeal_sanction", json=appeal, headers=later)
    assert answer.status_code == 202

    async def over() -> bool:
        return await platform.spends(platform.session("u1")) == (409, "insufficient")

    await until(over)
    assert datetime.now(UTC) >= ends
    assert await platform.spends(session) == (401, "unauthorized")
    (kept,) = await platform.rows("governance", "SELECT status, appeal, left(text, 5) FROM sanction")
    assert kept == ("expired", "filed", "enc1.")


@pytest.mark.full  # two processes
@pytest.mark.req("SR098")
async def test_restrictions_and_admins_at_the_same_moment(platform: Platform) -> None:
    """A restriction is of one domain; of two bans one is done; the admins who remove each other cannot both be gone."""
    scopes: dict[str, Any] = {"user_id": "u1", "sanction_id": "r1", "reason": "so", "scopes": ["points"]}
    assert (await platform.govern("restrict_user", **scopes)).status_code == 200

    async def felt() -> bool:
        return await platform.spends(platform.session("u1")) == (403, "restricted")

    assert await soon(felt, LIMIT_S), "the restriction was not felt in time"
    bans = [{"user_id": "u2", "sanction_id": f"b{n}", "reason": "so"} for n in range(4)]
    answers = await asyncio.gather(*(platform.govern("ban_user", **ban) for ban in bans))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers} == {None, "already_banned"}

    names = ("a1", "a2")
    added = await asyncio.gather(*(platform.govern("add_admin", user_id=name) for name in names))
    assert {answer.status_code for answer in added} == {200}
    crossed = zip(names, reversed(names), strict=True)
    gone = await asyncio.gather(*(platform.govern("remove_admin", f"{by}/Admin", user_id=name) for by, name in crossed))
    assert sorted(answer.json()["code"] or "" for answer in gone) in (["", "last_admin"], ["", "unauthorized"])
    (left,) = (await platform.get("governance/admins", ROOT)).json()["items"]
    assert (await platform.govern("ban_user", user_id=left["user_id"], sanction_id="b9", reason="so")).json()[
        "code"
    ] == "is_admin"
    await platform.rebuilds("governance", ("sanction", "standing", "admin"))
