"""Clients that send a command file through the edge: several at once, impatient, and now and then twice."""

import asyncio
import json
import random
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt

from examples.generate import Line

CLIENTS = 8
TRIES = 120  # a request that was left may hold its key for 15 s
RETRY_S = 0.25
AWAY = (aiohttp.ClientError, TimeoutError)
TWICE = 0.08  # share of the lines that are sent a second time at once
LATER = 0.05  # share of the lines that are sent again later
IMPATIENT = 0.03  # share of the lines whose sender hangs up before the answer and sends again
AGAIN = {"in_progress", "kafka_unavailable", "outcome_unknown", "postgres_unavailable"}


@dataclass
class Answer:
    """What the edge said to a line."""

    line: Line
    status: int
    command_id: str | None
    token: str | None


def bearer(secret: str, user: str, role: str) -> str:
    """The header of a user."""
    claims = {"sub": user, "role": role, "iss": "caravan", "aud": "caravan", "exp": int(time.time()) + 3600}
    return f"Bearer {jwt.encode(claims, secret, 'HS256')}"


class Clients:
    """The lines of one user or campaign go through one client in their order; those of different ones overtake each other."""

    def __init__(self, url: str, secret: str, seed: int) -> None:
        """Nothing is sent before `send`."""
        self.answers: list[Answer] = []
        self.repeats = 0
        self._secret = secret
        self._dice = random.Random(seed)
        self._tokens: dict[tuple[str, str], str] = {}
        self._http = aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(5.0))
        self._later: set[asyncio.Task[None]] = set()

    async def send(self, lines: Sequence[Line]) -> None:
        """Send them all; whoever hung up on one and goes on with the next asks again meanwhile."""
        lanes: list[list[Line]] = [[] for _ in range(CLIENTS)]
        for line in lines:
            about = line["data"].get("user_id") or line["data"].get("campaign_id")
            lanes[zlib.crc32(str(about).encode()) % CLIENTS].append(line)
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(self._work(lane))

    async def finished(self) -> None:
        """Wait until every line has its answer."""
        await asyncio.gather(*self._later)

    async def close(self) -> None:
        """Hang up."""
        for task in self._later:
            task.cancel()
        await self._http.close()

    async def served(self) -> bool:
        """Whether the edge is ready."""
        try:
            async with self._http.get("/ready") as response:
                return response.status == 200
        except AWAY:
            return False

    async def get(self, path: str, **query: str) -> Any:
        """Read as an Admin."""
        headers = {"Authorization": self._bearer("root", "Admin")}
        async with self._http.get(path, params=query, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def items(self, path: str) -> list[dict[str, Any]]:
        """Read a list to its end."""
        page = await self.get(path, limit="200")
        found: list[dict[str, Any]] = page["items"]
        while page["next"]:
            page = await self.get(path, limit="200", cursor=page["next"])
            found += page["items"]
        return found

    async def _work(self, lines: Sequence[Line]) -> None:
        for line in lines:
            if self._dice.random() < IMPATIENT:
                await self._hang_up(line)
                task = asyncio.create_task(self._line(line))
                self._later.add(task)
            else:
                await self._line(line)

    async def _line(self, line: Line) -> None:
        if self._dice.random() < TWICE:
            answer, second = await asyncio.gather(self._answer(line), self._answer(line))
            self._same(answer, second)
        else:
            answer = await self._answer(line)
        self.answers.append(answer)
        if self._dice.random() < LATER:
            self._same(answer, await self._answer(line))

    def _same(self, first: Answer, second: Answer) -> None:
        assert (first.status, first.command_id) == (second.status, second.command_id), "a repeat was another command"
        self.repeats += 1

    async def _hang_up(self, line: Line) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._post(line), self._dice.random() / 100)

    async def _answer(self, line: Line) -> Answer:
        """Send until there is an answer that is final."""
        for _ in range(TRIES):
            with suppress(*AWAY):
                status, body = await self._post(line)
                if body.get("code") not in AGAIN:
                    return Answer(line, status, body.get("command_id"), body.get("token"))
            await asyncio.sleep(RETRY_S)
        raise TimeoutError(f"no answer to {line}")

    async def _post(self, line: Line) -> tuple[int, dict[str, Any]]:
        domain, command = line["command"].split(".")
        headers = {"Idempotency-Key": line["id"], "Content-Type": "application/json"}
        if who := line["as"]:
            headers["Authorization"] = self._bearer(who["user"], who["role"])
        body = json.dumps(line["data"])
        async with self._http.post(f"/v1/{domain}/{command}", data=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    def _bearer(self, user: str, role: str) -> str:
        if (user, role) not in self._tokens:
            self._tokens[user, role] = bearer(self._secret, user, role)
        return self._tokens[user, role]
