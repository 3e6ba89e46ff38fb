"""Idempotency-Keys: the same key and body is the same command, whichever replica is asked and whenever an edge crashed.

Before it publishes, a request writes down its record under (principal, domain, key) with a lease. A repeat either finds where
Kafka has it, or publishes that very record again once the lease is over; the decider's inbox drops the double. So the lease is no
lock: it is short, spares doubles while all goes well, and whoever abandons a key holds up its repeats for no longer.
"""

import logging
import re
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from starlette.requests import Request

from api.answer import given
from api.errors import RETRY, Problem
from sinks.postgres.edge import Claim, EdgeStore
from streams.store import Unavailable

_VALID = re.compile(r"[!-~]{1,200}")
log = logging.getLogger(__name__)


def key_of(request: Request) -> str | None:
    """The request's key; raises `bad_idempotency_key`."""
    told = given(request).get(b"idempotency-key")
    if told is None:
        return None
    if not _VALID.fullmatch(key := told.decode("latin-1")):
        raise Problem("bad_idempotency_key")
    return key


def digest(command: str, payload: bytes) -> str:
    """What tells one body from another: the command and its fields, however they were written."""
    return blake2b(command.encode() + b"\0" + payload, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Reservation:
    """A key in this request's hands, or the answer that is there already."""

    store: EdgeStore
    who: tuple[str, str, str]
    claim: Claim

    @classmethod
    async def take(
        cls, store: EdgeStore, who: tuple[str, str, str], body: str, command_id: UUID, record: tuple[bytes, bytes]
    ) -> "Reservation":
        """Take the key or find its answer; raises `idempotency_key_reused` and `in_progress`."""
        claim = await store.reserve(who, body, command_id, record)
        if claim.hash != body:
            raise Problem("idempotency_key_reused")
        if not claim.mine and claim.partition is None:
            raise Problem("in_progress", headers=RETRY)
        return cls(store, who, claim)

    @property
    def place(self) -> tuple[int, int] | None:
        """Where Kafka has the command already."""
        if self.claim.partition is None or self.claim.offset is None:
            return None
        return self.claim.partition, self.claim.offset

    async def answered(self, place: tuple[int, int]) -> tuple[int, int]:
        """Kafka has it there; where all answers say that it is. If this cannot be written down, a repeat publishes the same record again."""
        try:
            return await self.store.answered(self.who, *place)
        except Unavailable as error:
            log.warning("Idempotency-Key left unanswered: %s", error)
            return place

    async def failed(self, *, sent: bool | None) -> None:
        """Publishing failed: surely not sent (`sent` False) frees an unseen key; else a repeat may try at once."""
        try:
            if sent is False and self.claim.fresh:
                await self.store.forget(self.who, self.claim.lease)
            else:
                await self.store.release(self.who)
        except Unavailable as error:
            log.warning("Idempotency-Key left to its lease: %s", error)
