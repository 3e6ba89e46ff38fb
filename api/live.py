"""Live views: `GET /v1/<domain>/<view>/<key>/live`, a stream of states of the asked key.

Each message is the whole answer of the view; several changes may arrive as one, and the newest always arrives. An id tells
positions that the state does not go beyond, so whoever comes back with it is shown nothing older, and a mark of the state, so
that it is not shown again.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Problem
from api.feeds import Feed, Positions, Question, State
from api.sse import BEAT, HEADERS, MEDIA_TYPE, EventStream, event
from api.tokens import MAX_LENGTH, principal
from api.views import View
from sinks.postgres.reader import Reader
from streams.contract import Topic
from streams.partitioner import partition_of

AWAY = b": Postgres is away; this goes on when it is back\n\n"
BEAT_S = 15.0  # of silence
MAX_S = 3600.0  # a client then comes back, so that streams spread over processes
TAIL = "live"
ABSENT = "absent"  # the event that says: there is no such thing (yet, or any more)
_ident = msgspec.msgpack.Decoder(tuple[dict[int, int], bytes] | dict[int, int]).decode  # the latter of an older edge


class Begin(NamedTuple):
    """Where a stream begins: positions that it must cover, and the mark of the state that the client has."""

    since: Positions
    shown: bytes | None


class Live:
    """The endpoint of one view's stream."""

    def __init__(self, view: View, topic: Topic) -> None:
        """Serve `view` of the domain of `topic`."""
        self._view, self._topic = view, topic
        self._store, self._streams, self._feeds = view.edge.store, view.edge.streams, view.edge.feeds

    async def __call__(self, request: Request) -> Response:
        """Check as the view itself does, and stream until the token expires or is withdrawn."""
        actor, issued, expires = self._view.edge.auth.caller(request)
        withdrawn = self._view.edge.standings.withdrawn(actor.id, issued)
        question = self._question(request, await self._view.asked(request, actor, ("limit",)))
        begin = await self._begin(request, _purpose(request))
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=MEDIA_TYPE)
        with ExitStack() as held:
            held.enter_context(self._streams.place(None if actor.type == "guest" else principal(actor)))
            held.enter_context(self._view.edge.load.aside("read"))
            feed = held.enter_context(self._feeds.feed(question))
            await feed.fresh()
            kept = held.pop_all()
        seconds = max(0.0, min(expires - time.time(), MAX_S))
        return EventStream(self._streams, kept, self._events(begin, feed), seconds, withdrawn)

    def _question(self, request: Request, given: dict[str, Any]) -> Question:
        key, count = self._key(given), self._topic.partitions
        partitions = frozenset(range(count) if key is None else [partition_of(key.encode(), count)])
        asked = "&".join(sorted(f"{name}={value}" for name, value in request.query_params.items() if name != "after"))
        answer = partial(self._answer, _purpose(request), given, partitions)
        return Question(f"{request.scope['path']}?{asked}", self._topic.domain, key, partitions, answer)

    def _key(self, given: dict[str, Any]) -> str | None:
        """The topic's key where the view is asked by it: only its commands change what is shown."""
        first = self._view.signature.segments[0]
        return str(given[first]) if first == self._topic.key else None

    async def _begin(self, request: Request, purpose: str) -> Begin:
        since, shown = self._resumed(request, purpose)
        if tokens := self._view.tokens(request):
            await self._view.covering(tokens, _nothing)
        for token in tokens:
            since[token.partition] = max(since.get(token.partition, 0), token.offset + 1)
        return Begin(since, shown)

    def _resumed(self, request: Request, purpose: str) -> tuple[dict[int, int], bytes | None]:
        """The positions and the mark of Last-Event-ID; raises `bad_event_id`."""
        text = request.headers.get("last-event-id")
        if not text:
            return {}, None
        if len(text) > MAX_LENGTH or (told := self._view.edge.tokens.unwrap(purpose, text)) is None:
            raise Problem("bad_event_id")
        ident = _ident(told)
        return ident if isinstance(ident, tuple) else (ident, None)

    async def _answer(
        self, purpose: str, given: dict[str, Any], partitions: frozenset[int], known: bytes | None
    ) -> State:
        """The view as it stands, between two looks at the positions on the same server; the second only for what is not known."""
        async with self._store.db(self._topic.domain) as db:
            least = await db.positions(range(self._topic.partitions))
            value = await self._view.query(db, given)
            body = None if value is None else await self._view.told(value)
            mark = blake2b(body or b"", digest_size=8).digest()
            if mark == known:
                return State(least, {}, mark, b"")
            most = await db.positions(partitions)
        ident = self._view.edge.tokens.wrap(purpose, msgspec.msgpack.encode((most, mark)))
        return State(least, most, mark, event(b"null", ident, ABSENT) if body is None else event(body, ident))

    async def _events(self, begin: Begin, feed: Feed) -> AsyncGenerator[bytes]:
        """Every state that differs from the one before, and a beat when there was nothing to tell for long."""
        loop = asyncio.get_running_loop()
        since, shown, spoke, away = begin.since, begin.shown, loop.time(), False
        while True:
            news, state = feed.news, feed.state
            if feed.broken is not None:
                raise feed.broken
            covers = state is not None and state.covers(since)
            if state is not None and covers and state.mark != shown:
                shown, since, spoke = state.mark, state.most, loop.time()
                yield state.event
                continue  # meanwhile there may be a newer one
            if away != (not self._store.alive) and (away := not away):
                yield AWAY
                continue
            if loop.time() - spoke >= BEAT_S:
                spoke = loop.time()
                yield BEAT
                continue
            if not covers:
                feed.behind()
            await asyncio.wait([news], timeout=max(0.0, spoke + BEAT_S - loop.time()))


def _purpose(request: Request) -> str:
    """What ids are good for: this path alone."""
    return f"live {request.scope['path']}"


async def _nothing(_db: Reader) -> None:
    """That the tokens are covered is all that was asked."""
