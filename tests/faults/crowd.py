"""Several clients who speak to several edges: impatient, never the same one twice, and each takes down what it was told."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from api.errors import Problem
from api.tokens import Token, Tokens
from examples.generate import Line
from streams.settings import Settings
from tests.acceptance.clients import AGAIN, AWAY, RETRY_S, Answer, Clients
from tests.checker.history import History

PATIENCE_S = 180.0  # how long a client tries one line: longer than any fault lasts
READS = 0.2  # share of the answers after which the client looks at what came of it


class Crowd(Clients):
    """Sends command files as `Clients` does; a try that gets no answer goes on at the next edge, under the same Idempotency-Key."""

    def __init__(self, urls: Sequence[str], settings: Settings, seed: int, history: History) -> None:
        """Nothing is sent before `send`."""
        super().__init__(urls[0], settings.jwt_secret or "", seed)
        self.counts = dict.fromkeys(("sent", "unknown", "answered", "acked", "read"), 0)
        self.unanswered = 0
        self._urls, self._turn = urls, 0
        self._history = history
        self._read_token = Tokens(settings.signing_keys).read

    async def _hang_up(self, line: Line) -> None:
        with suppress(*AWAY):
            await super()._hang_up(line)

    async def _answer(self, line: Line) -> Answer:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with suppress(*AWAY):
                status, body = await self._post(line)
                if body.get("code") not in AGAIN:
                    await self._look(line, body.get("token"))
                    return Answer(line, status, body.get("command_id"), body.get("token"))
            self.unanswered += 1
            await asyncio.sleep(RETRY_S)
        raise TimeoutError(f"no answer to {line}")

    async def _post(self, line: Line) -> tuple[int, dict[str, Any]]:
        self._turn += 1
        self._note("sent", line)
        domain, command = line["command"].split(".")
        headers = {"Idempotency-Key": line["id"], "Content-Type": "application/json"}
        if who := line["as"]:
            headers["Authorization"] = self._bearer(who["user"], who["role"])
        url = f"{self._urls[self._turn % len(self._urls)]}/v1/{domain}/{command}"
        try:
            async with self._http.post(url, data=json.dumps(line["data"]), headers=headers) as response:
                body = await response.json(content_type=None)
        except AWAY:
            self._note("unknown", line)
            raise
        self._note("answered", line, body.get("command_id"), status=response.status, code=body.get("code"))
        if response.status == 202:
            place = self._place(body["token"])
            self._note("acked", line, body["command_id"], topic=f"{domain}.commands", **place)
        return response.status, body

    async def _look(self, line: Line, token: str | None) -> None:
        """Read the statement of whoever a command of points is about, with the token of its answer."""
        user = line["data"].get("user_id")
        if token is None or not line["command"].startswith("points.") or self._dice.random() > READS:
            return
        self._turn += 1
        url = f"{self._urls[self._turn % len(self._urls)]}/v1/points/statement/{user}"
        headers = {"Authorization": self._bearer("root", "Admin")}
        with suppress(*AWAY):
            async with self._http.get(url, params={"after": token, "limit": "1"}, headers=headers) as response:
                if response.status == 200:
                    items = (await response.json())["items"]
                    seq = items[0]["seq"] if items else 0
                    command_id = str(self._token(token).command_id)
                    self.counts["read"] += 1
                    reader = f"reader of {line['id']}"  # others read at the same moment, so only their own reads are in order
                    self._history.note("read", reader, domain="points", key=user, seq=seq, token=command_id)

    def _same(self, first: Answer, second: Answer) -> None:
        assert (first.status, first.command_id) == (second.status, second.command_id), f"{first} is not {second}"
        self.repeats += 1

    def _note(self, kind: str, line: Line, command_id: str | None = None, **place: Any) -> None:
        self.counts[kind] += 1
        key = str(next(iter(line["data"].values()), ""))
        told = {"domain": line["command"].partition(".")[0], "key": key, "cmd_id": command_id, "request": line["id"]}
        self._history.note(kind, "client", **told, **place)

    def _place(self, token: str) -> dict[str, int]:
        found = self._token(token)
        return {"partition": found.partition, "offset": found.offset}

    def _token(self, text: str) -> Token:
        try:
            return self._read_token(text)
        except Problem as problem:
            raise AssertionError(f"the edge gave a token that is none: {text}") from problem
