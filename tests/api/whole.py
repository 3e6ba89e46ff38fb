"""A whole platform for clients to speak to: an edge and a worker as processes, on the run's Kafka and Postgres."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from caravan.instance import free_ports
from sinks.postgres import migrate
from streams import discover
from streams.kafka import Kafka
from streams.settings import Settings
from tests.acceptance.children import Child
from tests.api.caller import token
from tests.caravan.running import Running

PATIENCE_S = 100.0


class Whole:
    """All domains, running. An edge that is started again has the same address."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Start both."""
        self.settings = settings
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._children = folder, 0
        self.worker = self._start("worker")
        self.edge = self._start("api", "--port", str(self.port))

    def bearer(self, user: str, role: str = "User", **claims: Any) -> str:
        """A caller's token."""
        return token(self.settings, user, role, **claims)

    async def rows(self, domain: str, query: str, *given: Any) -> list[Any]:
        """What a domain's tables hold."""
        path = {"search_path": f'"{self.settings.namespace}{domain}"'}
        connection = await asyncpg.connect(self.settings.postgres, server_settings=path)
        try:
            return list(await connection.fetch(query, *given))
        finally:
            await connection.close()

    def restart_edge(self) -> None:
        """Kill the edge, and start another in its place."""
        self.edge.kill()
        self.edge = self._start("api", "--port", str(self.port))

    @contextmanager
    def frozen_worker(self) -> Iterator[None]:
        """Nothing is decided in the block."""
        os.kill(self.worker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.worker.pid, signal.SIGCONT)

    def ready(self) -> None:
        """Wait until all runs."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self.worker.says("worker ready") and self._answers()):
            assert time.monotonic() < deadline, self.edge.log.read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _start(self, *arguments: str) -> Child:
        self._children += 1
        return Child(arguments, self.settings, self._folder / f"{self._children}.log")

    def stop(self) -> None:
        """End both."""
        for child in (self.edge, self.worker):
            child.stop()


@contextmanager
def whole(infra: Running, folder: Path) -> Iterator[Whole]:
    """Migrated, with all topics, and ready."""
    settings = Settings(
        kafka=infra.kafka,
        postgres=infra.postgres,
        postgres_read=infra.postgres,
        namespace=f"t{secrets.token_hex(3)}_",
        signing_keys=(("k1", bytes(range(32))),),
        jwt_secret="a-secret-that-only-the-tests-use-0123456789",
    )
    asyncio.run(_prepared(settings))
    platform = Whole(settings, folder)
    try:
        platform.ready()
        yield platform
    finally:
        platform.stop()


async def _prepared(settings: Settings) -> None:
    await migrate(settings.postgres, settings.namespace)
    kafka = Kafka(settings)
    await kafka.declare([discover.topic(domain) for domain in discover.domains()])
    await kafka.stop()
