"""What became of commands: `GET /v1/commands/{id}` and `Prefer: wait=N`."""

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.answer import given
from api.edge import Edge, Receipt, status_url
from api.errors import Problem, invalid, json, problem
from api.tokens import Token, principal
from sinks.postgres.reader import Reader
from streams.envelope import Actor
from streams.store import Unavailable

MAX_WAIT = 30  # seconds
REREAD_S = 0.25  # a lost notification costs at most this
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
_REFUSALS = frozenset({403, 404, 409, 422, 429})


@dataclass(frozen=True)
class Outcome:
    """What is known of a command: pending, accepted, rejected or parked; `refusal` is its HTTP status when rejected."""

    status: str
    code: str | None
    details: Mapping[str, Any]
    events: list[Any]
    issuer: str | None
    place: tuple[int, int] | None
    refusal: int = 409

    @property
    def final(self) -> bool:
        """Nothing more comes, save by an operator."""
        return self.status != "pending"


async def outcome(db: Reader, command_id: UUID, place: tuple[int, int] | None) -> Outcome | None:
    """Read it in one snapshot; None when the domain has not heard of it. `place` is where Kafka has it, if known."""
    row = await db.outcome(command_id, *(place or (None, None)))
    if row["status"] is not None:
        told = orjson.loads(row["details"] or "{}")
        refusal = told.get("status", 409) if row["status"] == "rejected" else 0
        return Outcome(
            row["status"],
            row["code"],
            told.get("details", {}) if row["status"] == "rejected" else told,
            [{"event_id": event, "type": kind} for event, kind in orjson.loads(row["events"])],
            row["actor"],
            (row["partition"], row["offset"]),
            refusal if refusal in _REFUSALS else 409,
        )
    if row["cause"] is not None:
        parked = (row["parked_partition"], row["parked_offset"])
        return Outcome("parked", row["cause"], {}, [], row["parked_actor"], parked)
    if place is not None and (row["next"] or 0) <= place[1]:
        return Outcome("pending", None, {}, [], None, place)
    return None


class Commands:
    """The endpoint `GET /v1/commands/{id}`."""

    def __init__(self, edge: Edge, domains: Collection[str]) -> None:
        """Look in these domains."""
        self._edge, self._domains = edge, domains

    async def __call__(self, request: Request) -> Response:
        """Seen by its issuer and by Admins; to everybody else there is no such command."""
        edge = self._edge
        actor = edge.auth.actor(request)
        command_id, domain, token = self._asked(request)
        shown = token is not None and token.domain == domain and token.command_id == command_id
        place = (token.partition, token.offset) if shown and token is not None else None
        async with edge.store.db(domain) as db:
            found = await outcome(db, command_id, place)
        if found is None or not _visible(actor, found, token if shown else None):
            raise Problem("not_found")
        issuer = principal(actor) if found.issuer is None else found.issuer
        return json(told(edge, domain, command_id, found, issuer))

    def _asked(self, request: Request) -> tuple[UUID, str, Token | None]:
        query = request.query_params
        try:
            command_id = UUID(request.scope["segments"][0])
        except ValueError:
            raise invalid([("path.id", "uuid_parsing", "must be a UUID")]) from None
        if unknown := set(query) - {"domain", "token"}:
            raise invalid([(f"query.{name}", "extra_forbidden", "unknown parameter") for name in sorted(unknown)])
        domain = query.get("domain")
        if domain not in self._domains:
            raise invalid([("query.domain", "domain", f"must be one of: {', '.join(self._domains)}")])
        assert domain is not None
        return command_id, domain, self._edge.tokens.read(query["token"]) if "token" in query else None


def _visible(actor: Actor, found: Outcome, token: Token | None) -> bool:
    """Guests are all one principal, so a Guest shows the token that came with the 202."""
    if actor.role == "Admin" or (token is not None and token.issued_to(actor)):
        return True
    return actor.type != "guest" and found.issuer == principal(actor)


def told(edge: Edge, domain: str, command_id: UUID, found: Outcome, issuer: str) -> dict[str, Any]:
    """The body that tells an outcome."""
    place = found.place
    return {
        "command_id": str(command_id),
        "domain": domain,
        "status": found.status,
        "code": found.code,
        "details": found.details,
        "events": found.events,
        "token": edge.tokens.write(domain, *place, command_id, issuer) if place else None,
    }


def accepted(edge: Edge, receipt: Receipt, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """202: Kafka has it."""
    token = edge.token(receipt)
    url = status_url(receipt.domain, receipt.command_id, token)
    body = {"command_id": str(receipt.command_id), "status_url": url, "token": token, **more}
    return json(body, 202, {"Location": url, **(headers or {})})


def patience(request: Request) -> int:
    """Seconds that `Prefer: wait=N` asks for, at most MAX_WAIT; 0 without it."""
    if b"prefer" not in given(request):
        return 0
    for header in request.headers.getlist("prefer"):
        if found := _WAIT.search(header):
            return min(int(found[1]), MAX_WAIT)
    return 0


async def follow(edge: Edge, request: Request, receipt: Receipt, seconds: int) -> Response:
    """Wait for the result: 200, the refusal, or 202 when it does not come in time."""
    applied = {"Preference-Applied": f"wait={seconds}"}
    found = await _awaited(edge, request, receipt, seconds)
    if found is None or found.status in ("pending", "parked"):
        return accepted(edge, receipt, applied, **({"status": found.status} if found else {}))
    body = told(edge, receipt.domain, receipt.command_id, found, receipt.issuer)
    if found.status == "accepted":
        return json(body, 200, applied)
    url = status_url(receipt.domain, receipt.command_id, body["token"])
    raise Refused(found, body | {"status_url": url}, applied)


async def _awaited(edge: Edge, request: Request, receipt: Receipt, seconds: int) -> Outcome | None:
    """The final outcome, or what is known when the time is over, the process ends or nobody waits any more.

    The command is in Kafka, so losing Postgres is no error.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    found = None
    with edge.store.moves.watch(receipt.domain, receipt.partition, receipt.offset) as watch:
        while True:
            try:
                async with edge.store.db(receipt.domain) as db:
                    found = await outcome(db, receipt.command_id, (receipt.partition, receipt.offset))
            except Unavailable:
                found = None
            left = deadline - loop.time()
            if (found is not None and found.final) or left <= 0 or edge.ending:
                return found
            with edge.load.aside("command"):
                await watch.next(min(left, REREAD_S))
            if await request.is_disconnected():
                return None


class Refused(Exception):  # an answer, not a fault
    """The decider refused the command that the caller waited for."""

    def __init__(self, found: Outcome, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        """`body` tells the outcome."""
        super().__init__(found.code)
        self.found, self.body, self.headers = found, body, headers


async def on_refused(request: Request, error: Exception) -> Response:
    """Answer a refusal as a problem whose code is the rule's."""
    assert isinstance(error, Refused)
    found = error.found
    code = found.code or "rejected"
    told = {name: value for name, value in error.body.items() if name not in ("status", "code")}
    title = f"The command was refused: {code}."
    return problem(request, found.refusal, code, title, headers=error.headers, members=told)
