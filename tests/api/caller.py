"""Calls the edge as a client would, and looks behind it: at the topics' ends, at records, at rows."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import orjson
from fastapi import FastAPI

from sinks.postgres.migrations import connect
from streams.catalogue import Catalogue
from streams.contract import ROLES
from streams.kafka import Kafka
from streams.settings import Settings

ALL = ROLES


def token(settings: Settings, user: str = "u1", role: str = "User", /, **claims: Any) -> str:
    """A development token."""
    base = {"sub": user, "role": role, "aud": "caravan", "iss": "caravan", "exp": int(time.time()) + 600}
    said = {name: value for name, value in (base | claims).items() if value is not None}
    return jwt.encode(said, settings.jwt_secret or "", "HS256")


class Caller:
    """A client of the edge."""

    def __init__(self, client: httpx.AsyncClient, settings: Settings, app: FastAPI | None = None) -> None:
        """Speak through `client`, to `app` where it runs in this process."""
        self.client, self.settings, self.app = client, settings, app
        self._kafka = Kafka(settings)

    def headers(self, who: str | None) -> dict[str, str]:
        """`u1` is a User, `u1/VIP` has that role, None is a Guest."""
        if who is None:
            return {}
        user, _, role = who.partition("/")
        return {"Authorization": f"Bearer {token(self.settings, user, role or 'User')}"}

    async def get(self, url: str, who: str | None = None, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """GET as somebody."""
        return await self.client.get(url, headers={**self.headers(who), **(headers or {})})

    async def post(
        self, url: str, body: Any, who: str | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """POST as somebody; bytes go as they are."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {"Content-Type": "application/json", **self.headers(who), **(headers or {})}
        return await self.client.post(url, content=content, headers=sent)

    async def until(self, url: str, status: int, **members: Any) -> httpx.Response:
        """Ask until the answer has this status and these members."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.client.get(url)
                if answer.status_code == status and members.items() <= answer.json().items():
                    return answer
                await asyncio.sleep(0.05)

    async def ends(self) -> dict[tuple[str, int], int]:
        """Where every command topic ends."""
        async with Catalogue(self.settings) as catalogue:
            there = {name: count for name, count in (await catalogue.names()).items() if name.endswith(".commands")}
        return await self._kafka.ends(
            [(name, partition) for name, count in there.items() for partition in range(count)]
        )

    async def records(self, topic: str, partitions: int) -> list[Any]:
        """All records of a topic."""
        found = []
        for partition in range(partitions):
            _, end = await self._kafka.bounds(topic, partition)
            found += [await self._kafka.read(topic, partition, offset) for offset in range(end)]
        return found

    async def sql(self, statement: str, *args: Any, domain: str = "points") -> list[Any]:
        """Run a statement in a domain's schema, as a worker could."""
        connection = await connect(self.settings.postgres)
        try:
            await connection.execute(f'SET search_path = "{self.settings.namespace}{domain}"')
            rows: list[Any] = await connection.fetch(statement, *args)
            return rows
        finally:
            await connection.close()

    async def seen(self, condition: str, domain: str = "points") -> None:
        """Wait until this statement's only value is true."""
        async with asyncio.timeout(60):
            while True:
                if (await self.sql(condition, domain=domain))[0][0]:
                    return
                await asyncio.sleep(0.05)

    async def moved(self, partition: int, position: int, domain: str = "points") -> None:
        """Advance the decider's position as a worker does: in its transaction, then NOTIFY."""
        await self.sql(
            "INSERT INTO offsets (agent, topic, partition, next) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (agent, topic, partition) DO UPDATE SET next = excluded.next",
            domain, f"{domain}.commands", partition, position, domain=domain,
        )  # fmt: skip
        payload = f"{domain}:{domain}:{partition}:{position}"
        await self.sql("SELECT pg_notify($1, $2)", f"{self.settings.namespace}caravan", payload)

    async def decided(
        self, answer: httpx.Response, status: str = "accepted", code: str | None = None, /, **told: Any
    ) -> None:
        """Write the result of a command as a worker would; `told` are its details."""
        record = await self.record(answer)
        await self.sql(
            'INSERT INTO results (command_id, status, code, details, events, hash, actor, partition, "offset") '
            "VALUES ($1, $2, $3, $4, $5, '', $6, $7, $8)",
            record["command_id"], status, code, orjson.dumps(told).decode() if told else None,
            orjson.dumps([["01900000-0000-8000-8000-000000000001", "points_awarded"]]).decode(),
            f"{record['actor']['type']}:{record['actor']['id']}", record["partition"], record["offset"],
        )  # fmt: skip
        await self.moved(record["partition"], record["offset"] + 1)

    async def record(
        self, answer: httpx.Response, topic: str = "points.commands", partitions: int = 4
    ) -> dict[str, Any]:
        """The envelope of the command that `answer` tells of, with its place."""
        wanted = answer.json()["command_id"]
        for partition in range(partitions):
            _, end = await self._kafka.bounds(topic, partition)
            for offset in range(end):
                record: Any = await self._kafka.read(topic, partition, offset)
                envelope: dict[str, Any] = orjson.loads(record.value)
                if envelope["command_id"] == wanted:
                    return envelope | {"partition": partition, "offset": offset}
        raise AssertionError(f"{wanted} is not in Kafka")

    async def close(self) -> None:
        """Leave Kafka."""
        await self._kafka.stop()


@asynccontextmanager
async def running(app: FastAPI, settings: Settings) -> AsyncIterator[Caller]:
    """The edge, started; not waited for."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://edge", timeout=60) as client,
    ):
        caller = Caller(client, settings, app)
        try:
            yield caller
        finally:
            await caller.close()
