"""Export and erasure on the real platform: an edge, a worker of all domains, their Postgres and Kafka, logs and a replay."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams import discover
from streams.agent import agents_of
from streams.contract import Command
from streams.personal import blind_fields
from streams.reading import Reader
from streams.settings import Settings
from tests.acceptance.children import environment
from tests.acceptance.workers import until
from tests.caravan.conftest import caravan
from tests.governance.planting import SEALED, plantings, readable
from tests.processes import Processes, running

ANN, BOB, ADMIN = "ann/User", "bob/User", "root/Admin"
DOMAINS = [domain for domain in discover.domains() if agents_of(domain)]


class Platform(Processes):
    """All domains that do something."""

    domains = ",".join(DOMAINS)

    def logged(self) -> str:
        """What all processes have written."""
        return "".join(child.log.read_text("utf-8", "replace") for child in self.children)

    async def plant(self, user: str) -> set[str]:
        """Say something in every personal field there is, by or about the user, whether it is accepted or not; what was said."""
        said = set[str]()
        for planted in plantings(user, DOMAINS):
            answers = [await self.say(command) for command in planted.commands]
            assert all("command_id" in answer.json() for answer in answers)
            said |= {*planted.markers.values()}
        return said

    async def say(self, command: Command) -> httpx.Response:
        """Send it, as an admin would."""
        body = command.model_dump(mode="json", exclude_none=True, exclude={*blind_fields(type(command))})
        return await self.send(f"{command.topic.domain}/{command.wire_name}", body, ADMIN)

    async def kept(self, *schemas: str) -> str:
        """All that stands in tables and topics, in the clear as far as it is."""
        found = [await self._tables(schema) for schema in (*discover.domains(), "edge", *schemas)]
        async with Reader(self.settings) as reader:
            topics = [discover.topic(domain) for domain in discover.domains()]
            names = [name for topic in topics for name in (topic.commands_topic, topic.events_topic)]
            names += [topic.changelog_topic for topic in topics if topic.changelog]
            for place, (start, end) in (await reader.bounds(await reader.places(names))).items():
                async for records in reader.batches(place, start, end):
                    found += [f"{record.key!r} {record.value!r}" for record in records]
        return "\n".join(found)

    async def _tables(self, schema: str) -> str:
        tables = await self.rows(schema, "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'")  # fmt: skip
        rows = [await self.rows(schema, f'SELECT t::text FROM "{table}" AS t') for (table,) in tables]
        return "\n".join(str(row) for table in rows for row in table)

    async def keys(self) -> dict[str, bytes]:
        """All that opens anything."""
        rows = await self.rows("edge", "SELECT subject, key FROM subject_keys WHERE key IS NOT NULL")
        return dict(rows)


@pytest.fixture
async def platform(settings: Settings, free_port: int, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform, ready."""
    async with running(Platform, settings, free_port, tmp_path) as platform:
        yield platform


async def exported(platform: Platform, who: str) -> dict[str, Any]:
    """The file of a user, once it is there."""
    user = who.partition("/")[0]
    asked = await platform.send("governance/request_data_export", {"user_id": user}, who)
    assert asked.status_code == 200, asked.text

    async def ready() -> bool:
        answer = await platform.get(f"governance/data_export/{user}", who)
        return answer.status_code == 200 and answer.json()["status"] == "ready"

    await until(ready)
    answer = (await platform.get(f"governance/data_export/{user}", who)).json()
    assert answer["size"] == len(answer["file"])
    file: dict[str, Any] = json.loads(answer["file"])
    return file


async def erased(platform: Platform, user: str) -> bool:
    """Whether the user is, and their file is gone."""
    answer = await platform.get(f"governance/erasure_progress/{user}", ADMIN)
    files = await platform.rows("governance", f"SELECT FROM export_file WHERE user_id = '{user}'")
    return answer.status_code == 200 and answer.json()["status"] == "erased" and not files


@pytest.mark.full
@pytest.mark.req("SR140")
async def test_an_export_has_all_of_a_user_and_after_an_erasure_nothing_can_be_read_anywhere(
    platform: Platform,
) -> None:
    """Also not by a replay, and the books and promises are as they were."""
    about_bob, about_ann = await platform.plant("bob"), await platform.plant("ann")
    file = await exported(platform, ANN)
    text = json.dumps(file)
    assert len(about_ann) >= 10
    assert not [marker for marker in about_ann if marker not in text]
    assert not [marker for marker in about_bob if marker in text]
    assert not SEALED.findall(text)
    assert {"identity", "points", "quests", "governance"} <= file["domains"].keys()
    assert (await platform.get("governance/data_export/ann", BOB)).status_code == 404
    before, keys = await platform.kept(), await platform.keys()
    assert readable(before, "ann", [keys["ann"]]) >= about_ann
    books = await platform.rows("points", "SELECT * FROM ledger ORDER BY 1, 2")
    assert books

    assert (await platform.send("governance/request_erasure", {"user_id": "ann"}, ANN)).status_code == 200

    await until(partial(erased, platform, "ann"))
    progress = (await platform.get("governance/erasure_progress/ann", ANN)).json()
    assert {step["domain"] for step in progress["steps"]} == {*discover.domains()}
    assert {step["status"] for step in progress["steps"]} == {"completed"}
    profile = (await platform.get("identity/user_profile/ann", ANN)).json()
    assert [profile[name] for name in ("email", "phone", "display_name", "bio")] == [None] * 4
    told = await platform.send("identity/update_profile", {"user_id": "ann", "bio": "I am back"}, ANN)
    assert (told.status_code, told.json()["code"]) == (410, "subject_erased")

    await platform.rebuilds("identity", ["profile", "login"])
    await platform.rebuilds("governance", ["erasure", "erasure_step", "consent"])
    after, keys = await platform.kept("identity_shadow", "governance_shadow"), await platform.keys()
    everything = after + platform.logged()
    assert not [marker for marker in about_ann if marker in everything]
    assert readable(after, "ann", keys.values()) == set()
    assert readable(after, "bob", keys.values()) >= about_bob
    assert await platform.rows("points", "SELECT * FROM ledger ORDER BY 1, 2") == books
    audit = await asyncio.to_thread(caravan, "audit", **environment(platform.settings))
    assert (audit.returncode, audit.stderr) == (0, "")


@pytest.mark.full
@pytest.mark.req("SR140")
async def test_a_worker_is_killed_again_and_again_and_everybody_is_erased(platform: Platform) -> None:
    """Each time that a few more steps are done."""
    users = [f"u{n}" for n in range(12)]
    for user in users:
        about = {"user_id": user, "email": f"{user}@example.com"}
        assert (await platform.send("identity/register_user", about)).status_code == 200
        assert (await platform.send("governance/request_data_export", {"user_id": user}, ADMIN)).status_code == 200
    query = "SELECT count(*) FROM results, json_array_elements(events) AS e WHERE e->>1 ~ 'eras|export_completed'"
    asking = [platform.send("governance/request_erasure", {"user_id": user}, ADMIN) for user in users]
    asked = asyncio.gather(*asking)
    for _ in range(4):
        ((seen,),) = await platform.rows("governance", query)

        async def further(seen: int = seen) -> bool:
            ((now,),) = await platform.rows("governance", query)
            return bool(now > seen) or all([await erased(platform, user) for user in users])

        await until(further)
        platform.children[-1].kill()
        platform.start("worker", "--domains", platform.domains, "--instance", "w1")
    await asked

    for user in users:
        await until(partial(erased, platform, user))
    assert not (await platform.keys()).keys() & {*users}
    assert await platform.rows("identity", "SELECT login FROM login WHERE user_id IS NOT NULL") == []
    audit = await asyncio.to_thread(caravan, "audit", **environment(platform.settings))
    assert (audit.returncode, audit.stderr) == (0, "")
