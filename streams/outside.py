"""An outside in memory: what a kit gives to effects, and tests script."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from streams.decision import Intent
from streams.effect import Adapter, Unknown

Answer = Mapping[str, Any] | Exception | Callable[[], Awaitable[Mapping[str, Any]]]
"""What a call brings: an answer, an error that it raises, or a function that is awaited for either."""


class Asked(NamedTuple):
    """A call as it came."""

    intent: Intent
    key: str


class Outside(Adapter):
    """Notes what it is asked and answers as it was told; untold it does everything and answers nothing.

    With `found` it can look earlier calls up: the answers to that in turn, where None is "surely not done".
    """

    def __init__(
        self, answers: Iterable[Answer] = (), *, found: Iterable[Answer | None] | None = None, repeatable: bool = False
    ) -> None:
        """Nobody has asked yet."""
        self.repeatable = repeatable
        self.asked: list[Asked] = []
        self.sought: list[str] = []
        self.answers: deque[Answer] = deque(answers)
        self.found: deque[Answer | None] | None = None if found is None else deque(found)
        self.closed = False

    @property
    def finds(self) -> bool:
        """Whether it was given something to be found."""
        return self.found is not None

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        """Note it, and answer."""
        self.asked.append(Asked(intent, key))
        return await _told(self.answers.popleft()) if self.answers else {}

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """Note it, and tell what was found."""
        self.sought.append(key)
        if not self.found:
            raise Unknown("Nobody can tell.")
        found = self.found.popleft()
        return None if found is None else await _told(found)

    async def close(self) -> None:
        """Note it."""
        self.closed = True


async def _told(answer: Answer) -> Mapping[str, Any]:
    if isinstance(answer, Exception):
        raise answer
    return await answer() if callable(answer) else answer
