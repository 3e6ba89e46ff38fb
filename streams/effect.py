"""Effects: what the outside world is asked for because of an event, and what came of it as a command.

`agents/<domain>/agent.py` declares one beside its decider::

    RECEIPTS = Effect("receipts", ORDERS, {OrderPaid: receipt}, adapter=Smtp.of, result=noted)

`receipt(fact)` is pure and says what is wanted as an `Intent`, or None; the adapter does it, under a key that is the same in every attempt;
`noted(fact, reply)` is pure and turns what came of it into a command of the domain that lists its own domain in `services`.
Rebuilds and replays ask nobody: only the live agent calls out, and a new effect begins with the next event.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from streams.contract import Command, Event, Topic
from streams.decision import Intent
from streams.errors import CaravanError, ContractError
from streams.settings import Settings
from streams.sink import Fact


class Passing(CaravanError):
    """It was surely not done, and may work later: it is tried again."""


class Refused(CaravanError):
    """The outside refuses it for good; it was not done."""


class Unknown(CaravanError):
    """It may have been done, or may be done yet. Whatever an adapter raises beside Passing and Refused counts as this."""


class Adapter(ABC):
    """The way to one outside. One a process; its methods are called by many tasks at a time.

    `repeatable` says that a second call under the same key does nothing that the first one did (the outside knows keys, or the act is
    absolute): only then is a call made again after one whose outcome is not known.

    `forgets` says that what it did is kept in the platform's own Postgres, and is lost with it: where that was restored from an older copy, what is
    known to have been done is asked for once more.
    """

    repeatable: bool = False
    forgets: bool = False

    @abstractmethod
    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        """Do it; what the outside answered, as JSON. Raises Passing or Refused; anything else, a time-out too, means Unknown."""

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """Look up what became of an earlier call under this key: what the outside had answered, or None when it surely was not done
        and no call under way can do it any more. Raises Refused, or Unknown when it cannot tell.
        """
        raise Unknown(f"This outside cannot be asked what became of {key}.")

    async def close(self) -> None:  # noqa: B027 - not every adapter keeps something open
        """The worker ends."""

    @property
    def finds(self) -> bool:
        """Whether it can look outcomes up."""
        return type(self).find is not Adapter.find


class Reply(msgspec.Struct, frozen=True):
    """What came of an intent at last.

    `done` with what the outside answered in `data`; `refused` for good, or `failed` in the last attempt, with the words in `error`. What stays
    `unknown` is parked and reaches no `result`.
    """

    status: Literal["done", "refused", "failed", "unknown"]
    at: datetime
    data: dict[str, Any] = {}
    error: str = ""


@dataclass(frozen=True, eq=False)
class Effect:
    """Asks the outside because of events of its own domain; in the order of each key, several keys at a time.

    `adapter` makes the way out when the worker starts. Without `result` an intent that is refused or fails is parked, as is one
    whose `result` raises. A call gets `limit` seconds and an intent `attempts` calls, with pauses that double between the two times of `backoff`.
    `parallel` calls of a partition are under way at most.
    """

    name: str
    source: Topic
    on: Mapping[type[Event], Callable[[Fact[Any]], Intent | None]]
    adapter: Callable[[Settings], Adapter]
    result: Callable[[Fact[Any], Reply], Command | None] | None = None
    attempts: int = 8
    limit: float = 10.0  # seconds
    backoff: tuple[float, float] = (1.0, 300.0)  # seconds: first and longest pause
    parallel: int = 8
    start: Literal["earliest", "now"] = "now"

    def __post_init__(self) -> None:
        """Check the declaration; raises ContractError."""
        for event in self.on:
            if event.topic is not self.source:
                raise ContractError(f"Effect {self.name}: {event.__name__} is not an event of {self.source.domain}.")
        first, longest = self.backoff
        if self.attempts < 1 or self.parallel < 1 or self.limit <= 0 or not 0 < first <= longest:
            raise ContractError(
                f"Effect {self.name}: attempts and parallel are at least 1; limit and backoff are seconds."
            )

    @property
    def target(self) -> Topic:
        """Where its commands go: the domain whose events it reads."""
        return self.source

    def pause(self, attempts: int) -> float:
        """Seconds between this many calls and the next."""
        first, longest = self.backoff
        return min(first * 2.0 ** min(attempts - 1, 60), longest)
