"""Moderation through real processes: an edge, a worker, a classifier who is asked over HTTP, and moderators who decide at the same moment."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from streams import discover
from streams.settings import Settings
from tests.acceptance.workers import until
from tests.processes import Processes, running

ROOT = "root/Admin"
MODERATORS = tuple(f"m{n}/Admin" for n in range(4))
NOTES = tuple(f"n{n}" for n in range(5))


class Platform(Processes):
    """An edge, and a worker for governance."""

    domains = "governance"

    async def post(self, command: str, who: str, name: str, **body: Any) -> int:
        """Send a command about a note and wait for its result."""
        answer = await self.send(f"governance/{command}", {"subject": f"notes:{name}", "revision": 1, **body}, who)
        return answer.status_code

    async def told(self, path: str, who: str = ROOT) -> Any:
        """What a view says."""
        answer = await self.get(f"governance/{path}", who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def finds(self) -> list[Any]:
        """What the audit of moderation finds."""
        path = {"search_path": f'"{self.settings.namespace}governance"'}
        connection = await asyncpg.connect(self.settings.postgres, server_settings=path)
        checks = [one for one in discover.checks("governance").values() if one.__module__.endswith("audit.cases")]
        try:
            return [row for check in checks for row in await check(connection)]
        finally:
            await connection.close()


@pytest.fixture
async def classifier(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Any]]:
    """Somebody who finds fools; what they were asked."""
    asked: list[Any] = []

    async def classify(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response({"flags": ["toxicity"] if "fool" in asked[-1]["text"] else []})

    app = web.Application()
    app.router.add_post("/classify", classify)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("CARAVAN_CLASSIFIER", f"http://127.0.0.1:{runner.addresses[0][1]}/classify")
    yield asked
    await runner.cleanup()


@pytest.fixture
async def platform(
    classifier: list[Any], settings: Settings, free_port: int, tmp_path: Path
) -> AsyncIterator[Platform]:
    """The platform, ready."""
    async with running(Platform, settings, free_port, tmp_path) as platform:
        yield platform


@pytest.mark.full  # two processes
@pytest.mark.req("SR057")
@pytest.mark.req("SR097")
async def test_what_is_submitted_is_checked_and_decided_once(platform: Platform, classifier: list[Any]) -> None:
    """Sealed words are read by nobody but the checks and the moderators; of four who decide at once one does."""
    gambling = {"list_id": "gambling", "of": "words", "entries": ["casino*"]}
    assert (await platform.send("governance/set_moderation_list", gambling, ROOT)).status_code == 200
    automatic = {"kind": "comment", "automatic": True}
    assert (await platform.send("governance/set_moderation_kind", automatic, ROOT)).status_code == 200
    assert (await platform.send("governance/set_moderation_kind", automatic, "ann/User")).status_code == 403
    texts = ("Good morning", "To the casinos!", "You fool", "Good evening", "Good night")
    for name, text in zip(NOTES, texts, strict=True):
        assert (
            await platform.post("submit_for_moderation", ROOT, name, kind="comment", author_id="ann", text=text) == 200
        )

    async def checked() -> bool:
        waiting = await platform.rows("governance", "SELECT waiting FROM moderation_case WHERE waiting = ''")
        return len(waiting) == len(NOTES)

    await until(checked)
    queue = (await platform.told("moderation_queue"))["items"]
    assert {one["subject"]: (one["text"], one["flags"]) for one in queue} == {
        "notes:n1": ("To the casinos!", ["list:gambling"]),
        "notes:n2": ("You fool", ["classifier:toxicity"]),
    }
    assert {one["text"] for one in classifier} == {*texts}
    stored = await platform.rows("governance", "SELECT text FROM moderated_content")
    assert {text[:5] for (text,) in stored} == {"enc1."}

    assert await platform.post("reject_content", MODERATORS[0], "n1") == 422, "without a reason"
    race = [platform.post("reject_content", who, "n1", reason="It is gambling.") for who in MODERATORS]
    race += [platform.post("approve_content", who, "n1") for who in MODERATORS]
    assert Counter(await asyncio.gather(*race)) == {200: 1, 409: 7}
    assert await platform.post("approve_content", "ann/Admin", "n2") == 403, "it is hers"
    mine = (await platform.told("my_cases/ann", "ann/User"))["items"]
    assert {one["subject"] for one in mine if one["status"] == "open"} == {"notes:n2"}
    assert (await platform.get("governance/my_cases/ann", "bob/User")).status_code == 404
    assert (await platform.get("governance/moderation_queue", "ann/User")).status_code == 403

    report = {"reporter_id": "bob", "category": "abuse", "note": "He means me"}
    assert await platform.post("report_content", "bob/User", "n0", **report) == 200
    assert await platform.post("report_content", "bob/User", "n0", **report | {"reporter_id": "cy"}) == 403
    (reported,) = (await platform.told("reports_open"))["items"]
    assert (reported["note"], reported["case"]) == ("He means me", 2)
    assert await platform.post("reject_content", MODERATORS[0], "n0", case=2, reason="It is abuse.") == 200
    assert await platform.post("file_appeal", "ann/User", "n0", case=2, author_id="ann", text="It is none.") == 200
    (appeal,) = (await platform.told("appeals_open"))["items"]
    assert (appeal["appeal"], appeal["text"], appeal["decided_by"]) == ("It is none.", "Good morning", "m0")
    verdict = {"case": 2, "outcome": "overturned", "reason": "It is none."}
    assert [await platform.post("decide_appeal", who, "n0", **verdict) for who in MODERATORS[:2]] == [403, 200]
    (stats,) = (await platform.told("moderation_stats"))["kinds"]
    counted = {name: stats[name] for name in ("waiting", "approved", "by_checks", "overturned")}
    assert counted["waiting"] == 1
    assert counted["by_checks"] == 3
    assert counted["overturned"] == 1
    assert await platform.finds() == []
    await platform.rebuilds("governance", ("moderation_case", "moderated_content", "report", "appeal"))
