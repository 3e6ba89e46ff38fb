"""Commits states of one user's balance as a worker does, where no worker runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from sinks.postgres.migrations import connect
from sinks.postgres.moves import message
from streams.partitioner import partition_of
from streams.settings import Settings

PLACE = partition_of(b"u1", 4)
PUT = (
    "INSERT INTO balance (user_id, available, held) VALUES ('u1', $1, 0) "
    "ON CONFLICT (user_id) DO UPDATE SET available = excluded.available"
)
MOVE = (
    "INSERT INTO offsets (agent, topic, partition, next) VALUES ('points', 'points.commands', $1, $2) "
    "ON CONFLICT (agent, topic, partition) DO UPDATE SET next = excluded.next"
)


class Writer:
    """Commits states as a worker does: rows and position in one transaction, then NOTIFY."""

    def __init__(self, connection: asyncpg.Connection, namespace: str) -> None:
        """Write through `connection`."""
        self._connection, self._channel = connection, f"{namespace}caravan"

    async def put(self, available: int, position: int | None = None, *, told: bool = True) -> None:
        """u1 has so much; the position is then as high unless it is given."""
        async with self._connection.transaction():
            await self._connection.execute(PUT, available)
            await self._connection.execute(MOVE, PLACE, available if position is None else position)
        if told:
            await self.tell(available if position is None else position)

    async def tell(self, position: int) -> None:
        """NOTIFY."""
        await self._connection.execute("SELECT pg_notify($1, $2)", self._channel, f"points:points:{PLACE}:{position}")

    async def others(self, position: int) -> None:
        """A commit on the partition that does not concern u1, and says so."""
        await self._connection.execute(MOVE, PLACE, position)
        told = message(("points", "points", PLACE), position, ["u2"])
        await self._connection.execute("SELECT pg_notify($1, $2)", self._channel, told)

    async def enter(self, user: str, position: int) -> None:
        """One more row in the user's statement, of its own key; both its and u1's readers are told."""
        columns = await self._connection.fetch(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_name = 'ledger' AND table_schema = current_schema()"
        )
        values = {"bigint": "$1", "integer": "$1", "uuid": "gen_random_uuid()", "timestamp with time zone": "now()"}
        row = {c["column_name"]: values.get(c["data_type"], "'x'") for c in columns} | {"user_id": "$2", "note": "null"}
        async with self._connection.transaction():
            insert = f"INSERT INTO ledger ({', '.join(row)}) VALUES ({', '.join(row.values())})"
            await self._connection.execute(insert, position, user)
            await self._connection.execute(MOVE, PLACE, position)
        await self.tell(position)

    async def delete(self, position: int) -> None:
        """u1 has no balance any more."""
        async with self._connection.transaction():
            await self._connection.execute("DELETE FROM balance")
            await self._connection.execute(MOVE, PLACE, position)
        await self.tell(position)


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[Writer]:
    """One that writes u1's balance."""
    connection = await connect(settings.postgres)
    try:
        await connection.execute(f'SET search_path = "{settings.namespace}points"')
        yield Writer(connection, settings.namespace)
    finally:
        await connection.close()
