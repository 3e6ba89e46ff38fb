"""One attempt at a call to the outside, and what it means: done, refused, once more later, or nobody knows.

A call of which an earlier attempt may have been done is looked up first, and made again only where the adapter says that this is safe.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from streams.clock import Clock
from streams.decision import Intent
from streams.effect import Adapter, Effect, Passing, Refused, Reply, Unknown
from streams.envelope import decode_event
from streams.ids import derived
from streams.shard import microseconds
from streams.store import Call

WORDS = 2000  # characters that are kept of an error


def idempotency_key(effect: Effect, call: Call) -> str:
    """The key of a call in every attempt: the event's id, told apart from that of another effect of the same event, as a UUID."""
    return str(derived(UUID(decode_event(call.value).event_id), effect.name, "effect", "", 0))


class Caller:
    """Makes the calls of an effect; touches no store."""

    def __init__(self, effect: Effect, adapter: Adapter, clock: Clock) -> None:
        """Nothing is called yet."""
        self._effect, self._adapter, self._clock = effect, adapter, clock

    def may_try(self, call: Call) -> bool:
        """Whether another attempt may be made: a look-up, or the call itself. Look-ups are bounded too."""
        if call.unknown and self._adapter.finds:
            return call.attempts < 2 * self._effect.attempts
        return call.attempts < self._effect.attempts and (self._adapter.repeatable or not call.unknown)

    async def make(self, call: Call, latest: float) -> Call:
        """A claimed call as it is after this attempt: answered, or waiting for the next.

        A call is begun by `latest` (monotonic time) or not at all: after a standstill its claim may have run out. A look-up before it has its own time.
        """
        doubt = call.unknown
        data: Mapping[str, Any] | None = None
        key = idempotency_key(self._effect, call)
        try:
            if doubt:
                latest += self._effect.limit
                data, doubt = await self._earlier(key)
            if data is None:
                data = await self._perform(call, key, latest)
        except Refused as refused:
            return self._answered(call, "refused", error=_words(refused))
        except Passing as passing:
            return self._later(call._replace(unknown=doubt, error=_words(passing)))
        except Exception as error:  # noqa: BLE001 - whatever else happens in a call, it may have been done
            return self._later(call._replace(unknown=True, error=_words(error)))
        return self._answered(call, "done", data)

    async def _earlier(self, key: str) -> tuple[Mapping[str, Any] | None, bool]:
        """What an earlier attempt brought, when that is known, and whether it may have been done."""
        try:
            async with asyncio.timeout(self._effect.limit):
                return await self._adapter.find(key), False
        except Refused:
            raise
        except Exception as error:
            if not self._adapter.repeatable:
                raise Unknown(f"The look-up told nothing: {_words(error)}") from error
            return None, True

    async def _perform(self, call: Call, key: str, latest: float) -> Mapping[str, Any]:
        if time.monotonic() > latest:
            raise Passing("The process stood still after the claim, so the call was not made.")
        if call.attempts > self._effect.attempts:
            raise Passing("It was not done, and no attempts are left.")
        intent = msgspec.json.decode(call.intent, type=Intent)
        async with asyncio.timeout(self._effect.limit):
            return await self._adapter.perform(intent, key)

    def _later(self, call: Call) -> Call:
        if not self.may_try(call):
            return self._answered(call, "unknown" if call.unknown else "failed", error=call.error or "")
        due = self._clock.now() + timedelta(seconds=self._effect.pause(call.attempts))
        return call._replace(status="waiting", due=microseconds(due))

    def _answered(
        self,
        call: Call,
        status: Literal["done", "refused", "failed", "unknown"],
        data: Mapping[str, Any] | None = None,
        error: str = "",
    ) -> Call:
        reply = Reply(status, self._clock.now(), _plain(data), error)
        outcome = msgspec.json.encode(reply).decode()
        return call._replace(status="answered", due=0, outcome=outcome, error=error or None)


def _plain(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """An answer as JSON. It was done whatever the answer looks like, so what JSON cannot hold is told in words."""
    try:
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(data or {}), enc_hook=str))
    except Exception:  # noqa: BLE001 - an adapter may answer anything
        return {"unreadable": ascii(data)[:WORDS]}
    return plain


def _words(error: Exception) -> str:
    """The words of an error, such that they can be kept."""
    return (str(error) or repr(error))[:WORDS].encode("utf-8", "backslashreplace").decode()
