"""An effect of the tally domain, for tests: whoever adds a positive amount gets a receipt, and what came of it is added as an amount of its own."""

from collections.abc import Mapping
from typing import Any

from streams.contract import Command
from streams.decision import Intent
from streams.effect import Adapter, Effect, Reply
from streams.outside import Outside
from streams.sink import Fact
from tests.streams.tally import TALLY, Add, Added

RESULTS = {"done": -1, "refused": -2, "failed": -3}


def receipt(fact: Fact[Added]) -> Intent | None:
    """Nothing is asked for what the effect itself brought about."""
    if fact.event.amount <= 0:
        return None
    if fact.event.note == "a\0b" or fact.event.how == "unread":
        raise RuntimeError("No receipt can be written.")
    return Intent("write", {"to": fact.key, "amount": fact.event.amount})


def told(fact: Fact[Added], reply: Reply) -> Command | None:
    """What came of it: -1 done, -2 refused, -3 failed."""
    if reply.data.get("quiet"):
        return None
    if reply.data.get("raise"):
        raise RuntimeError("The author's function does not like this.")
    return Add(account=fact.key, amount=RESULTS[reply.status])


def effect(adapter: Adapter | None = None, **changes: Any) -> Effect:
    """The effect, with what a test changes about it."""
    given: Mapping[str, Any] = {"result": told, "attempts": 4, "backoff": (1.0, 4.0), "start": "earliest"} | changes
    return Effect("receipts", TALLY, {Added: receipt}, adapter=lambda _: adapter or Outside(), **given)
