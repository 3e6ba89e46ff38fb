"""Somebody who answers questions over HTTP: JSON is posted, JSON comes back."""

import json
from collections.abc import Mapping
from typing import Any

from streams.decision import Intent
from streams.effect import Adapter, Passing, Refused

LONGEST = 64 * 1024  # bytes of an answer
WAIT_S = 8.0  # for an answer; less than an effect's limit, which would leave the outcome unknown


class Questions(Adapter):
    """Posts an intent's data to a URL, under the header `Idempotency-Key`, and gives the object that is answered.

    To ask changes nothing there, so whatever is no answer may be asked again: no connection, no answer in time, 408, 429, 5xx. Other statuses than 2xx, and what is no
    JSON object of at most 64 KiB, are refusals. Redirects are not followed: what is asked may be for one host only.
    """

    repeatable = True

    def __init__(self, url: str, *, wait: float = WAIT_S) -> None:
        """`wait` is in seconds. Connects when it is first asked."""
        self._url, self._wait = url, wait
        self._session: Any = None

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        """Ask. Raises Passing and Refused."""
        import aiohttp  # when somebody is asked: it takes its time

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._wait))
        headers = {"Idempotency-Key": key}
        try:
            async with self._session.post(
                self._url, json=intent.data, headers=headers, allow_redirects=False
            ) as answer:
                return _read(answer.status, await answer.content.read(LONGEST + 1))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Passing(f"No answer: {error!r}") from error

    async def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()


def _read(status: int, body: bytes) -> Mapping[str, Any]:
    if status in (408, 429) or status >= 500:
        raise Passing(f"It answered {status}.")
    if not 200 <= status < 300:
        raise Refused(f"It answered {status}.")
    if len(body) > LONGEST:
        raise Refused(f"Its answer is longer than {LONGEST} bytes.")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Refused("Its answer is no JSON object.")
    return answer
