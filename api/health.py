"""`/health` says that the process runs, `/ready` whether it can do its work now."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from api.errors import RETRY, Problem, json
from api.standings import Standings
from sinks.postgres.edge import EdgeStore
from streams.errors import CaravanError
from streams.kafka import Kafka

PROBE_S = 1.0  # between two looks at Kafka


class Health:
    """Watches Kafka; Postgres is watched by the store, and counts as there once it told from whom something is kept."""

    def __init__(self, log: Kafka, store: EdgeStore, standings: Standings) -> None:
        """Nothing is known before `start`."""
        self._log, self._store, self._standings = log, store, standings
        self._watch: asyncio.Task[None] | None = None
        self.kafka = False

    async def start(self) -> None:
        """Begin to watch."""
        self._watch = asyncio.create_task(self._watching(), name="edge: watch Kafka")

    async def stop(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self.kafka = False

    async def _watching(self) -> None:
        while True:
            try:
                self.kafka = await self._log.alive()
            except (OSError, CaravanError):
                self.kafka = False
            await asyncio.sleep(PROBE_S)

    def demand_postgres(self) -> None:
        """Raises `postgres_unavailable`: what could not be followed to its result is not taken."""
        if not self._postgres:
            raise Problem("postgres_unavailable", headers=RETRY)

    @property
    def _postgres(self) -> bool:
        return self._store.alive and self._standings.known

    async def health(self, _request: Request) -> Response:
        """The process runs."""
        return json({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Commands and views can be served: Kafka and Postgres answered within the last seconds."""
        parts = {"kafka": self.kafka, "postgres": self._postgres}
        if not all(parts.values()):
            away = " and ".join(name.capitalize() for name, there in parts.items() if not there)
            raise Problem("not_ready", f"{away} did not answer.", headers=RETRY, **parts)
        return json({"status": "ready", **parts})
