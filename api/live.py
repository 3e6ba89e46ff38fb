"""Live views: `GET /v1/<domain>/<view>/<key>/live`, a stream of states of the asked key.

Each message is the whole answer of the view; several changes may arrive as one, and the newest always arrives. An id tells
positions that the state does not go beyond, so whoever comes back with it is shown nothing older, and a mark of the state, so
that it is not shown again.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, suppress
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.errors import Problem
from api.sse import BEAT, HEADERS, MEDIA_TYPE, EventStream, event
from api.tokens import MAX_LENGTH, principal
from api.views import View
from sinks.postgres.moves import Watch
from sinks.postgres.reader import Reader
from streams.contract import Topic
from streams.partitioner import partition_of
from streams.store import Unavailable

GAP_S = 0.05  # between two reads of one stream
REREAD_S = 5.0  # a lost notification costs at most this
BEHIND_S = 0.25  # before another look at a server that lacks what was shown
AWAY_S = 1.0  # before another look whether Postgres is there
AWAY = b": Postgres is away; this goes on when it is back\n\n"
BEAT_S = 15.0  # of silence
MAX_S = 3600.0  # a client then comes back, so that streams spread over processes
TAIL = "live"
ABSENT = "absent"  # the event that says: there is no such thing (yet, or any more)
Positions = Mapping[int, int]
_ident = msgspec.msgpack.Decoder(tuple[dict[int, int], bytes] | dict[int, int]).decode  # the latter of an older edge


class Asked(NamedTuple):
    """What a stream shows: the query's arguments, the key or else the partitions that move it, its ids' purpose, where it begins.

    `shown` is the mark of the state that the client has.
    """

    given: dict[str, Any]
    key: str | None
    partitions: frozenset[int]
    purpose: str
    since: Positions
    shown: bytes | None


class State(NamedTuple):
    """An answer (None where there is nothing), which includes all before `least` and nothing from `most` on."""

    least: Positions
    body: bytes | None
    most: Positions

    @property
    def mark(self) -> bytes:
        """What tells one state from another."""
        return blake2b(self.body or b"", digest_size=8).digest()

    def covers(self, since: Positions) -> bool:
        """Whether it is surely no older than what stood at these positions."""
        return all(self.least[partition] >= position for partition, position in since.items())


class Live:
    """The endpoint of one view's stream."""

    def __init__(self, view: View, topic: Topic) -> None:
        """Serve `view` of the domain of `topic`."""
        self._view, self._topic = view, topic
        self._store, self._streams = view.edge.store, view.edge.streams

    async def __call__(self, request: Request) -> Response:
        """Check as the view itself does, and stream until the token expires."""
        actor, expires = self._view.edge.auth.caller(request)
        asked = await self._asked(request, await self._view.asked(request, actor, ("limit",)))
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=MEDIA_TYPE)
        with ExitStack() as held:
            held.enter_context(self._streams.place(None if actor.type == "guest" else principal(actor)))
            watch = held.enter_context(self._store.moves.watch_any(self._topic.domain, asked.partitions, asked.key))
            first = await self._read(asked)
            kept = held.pop_all()
        seconds = max(0.0, min(expires - time.time(), MAX_S))
        return EventStream(self._streams, kept, self._events(asked, first, watch), seconds)

    async def _asked(self, request: Request, given: dict[str, Any]) -> Asked:
        key, count = self._key(given), self._topic.partitions
        partitions = frozenset(range(count) if key is None else [partition_of(key.encode(), count)])
        purpose = f"live {request.scope['path']}"
        since, shown = self._resumed(request, purpose)
        if tokens := self._view.tokens(request):
            await self._view.covering(tokens, _nothing)
        for token in tokens:
            since[token.partition] = max(since.get(token.partition, 0), token.offset + 1)
        return Asked(given, key, partitions | since.keys(), purpose, since, shown)

    def _key(self, given: dict[str, Any]) -> str | None:
        """The topic's key where the view is asked by it: only its commands change what is shown."""
        first = self._view.signature.segments[0]
        return str(given[first]) if first == self._topic.key else None

    def _resumed(self, request: Request, purpose: str) -> tuple[dict[int, int], bytes | None]:
        """The positions and the mark of Last-Event-ID; raises `bad_event_id`."""
        text = request.headers.get("last-event-id")
        if not text:
            return {}, None
        if len(text) > MAX_LENGTH or (told := self._view.edge.tokens.unwrap(purpose, text)) is None:
            raise Problem("bad_event_id")
        ident = _ident(told)
        return ident if isinstance(ident, tuple) else (ident, None)

    async def _read(self, asked: Asked) -> State:
        async with self._streams.reading:
            async with self._store.db(self._topic.domain) as db:
                least = await db.positions(asked.partitions)
                value = await self._view.query(db, asked.given)
                most = await db.positions(asked.partitions)
            return State(least, None if value is None else await self._view.told(value), most)

    async def _events(self, asked: Asked, state: State | None, watch: Watch) -> AsyncGenerator[bytes]:
        """Every state that differs from the one before, and a beat when there was nothing to tell for long."""
        loop = asyncio.get_running_loop()
        since, shown, spoke, away = asked.since, asked.shown, loop.time(), False
        while True:
            covers = state is not None and state.covers(since)
            if state is not None and covers and state.mark != shown:
                shown, since, spoke = state.mark, state.most, loop.time()
                yield self._event(asked, state)
            elif loop.time() - spoke >= BEAT_S:
                spoke = loop.time()
                yield BEAT
            if away != (not self._store.alive) and (away := not away):
                yield AWAY
            await asyncio.sleep(GAP_S)
            patience = AWAY_S if away else REREAD_S if covers else BEHIND_S
            await watch.next(max(0.0, min(patience, spoke + BEAT_S - loop.time())))
            state = await self._read_if_there(asked)

    async def _read_if_there(self, asked: Asked) -> State | None:
        """None while Postgres is away, which costs nothing then."""
        if self._store.alive:
            with suppress(Unavailable):
                return await self._read(asked)
        return None

    def _event(self, asked: Asked, state: State) -> bytes:
        ident = self._view.edge.tokens.wrap(asked.purpose, msgspec.msgpack.encode((state.most, state.mark)))
        return event(b"null", ident, ABSENT) if state.body is None else event(state.body, ident)


async def _nothing(_db: Reader) -> None:
    """That the token is covered is all that was asked."""
