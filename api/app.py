"""The edge as an application: `uvicorn api.app:create --factory` reads the environment, tests hand their settings in."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.auth import Authenticator
from api.commands import Issue
from api.contracts import Documents
from api.contracts import add_to as show_contracts
from api.docs import page
from api.edge import Edge
from api.ending import told
from api.errors import RETRY, Problem, invalid, on_http, on_problem, path
from api.feeds import Feeds
from api.front import Application
from api.health import Health
from api.live import TAIL, Live
from api.load import Load
from api.openapi import Catalogue, document
from api.parked import add_to
from api.personal import Blinder
from api.results import Commands, Refused, on_refused
from api.routes import Generated
from api.sse import Streams
from api.standings import Standings
from api.tokens import Tokens
from api.views import Show, Signature, View, out_of_range
from sinks.postgres.edge import EdgeStore
from streams import discover, view
from streams.clock import SystemClock, VirtualClock
from streams.contract import Topic
from streams.envelope import Signer
from streams.kafka import Kafka
from streams.settings import Settings
from streams.store import BadData, Unavailable


@dataclass(frozen=True)
class Served:
    """A domain as the edge sees it: its contract, its views by name, and what tells from whom it keeps something."""

    topic: Topic
    views: Mapping[str, Any]
    standings: view.Standings | None = None


def discovered() -> list[Served]:
    """Every domain that there is."""
    return [
        Served(discover.topic(domain), discover.views(domain), discover.standing(domain))
        for domain in discover.domains()
    ]


def create() -> FastAPI:
    """The edge with the settings of the environment; raises SettingsError."""
    return create_app(Settings.from_env())


def create_app(settings: Settings, served: Sequence[Served] | None = None, shown: Documents | None = None) -> FastAPI:
    """The edge for these domains (default: all), which shows these documents of the contracts (default: none).

    Raises SettingsError and ContractError. It connects when it is started.
    """
    domains = discovered() if served is None else served
    edge = _edge(settings, domains)
    catalogue = Catalogue(
        {d.topic.domain: [c for c in d.topic.commands.values() if c.roles] for d in domains},
        {d.topic.domain: [s for n, f in d.views.items() if (s := Signature(n, f)).readers.roles] for d in domains},
    )
    app = Application(
        title="Caravan", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=_life
    )
    app.state.edge = edge
    app.routes_first = _generated(edge, catalogue, {d.topic.domain: d.topic for d in domains})
    app.router.routes.append(app.routes_first)
    for domain in domains if served is None else ():
        if module := discover.routes(domain.topic.domain):
            app.include_router(module.router, prefix=f"/v1/{domain.topic.domain}")
    _documented(app, catalogue)
    if shown is not None:
        show_contracts(app, shown)
    app.add_route("/health", edge.health.health)
    app.add_route("/ready", edge.health.ready)
    _guarded(app)
    return app


def _edge(settings: Settings, domains: Sequence[Served]) -> Edge:
    log = Kafka(settings)
    store = EdgeStore(settings.postgres, settings.postgres_read, settings.namespace)
    clock = VirtualClock() if settings.clock == "virtual" else SystemClock()
    standings = Standings(store, clock, [(d.topic, d.standings) for d in domains if d.standings])
    return Edge(
        auth=Authenticator(settings, standings.admits),
        tokens=Tokens(settings.signing_keys),
        signer=Signer(settings.signing_keys),
        clock=clock,
        log=log,
        store=store,
        blinder=Blinder(store),
        standings=standings,
        health=Health(log, store, standings),
        streams=Streams(),
        feeds=Feeds(store),
        load=Load(),
    )


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    """Starts whether or not Kafka and Postgres are there: `/ready` tells."""
    edge: Edge = app.state.edge
    follower = edge.store.follow(edge.clock) if isinstance(edge.clock, VirtualClock) else None
    if follower is not None:
        await follower.start()
    await edge.store.start()
    await edge.standings.start()
    await edge.health.start()
    try:
        with told(edge.end):
            yield
    finally:
        edge.end()
        await edge.health.stop()
        await edge.standings.stop()
        await edge.log.stop()
        await edge.store.stop()
        if follower is not None:
            await follower.stop()


def _generated(edge: Edge, catalogue: Catalogue, topics: Mapping[str, Topic]) -> Generated:
    routes = Generated()
    for domain, contracts in catalogue.commands.items():
        for contract in contracts:
            routes.add("POST", (domain, contract.wire_name), 0, Issue(edge, contract))
    for domain, signatures in catalogue.views.items():
        for signature in signatures:
            view, place, segments = View(edge, domain, signature), (domain, signature.name), len(signature.segments)
            routes.add("GET", place, segments, Show(view))
            if segments:
                routes.add("GET", place, segments, Live(view, topics[domain]), TAIL)
    routes.add("GET", ("commands",), 1, Commands(edge, sorted(catalogue.commands)))
    add_to(routes, edge, topics)
    return routes


def _documented(app: FastAPI, catalogue: Catalogue) -> None:
    """Serve both documents, made once."""
    spec = document(catalogue)
    as_json, as_page = orjson.dumps(spec), page(spec)
    public = {"Cache-Control": "no-cache"}
    styled = public | {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    }

    async def openapi(_request: Request) -> Response:
        return Response(as_json, headers=public, media_type="application/json")

    async def docs(_request: Request) -> Response:
        return Response(as_page, headers=styled, media_type="text/html")

    app.add_route("/openapi.json", openapi)
    app.add_route("/docs", docs)


def _guarded(app: FastAPI) -> None:
    """Every error becomes a problem, whoever raises it."""

    async def unavailable(request: Request, _error: Exception) -> Response:
        return await on_problem(request, Problem("postgres_unavailable", headers=RETRY))

    async def bad_data(request: Request, _error: Exception) -> Response:
        return await on_problem(request, out_of_range())

    async def wrong(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await on_problem(request, invalid([(path(e["loc"]), e["type"], e["msg"]) for e in error.errors()]))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, wrong)
    app.add_exception_handler(Unavailable, unavailable)
    app.add_exception_handler(BadData, bad_data)
