"""The rules of points, run one by one, with what their laws look at."""

from collections.abc import Iterator
from typing import Any

from agents.points.agent import POINTS_DECIDER, TRANSFERS
from streams.agent import Decider
from tests.stepping import Stepping


class Platform(Stepping):
    """Points alone."""

    def __init__(self, decider: Decider = POINTS_DECIDER) -> None:
        """Nobody has anything."""
        super().__init__(decider, TRANSFERS)

    def balances(self) -> dict[str, tuple[Any, ...]]:
        """The balance view."""
        return {row[0]: row[1:] for row in self.rows.get("balance", {}).values()}

    def account(self, user: str) -> Any:
        """The document of a user's account."""
        return self.state("points", user)


def movements(platform: Stepping) -> Iterator[tuple[str, str, int]]:
    """(debit, credit, amount) of the ledger in the order of writing."""
    for row in platform.rows.get("ledger", {}).values():
        yield row[4], row[5], row[6]
