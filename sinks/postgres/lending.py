"""Connections to one server, lent to one request at a time.

A pool of a library resets, wraps and times each loan, which costs as much as the question that is asked meanwhile. Here a loan is a list's last
element; one look a few times a second ends loans that last too long.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import asyncpg

from sinks.postgres.faults import DRIVER
from streams.store import BadData, Unavailable

LOOK_S = 0.25  # between two looks at what is lent
IDLE_S = 300.0  # that a connection is kept for nobody

# What passes by itself: connections, resources, restarts, time-outs (TimeoutError is an OSError). The rest is our error, a 500.
PASSING = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresSystemError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection whose session Postgres has just ended
)
_TORN = (OSError, asyncio.CancelledError, asyncpg.InternalClientError)
"""After these the connection's protocol may be in the middle of an answer."""


class _Connection(asyncpg.Connection):
    """Remembers which schema its search path is set to, and since when it is lent or idle."""

    schema: str | None = None
    since = 0.0
    age = 0  # the lender's when it was opened

    async def enter(self, schema: str) -> None:
        if self.schema != schema:
            self.schema = None
            await self.execute(f'SET search_path TO "{schema}"')
            self.schema = schema


class Loan:
    """`async with` gives a connection in the schema that was asked for. Raises Unavailable, and BadData for values that Postgres cannot take."""

    __slots__ = ("_connection", "_lender", "_schema")

    def __init__(self, lender: "Lender", schema: str | None) -> None:
        """Nothing is taken yet."""
        self._lender, self._schema = lender, schema
        self._connection: _Connection | None = None

    async def __aenter__(self) -> Any:
        """Take one; waits while all are lent."""
        lender, schema = self._lender, self._schema
        self._connection = connection = lender.idle(schema)
        if connection is None:
            self._connection = connection = await lender.waited(schema)
        if schema is not None and connection.schema != schema:
            try:
                await connection.enter(schema)
            except BaseException as error:
                lender.back(connection, torn=isinstance(error, _TORN))
                self._raised(error)
                raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Give it back."""
        assert self._connection is not None
        self._lender.back(self._connection, torn=isinstance(error, _TORN))
        if error is not None:
            self._raised(error)

    @staticmethod
    def _raised(error: BaseException) -> None:
        if isinstance(error, asyncpg.DataError):
            raise BadData(str(error)) from error
        if isinstance(error, PASSING):
            raise Unavailable(f"Postgres: {type(error).__name__}: {error}") from error


class Lender:
    """At most `size` connections, opened when they are wanted. Nobody waits for one, or keeps one, longer than `answer_s`."""

    def __init__(self, dsn: str, size: int, answer_s: float, settings: Mapping[str, str]) -> None:
        """Connects to nothing yet."""
        self._dsn, self._size, self._answer_s, self._settings = dsn, size, answer_s, dict(settings)
        self._idle: dict[str | None, list[_Connection]] = {}  # by schema; the last one was used last
        self._lent: set[_Connection] = set()
        self._opening = 0
        self._waiting: deque[tuple[float, asyncio.Future[_Connection | None]]] = deque()  # and since when
        self._age = 0
        self._clock: asyncio.TimerHandle | None = None

    def lend(self, schema: str | None = None) -> Loan:
        """A connection in this schema; None for one in any."""
        return Loan(self, schema)

    # -- of a loan

    def idle(self, schema: str | None) -> _Connection | None:
        """One that is idle in this schema."""
        there = self._idle.get(schema)
        while there:
            connection = there.pop()
            if not connection.is_closed():
                return self._counted(connection)
        return None

    def _counted(self, connection: _Connection) -> _Connection:
        connection.since = asyncio.get_running_loop().time()
        self._lent.add(connection)
        return connection

    async def waited(self, schema: str | None) -> _Connection:
        """Another one: new while there may be more, else one that is idle elsewhere, else the next that is given back."""
        begun = asyncio.get_running_loop().time()
        found = None
        try:
            while found is None:
                found = await self._another(schema, begun)
        except DRIVER as error:  # whatever it is, we have no connection
            raise Unavailable(f"Postgres: {type(error).__name__}: {error}") from error
        found.since = begun  # waiting is part of the loan
        return found

    async def _another(self, schema: str | None, begun: float) -> _Connection | None:
        if len(self._lent) + self._opening >= self._size:
            return await self._next(begun)
        if self._count() < self._size and (schema is not None or not any(self._idle.values())):
            return await self._opened(begun)
        if (found := self._longest_idle()) is not None:
            return self._counted(found)
        return await self._next(begun)

    def _count(self) -> int:
        return self._opening + len(self._lent) + sum(map(len, self._idle.values()))

    def _longest_idle(self) -> _Connection | None:
        there = [some[0] for some in self._idle.values() if some]
        if not there:
            return None
        found = min(there, key=lambda one: one.since)
        self._idle[found.schema].remove(found)
        return self._longest_idle() if found.is_closed() else found

    async def _opened(self, begun: float) -> _Connection:
        self._opening += 1
        age = self._age
        try:
            async with asyncio.timeout_at(begun + self._answer_s):
                connection: _Connection = await asyncpg.connect(
                    self._dsn, connection_class=_Connection, server_settings=self._settings
                )
        except BaseException:
            self._wake()  # somebody else may try
            raise
        finally:
            self._opening -= 1
        connection.age = age
        if self._clock is None:
            self._clock = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        return self._counted(connection)

    async def _next(self, begun: float) -> _Connection | None:
        """What is given back next; None when there is room for a new one. Raises TimeoutError when somebody has waited for too long."""
        loop = asyncio.get_running_loop()
        place: asyncio.Future[_Connection | None] = loop.create_future()
        self._waiting.append((begun, place))
        if self._clock is None:
            self._clock = loop.call_later(LOOK_S, self._look)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and (given := place.result()) is not None:
                self.back(given, torn=False)
            raise

    def back(self, connection: _Connection, *, torn: bool) -> None:
        """A loan ends."""
        if torn or connection.age != self._age:
            connection.terminate()
        if connection.is_closed():
            self._lent.discard(connection)
            self._wake()
            return
        while self._waiting:
            if not (place := self._waiting.popleft()[1]).done():
                connection.since = asyncio.get_running_loop().time()
                place.set_result(connection)
                return
        self._lent.discard(connection)
        connection.since = asyncio.get_running_loop().time()
        self._idle.setdefault(connection.schema, []).append(connection)

    def _wake(self) -> None:
        while self._waiting:
            if not (place := self._waiting.popleft()[1]).done():
                place.set_result(None)
                return

    # -- of all

    def expire(self) -> None:
        """Trust no connection that is open now."""
        self._age += 1
        self._closed([one for some in self._idle.values() for one in some])

    def _closed(self, connections: list[_Connection]) -> None:
        for connection in connections:
            self._idle[connection.schema].remove(connection)
            connection.terminate()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [one for one in self._lent if now - one.since > self._answer_s]:
            connection.terminate()  # whoever has it is told so
        for begun, place in self._waiting:
            if now - begun > self._answer_s and not place.done():
                place.set_exception(TimeoutError("no connection was free in time"))
        self._closed([one for some in self._idle.values() for one in some if now - one.since > IDLE_S])
        self._clock = loop.call_later(LOOK_S, self._look) if self._count() or self._waiting else None

    async def close(self) -> None:
        """End every connection; what is being opened meanwhile ends with its loan."""
        self._age += 1
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        idle = [one for some in self._idle.values() for one in some]
        self._idle.clear()
        with suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with asyncio.timeout(2):
                await asyncio.gather(*(one.close() for one in idle), return_exceptions=True)
        for connection in [*idle, *self._lent]:
            connection.terminate()
        self._lent.clear()
