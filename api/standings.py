"""What is kept from whom, as the domains tell it by their standings: the banned, the restricted, and those whose older tokens are worth nothing.

No request waits for it: it is read at the start, at each word of a commit, and every two seconds at least, and a request looks into a dict. Until it was read
for the first time no command is taken.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from api.errors import Problem
from sinks.postgres.edge import EdgeStore
from streams.clock import Clock
from streams.contract import Topic
from streams.envelope import Actor
from streams.store import Unavailable
from streams.view import Standing
from streams.view import Standings as Tells

READ_S = 2.0  # between two reads, at most
GAP_S = 0.05  # between two reads, at least
REST = 20  # times as long as a read took nothing is read after it, up to READ_S
log = logging.getLogger(__name__)


class Standings:
    """The newest that was read of all domains that tell something."""

    def __init__(self, store: EdgeStore, clock: Clock, tells: Iterable[tuple[Topic, Tells]]) -> None:
        """Nothing is read before `start`."""
        self._store, self._clock, self._tells = store, clock, list(tells)
        self._told: dict[str, Mapping[str, Standing]] = {}
        self._of: Mapping[str, Standing] = {}
        self._withdrawn = WeakValueDictionary[tuple[str, float], asyncio.Future[None]]()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to read; does not wait."""
        self._tasks = [
            asyncio.create_task(self._follow(topic, tells), name=f"standings: {topic.domain}")
            for topic, tells in self._tells
        ]

    async def stop(self) -> None:
        """Read no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def known(self) -> bool:
        """Whether all was read once."""
        return len(self._told) == len(self._tells)

    def admits(self, user_id: str, issued: float) -> bool:
        """Whether a token that this user was given at this Unix time is still worth something; one that does not tell its time is the oldest (-inf)."""
        standing = self._of.get(user_id)
        if standing is None or standing.not_before is None:
            return True
        return issued + self._clock.offset.total_seconds() >= standing.not_before.timestamp()

    def withdrawn(self, user_id: str, issued: float) -> asyncio.Future[None]:
        """Done when such a token is admitted no longer. It is kept for as long as the caller keeps it."""
        found = self._withdrawn.get((user_id, issued))
        if found is None:
            found = self._withdrawn[user_id, issued] = asyncio.get_running_loop().create_future()
        return found

    def demand(self, actor: Actor, domain: str) -> None:
        """Raises `banned` and `restricted` where this actor may command nothing of this domain."""
        standing = self._of.get(actor.id)
        if standing is None:
            return
        if standing.banned:
            raise Problem("banned", until=_told(standing.until))
        if domain in standing.restricted:
            raise Problem("restricted", domain=domain, until=_told(standing.restricted[domain]))

    async def _follow(self, topic: Topic, tells: Tells) -> None:
        """For ever: read, and again when there is word of a commit."""
        heard, loop = asyncio.Event(), asyncio.get_running_loop()
        about = (topic.domain, range(topic.partitions), lambda _partition, _reached: heard.set())
        with self._store.moves.listening(*about, offset=0):  # not of those agents that only write rows beside
            while True:
                heard.clear()
                begun = loop.time()
                try:
                    async with self._store.primary(topic.domain) as db:
                        found = await db.view(tells, {})
                except Unavailable:
                    pass  # which is told elsewhere; there is word when it is back
                except Exception as error:  # noqa: BLE001 - a bug of who tells them; there will be another read
                    log.warning("The standings of %s were not read: %r", topic.domain, error)
                else:
                    self._take(topic.domain, found)
                await asyncio.sleep(min(max(GAP_S, REST * (loop.time() - begun)), READ_S))
                with suppress(TimeoutError):
                    async with asyncio.timeout(READ_S):
                        await heard.wait()

    def _take(self, domain: str, found: Iterable[Standing]) -> None:
        self._told[domain] = {standing.user_id: standing for standing in found}
        self._of = _joined(list(self._told.values()))
        for (user_id, issued), ended in list(self._withdrawn.items()):
            if not ended.done() and not self.admits(user_id, issued):
                ended.set_result(None)


def _joined(told: list[Mapping[str, Standing]]) -> Mapping[str, Standing]:
    """What several domains keep from somebody, together."""
    if len(told) == 1:
        return told[0]
    found: dict[str, Standing] = {}
    for standings in told:
        for user_id, standing in standings.items():
            found[user_id] = _both(found[user_id], standing) if user_id in found else standing
    return found


def _both(one: Standing, other: Standing) -> Standing:
    bans = [standing.until for standing in (one, other) if standing.banned]
    scopes = one.restricted.keys() | other.restricted.keys()
    return Standing(
        one.user_id,
        banned=bool(bans),
        until=_latest(bans) if bans else None,
        restricted={
            scope: _latest([standing.restricted[scope] for standing in (one, other) if scope in standing.restricted])
            for scope in scopes
        },
        not_before=max((at for at in (one.not_before, other.not_before) if at is not None), default=None),
    )


def _latest(ends: list[datetime | None]) -> datetime | None:
    """None is for ever."""
    return None if None in ends else max(end for end in ends if end is not None)


def _told(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None
