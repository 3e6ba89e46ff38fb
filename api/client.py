"""A client of the edge: sends a command once however often it has to try, and waits for what became of it."""

import asyncio
import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import aiohttp

WAIT_S = 20  # how long the edge keeps a request that waits for its result
ANSWER_S = WAIT_S + 15  # how long an answer may take at all
FIRST_S, LONGEST_S = 0.1, 2.0  # between two tries
ASK_S = 0.2  # between two looks at a result
CRASHES = 3  # how often a 500 is tried again
_AWAY = (aiohttp.ClientError, OSError)  # a TimeoutError is an OSError
_AGAIN = frozenset({408, 429, 502, 503, 504})


class Unreachable(Exception):
    """The edge did not answer for as long as we may wait."""


class Answer(NamedTuple):
    """What became of a command; `code` says why it was rejected or failed, `words` say it in words."""

    status: Literal["accepted", "rejected", "failed"]
    code: str | None = None
    words: str = ""
    command_id: str | None = None


class Client:
    """Use it with `async with`; it may be shared by any number of tasks."""

    def __init__(self, url: str, *, connections: int, patience: float) -> None:
        """`patience` (s) is how long one command is tried and waited for."""
        self._connections, self._url, self._patience = connections, url.rstrip("/"), patience
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open it; connections are made when they are needed."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    async def probe(self) -> None:
        """Raise Unreachable unless something answers there."""
        try:
            await self._asked("GET", "/health", {}, None)
        except _AWAY as error:
            raise Unreachable(f"nothing answers at {self._url} ({_words(error)})") from error

    async def send(self, domain: str, command: str, body: bytes, *, key: str, token: str | None) -> Answer:
        """Issue a command under an Idempotency-Key and wait for its end. Raises Unreachable."""
        headers = {
            "content-type": "application/json",
            "idempotency-key": key,
            "prefer": f"wait={WAIT_S}",
            **_bearer(token),
        }
        deadline = time.monotonic() + self._patience
        response = await self._answer("POST", f"/v1/{domain}/{command}", deadline, headers, body)
        if response.status == 202:
            return await self._followed(response.told(), token, deadline)
        return _answer(response, sent=token is not None)

    async def _followed(self, told: Mapping[str, Any], token: str | None, deadline: float) -> Answer:
        """Ask for the result of a command that Kafka has until it has one."""
        command_id, url = told["command_id"], told["status_url"]
        while told.get("status", "pending") == "pending":
            if time.monotonic() > deadline:
                words = f"it had no result after {self._patience:.0f} s; send the file again to see what became of it"
                return Answer("failed", "pending", words, command_id)
            await asyncio.sleep(ASK_S)
            response = await self._answer("GET", url, deadline, _bearer(token))
            if response.status != 200:
                return _answer(response, sent=token is not None)
            told = response.told()
        if told["status"] == "parked":
            return Answer("failed", "parked", "an operator has to look at it: caravan parked list", command_id)
        if told["status"] == "accepted":
            return Answer("accepted", None, "", command_id)
        return Answer("rejected", told["code"] or "rejected", "", command_id)

    async def _answer(
        self, method: str, url: str, deadline: float, headers: Mapping[str, str], body: bytes | None = None
    ) -> "Response":
        """Ask until there is an answer worth keeping; raises Unreachable."""
        delay, crashes = FIRST_S, 0
        while True:
            again: Response | None = None
            try:
                response = await self._asked(method, url, headers, body)
                crashes += response.status == 500
                if not _passing(response) and not 0 < crashes < CRASHES:
                    return response
                again, words = response, f"status {response.status}"
            except _AWAY as error:
                words = _words(error)
            pause = _pause(again, delay)
            if time.monotonic() + pause > deadline:
                if again is not None:
                    return again
                raise Unreachable(f"{self._url} has not answered for {self._patience:.0f} s ({words})")
            await asyncio.sleep(pause)
            delay = min(delay * 2, LONGEST_S)

    async def _asked(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> "Response":
        assert self._http is not None
        async with self._http.request(method, self._url + path, data=body, headers=headers) as answer:
            raw = await answer.read()
            return Response(answer.status, answer.headers, raw)


class Response(NamedTuple):
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


def _bearer(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _passing(response: Response) -> bool:
    """Whether it is worth trying again: the same body under the same key has its effect once."""
    if response.status == 409:
        told = response.told()
        return told.get("code") == "in_progress" and "events" not in told
    return response.status in _AGAIN


def _pause(response: Response | None, delay: float) -> float:
    told = response.headers.get("retry-after", "") if response is not None and response.status == 429 else ""
    return max(delay, float(told)) if told.isdigit() else delay


def _answer(response: Response, *, sent: bool) -> Answer:
    """What a final answer means; `sent`: a token went along."""
    status, told = response.status, response.told()
    if status == 200:
        return Answer("accepted", None, "", told.get("command_id"))
    code = str(told.get("code") or f"http_{status}")
    words = str(told.get("detail") or told.get("title") or f"status {status}")
    ours = "events" in told  # the rule's own no
    if not ours and (status >= 500 or _passing(response) or code in {"idempotency_key_reused", "not_found"}):
        return Answer("failed", code, words, told.get("command_id"))
    if status == 401 and sent:
        return Answer("failed", code, "the edge does not know our token: it has another CARAVAN_JWT_SECRET")
    return Answer("rejected", code, words, told.get("command_id"))


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
