"""Agents of one domain are away; the edge takes commands for it all the same, and the other domains notice nothing."""

from pathlib import Path

import pytest

from streams.settings import Settings
from tests.acceptance.workers import until
from tests.faults.report import Figures
from tests.processes import Processes, running

USERS = 20
REGISTER = "identity/register_user"


class Apart(Processes):
    """An edge and a worker for points; identity has a worker of its own."""

    domains = "points"

    async def registered(self) -> set[str]:
        """Who is in identity's views."""
        return {row[0] for row in await self.rows("identity", "SELECT user_id FROM profile")}

    async def register(self, user: str) -> int:
        """Register somebody without waiting for what comes of it; the status."""
        answer = await self._clients[0].post(f"/v1/{REGISTER}", json=person(user))
        return answer.status_code


@pytest.mark.full
@pytest.mark.req("SR001")
@pytest.mark.scenario("S1")
async def test_a_domain_without_agents_takes_commands_and_catches_up(
    settings: Settings, free_port: int, tmp_path: Path, figures: Figures
) -> None:
    users = {f"u{n}" for n in range(USERS)}
    async with running(Apart, settings, free_port, tmp_path) as platform:
        identity = platform.start("worker", "--domains", "identity", "--instance", "identity")
        assert (await platform.send(REGISTER, person("first"))).json()["status"] == "accepted"
        identity.kill()

        assert {await platform.register(user) for user in users} == {202}
        for user in users:
            award = await platform.send("points/award_points", {"user_id": user, "amount": 5}, "root/Admin")
            assert award.json()["status"] == "accepted", "points do not wait for identity"
            assert (await platform.get(f"points/balance/{user}", user)).json()["available"] == 5
        assert (await platform.get("identity/user_profile/first", "first")).status_code == 200
        assert await platform.registered() == {"first"}

        platform.start("worker", "--domains", "identity", "--instance", "identity")

        async def caught_up() -> bool:
            return await platform.registered() == users | {"first"}

        async def welcomed() -> bool:
            rows = await platform.rows("points", "SELECT count(*) FROM ledger WHERE reference LIKE '%-%'")
            return rows == [(USERS + 1,)]

        await until(caught_up)
        await until(welcomed)
        balances = await platform.rows("points", "SELECT DISTINCT available FROM balance ORDER BY available")
        figures.note(faults=1, commands=2 * USERS + 1)
        assert balances == [(100,), (105,)]


def person(user: str) -> dict[str, str]:
    """A registration."""
    return {"user_id": user, "email": f"{user}@example.org"}
