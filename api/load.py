"""How much the process has in hand, and what it takes no more of: an answer that comes late is worth less than a refusal at once.

Requests that read and those that command are counted apart, so that neither Postgres nor Kafka, when it is slow, stops what needs the other. Who only waits,
for a position, a result or the next state of a live view, costs nothing and is not counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Kind = Literal["read", "command"]
_SAFE = frozenset({"GET", "HEAD"})


def kind_of(method: str) -> Kind:
    """Which of the two a request is."""
    return "read" if method in _SAFE else "command"


class Load:
    """Requests at work; at most `most` of each kind."""

    def __init__(self, most: int = 512) -> None:
        """Nothing is in hand."""
        self.most = most
        self.at_work: dict[Kind, int] = {"read": 0, "command": 0}
        self.refused = 0

    def full(self, kind: Kind) -> bool:
        """Whether one more is too many."""
        return self.at_work[kind] >= self.most

    @contextmanager
    def aside(self, kind: Kind) -> Iterator[None]:
        """While a request only waits."""
        self.at_work[kind] -= 1
        try:
            yield
        finally:
            self.at_work[kind] += 1
