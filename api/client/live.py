"""Live views: the states of what a view shows, through disconnects and restarts of the edge."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from api.client.errors import Unreachable
from api.client.reads import Read
from api.client.wire import AWAY, STREAM, Pause, Wire, words

T = TypeVar("T")
STATE = ("", "message")  # names of the events that are states
ABSENT = "absent"  # the one that says: there is no such thing (yet, or any more)
RETRY_S = 1.0  # until the edge says another


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    id: str
    data: bytes


class Parser:
    """Server-sent events from the lines of a stream; one for each connection."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self.retry: float | None = None
        self._name, self._id = "", ""
        self._data: list[bytes] = []

    def take(self, line: bytes) -> Event | None:
        """The event that this line ends, if it ends one."""
        line = line.removesuffix(b"\r")
        if not line:
            return self._ended()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode()
        elif field == b"id":
            self._id = value.decode()
        elif field == b"retry" and value.isdigit():
            self.retry = int(value) / 1000
        return None

    def _ended(self) -> Event | None:
        event = Event(self._name, self._id, b"\n".join(self._data)) if self._data else None
        self._name, self._data = "", []
        return event


class Live(Generic[T]):
    """The states of one view, the newest first to come; None where there is nothing (yet, or any more)::

        async with client.live(open_invoices, customer_id="c1") as states:
            async for state in states:
                ...

    It comes back by itself with the id of the last event, so nothing older is shown, and raises Unreachable when the edge
    was away for longer than the client's patience, EdgeError when it says no. `last_id` may be kept, and a later stream begun `since` it.
    """

    def __init__(
        self, wire: Wire, asked: Read, headers: Callable[[], Awaitable[Mapping[str, str]]], after: tuple[str, ...]
    ) -> None:
        """Made by `Client.live`."""
        self.last_id = ""
        self._wire, self._read, self._headers, self._after = wire, asked, headers, after
        self._path = f"{asked.path}/live"
        self._states: AsyncGenerator[T | None] | None = None
        self._retry = RETRY_S

    def since(self, last_id: str) -> Self:
        """Show nothing older than what came with this id."""
        self.last_id = last_id
        return self

    def after(self, *tokens: str) -> Self:
        """Show nothing before what these tokens stand for, instead of the client's own writes."""
        self._after = tokens
        return self

    async def __aenter__(self) -> Self:
        """Nothing is asked before the first state is."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Leave the stream."""
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the stream, which an `async for` that was left does not do at once."""
        if self._states is not None:
            await self._states.aclose()

    def __aiter__(self) -> AsyncIterator[T | None]:
        """Go on from the last state."""
        if self._states is None:
            self._states = self._follow()
        return self._states

    async def _follow(self) -> AsyncGenerator[T | None]:
        pause, last = Pause(), time.monotonic()
        while True:
            answer = None
            try:
                async with self._wire.stream(self._path, await self._asked(), self._query()) as (answer, lines):
                    if answer.status == 200:
                        async for event in self._events(lines()):
                            yield self._state(event)
                            pause, last = Pause(), time.monotonic()
                        last = time.monotonic()
                    elif not answer.passing and answer.status != 500:
                        raise answer.error()
                said = f"status {answer.status}"
            except AWAY as error:
                said = words(error)
                if answer is not None and answer.status == 200:
                    last = time.monotonic()  # it was there until now
            seconds = pause.after(answer) + random.uniform(0, self._retry)  # noqa: S311 - not all at the same moment
            if time.monotonic() + seconds > last + self._wire.patience:
                if answer is not None and answer.status != 200:
                    raise answer.error()
                raise Unreachable(f"{self._wire.url} has not answered for {self._wire.patience:.0f} s ({said})")
            await asyncio.sleep(seconds)

    async def _events(self, lines: AsyncIterator[bytes]) -> AsyncIterator[Event]:
        parser = Parser()
        async for line in lines:
            if (event := parser.take(line)) is not None and event.name in (*STATE, ABSENT):
                yield event  # others tell why the stream ends
            if parser.retry is not None:
                self._retry = parser.retry

    def _state(self, event: Event) -> T | None:
        self.last_id = event.id or self.last_id
        if event.name == ABSENT:
            return None
        state: T = self._read.answer.validate_json(event.data)
        return state

    async def _asked(self) -> dict[str, str]:
        headers = {"accept": STREAM, **await self._headers()}
        return headers | ({"last-event-id": self.last_id} if self.last_id else {})

    def _query(self) -> dict[str, str]:
        """Once something was shown, its id says all that the tokens did."""
        covering = {"after": ",".join(self._after)} if self._after and not self.last_id else {}
        return {name: value for name, value in self._read.query.items() if name != "cursor"} | covering
