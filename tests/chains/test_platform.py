"""The chains on real Kafka and Postgres, with a worker that is killed again and again while they go on."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from streams.clock import VirtualClock
from streams.contract import Command, Event
from streams.envelope import Actor
from streams.ids import uuid7
from streams.settings import Settings
from streams.testing import ADMIN
from tests.chains.stories import STORIES
from tests.month.ground import READY_S, Ground

WORKER = "worker-0"
KILLS = 4  # of the worker, while a story goes on
LOOK_S = 0.003
START = datetime(2030, 1, 1, 9, tzinfo=UTC)


class Stage:
    """The platform as a story sees it, which is told in a thread of its own."""

    def __init__(self, ground: Ground, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is told yet."""
        self.clock: VirtualClock = VirtualClock(ground.now() - datetime.now(UTC))
        self._ground, self._loop = ground, loop

    def say(self, command: Command, actor: Actor = ADMIN) -> str:
        """Send a command and have all happen that follows; its status."""
        name = str(uuid7(int(self._ground.now().timestamp() * 1000)))
        line = self._line(name, command=_named(command), data=json.loads(command.to_json()))
        self._run(self._ground.send([{**line, "as": {"user": actor.id, "role": actor.role}}]))
        return str(self._run(self._ground.outcomes())[name][0])

    def happen(self, event: Event) -> None:
        """Something happens in a domain that is not built yet, and is told twice."""
        line = self._line(str(uuid4()), event=_named(event), data=json.loads(event.to_json()))
        self._run(self._ground.send([line, line]))

    def pass_time(self, by: timedelta) -> None:
        """Time passes, and what is due happens."""
        self._run(self._ground.move(self._ground.now() + by))
        self.clock.advance(by)

    def code_of(self, campaign_id: str, voucher_id: str) -> str:
        """What the owner of a voucher shows."""
        where = f"campaign_id = '{campaign_id}' AND voucher_id = '{voucher_id}'"
        return str(self._rows("promotions", f"SELECT code FROM voucher WHERE {where}")[0][0])

    def points(self, name: str) -> int:
        """What a user has to spend."""
        return int(self._rows("points", f"SELECT available FROM balance WHERE user_id = '{name}'")[0][0])

    def moves(self, name: str) -> Counter[str]:
        """The movements of a user's points, by kind."""
        return Counter(row[0] for row in self._rows("points", f"SELECT kind FROM ledger WHERE user_id = '{name}'"))

    def times(self, kind: str) -> int:
        """How many events of a kind commands left."""
        query = f"SELECT count(*) FROM results, json_array_elements(events) AS e WHERE e->>1 = '{kind}'"
        return sum(self._rows(domain, query)[0][0] for domain in self._ground.domains)

    def _line(self, name: str, **about: Any) -> dict[str, Any]:
        return {"id": name, "at": self._ground.now().isoformat(), **about}

    def _rows(self, domain: str, query: str) -> Any:
        return self._run(self._ground.rows(domain, query))

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _named(message: Command | Event) -> str:
    return f"{message.topic.domain}.{message.wire_name}"


async def kill(ground: Ground, dice: random.Random) -> None:
    """Each time that a few records more stand on the topics, kill the worker and start another."""
    for _ in range(KILLS):
        seen, more = sum((await ground.ends()).values()), dice.randint(1, 4)
        while sum((await ground.ends()).values()) < seen + more:  # noqa: ASYNC110 - it comes true in other processes
            await asyncio.sleep(LOOK_S)
        ground.workers[WORKER].kill()
        await ground.start_worker(WORKER).said("worker ready", READY_S)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.req("SR055")
@pytest.mark.parametrize("name", STORIES)
async def test_a_worker_is_killed_again_and_again_and_all_happens_once(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    story = STORIES[name]
    async with Ground(replace(settings, clock="virtual"), tmp_path, 1) as ground:
        await ground.move(START)
        stage = Stage(ground, asyncio.get_running_loop())
        await asyncio.to_thread(story.before, stage)
        killing = asyncio.create_task(kill(ground, random.Random(name)))
        await asyncio.to_thread(story.happens, stage)
        killing.cancel()
        with suppress(asyncio.CancelledError):
            await killing
        assert ground.started > 1
        if not ground.workers[WORKER].runs:
            ground.start_worker(WORKER)
        await ground.settle()
        await asyncio.to_thread(story.after, stage)
        assert await ground.parked() == []
