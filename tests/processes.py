"""Domains in real processes: an edge, a worker, and several clients who speak at the same moment."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx

from sinks.postgres import migrate
from streams import discover
from streams.kafka import Kafka
from streams.settings import Settings
from tests.acceptance.children import Child
from tests.acceptance.workers import until
from tests.api.caller import token

CLIENTS = 6
PATIENCE_S = 60.0
WAIT = {"Prefer": "wait=30"}


class Processes:
    """An edge, and a worker for `domains` (separated by commas); so many clients take turns."""

    domains: str

    def __init__(self, settings: Settings, port: int, folder: Path) -> None:
        """Start them."""
        self.settings = settings
        self._folder = folder
        self._clients = [
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) for _ in range(CLIENTS)
        ]
        self._turn = 0
        self.children: list[Child] = []
        self.start("api", "--port", str(port))
        self.start("worker", "--domains", self.domains)

    def start(self, *arguments: str) -> Child:
        """Start one more process."""
        self.children.append(Child(arguments, self.settings, self._folder / f"{len(self.children)}.log"))
        return self.children[-1]

    async def ready(self) -> bool:
        """Whether all runs."""
        if not self.children[1].says("worker ready"):
            return False
        try:
            return (await self._clients[0].get("/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def send(self, path: str, body: dict[str, Any], who: str | None = None) -> httpx.Response:
        """Send a command by the next of the clients and wait for its result; `who` is an id, or id/role."""
        self._turn += 1
        client = self._clients[self._turn % CLIENTS]
        return await client.post(f"/v1/{path}", json=body, headers=self._by(who) | WAIT)

    async def get(self, path: str, who: str) -> httpx.Response:
        """Read a view."""
        return await self._clients[0].get(f"/v1/{path}", headers=self._by(who))

    async def rows(self, schema: str, query: str) -> list[tuple[Any, ...]]:
        """What a domain's tables hold."""
        path = {"search_path": f'"{self.settings.namespace}{schema}"'}
        connection = await asyncpg.connect(self.settings.postgres, server_settings=path)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def rebuilds(self, domain: str, tables: Collection[str]) -> None:
        """Wait until the events alone have given the same rows, in a schema beside the live one."""
        queries = [f"SELECT * FROM {table} ORDER BY 1, 2" for table in tables]
        live = [await self.rows(domain, query) for query in queries]
        worker = self.start("worker", "--rebuild", domain)

        async def same() -> bool:
            if not worker.says("worker ready"):
                return False
            return [await self.rows(f"{domain}_shadow", query) for query in queries] == live

        await until(same)

    async def close(self) -> None:
        """End all."""
        for client in self._clients:
            await client.aclose()
        for child in self.children:
            child.stop()

    def _by(self, who: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {token(self.settings, *who.split('/'))}"} if who else {}


P = TypeVar("P", bound=Processes)


@asynccontextmanager
async def running(kind: type[P], settings: Settings, port: int, folder: Path) -> AsyncIterator[P]:
    """Migrated, with all topics, and ready."""
    await migrate(settings.postgres, settings.namespace)
    kafka = Kafka(settings)
    await kafka.declare([discover.topic(domain) for domain in discover.domains()])
    await kafka.stop()
    processes = kind(settings, port, folder)
    try:
        await until(processes.ready)
        yield processes
    finally:
        await processes.close()
