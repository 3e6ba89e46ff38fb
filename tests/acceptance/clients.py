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

import httpx
import jwt

from examples.generate import Line

CLIENTS = 8
TRIES = 60
RETRY_S = 0.25
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
        self._http = httpx.AsyncClient(base_url=url, timeout=5.0)

    async def send(self, lines: Sequence[Line]) -> None:
        """Send them all."""
        lanes: list[list[Line]] = [[] for _ in range(CLIENTS)]
        for line in lines:
            about = line["data"].get("user_id") or line["data"].get("campaign_id")
            lanes[zlib.crc32(str(about).encode()) % CLIENTS].append(line)
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(self._work(lane))

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def served(self) -> bool:
        """Whether the edge is ready."""
        try:
            return (await self._http.get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def get(self, path: str, **query: str) -> Any:
        """Read as an Admin."""
        response = await self._http.get(path, params=query, headers={"Authorization": self._bearer("root", "Admin")})
        assert response.status_code == 200, response.text
        return response.json()

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
            answer = await self._line(line)
            self.answers.append(answer)
            if self._dice.random() < LATER:
                await self._again(answer)

    async def _line(self, line: Line) -> Answer:
        if self._dice.random() < IMPATIENT:
            await self._hang_up(line)
        if self._dice.random() >= TWICE:
            return await self._answer(line)
        first, second = await asyncio.gather(self._answer(line), self._answer(line))
        self._same(first, second)
        return first

    async def _again(self, answer: Answer) -> None:
        self._same(answer, await self._answer(answer.line))

    def _same(self, first: Answer, second: Answer) -> None:
        assert (first.status, first.command_id) == (second.status, second.command_id), "a repeat was another command"
        self.repeats += 1

    async def _hang_up(self, line: Line) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._post(line), self._dice.random() / 100)

    async def _answer(self, line: Line) -> Answer:
        """Send until there is an answer that is final."""
        for _ in range(TRIES):
            try:
                response = await self._post(line)
            except httpx.TransportError:
                continue
            body = response.json()
            if body.get("code") not in AGAIN:
                return Answer(line, response.status_code, body.get("command_id"), body.get("token"))
            await asyncio.sleep(RETRY_S)
        raise TimeoutError(f"no answer to {line}")

    async def _post(self, line: Line) -> httpx.Response:
        domain, command = line["command"].split(".")
        headers = {"Idempotency-Key": line["id"], "Content-Type": "application/json"}
        if who := line["as"]:
            headers["Authorization"] = self._bearer(who["user"], who["role"])
        return await self._http.post(f"/v1/{domain}/{command}", content=json.dumps(line["data"]), headers=headers)

    def _bearer(self, user: str, role: str) -> str:
        if (user, role) not in self._tokens:
            self._tokens[user, role] = bearer(self._secret, user, role)
        return self._tokens[user, role]
