"""Quests through real processes: an edge, a worker and several clients at the same moment."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from streams import discover
from streams.settings import Settings
from tests.acceptance.workers import until
from tests.processes import Processes, running

PARTNER, ADMIN = "p1/Partner", "root/Admin"
USERS = tuple(f"u{n}" for n in range(4))
QUEST: dict[str, Any] = {
    "quest_id": "hello",
    "author_id": "p1",
    "name": "Hello",
    "tasks": [
        {"task_id": "join", "name": "Become one of us", "event": "user_registered"},
        {"task_id": "photo", "name": "Show yourself", "proof": "verified"},
    ],
    "xp": 120,
    "badge_id": "new",
}


class Platform(Processes):
    """An edge, and a worker for quests and identity."""

    domains = "quests,identity"

    async def post(self, command: str, who: str, **body: Any) -> httpx.Response:
        """Send a command and wait for its result."""
        return await self.send(f"quests/{command}", body, who)

    async def told(self, path: str, who: str) -> Any:
        """What a view says."""
        answer = await self.get(f"quests/{path}", who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def finds(self) -> list[Any]:
        """What the audit of the domain finds."""
        path = {"search_path": f'"{self.settings.namespace}quests"'}
        connection = await asyncpg.connect(self.settings.postgres, server_settings=path)
        try:
            return [row for check in discover.checks("quests").values() for row in await check(connection)]
        finally:
            await connection.close()


@pytest.fixture
async def platform(settings: Settings, free_port: int, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform, ready, with a quest and a leaderboard."""
    async with running(Platform, settings, free_port, tmp_path) as platform:
        for who, command, body in (
            (ADMIN, "create_badge", {"badge_id": "new", "name": "New here"}),
            (ADMIN, "create_badge", {"badge_id": "first", "name": "First of all"}),
            (ADMIN, "create_leaderboard", {"leaderboard_id": "all", "name": "All", "every": "season", "winners": 1, "badge_id": "first"}),
            (PARTNER, "create_quest", QUEST),
            (PARTNER, "publish_quest", {"quest_id": "hello", "author_id": "p1"}),
        ):  # fmt: skip
            answer = await platform.post(command, who, **body)
            assert answer.status_code == 200, answer.text
        yield platform


async def twice(platform: Platform, command: str, who: str, user: str, **body: Any) -> None:
    """Send it twice at the same moment: one is accepted."""
    about = {"user_id": user, "quest_id": "hello", **body}
    answers = await asyncio.gather(*(platform.post(command, who or f"{user}/User", **about) for _ in range(2)))
    assert Counter(answer.status_code // 100 for answer in answers) == {2: 1, 4: 1}, [one.text for one in answers]


@pytest.mark.full  # two processes and 40 requests
@pytest.mark.req("SR044")
@pytest.mark.req("SR065")
async def test_all_at_once_each_completes_once_and_the_events_alone_say_the_same(platform: Platform) -> None:
    """From the first step to the winner of the season, each step asked for twice."""
    await asyncio.gather(*(twice(platform, "start_quest", "", user) for user in USERS))
    registered = (
        platform.send("identity/register_user", {"user_id": user, "email": f"{user}@example.com"}) for user in USERS
    )
    assert {answer.status_code for answer in await asyncio.gather(*registered)} == {200}

    async def joined() -> bool:
        done = await platform.rows("quests", "SELECT user_id FROM task WHERE task_id = 'join' AND done_at IS NOT NULL")
        return len(done) == len(USERS)

    await until(joined)
    await asyncio.gather(*(twice(platform, "submit_task_proof", "", user, task_id="photo") for user in USERS))
    assert [one["user_id"] for one in (await platform.told("submissions/p1", PARTNER))["items"]]
    assert (await platform.get("quests/submissions/p1", "p2/Partner")).status_code == 404
    verify = {"task_id": "photo", "verifier_id": "p1"}
    await asyncio.gather(*(twice(platform, "verify_task", PARTNER, user, **verify) for user in USERS))

    async def ranked() -> bool:
        return len(await platform.rows("quests", "SELECT user_id FROM score")) == len(USERS)

    await until(ranked)
    season = {"leaderboard_id": "all", "period": "season"}
    assert (await platform.post("close_leaderboard_period", ADMIN, **season)).status_code == 200
    board = await platform.told("leaderboard/all/season?top=1&me=u3", "u0/User")
    assert (board["status"], board["participants"], board["me"]["score"]) == ("closed", len(USERS), 120)
    winner = board["top"][0]["user_id"]

    async def honoured() -> bool:
        return len((await platform.told(f"badges_by_user/{winner}", "u0/User"))["items"]) == 2

    await until(honoured)
    assert await platform.rows("quests", "SELECT DISTINCT xp, level FROM player") == [(120, 2)]
    (mine,) = (await platform.told("my_quests/u0", "u0/User"))["items"]
    assert (mine["status"], [task["counted"] for task in mine["tasks"]]) == ("completed", [1, 1])
    assert (await platform.told("level/u1", "u0/User"))["next_with"] == 300
    assert await platform.finds() == []
    await platform.rebuilds("quests", ("quest", "run", "ending", "player", "earning", "badge_held", "period"))
