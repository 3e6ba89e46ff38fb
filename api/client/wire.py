"""HTTP to the edge: one pool of connections, and one way of trying again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from api.client.errors import EdgeError, Unreachable

ANSWER_S = 15.0  # how long an answer may take, beyond what the edge was asked to wait
SILENCE_S = 45.0  # of a stream, which has a beat every 15 s
FIRST_S, LONGEST_S = 0.1, 2.0  # between two tries
MOST_S = 60.0  # that we let the edge tell us to wait
CRASHES = 3  # how often a 500 is tried again
STREAM = "text/event-stream"
_AGAIN = frozenset({408, 429, 502, 503, 504})
_YET = frozenset({"in_progress", "not_yet_applied"})  # each a 409 that passes
AWAY = (aiohttp.ClientError, OSError)  # a TimeoutError is an OSError


class Answer(NamedTuple):
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    def told(self) -> dict[str, Any]:
        """Its JSON object; empty where it is none."""
        try:
            told = json.loads(self.raw)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}

    def error(self) -> EdgeError:
        """As an exception."""
        return EdgeError.of(self.status, self.told())

    @property
    def passing(self) -> bool:
        """Whether asking again may have another answer; a command has its effect once, under its key."""
        if self.status in (409, 429):
            told = self.told()
            passes = self.status == 429 or told.get("code") in _YET
            return passes and "events" not in told  # a rule may answer so, too
        return self.status in _AGAIN


class Pause:
    """How long to wait before each next try: twice as long as before, and as long as the edge says."""

    def __init__(self) -> None:
        """The first is short."""
        self._next = FIRST_S

    def after(self, answer: Answer | None) -> float:
        """In seconds; `answer` is what the last try gave, if anything."""
        delay, self._next = self._next, min(self._next * 2, LONGEST_S)
        told = answer.headers.get("retry-after", "") if answer is not None else ""
        return max(delay, min(float(told), MOST_S)) if told.isdigit() else delay


class Wire:
    """Connections to one edge, or to what stands before several; any number of tasks share it."""

    def __init__(self, url: str, *, connections: int, patience: float) -> None:
        """`patience` (s) is how long one request is tried."""
        self.url, self.patience = url.rstrip("/"), patience
        self._connections = connections
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Connections are made when they are needed."""
        connector = aiohttp.TCPConnector(limit=self._connections)
        self._http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def probe(self) -> None:
        """Raise Unreachable unless something answers there."""
        try:
            await self.once("GET", "/health", {})
        except AWAY as error:
            raise Unreachable(f"nothing answers at {self.url} ({words(error)})") from error

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        wait: float = 0.0,
        until: float | None = None,
    ) -> Answer:
        """Ask until there is an answer worth keeping, or the time `until` (monotonic); then the last one. Raises Unreachable.

        `wait` is how long the edge was asked to keep the request.
        """
        deadline = time.monotonic() + self.patience if until is None else until
        pause, crashes = Pause(), 0
        while True:
            answer: Answer | None = None
            try:
                answer = await self.once(method, path, headers, body, query=query, seconds=wait + ANSWER_S)
                crashes += answer.status == 500
                if not answer.passing and not (answer.status == 500 and crashes < CRASHES):
                    return answer
                said = f"status {answer.status}"
            except AWAY as error:
                said = words(error)
            seconds = pause.after(answer)
            if time.monotonic() + seconds > deadline:
                if answer is not None:
                    return answer
                raise Unreachable(f"{self.url} has not answered for {self.patience:.0f} s ({said})")
            await asyncio.sleep(seconds)

    async def once(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        seconds: float = ANSWER_S,
    ) -> Answer:
        """Ask once; raises one of AWAY."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._session().request(
            method, self.url + path, data=body, params=query, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> AsyncIterator[tuple[Answer, Callable[[], AsyncIterator[bytes]]]]:
        """The head of an answer (all of it unless it is 200), and its lines as they come. Raises one of AWAY."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_S, sock_read=SILENCE_S)
        asking = self._session().get(
            self.url + path, params=query, headers=headers, timeout=timeout, allow_redirects=False
        )
        async with asking as answer:
            if answer.status == 200 and answer.content_type != STREAM:
                raise EdgeError("no_stream", 200, f"{path} answers with {answer.content_type}")
            raw = b"" if answer.status == 200 else await answer.read()
            yield Answer(answer.status, answer.headers, raw), lambda: _lines(answer.content)

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("the client is closed; use it with `async with`")
        return self._http


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines of any length, without their ends; what an end of the stream cuts short is dropped."""
    rest = b""
    async for piece in content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line


def words(error: Exception) -> str:
    """What went wrong, for people."""
    return str(error) or type(error).__name__
