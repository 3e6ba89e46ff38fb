"""Parked records for Admins: `/v1/parked`. The edge writes requests only; the owner of the record's partition acts on them."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

import orjson
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request as Http
from starlette.responses import Response

from api import body as bodies
from api.auth import refused
from api.edge import Edge
from api.errors import Problem, invalid, invalid_fields, json
from api.parked_json import line_json, record_json, request_json
from api.results import patience
from api.routes import Generated
from api.tokens import principal
from sinks.postgres import parked
from sinks.postgres.parked import FOLLOWER, Action, Place, Request, Wanted
from streams.contract import Moment
from streams.envelope import Actor
from streams.inspection import Malformed, checked, with_payload
from streams.view import MAX_LIMIT

ROOT = "parked"
PLACE = ("domain", "agent", "topic", "partition", "offset")
CURSOR = "cursor of parked"
Words = Annotated[str, Field(strict=True, min_length=1, max_length=1000, pattern=r"\S")]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", str_max_length=1000)

    domain: str | None = None
    agent: str | None = None
    key: str | None = None
    cause: str | None = None
    type: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    held: bool = False
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50


class Redrive(BaseModel):
    """Have the record processed again by the code that runs now."""

    model_config = ConfigDict(extra="forbid")

    reason: Words | None = None


class Skip(BaseModel):
    """Give the record up."""

    model_config = ConfigDict(extra="forbid")

    reason: Words


class Edit(BaseModel):
    """Change the record and have it processed: some fields of its payload (null takes one out), or its whole value."""

    model_config = ConfigDict(extra="forbid")

    reason: Words
    payload: Annotated[dict[str, Any] | None, Field(min_length=1)] = None
    value_base64: Annotated[Base64Bytes, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.payload is None) == (self.value_base64 is None):
            raise ValueError("give either payload or value_base64")
        return self


BODIES: Mapping[Action, type[Redrive | Skip | Edit]] = {"redrive": Redrive, "skip": Skip, "edit": Edit}


class Asked(NamedTuple):
    """A record's place as a path names it."""

    domain: str
    place: Place


class Desk:
    """What all these endpoints know."""

    def __init__(self, edge: Edge, domains: Collection[str]) -> None:
        """Serve the parked records of these domains."""
        self.edge, self.domains = edge, sorted(domains)

    def admin(self, http: Http) -> Actor:
        """The caller, who is an Admin; raises `unauthorized` and `forbidden`."""
        actor = self.edge.auth.actor(http)
        if actor.role != "Admin":
            raise refused(actor)
        return actor

    def asked(self, http: Http) -> Asked:
        """Raises `not_found` for what can be no place."""
        domain, agent, topic, partition, offset = http.scope["segments"]
        numbers = (partition, offset.removeprefix("-"))  # a timer's offset is below zero
        if domain not in self.domains or not all(n.isascii() and n.isdecimal() and len(n) < 19 for n in numbers):
            raise Problem("not_found")
        return Asked(domain, Place(agent, topic, int(partition), int(offset)))

    async def seen(self, asked: Asked) -> tuple[parked.Record, list[Request]]:
        """The record and its history; raises `not_found`, and `no_longer_parked` with what was done about it."""
        async with self.edge.store.primary(asked.domain) as db:
            record, history = await parked.record(db, asked.place), await parked.history(db, asked.place)
        if record is None:
            if not history:
                raise Problem("not_found")
            told = [request_json(asked.domain, one) for one in history]
            last = history[-1]
            raise Problem(
                "no_longer_parked", f"{last.action} by {last.by}: {last.outcome or last.status}", history=told
            )
        return record, history


def add_to(routes: Generated, edge: Edge, domains: Collection[str]) -> None:
    """Add the routes."""
    desk = Desk(edge, domains)
    routes.add("GET", (ROOT,), 0, List(desk))
    routes.add("GET", (ROOT,), len(PLACE), Show(desk))
    routes.add("GET", (ROOT, "requests"), 1, Status(desk))
    for action in BODIES:
        routes.add("POST", (ROOT,), len(PLACE), Ask(desk, action), action)


class List:
    """`GET /v1/parked`."""

    def __init__(self, desk: Desk) -> None:
        """Serve it."""
        self._desk = desk

    async def __call__(self, http: Http) -> Response:
        """A page of records, in the order of their places."""
        self._desk.admin(http)
        query = _query(http)
        domains, after = self._from(query)
        wanted = Wanted(
            agent=query.agent, key=None if query.key is None else query.key.encode(), cause=query.cause, type=query.type,
            since=query.since, until=query.until, followers=query.held or query.key is not None or query.cause == FOLLOWER,
        )  # fmt: skip
        found: list[tuple[str, parked.Line]] = []
        for domain in domains:
            async with self._desk.edge.store.db(domain) as db:
                lines = await parked.listed(db, wanted, after, query.limit + 1 - len(found))
            found += [(domain, line) for line in lines]
            after = None
            if len(found) > query.limit:
                break
        items = [line_json(*one) for one in found[: query.limit]]
        return json(
            {"items": items, "next": self._cursor(*found[query.limit - 1]) if len(found) > query.limit else None}
        )

    def _from(self, query: _Query) -> tuple[list[str], Place | None]:
        """The domains to look in, and the place in the first of them after which to begin."""
        domains = self._desk.domains
        if query.domain is not None:
            if query.domain not in domains:
                raise invalid([("query.domain", "domain", f"must be one of: {', '.join(domains)}")])
            domains = [query.domain]
        if query.cursor is None:
            return domains, None
        if (told := self._desk.edge.tokens.unwrap(CURSOR, query.cursor)) is None:
            raise Problem("bad_cursor")
        domain, *place = orjson.loads(told)
        return [one for one in domains if one >= domain], Place(*place) if domain in domains else None

    def _cursor(self, domain: str, line: parked.Line) -> str:
        return self._desk.edge.tokens.wrap(CURSOR, orjson.dumps([domain, *line.place]))


class Show:
    """`GET /v1/parked/{domain}/{agent}/{topic}/{partition}/{offset}`."""

    def __init__(self, desk: Desk) -> None:
        """Serve it."""
        self._desk = desk

    async def __call__(self, http: Http) -> Response:
        """The record, whole."""
        self._desk.admin(http)
        asked = self._desk.asked(http)
        return json(record_json(asked.domain, *await self._desk.seen(asked)))


class Status:
    """`GET /v1/parked/requests/{id}`."""

    def __init__(self, desk: Desk) -> None:
        """Serve it."""
        self._desk = desk

    async def __call__(self, http: Http) -> Response:
        """What became of a request; it is of one of the domains, or of the one that `?domain=` names."""
        self._desk.admin(http)
        try:
            request_id = UUID(http.scope["segments"][0])
        except ValueError:
            raise invalid([("path.id", "uuid_parsing", "must be a UUID")]) from None
        if unknown := set(http.query_params) - {"domain"}:
            raise invalid([(f"query.{name}", "extra_forbidden", "unknown parameter") for name in sorted(unknown)])
        wanted = http.query_params.get("domain")
        for domain in self._desk.domains:
            if wanted in (None, domain):
                async with self._desk.edge.store.primary(domain) as db:
                    found = await parked.request(db, request_id)
                if found is not None:
                    return json(request_json(domain, found))
        raise Problem("not_found")


class Ask:
    """`POST /v1/parked/{domain}/{agent}/{topic}/{partition}/{offset}/redrive`, and likewise skip and edit."""

    def __init__(self, desk: Desk, action: Action) -> None:
        """Serve this action."""
        self._desk, self._action = desk, action

    async def __call__(self, http: Http) -> Response:
        """Write the request, answer 202; with `Prefer: wait` what became of it, if the owner acts in time."""
        desk = self._desk
        actor = desk.admin(http)
        asked = desk.asked(http)
        desk.edge.standings.demand(actor, asked.domain)
        body = await _body(http, BODIES[self._action])
        record, _ = await desk.seen(asked)
        value = _edited(record, body) if isinstance(body, Edit) else None
        async with desk.edge.store.primary(asked.domain) as db:
            request_id = await parked.ask(
                db, asked.place, self._action, by=principal(actor), reason=body.reason, value=value
            )
        if request_id is None:
            await desk.seen(asked)
            raise Problem("not_found")  # it was parked a moment ago, and again now
        seconds = patience(http)
        found = await self._awaited(asked.domain, request_id, seconds)
        url = f"/v1/{ROOT}/requests/{request_id}?domain={asked.domain}"
        told = request_json(asked.domain, found) | {"status_url": url}
        headers = {"Preference-Applied": f"wait={seconds}"} if seconds else {}
        if found.status == "refused":
            members = {name: part for name, part in told.items() if name != "status"}
            raise Problem("request_refused", found.outcome, headers=headers, **members)
        return json(told, 200 if found.status == "done" else 202, {"Location": url, **headers})

    async def _awaited(self, domain: str, request_id: UUID, seconds: int) -> Request:
        """The request once it is done, or as it stands after that time; no connection is kept meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            async with self._desk.edge.store.primary(domain) as db:
                found = await parked.request(db, request_id)
            assert found is not None  # nobody deletes requests
            left = deadline - loop.time()
            if found.status != "waiting" or left <= 0:
                return found
            await asyncio.sleep(min(parked.POLL_S, left))


def _query(http: Http) -> _Query:
    query = http.query_params
    if wrong := [(f"query.{name}", "repeated", "given twice") for name in query if len(query.getlist(name)) > 1]:
        raise invalid(wrong)
    try:
        return _Query.model_validate_strings(dict(query))
    except ValidationError as error:
        raise invalid_fields(error, "query") from None


async def _body(http: Http, model: type[Redrive | Skip | Edit]) -> Redrive | Skip | Edit:
    """The body; for what needs none it may be left out."""
    empty = http.headers.get("content-length", "0") == "0" and "transfer-encoding" not in http.headers
    raw = b"{}" if empty else await bodies.read(http)
    bodies.parse(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_fields(error) from None


def _edited(record: parked.Record, edit: Edit) -> bytes:
    """The new value of the record; raises `invalid` for one that would only be parked again."""
    topic = record.line.place.topic
    try:
        if edit.payload is not None:
            return with_payload(topic, record.value, edit.payload)
        return checked(topic, edit.value_base64 or b"", record.value)
    except Malformed as error:
        raise invalid([(error.field, error.code, error.words)]) from None
